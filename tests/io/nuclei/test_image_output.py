"""The files of one image, written part by part, are what a reader gets."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from nucleipel.core.nucleus_rows import NucleusRows
from nucleipel.io.nuclei.image_output import create_working_map, read_instance_map, write_instances
from nucleipel.io.slides.resolution import Resolution

CERTIFICATE = {"instances_digest": "0123", "cut": {"block_px": 7}}


def _write(out: Path, instance_map: object, **arguments: object) -> Path:
    nuclei = [NucleusRows({"id": np.arange(1, 1)}, [])]
    fields = {
        "nuclei": nuclei,
        "certificate": CERTIFICATE,
        "frame": Resolution.pixel_for_pixel((1, 1), 0.5),
    } | arguments
    picture = np.zeros((4, 5, 3), np.uint8)
    write_instances(out, "a", instance_map=instance_map, overlay=picture, **fields)
    return out / "a"


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (513, 3), (4500, 1100)])
def test_a_map_stored_by_chunks_is_written_tile_by_tile(
    tmp_path: Path, shape: tuple[int, int]
) -> None:
    values = np.random.default_rng(0).integers(0, 2**32, shape, np.uint32)
    stored = create_working_map(tmp_path / ".work" / "a", "map", shape, chunk_px=256)
    stored[:, :] = values
    folder = _write(tmp_path, stored)
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
    other = {**CERTIFICATE, "instances_digest": "4567"}
    files = []
    for name, certificate in (("one", CERTIFICATE), ("cut", other_cut), ("other", other)):
        (tmp_path / name).mkdir()
        folder = _write(tmp_path / name, values, certificate=certificate)
        assert json.loads((folder / "certificate.json").read_text()) == certificate
        files.append((folder / "instances.ome.tif").read_bytes())
    assert files[0] == files[1] != files[2]
