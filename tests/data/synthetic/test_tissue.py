"""Each kind of generated tissue has the colors of its kind, and nuclei that stand out."""

from typing import Any

import numpy as np
import pytest

from nucleipel.core.geometry import Box
from nucleipel.data.synthetic import (
    BrightGround,
    DarkGround,
    Islands,
    Piece,
    SyntheticSlide,
    Tissue,
    build_tissue,
)

KINDS = ("h&e", "ihc", "fat", "fluorescence")


@pytest.fixture(scope="module")
def tissues() -> dict[str, Tissue]:
    return {kind: build_tissue(kind, side_px=512) for kind in KINDS}  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_nuclei_stand_out_and_none_is_cut(kind: str, tissues: dict[str, Tissue]) -> None:
    tissue = tissues[kind]
    ids = tissue.ids
    assert len(tissue.centers) == ids.max() >= 8
    for edge in (ids[0], ids[-1], ids[:, 0], ids[:, -1]):
        assert not edge.any()
    assert (tissue.owner[ids > 0] == ids[ids > 0]).all()
    y, x = np.indices(ids.shape)
    assert tissue.centers[2] == pytest.approx([y[ids == 3].mean(), x[ids == 3].mean()])
    light = tissue.within.mean(axis=-1)
    assert light[ids > 0].mean() > 1.5 * tissue.between.mean()
    beyond = tissue.owner == 0
    assert np.abs(tissue.within - tissue.between)[beyond].max() < 0.05


def test_same_seed_same_tissue(tissues: dict[str, Tissue]) -> None:
    again = build_tissue("ihc", side_px=512)
    assert np.array_equal(again.within, tissues["ihc"].within)
    assert not np.array_equal(build_tissue("ihc", seed=1, side_px=512).ids, again.ids)


def test_a_side_has_its_mirror_beside_it(tissues: dict[str, Tissue]) -> None:
    ground = BrightGround(noise=0)
    slide = SyntheticSlide((1024, 1024), ground, tissue=tissues["h&e"], layout=Islands(1))
    pixels = slide.read(Box(0, 0, 1024, 1024))
    assert np.array_equal(pixels, pixels[::-1])
    assert np.array_equal(pixels, pixels[:, ::-1])
    nuclei = slide.annotation(Box(0, 0, 1024, 1024))
    assert len(np.unique(nuclei)) - 1 == 4 * tissues["h&e"].ids.max()
    assert np.array_equal(nuclei > 0, nuclei[::-1] > 0)


def test_colors(tissues: dict[str, Tissue]) -> None:
    """Absorbed light in red, green, blue."""
    eosin = tissues["h&e"].between.mean(axis=(0, 1))
    assert eosin[1] > eosin[2] > eosin[0], "pink takes green"
    ihc = tissues["ihc"]
    red, _, blue = ihc.within[ihc.ids > 0].T
    brown = blue > red + 0.1
    assert 0.2 < brown.mean() < 0.6
    assert (red[~brown] > blue[~brown]).mean() > 0.9
    fat = tissues["fat"].between.mean(axis=-1)
    assert np.median(fat) < 0.03, "most of fat is as clear as glass"
    assert fat.max() > 0.15, "its walls are not"


def test_what_does_not_fit_is_refused(tissues: dict[str, Tissue]) -> None:
    gray, dark = np.zeros((9, 9, 1), np.uint8), DarkGround(1)
    faults: list[tuple[dict[str, Any], str]] = [
        ({"tissue": tissues["h&e"]}, "give both"),
        ({"tissue": tissues["h&e"], "layout": Islands(0.1)}, "tissue of 3 channels on ground of 1"),
        ({"pieces": [Piece(gray, 0, 0)]}, r"a piece of uint8, shape \(9, 9, 1\); expected uint16"),
    ]
    for arguments, message in faults:
        with pytest.raises(ValueError, match=message):
            SyntheticSlide((99, 99), dark, **arguments)
