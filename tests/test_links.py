"""Every relative link of the pages leads to a file, and every path that they name exists."""

import re
from pathlib import Path

import pytest
from support import ROOT

PAGES = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part.startswith(".") and part != ".github" for part in path.relative_to(ROOT).parts)
)
TEXTS = sorted({
    *(page for page in PAGES if page.name != "CHANGELOG.md"),  # it names what was moved
    *(ROOT / "configs").rglob("*.yaml"),
    *(path for path in (ROOT / "scripts").rglob("*") if path.is_file() and path.suffix != ".pyc"),
    ROOT / "Makefile",
    ROOT / "pyproject.toml",
})  # fmt: skip
LINK = re.compile(r"\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
ROOMS = "configs|data_manifests|docs|nucleipel|scripts|tests"
NAMED = re.compile(rf"(?<![\w/.$-])(?:{ROOMS})/[\w./-]*\.(?:csv|jpg|jsonl|md|png|py|sh|yaml)\b")


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def test_there_are_pages() -> None:
    assert {"README.md", "CONTRIBUTING.md", "docs/pel.md"} <= {_name(page) for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_relative_links_lead_to_files_and_headings(page: Path) -> None:
    broken = []
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = page.parent / file if file else page
        if not there.exists():
            broken.append(target)
        elif anchor:
            headings = HEADING.findall(there.read_text(encoding="utf-8"))
            if anchor not in map(_anchor, headings):
                broken.append(target)
    assert broken == []


@pytest.mark.parametrize("text", TEXTS, ids=_name)
def test_paths_of_the_repository_exist(text: Path) -> None:
    named = NAMED.findall(text.read_text(encoding="utf-8"))
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_tree_names_every_room() -> None:
    tree = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## The tree")[2]
    named = set(re.findall(r"^ *(\w+)/ ", tree.partition("## ")[0], re.MULTILINE))
    package = ROOT / "nucleipel"
    rooms = {path.name for path in package.rglob("*") if path.is_dir()}
    rooms |= {path.name for path in (ROOT / "configs").iterdir()}
    rooms |= {path.name for path in (ROOT / "scripts").iterdir() if path.is_dir()}
    assert rooms - {"__pycache__"} <= named
