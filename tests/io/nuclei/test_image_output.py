"""The files of one image, written part by part, are what a reader gets."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from nucleipel.core.geometry import Box
from nucleipel.core.measured_nuclei import MeasuredNuclei
from nucleipel.core.scratch import Scratch
from nucleipel.io.nuclei.image_output import ImageOutput, build_header, read_instance_map
from nucleipel.io.slides.resolution import Resolution

CERTIFICATE = {"probabilities_digest": "0123", "cut": {"block_px": 7}}


def _open(out: Path, shape: tuple[int, int], certificate: dict[str, object]) -> ImageOutput:
    frame = Resolution.pixel_for_pixel((1, 1), 0.5)
    header = build_header("a", certificate, shape=shape, frame=frame)
    scratch = Scratch(out / ".work" / "a" / "scratch", certificate)
    return ImageOutput(out, "a", scratch, shape=shape, frame=frame, header=header)


def _write(
    out: Path, values: np.ndarray, certificate: dict[str, object] = CERTIFICATE, seed: int = 0
) -> Path:
    """Write a map and an empty table, in an order of bands that the seed draws."""
    files = _open(out, values.shape, certificate)
    files.nuclei.put_rows(0, [MeasuredNuclei({"id": np.arange(1, 1)}, [])])
    for level in range(files.nuclei.map.levels):
        for band in np.random.default_rng(seed).permutation(files.nuclei.map.bands(level)).tolist():
            assert not files.nuclei.map.is_drawn(level, band)
            again = _open(out, values.shape, certificate).nuclei.map  # as another process
            again.draw(level, band, None if level else lambda box: values[box.slices])
            assert files.nuclei.map.is_drawn(level, band)
    picture = np.zeros((4, 5, 3), np.uint8)
    files.finish(files.nuclei.rows([0]), overlay=picture, certificate=certificate)
    return out / "a"


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (513, 3), (4500, 1100)])
def test_a_map_stored_by_chunks_is_written_tile_by_tile(
    tmp_path: Path, shape: tuple[int, int]
) -> None:
    values = np.random.default_rng(0).integers(0, 2**32, shape, np.uint32)
    folder = _write(tmp_path, values)
    assert np.array_equal(read_instance_map(tmp_path, "a"), values)
    with tifffile.TiffFile(folder / "instances.ome.tif") as tiff:
        levels = tiff.series[0].levels
        assert len(levels) == (1 if max(shape) <= 4096 else 5)
        for index, level in enumerate(levels):
            assert np.array_equal(level.asarray(), values[:: 2**index, :: 2**index])
        assert 'PhysicalSizeX="0.5"' in tiff.ome_metadata
        assert tiff.pages[0].is_tiled
    assert not (tmp_path / ".work" / "a").exists()


def test_the_same_nuclei_give_the_same_bytes(tmp_path: Path) -> None:
    values = np.arange(600 * 5000, dtype=np.uint32).reshape(600, 5000) // 7
    other_cut = {**CERTIFICATE, "cut": {"block_px": 9}}
    other = {**CERTIFICATE, "probabilities_digest": "4567"}
    files = []
    for name, certificate in (("one", CERTIFICATE), ("cut", other_cut), ("other", other)):
        (tmp_path / name).mkdir()
        folder = _write(tmp_path / name, values, certificate, seed=len(name))
        assert json.loads((folder / "certificate.json").read_text()) == certificate
        files.append((folder / "instances.ome.tif").read_bytes())
    assert files[0] == files[1] != files[2]


def test_what_holds_no_nucleus_is_neither_read_nor_stored(tmp_path: Path) -> None:
    values = np.zeros((5000, 6000), np.uint32)
    values[4990:, 5990:] = 7
    read = []

    def read_part(box: Box) -> np.ndarray | None:
        if box.y1 <= 4990 or box.x1 <= 5990:
            return None
        read.append(box)
        return values[box.slices]

    files = _open(tmp_path, values.shape, CERTIFICATE)
    files.nuclei.put_rows(0, [MeasuredNuclei({"id": np.arange(1, 1)}, [])])
    for level in range(files.nuclei.map.levels):
        for band in range(files.nuclei.map.bands(level)):
            files.nuclei.map.draw(level, band, None if level else read_part)
    files.finish(files.nuclei.rows([0]), overlay=np.zeros((4, 5, 3), np.uint8), certificate={})
    assert read == [Box(4096, 4096, 5000, 6000)]
    folder = tmp_path / "a"
    assert [path.parts[-2:] for path in folder.glob("instances.zarr/0/c/*/*")] == [("2", "2")]
    (tmp_path / "whole").mkdir()
    whole = _write(tmp_path / "whole", values)
    assert (folder / "instances.ome.tif").read_bytes() == (whole / "instances.ome.tif").read_bytes()
    assert np.array_equal(read_instance_map(tmp_path, "a"), values)
