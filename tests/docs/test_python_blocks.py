"""Every block of Python in the pages compiles, its names exist, and what needs no files runs."""

import re
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from support import ROOT

import nucleipel as npl

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NEEDS_MORE = re.compile(
    r"OUT|PATCHES|RUN|\"[^\"]*\.(?:svs|zarr|csv|tif|png|parquet|onnx|zip)\"|\.\.\.|spatialdata|sopa|result\.expand"
)
"""Marks of a block that reads or writes files, leaves something out, or needs an extra."""
SIDE_PX = 96


class Block(NamedTuple):
    """A block of Python, and where it stands."""

    place: str
    code: str


BLOCKS = [
    Block(f"{page.relative_to(ROOT)}:{number}", code)
    for page in PAGES
    for number, code in enumerate(
        re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    )
]
RUN = [block for block in BLOCKS if not NEEDS_MORE.search(block.code)]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)
def test_it_compiles_and_its_names_exist(block: Block) -> None:
    compile(block.code, block.place, "exec")
    used = set(re.findall(r"\bnpl\.(\w+)", block.code))
    assert used <= set(npl.__all__)


def test_the_first_blocks_that_a_reader_meets_are_run() -> None:
    assert "README.md:0" in {block.place for block in RUN}


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the pages take for known: an image, a network; a sample that is small."""
    monkeypatch.setattr(npl.datasets, "sample", partial(npl.datasets.sample, SIDE_PX))
    image = npl.datasets.sample().image
    network = torch.nn.Conv2d(3, 4, 3, padding=1)
    return {"npl": npl, "np": np, "image": image, "network": network.eval()}


@pytest.mark.slow
@pytest.mark.parametrize("block", RUN, ids=lambda block: block.place)
def test_it_runs(block: Block, names: dict[str, Any]) -> None:
    exec(compile(block.code, block.place, "exec"), names)  # noqa: S102 - our own page
