"""Workflows and containers name what the package has; Snakemake runs its workflow."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml
from click.testing import CliRunner
from support import ROOT

import nucleipel
from nucleipel.cli import cli

SNAKEFILE = ROOT / "scripts/workflows/snakemake/Snakefile"
MODULE = ROOT / "scripts/workflows/nextflow/modules/nucleipel/segment"
CONTAINERS = [ROOT / "scripts/containers" / name for name in ("Dockerfile", "nucleipel.def")]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "my images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.tif", "b b.tif"):
        pixels = rng.integers(0, 255, (64, 48), dtype=np.uint8)
        tifffile.imwrite(folder / name, pixels)
    return folder


@pytest.mark.slow
def test_snakemake_segments_every_image_and_continues(
    tmp_path: Path, images: Path, random_checkpoint: Path
) -> None:
    program = os.environ.get("NUCLEIPEL_SNAKEMAKE") or shutil.which("snakemake")
    if not program:
        pytest.skip("snakemake is not installed")
    settings = [f"images={images}", f"out={tmp_path / 'out'}", f"checkpoint={random_checkpoint}"]
    settings += ["threads=1", "options=--mpp 0.5 --device cpu --geojson none"]
    command = [program, "--snakefile", str(SNAKEFILE), "--cores", "2", "--config", *settings]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}

    def run() -> str:
        ended = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stderr

    run()
    for image in ("a", "b b"):
        folder = tmp_path / "out" / f"{image}.tif"
        assert (folder / image / "nuclei.parquet").is_file()
        assert not list(folder.rglob("*.geojson"))
        result = CliRunner().invoke(cli, ["verify", str(folder)])
        assert result.exit_code == 0, result.output
    assert nucleipel.__version__ in (tmp_path / "out/version.txt").read_text()
    assert "Nothing to be done" in run()


def test_the_module_of_nextflow_names_options_and_files_that_exist() -> None:
    process = (MODULE / "main.nf").read_text()
    meta = yaml.safe_load((MODULE / "meta.yml").read_text())
    options = {option for param in cli.commands["segment"].params for option in param.opts}
    assert set(re.findall(r"--[a-z][a-z-]+", process)) - {"--version"} <= options
    emitted = set(re.findall(r"emit: (\w+)", process))
    assert set(meta["output"]) == emitted == {"results", "labels", "nuclei", "geojson", "versions"}
    assert f'"nucleipel:{nucleipel.__version__}"' in process
    environment = yaml.safe_load((MODULE / "environment.yml").read_text())
    assert {"pip": [f"nucleipel=={nucleipel.__version__}"]} in environment["dependencies"]


@pytest.mark.parametrize("path", CONTAINERS, ids=lambda path: path.name)
def test_a_container_copies_what_exists_and_installs_extras_that_exist(path: Path) -> None:
    recipe = path.read_text()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (named,) = re.findall(r'"\.\[([a-z,]+)\]"', recipe)
    assert set(named.split(",")) <= set(extras["optional-dependencies"])
    for name in ("constraints.txt", "pyproject.toml", "README.md", "LICENSE", "nucleipel"):
        assert (ROOT / name).exists()
        assert re.search(rf"^(COPY| ).*\b{re.escape(name)}", recipe, re.MULTILINE), name
        assert f"!{name}" in (ROOT / ".dockerignore").read_text().splitlines()
