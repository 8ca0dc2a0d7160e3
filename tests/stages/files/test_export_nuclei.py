"""Nuclei for other programs: every file has the nuclei, and cells around them, with their ids."""

import json

import numpy as np
import pytest
import shapely
import tifffile
from click.testing import CliRunner
from scipy import sparse
from support.command_line import accepted, refusal

import nucleipel as npl
from nucleipel.cli import cli
from nucleipel.cli.files import EXPORT_TARGETS
from nucleipel.core.geometry import Box
from nucleipel.data.synthetic.generated_map import build_probability_map
from nucleipel.instances.expand import expand
from nucleipel.stages.files.export_nuclei import TARGETS


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> npl.SlideResult:
    maps = build_probability_map(Box(0, 0, 150, 210), seed=3, nuclei_per_cell=1.5)
    out = tmp_path_factory.mktemp("nuclei") / "out"
    return npl.stitch_probabilities(maps, out=out, mpp=0.5)


def features_of(path):
    return json.loads(path.read_text())["features"]


def drawn(features, member="geometry") -> list[float]:
    return [shapely.geometry.shape(feature[member]).area for feature in features]


def test_the_targets_are_those_of_the_command():
    assert list(TARGETS) == list(EXPORT_TARGETS)


@pytest.mark.parametrize("kind", ["detection", "annotation", "cell"])
def test_geojson_of_every_kind(tmp_path, result, kind):
    line = accepted("export", result.out, "--to", "geojson", "--geojson-kind", kind,
                    "--out", tmp_path)  # fmt: skip
    features = features_of(tmp_path / "maps" / "nuclei.geojson")
    assert "into QuPath" in line
    assert {feature["properties"]["objectType"] for feature in features} == {kind}
    ids = [feature["properties"]["measurements"]["id"] for feature in features]
    assert ids == result.nuclei["id"].tolist()
    assert drawn(features) == pytest.approx(result.nuclei.area.tolist())


def test_cells_for_xenium(tmp_path, result):
    line = accepted("export", result.out, "--to", "xenium", "--expand-um", 3, "--out", tmp_path)
    folder = tmp_path / "maps"
    nuclei, cells = (tifffile.imread(folder / f"{name}.tif") for name in ("nuclei", "cells"))
    assert nuclei.dtype == cells.dtype == np.uint32
    assert (nuclei == result.labels[:]).all()
    assert (cells == expand(nuclei, 6)).all()
    assert f"--nuclei={folder / 'nuclei.tif'} --cells={folder / 'cells.tif'}" in line
    features = features_of(folder / "cells.geojson")
    assert {feature["properties"]["objectType"] for feature in features} == {"cell"}
    areas = np.bincount(cells.ravel())[1:]
    assert [f["properties"]["measurements"]["area_px"] for f in features] == areas.tolist()
    assert drawn(features, "nucleusGeometry") == pytest.approx(result.nuclei.area.tolist())
    assert (np.array(drawn(features)) > result.nuclei.area).all()


def test_visium_hd_reads_cells_that_need_no_more_expansion(tmp_path, result):
    line = accepted("export", result.out, "--to", "visium-hd", "--expand-um", 2, "--out", tmp_path)
    assert "--custom-segmentation-file=" in line
    assert "cells.geojson --nucleus-expansion-distance-micron=0" in line
    line = accepted("export", result.out, "--to", "visium-hd", "--out", tmp_path, "--overwrite")
    assert "nuclei.geojson --nucleus-expansion-distance-micron=5" in line


def test_bin2cell(tmp_path, result):
    accepted("export", result.out, "--to", "bin2cell", "--expand-um", 3, "--out", tmp_path)
    nuclei, cells = (sparse.load_npz(tmp_path / "maps" / f"{n}.npz") for n in ("nuclei", "cells"))
    assert (nuclei.toarray() == result.labels[:]).all()
    assert (cells.toarray() == result.expand(3).labels[:, :]).all()
    picked = nuclei[np.array([5, 40]), np.array([9, 70])]  # what bin2cell does
    assert np.asarray(picked).flatten().tolist() == result.labels[:][[5, 40], [9, 70]].tolist()


