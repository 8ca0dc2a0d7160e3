"""The site builds without a warning, and loads nothing from elsewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT

import nucleipel as npl
from nucleipel import config
from nucleipel.cli import cli
from nucleipel.config import InstanceConfig, TrainConfig

LOADED = re.compile(
    r"<(?:script|img|iframe|source)[^>]+src=\"(?:https?:)?//[^\"]*|<link[^>]+href=\"(?:https?:)?//[^\"]*"
    r"|@import[^;]*//[^;]*|url\(['\"]?(?:https?:)?//[^)]*"
)
"""Scripts, styles, fonts and pictures of another host. Links that a reader may follow are fine."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sphinx")
    out = tmp_path_factory.mktemp("site")
    arguments = ["--fail-on-warning", "--quiet", "-c", ROOT / "docs" / "site", ROOT / "docs", out]
    # a process of its own: Sphinx changes much of the one that it runs in
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *arguments], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.slow
def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    files = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert len(files) > 40
    loaded = {
        (file.name, found)
        for file in files
        for found in LOADED.findall(file.read_text(encoding="utf-8"))
        if 'rel="canonical"' not in found
    }
    assert loaded == set()


@pytest.mark.slow
def test_commands_settings_and_names_come_from_the_code(site: Path) -> None:
    commands = (site / "commands.html").read_text(encoding="utf-8")
    assert [name for name in cli.commands if f'id="nucleipel-{name}"' not in commands] == []
    assert 'id="cmdoption-nucleipel-segment-stained-as"' in commands
    settings = (site / "settings.html").read_text(encoding="utf-8")
    fields = {**TrainConfig.model_fields, **InstanceConfig.model_fields}
    groups = {"network", "augment"}
    assert [name for name in fields if name not in settings and name not in groups] == []
    assert "network.norm" in settings
    assert re.search(r"<dd>\s*(?:<p></p>)?\s*</dd>", settings) is None  # each says what it means
    assert "Largest hole (area) that is filled" in settings  # from the class, not from a page
    assert "nucleipel.segment_slide" in (site / "api.html").read_text(encoding="utf-8")


def test_every_class_of_settings_and_public_name_is_listed() -> None:
    listed = re.findall(r"{settings} (\w+)", (ROOT / "docs/settings.md").read_text("utf-8"))
    parts = {
        "ArmConfig",
        "AugmentConfig",
        "CitationConfig",
        "JobConfig",
        "NetworkConfig",
        "PELConfig",
    }
    assert sorted({n for n in config.__all__ if n.endswith("Config")} - parts) == sorted(listed)
    page = (ROOT / "docs/api.md").read_text("utf-8")
    names = {name for name in npl.__all__ if name != "__version__"}
    assert [name for name in names if f"nucleipel.{name}\n" not in page] == []


def test_the_index_links_every_page_where_github_shows_it() -> None:
    shown = (ROOT / "docs/index.md").read_text("utf-8").partition("```{toctree}")[0]
    included = {"index", "manifest", "contributing", "changelog"}
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")} - included
    assert {page for page in pages if f"({page}.md)" not in shown} == set()


def test_pictures_are_small() -> None:
    sizes = {path.name: path.stat().st_size for path in (ROOT / "docs" / "pictures").iterdir()}
    assert {name: size for name, size in sizes.items() if size > 150_000} == {}


def test_the_readme_is_short_and_its_lines_fit() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    assert [line for line in lines if len(line) > 100] == []
