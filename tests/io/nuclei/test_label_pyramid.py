"""OME-Zarr labels, read by zarr, our own reader and, if installed, ome-zarr-py."""

import json
from pathlib import Path

import numpy as np
import pytest
import zarr
from support.whole_outputs import write_label_pyramid

from nucleipel.io.slides.formats import open_image
from nucleipel.io.slides.resolution import Resolution, WorldFrame

QUARTER = Resolution.pixel_for_pixel((1, 1), 0.25).world()


@pytest.mark.parametrize("shape", [(1, 1), (3, 700), (2049, 513), (4500, 1100)])
def test_levels_are_every_second_pixel(tmp_path: Path, shape: tuple[int, int]) -> None:
    values = np.random.default_rng(0).integers(0, 2**32, shape, np.uint32)
    path = tmp_path / "instances.zarr"
    levels = write_label_pyramid(path, values, name="a", world=QUARTER)
    assert levels == (1 if max(shape) <= 4096 else 5)
    group = zarr.open_group(path, mode="r", zarr_format=3)
    for index in range(levels):
        array = group[str(index)]
        assert (array.dtype, array.metadata.dimension_names) == (np.uint32, ("y", "x"))
        assert np.array_equal(array[:, :], values[:: 2**index, :: 2**index])
    with pytest.raises(KeyError):
        group[str(levels)]


def test_metadata_is_that_of_ngff_labels(tmp_path: Path) -> None:
    write_label_pyramid(
        tmp_path / "a.zarr", np.zeros((600, 5000), np.uint32), name="a", world=QUARTER
    )
    stored = json.loads((tmp_path / "a.zarr" / "zarr.json").read_text())
    assert (stored["zarr_format"], stored["node_type"]) == (3, "group")
    ome = stored["attributes"]["ome"]
    assert ome["version"] == "0.5"
    assert "image-label" in ome
    (image,) = ome["multiscales"]
    assert image["axes"] == [
        {"name": axis, "type": "space", "unit": "micrometer"} for axis in ("y", "x")
    ]
    scales = [part["coordinateTransformations"] for part in image["datasets"]]
    assert scales[0] == [{"type": "scale", "scale": [0.25, 0.25]}]
    assert scales[2] == [{"type": "scale", "scale": [1.0, 1.0]}]
    opened = open_image(tmp_path / "a.zarr")
    assert [mpp.x for mpp in opened.pixel_sizes.known] == [0.25]
    assert [level.downsample for level in opened.levels] == [1, 2, 4, 8, 16]
    write_label_pyramid(
        tmp_path / "b.zarr", np.zeros((9, 9), np.uint32), name="b", world=WorldFrame()
    )
    assert open_image(tmp_path / "b.zarr").pixel_sizes.known == ()


def test_ome_zarr_py_reads_labels(tmp_path: Path) -> None:
    reader = pytest.importorskip("ome_zarr.reader", reason="ome-zarr-py is not installed")
    from ome_zarr.io import parse_url

    values = np.random.default_rng(0).integers(0, 99, (50, 5000), np.uint32)
    write_label_pyramid(tmp_path / "a.zarr", values, name="a", world=QUARTER)
    (node,) = list(reader.Reader(parse_url(tmp_path / "a.zarr"))())
    assert len(node.data) == 5
    assert np.array_equal(np.asarray(node.data[0]), values)
    assert any(isinstance(spec, reader.Label) for spec in node.specs)
