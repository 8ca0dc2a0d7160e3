"""A stained slide is labeled by its nuclear dye: each nucleus once, from its most probable view."""

import runpy
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
from skimage.color import hed2rgb
from support import ROOT

SCRIPT = runpy.run_path(str(ROOT / "scripts" / "reproduce" / "label_stained.py"))
views, merge_views = SCRIPT["views"], SCRIPT["merge_views"]

DISC = np.hypot(*(np.mgrid[:96, :96] - 48)) <= 9


def _stained(dye: np.ndarray, counterstain: float) -> np.ndarray:
    """An (H, W, 3) uint8 picture of so much hematoxylin and eosin."""
    amounts = np.stack([dye, np.full_like(dye, counterstain), np.zeros_like(dye)], axis=-1)
    return (255 * np.clip(hed2rgb(amounts), 0, 1)).astype(np.uint8)


@pytest.mark.parametrize("counterstain", [0.0, 0.15], ids=["hematoxylin", "with eosin"])
@pytest.mark.parametrize("ground", [0.0, 0.08], ids=["clear", "dense"])
def test_nuclei_are_bright_in_every_view(ground: float, counterstain: float) -> None:
    shown = views(_stained(np.where(DISC, 0.25, ground), counterstain))
    assert len(shown) == 4
    for name, gray in shown.items():
        assert gray.dtype == np.uint8, name
        ring = np.hypot(*(np.mgrid[:96, :96] - 48))
        inside, outside = gray[ring <= 6].mean(), gray[(ring > 13) & (ring < 30)].mean()
        assert inside > 150, name
        assert inside - outside > 60, name


def _found(folder: Path, ids: np.ndarray, probability: list[float], solidity: float = 0.95) -> Path:
    """What `nucleipel segment` found in one view."""
    folder.mkdir(parents=True)
    tifffile.imwrite(folder / "instances.ome.tif", ids.astype(np.uint32))
    boxes = [np.argwhere(ids == i) for i in range(1, ids.max() + 1)]
    corners = {
        f"{axis}{end}_px": [int(pick(box[:, column])) + end for box in boxes]
        for column, axis in enumerate("yx")
        for end, pick in enumerate((np.min, np.max))
    }
    facts = {
        "id": list(range(1, len(boxes) + 1)),
        "mean_probability": probability,
        "solidity": [solidity] * len(boxes),
    }
    pq.write_table(pa.table(facts | corners), folder / "nuclei.parquet")
    return folder


def test_of_two_that_overlap_the_more_probable_one_stays(tmp_path: Path) -> None:
    rgb = _stained(np.where(DISC, 0.25, 0.01), 0.02)
    smaller = np.hypot(*(np.mgrid[:96, :96] - 48)) <= 6
    found = [
        _found(tmp_path / "one", DISC.astype(int), [0.9]),
        _found(tmp_path / "other", smaller.astype(int), [0.7]),
    ]
    for order in (found, found[::-1]):
        assert np.array_equal(merge_views(rgb, order) > 0, DISC)


@pytest.mark.parametrize(
    ("dye", "solidity", "kept"),
    [(0.25, 0.95, 1), (0.25, 0.6, 0), (0.02, 0.95, 0)],
    ids=["dark and round", "ragged", "no darker than its ring"],
)
def test_what_is_no_nucleus(tmp_path: Path, dye: float, solidity: float, kept: int) -> None:
    rgb = _stained(np.where(DISC, dye, 0.01), 0.02)
    found = _found(tmp_path / "view", DISC.astype(int), [0.9], solidity)
    assert merge_views(rgb, [found]).max() == kept
