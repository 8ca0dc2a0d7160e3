"""Segment, correct in QuPath, import, fine-tune, segment again: the files between the programs."""

import json
from pathlib import Path

import numpy as np
import pytest
from support.command_line import accepted
from support.qupath_export import annotation, write_qupath

import nucleipel as npl
from nucleipel.io.annotations.geoparquet import read_rows
from nucleipel.io.annotations.region import read_region
from nucleipel.io.manifest import read_manifest
from nucleipel.io.slides.write_slide import write_slide

pytestmark = pytest.mark.slow

SIDE = 192
REGION = (16, 20, 176, 180)
"""y0, x0, y1, x1 of what is corrected."""
DRAWN = [[60, 100], [60, 116], [76, 116], [76, 100], [60, 100]]
"""A nucleus (x, y) that the network missed."""
FEW = [
    "--set", "windows=4", "--set", "window_px=64", "--set", "batch_size=2", "--set", "shares=[0.5]",
    "--set", "calibrate=[foreground_percent]", "--set", "device=cpu",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A slide, and its nuclei as annotations."""
    folder = tmp_path_factory.mktemp("qupath")
    sample = npl.datasets.sample(SIDE)
    write_slide(folder / "slide.ome.tif", sample.image, mpp=sample.mpp)
    accepted("segment", folder / "slide.ome.tif", "--stained-as", "dye", "--device", "cpu", "--out",
             folder / "out", "--geojson-kind", "annotation", "--simplify-px", 0.5)  # fmt: skip
    return folder


def _corners_inside(feature: dict) -> np.ndarray:
    xy = np.array(feature["geometry"]["coordinates"][0])
    y0, x0, y1, x1 = REGION
    return ((xy > (x0, y0)) & (xy < (x1, y1))).all(axis=1)


def _reaches(feature: dict) -> bool:
    return bool(_corners_inside(feature).any())


def corrected(folder: Path) -> tuple[list[dict], int]:
    """The objects after some minutes in QuPath, and how many nuclei have a corner in the region."""
    made = json.loads((folder / "out" / "slide" / "nuclei.geojson").read_text())["features"]
    first = next(feature for feature in made if _corners_inside(feature).all())
    kept = [feature for feature in made if feature is not first]  # one is deleted
    objects = [
        annotation(
            feature["geometry"]["coordinates"],
            number=number,
            locked=number % 5 == 0,
            measurements=feature["properties"]["measurements"],
        )
        for number, feature in enumerate(kept)
        if feature["geometry"]["type"] == "Polygon"
    ]
    count = sum(map(_reaches, objects))
    objects[1]["properties"]["classification"] = {
        "names": ["Tumor", "Positive"],
        "color": [1, 2, 3],
    }
    objects.append(annotation([DRAWN], number=9000, metadata={"ANNOTATOR": "me"}))
    y0, x0, y1, x1 = REGION
    square = [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]
    objects.append(annotation([square], number=9001, classes=["Region*"], name="checked"))
    return objects, count + 1


@pytest.mark.parametrize("collection", [True, False])
def test_a_corrected_file_becomes_labels_and_a_region(folder, tmp_path, collection):
    objects, count = corrected(folder)
    (tmp_path / "slide.ome.tif").symlink_to(folder / "slide.ome.tif")
    write_qupath(tmp_path / "slide.geojson", objects, collection=collection)
    accepted("import", "qupath", tmp_path, "--out", tmp_path / "data", "--split", "train")
    (row,) = read_manifest(tmp_path / "data" / "manifest.csv")
    nuclei = list(read_rows(row.require_label(), (SIDE, SIDE)))
    assert len(nuclei) == count > 5
    (drawn,) = (n for n in nuclei if (n.outline[0][0].min(axis=0) == (100, 60)).all())
    assert (drawn.outline[0][0].max(axis=0) == (116, 76)).all()
    region = read_region(row.region, (SIDE, SIDE))
    assert len(region) == 1
    assert region.boxes[0].tolist() == list(REGION)


def test_the_corrections_are_learned_and_used(folder, tmp_path):
    objects, _ = corrected(folder)
    (tmp_path / "slide.ome.tif").symlink_to(folder / "slide.ome.tif")
    write_qupath(tmp_path / "slide.geojson", objects)
    data, tuned, again = (tmp_path / name for name in ("data", "tuned", "again"))
    accepted("import", "qupath", tmp_path, "--out", data)
    accepted("finetune", "--manifest", data / "manifest.csv", "--out", tuned, *FEW)
    record = json.loads((tuned / "nucleipel.json").read_text())
    assert record["complete"]
    accepted("segment", folder / "slide.ome.tif", "--checkpoint", tuned, "--stained-as", "dye",
             "--device", "cpu", "--out", again)  # fmt: skip
    result = npl.SlideResult(again, "slide")
    assert len(result.nuclei) > 5