def test_simplified_outlines_move_little(tmp_path, result):
    accepted("export", result.out, "--to", "geojson", "--simplify-px", 1, "--out", tmp_path)
    features = features_of(tmp_path / "maps" / "nuclei.geojson")
    shapes = [shapely.geometry.shape(feature["geometry"]) for feature in features]
    assert all(shape.is_valid for shape in shapes)
    corners = [shapely.get_num_coordinates(shape) for shape in shapes]
    assert sum(corners) < 0.6 * shapely.get_num_coordinates(result.nuclei.geometry).sum()
    for simple, outline in zip(shapes, result.nuclei.geometry, strict=True):
        assert simple.hausdorff_distance(outline) <= 1 + 1e-9


def test_cells_of_arrays_and_slides_are_the_same(result):
    maps = build_probability_map(Box(0, 0, 150, 210), seed=3, nuclei_per_cell=1.5)
    of_array = npl.stitch_probabilities(maps, mpp=0.5).expand(4)
    of_slide = result.expand(4)
    assert (of_array.labels == of_slide.labels[:, :]).all()
    assert of_array.nuclei.equals(of_slide.nuclei)
    cells = of_array.nuclei
    assert cells["id"].tolist() == result.nuclei["id"].tolist()
    assert cells["area_px"].tolist() == np.bincount(of_array.labels.ravel())[1:].tolist()
    assert (cells["area_um2"] == cells["area_px"] / 4).all()


def test_what_is_refused(tmp_path, result):
    target = ("--to", "geojson", "--out", tmp_path)
    accepted("export", result.out, *target)
    assert "is there already" in refusal("export", result.out, *target)
    assert "expand_um is -1" in refusal("export", result.out, *target, "--expand-um", -1)
    assert "has no nucleipel.json" in refusal("export", tmp_path, *target)
    maps = build_probability_map(Box(0, 0, 60, 60), seed=3)
    out = tmp_path / "without mpp"
    npl.stitch_probabilities(maps, out=out)
    message = refusal("export", out, "--to", "xenium", "--expand-um", 3, "--out", tmp_path / "x")
    assert "the pixel size is not known" in message
    assert not (tmp_path / "x").exists()
    for arguments in (["default"], ["out", "--to", "xenium"]):
        assert CliRunner().invoke(cli, ["export", *arguments]).exit_code == 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_spatialdata(tmp_path, result):
    spatialdata = pytest.importorskip("spatialdata")
    accepted("export", result.out, "--to", "spatialdata", "--expand-um", 3, "--out", tmp_path)
    data = spatialdata.read_zarr(tmp_path / "maps" / "nuclei.zarr")
    assert (np.asarray(data["nuclei"]) == result.labels[:]).all()
    assert (np.asarray(data["cells"]) == result.expand(3).labels[:, :]).all()
    table = data["nuclei_table"]
    assert table.obs["instance_id"].tolist() == result.nuclei["id"].tolist()
    assert table[:, "area_px"].X.ravel().tolist() == result.nuclei["area_px"].tolist()
    assert data["nuclei_outlines"].index.tolist() == result.nuclei["id"].tolist()
    assert data["nuclei_outlines"].area.tolist() == pytest.approx(result.nuclei.area.tolist())
    _, matched = spatialdata.match_element_to_table(data, "nuclei", "nuclei_table")
    assert len(matched) == len(result.nuclei)
    assert "micrometers" in data.coordinate_systems
    in_memory = result.to_spatialdata(cells=result.expand(3))
    assert set(in_memory.shapes) == {"nuclei_outlines", "cells_outlines"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_spatialdata_of_an_array_has_its_image():
    pytest.importorskip("spatialdata")
    sample = npl.datasets.sample(96)
    data = npl.load().segment(sample.image, mpp=0.5, stained_as="dye").to_spatialdata()
    assert (np.asarray(data["image"]).transpose(1, 2, 0) == sample.image).all()
    assert data["image"].coords["c"].values.tolist() == ["red", "green", "blue"]
