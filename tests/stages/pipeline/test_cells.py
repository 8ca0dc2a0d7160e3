"""Cells around nuclei in the outputs of stitch and segment: what `result.expand` gives."""

import json
from pathlib import Path

import numpy as np
import pytest
import shapely
import tifffile
import zarr
from support.command_line import accepted, refusal

import nucleipel as npl
from nucleipel.core.geometry import Box
from nucleipel.data.synthetic.generated_map import build_probability_map
from nucleipel.instances.expand import expand
from nucleipel.io.nuclei.read_rows import read_rows


@pytest.fixture(scope="module")
def maps() -> np.ndarray:
    return build_probability_map(Box(0, 0, 150, 210), seed=3, nuclei_per_cell=1.5)


@pytest.fixture(scope="module")
def result(maps, tmp_path_factory) -> npl.SlideResult:
    folder = tmp_path_factory.mktemp("cells")
    np.save(folder / "maps.npy", maps)
    accepted("stitch", "--maps", folder / "maps.npy", "--mpp", 0.5, "--out", folder / "out",
             "--expand-um", 3, "--csv")  # fmt: skip
    return npl.SlideResult(folder / "out", "maps")


def features_of(path: Path) -> list[dict]:
    return json.loads(path.read_text())["features"]


def test_every_format_has_the_cells(result):
    nuclei = result.labels[:]
    cells = expand(nuclei, 6)
    folder = result.folder
    assert (tifffile.imread(folder / "cells.ome.tif") == cells).all()
    assert (zarr.open_group(folder / "cells.zarr", mode="r")["0"][:] == cells).all()
    areas = np.bincount(cells.ravel())[1:].tolist()
    rows = list(read_rows(folder / "cells.parquet"))
    assert [area for some in rows for area in some.columns["area_px"].tolist()] == areas
    assert len((folder / "cells.csv").read_text().splitlines()) == len(areas) + 1
    features = features_of(folder / "cells.geojson")
    assert {f["properties"]["objectType"] for f in features} == {"cell"}
    assert [f["properties"]["measurements"]["id"] for f in features] == list(
        range(1, len(areas) + 1)
    )
    of = {
        name: [shapely.geometry.shape(f[name]).area for f in features]
        for name in ("geometry", "nucleusGeometry")
    }
    assert of["geometry"] == result.cells.nuclei.area.tolist()
    assert of["nucleusGeometry"] == result.nuclei.area.tolist()
    assert result.certificate["cells"] == result.expand(3).certificate
    assert {f["properties"]["objectType"] for f in features_of(folder / "nuclei.geojson")} == {
        "detection"
    }


def test_the_result_in_python(result, maps):
    cells = result.cells
    assert (cells.labels[:] == result.expand(3).labels[:, :]).all()
    assert cells.nuclei["area_px"].tolist() == result.expand(3).nuclei["area_px"].tolist()
    assert "mean_probability" not in cells.nuclei
    in_memory = npl.stitch_probabilities(maps, mpp=0.5, expand_um=3)
    assert (in_memory.cells.labels == cells.labels[:]).all()
    assert npl.stitch_probabilities(maps, mpp=0.5).cells is None


def test_the_nuclei_are_those_without_cells(result, maps, tmp_path):
    alone = npl.stitch_probabilities(
        result.out.parent / "maps.npy", out=tmp_path / "out", mpp=0.5, csv=True
    )
    assert alone.cells is None
    for name in ("instances.ome.tif", "nuclei.parquet", "nuclei.csv", "nuclei.geojson"):
        assert (alone.folder / name).read_bytes() == (result.folder / name).read_bytes()


@pytest.mark.parametrize("block_px", [48, 64, 100])
def test_blocks_change_no_byte(result, tmp_path, monkeypatch, block_px):
    from nucleipel.stages.pipeline import stitch_maps

    monkeypatch.setattr(stitch_maps, "choose_block_px", lambda _: block_px)
    cut = npl.stitch_probabilities(
        result.out.parent / "maps.npy", out=tmp_path / "out", mpp=0.5, expand_um=3, csv=True
    )
    names = [f"cells.{kind}" for kind in ("ome.tif", "parquet", "csv", "geojson")]
    for name in [*names, "nuclei.parquet", "certificate.json"]:
        if name != "certificate.json":
            assert (cut.folder / name).read_bytes() == (result.folder / name).read_bytes()
    assert cut.certificate["cells"] == result.certificate["cells"]


def test_kinds_and_fewer_corners(result, tmp_path):
    maps = result.out.parent / "maps.npy"
    accepted("stitch", "--maps", maps, "--out", tmp_path / "out", "--geojson-kind", "annotation",
             "--simplify-px", 1)  # fmt: skip
    simple = features_of(tmp_path / "out" / "maps" / "nuclei.geojson")
    full = features_of(result.folder / "nuclei.geojson")
    assert {f["properties"]["objectType"] for f in simple} == {"annotation"}
    for few, many in zip(simple, full, strict=True):
        few, many = (shapely.geometry.shape(f["geometry"]) for f in (few, many))
        assert few.is_valid
        assert len(few.exterior.coords) < len(many.exterior.coords)
        assert shapely.hausdorff_distance(few.exterior, many.exterior) <= 1


def test_without_a_pixel_size_there_are_no_cells(result, tmp_path, maps):
    message = refusal("stitch", "--maps", result.out.parent / "maps.npy", "--out",
                      tmp_path / "out", "--expand-um", 3)  # fmt: skip
    assert "maps: expand_um: the pixel size is not known; give the mpp" in message
    with pytest.raises(npl.errors.ConfigError, match="the pixel size is not known"):
        npl.stitch_probabilities(maps, expand_um=3)
    with pytest.raises(npl.errors.ConfigError, match="expand_um is -1"):
        npl.stitch_probabilities(maps, expand_um=-1, mpp=0.5)


def test_napari_shows_the_cells(result):
    from nucleipel.napari.readers import read_output

    levels, look, kind = read_output(str(result.out))[-1]
    assert (look["name"], look["visible"], kind) == ("maps cells", False, "labels")
    assert (levels[0][:] == result.cells.labels[:]).all()
