"""What is written of one image, by parts, is what a reader finds."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from nucleipel.io.instances import create_working_map, read_instance_map, write_instances

CERTIFICATE = {"instances_digest": "0123", "cut": {"block_px": 7}}


def _write(out: Path, instance_map: object, **given: object) -> Path:
    table = [{"id": np.arange(1, 3), "area_um2": np.array([0.25, np.nan])}, {"id": np.array([3])}]
    table[1]["area_um2"] = np.array([1.0])
    fields = {"columns": table, "certificate": CERTIFICATE, "mpp": 0.5} | given
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


def test_the_table_is_written_by_parts(tmp_path: Path) -> None:
    folder = _write(tmp_path, np.zeros((3, 4), np.uint32))
    with (folder / "nuclei.csv").open() as stream:
        rows = list(csv.reader(stream))
    assert rows == [["id", "area_um2"], ["1", "0.2500"], ["2", ""], ["3", "1.0000"]]


def test_the_table_of_nothing_has_its_header(tmp_path: Path) -> None:
    empty = [{"id": np.zeros(0, int), "area_px": np.zeros(0, int)}]
    folder = _write(tmp_path, np.zeros((3, 4), np.uint32), columns=empty)
    assert (folder / "nuclei.csv").read_text() == "id,area_px\n"
