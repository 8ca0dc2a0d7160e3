"""One slide read by tifffile and by OpenSlide; without OpenSlide, what says how to get it."""

import sys
from pathlib import Path

import numpy as np
import pytest
from support.slide_files import halves, write_svs

from nucleipel.core.geometry import Box
from nucleipel.errors import ImageError
from nucleipel.io.records.fingerprint import fingerprint
from nucleipel.io.slides.formats import open_image
from nucleipel.io.slides.formats.mirax_scn import open_through_openslide


def _smooth() -> np.ndarray:
    y, x = np.mgrid[:1203, :1501]
    waves = [np.sin(y / (9 + c)) + np.cos(x / (13 - 2 * c)) for c in range(3)]
    return ((np.stack(waves, axis=-1) + 2) / 4 * 200).astype(np.uint8)


def test_without_openslide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openslide", None)
    (tmp_path / "a.mrxs").write_bytes(b"x")
    with pytest.raises(ImageError, match=r"a\.mrxs: .* pip install 'nucleipel\[openslide\]'"):
        open_image(tmp_path / "a.mrxs")


def test_both_readers_give_the_same_slide(tmp_path: Path) -> None:
    options = {"compression": "jpeg", "compressionargs": {"level": 95}}
    path = write_svs(tmp_path / "a.svs", halves(_smooth(), 2), mpp=0.25, **options)
    ours, theirs = open_image(path), open_through_openslide(path)
    assert theirs.container.startswith("aperio, OpenSlide 4")
    assert [level.shape for level in theirs.levels] == [level.shape for level in ours.levels]
    assert [level.downsample for level in theirs.levels] == [1, 2]
    assert theirs.pixel_sizes.known[0].x == pytest.approx(0.25)
    for level, box in ((0, Box(1000, 900, 1203, 1300)), (1, Box(13, 20, 601, 750))):
        one, other = (image.read(level, box).astype(int) for image in (ours, theirs))
        assert np.abs(one - other).max() <= 2, level
        inside = Box(box.y0 + 7, box.x0 + 5, box.y1 - 3, box.x1 - 11)
        assert np.array_equal(other[7:-3, 5:-11], theirs.read(level, inside))
    ours.close()
    theirs.close()


def test_what_openslide_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "a.mrxs").write_bytes(b"no slide at all")
    with pytest.raises(ImageError, match=r"a\.mrxs: cannot be read as \.mrxs by OpenSlide"):
        open_image(tmp_path / "a.mrxs")
    (tmp_path / "b.scn").write_bytes(b"")
    with pytest.raises(ImageError, match=r"b\.scn: is empty"):
        open_image(tmp_path / "b.scn")


def test_a_real_slide_both_ways(real_data: Path) -> None:
    path = real_data / "slides" / "CMU-1-Small-Region.svs"
    ours, theirs = open_image(path), open_through_openslide(path)
    assert theirs.pixel_sizes.known[0].x == pytest.approx(ours.pixel_sizes.known[0].x)
    box = Box(900, 900, 1400, 1700)
    error = np.abs(ours.read(0, box).astype(int) - theirs.read(0, box))
    assert error.max() <= 2
    assert error.mean() < 0.05
    ours.close()
    theirs.close()


def test_the_fingerprint_of_mirax_covers_the_folder(tmp_path: Path) -> None:
    (tmp_path / "a.mrxs").write_bytes(b"header")
    alone = fingerprint(tmp_path / "a.mrxs")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "Data0000.dat").write_bytes(b"pixels")
    first = fingerprint(tmp_path / "a.mrxs")
    (tmp_path / "a" / "Data0000.dat").write_bytes(b"pixel2")
    assert len({alone, first, fingerprint(tmp_path / "a.mrxs")}) == 3
