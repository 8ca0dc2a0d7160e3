"""Slides of other programs through `segment`: the frame of the result, and the image read again."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
from support.command_line import accepted, refusal
from support.czi_files import Block, write_czi
from support.dicom_files import write_dicom
from support.foreign_files import open_group, write_ngff, write_scn, write_series

from nucleipel.core.geometry import Box
from nucleipel.io.manifest import read_manifest
from nucleipel.io.slides.slide import open_slide

DISCS = np.full((96, 128, 3), 230, np.uint8)
for _y in range(16, 96, 32):
    for _x in range(16, 128, 32):
        DISCS[_y - 6 : _y + 7, _x - 6 : _x + 7] = (110, 80, 150)
HALF = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}


def _segment(path: Path, checkpoint: Path, *options: str) -> tuple[Path, dict[str, Any]]:
    out = path.parent / "out"
    accepted("segment", path, "--checkpoint", checkpoint, "--out", out, "--device", "cpu", *options)
    (folder,) = [entry for entry in out.iterdir() if (entry / "certificate.json").is_file()]
    return folder, json.loads((folder / "certificate.json").read_text())


def _transforms(folder: Path) -> list[dict[str, Any]]:
    stored = json.loads((folder / "instances.zarr" / "zarr.json").read_text())["attributes"]["ome"]
    found: list[dict[str, Any]] = stored["multiscales"][0]["datasets"][0][
        "coordinateTransformations"
    ]
    return found


def test_the_offset_of_a_scanned_part_is_recorded(tmp_path: Path, random_checkpoint: Path) -> None:
    path = write_scn(tmp_path / "a.scn", DISCS, offset=(310, 770), mpp=0.5)
    folder, certificate = _segment(path, random_checkpoint)
    assert certificate["source"]["offset_px"] == [310, 770]
    assert tifffile.imread(folder / "instances.ome.tif").shape == (96, 128)
    about = json.loads(pq.read_metadata(folder / "nuclei.parquet").metadata[b"nucleipel"])
    assert (about["shape_px"], about["offset_px"]) == ([96, 128], [310, 770])


def test_labels_lie_where_their_image_lies(tmp_path: Path, random_checkpoint: Path) -> None:
    moved = [
        {"type": "scale", "scale": [1.0, 0.5, 0.5]},
        {"type": "translation", "translation": [0.0, 1000.0, 2000.0]},
    ]
    path = tmp_path / "a.zarr"
    write_ngff(open_group(path), DISCS.transpose(2, 0, 1).copy(), "cyx", transforms=moved)
    folder, _ = _segment(path, random_checkpoint)
    assert _transforms(folder) == [
        {"type": "scale", "scale": [0.5, 0.5]},
        {"type": "translation", "translation": [1000.0, 2000.0]},
    ]


def test_a_series_and_channels_as_color_are_read_again(
    tmp_path: Path, random_checkpoint: Path
) -> None:
    path = write_series(tmp_path / "a.ome.tif", {"one": DISCS[:50], "two": DISCS}, **HALF)
    said = refusal("segment", path, "--checkpoint", random_checkpoint, "--out", tmp_path / "out")
    assert said.startswith(f"{path}: holds 2 images; choose one with --series")
    folder, certificate = _segment(path, random_checkpoint, "--series", "two")
    assert certificate["source"]["series"] == 1
    assert tifffile.imread(folder / "instances.ome.tif").shape == (96, 128)
    planes = tmp_path / "planes"
    planes.mkdir()
    write_ngff(open_group(planes / "b.zarr"), DISCS.transpose(2, 0, 1) * np.uint16(257), "cyx")
    other, certificate = _segment(planes / "b.zarr", random_checkpoint, "--channel", "rgb")
    assert certificate["source"]["as_color"]
    assert np.array_equal(
        tifffile.imread(folder / "instances.ome.tif"), tifffile.imread(other / "instances.ome.tif")
    )


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, random_checkpoint: Path) -> np.ndarray:
    """The instance map of a plain TIFF."""
    path = tmp_path_factory.mktemp("plain") / "a.tif"
    tifffile.imwrite(path, DISCS, photometric="rgb")
    folder, _ = _segment(path, random_checkpoint, "--mpp", "0.5")
    return tifffile.imread(folder / "instances.ome.tif")


@pytest.mark.parametrize("kind", ["dicom", "czi", "spatialdata"])
def test_other_containers_give_the_same_nuclei(
    tmp_path: Path, random_checkpoint: Path, expected: np.ndarray, kind: str
) -> None:
    path = tmp_path / "a"
    if kind == "dicom":
        write_dicom(path / "0.dcm", DISCS, order="columns")
        write_dicom(path / "1.dcm", np.ascontiguousarray(DISCS[::2, ::2]), mpp=1.0)
    elif kind == "czi":
        path = write_czi(tmp_path / "a.czi", [Block(DISCS, y=7, x=9)], mpp=0.5)
    else:
        group = open_group(tmp_path / "s.zarr").create_group("images/a")
        write_ngff(group, DISCS.transpose(2, 0, 1).copy(), "cyx", labels=[0, 1, 2])
        path = tmp_path / "s.zarr" / "images" / "a"
    out = tmp_path / "out"
    options = ("--checkpoint", random_checkpoint, "--out", out, "--device", "cpu")
    accepted("segment", path, *options)
    found = tifffile.imread(next(out.glob("*/instances.ome.tif")))
    assert np.array_equal(found, expected)
    assert expected.max() > 0


def test_annotations_of_qupath_lie_in_the_scanned_part(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    write_scn(source / "a.scn", DISCS, offset=(310, 770), mpp=0.5)
    corners = [[20, 10], [40, 10], [40, 30], [20, 30], [20, 10]]  # as QuPath shows it: x, y
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [corners]},
        "properties": {"objectType": "detection"},
    }
    collection = {"type": "FeatureCollection", "features": [feature]}
    (source / "a.geojson").write_text(json.dumps(collection))
    accepted("import", "qupath", source, "--out", tmp_path / "out")
    (row,) = read_manifest(tmp_path / "out" / "manifest.csv").rows
    with open_slide(row.image) as slide:
        annotation = row.load_annotation(slide.resolution.source_shape)
        with annotation.open(slide.resolution) as read_ids:
            ids = read_ids(Box.of_shape(slide.shape))
    expected = np.zeros((96, 128), bool)
    expected[10:30, 20:40] = True
    assert np.array_equal(ids > 0, expected)
