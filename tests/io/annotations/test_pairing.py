"""Each annotation finds its image by its name; what has no partner is refused or named."""

import json
import logging
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from nucleipel.config import ImportConfig
from nucleipel.errors import ConfigError, ImageError
from nucleipel.io.annotations.pairing import images_below
from nucleipel.io.manifest import Manifest, read_manifest
from nucleipel.stages.files.import_annotations import import_annotations

SHAPE = (40, 60)
IDS = np.zeros(SHAPE, np.uint16)
for _id, _x in enumerate((5, 25, 45), 1):
    IDS[10:20, _x : _x + 10] = _id
NUCLEI = [
    {
        "type": "Feature",
        "properties": {"objectType": "detection"},
        "geometry": {
            "type": "Polygon",
            "coordinates": [[[x, 10], [x + 10, 10], [x + 10, 20], [x, 20], [x, 10]]],
        },
    }
    for x in (5, 25, 45)
]


def _image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, np.where(IDS > 0, 200, 20).astype(np.uint8))
    return path


def _label(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, IDS)
    elif path.suffix == ".png":
        Image.fromarray(IDS).save(path)
    else:
        tifffile.imwrite(path, IDS)
    return path


def _geojson(path: Path) -> Path:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": NUCLEI}))
    return path


def _import(source: Path, kind: str = "labels", **config: object) -> Manifest:
    out = source.parent / "out"
    return read_manifest(import_annotations(kind, source, out, ImportConfig(**config)))


@pytest.mark.parametrize("folders", [True, False], ids=["two folders", "one folder"])
@pytest.mark.parametrize(
    "ending",
    ["_cp_masks.tif", "_cp_masks.png", "_masks.tif", "_mask.png", "_labels.tif", "_label.npy",
     "_instances.tif", "-labelled.tif", "-labeled.png", "_seg.tif", "_seg.npy", "-mask.png",
     "_Masks.tif"],
)  # fmt: skip
def test_labels_are_named_in_many_ways(tmp_path: Path, ending: str, folders: bool) -> None:
    source = tmp_path / "source"
    _image(source / ("images/a_b.tif" if folders else "a_b.tif"))
    _label(source / ("labels" if folders else ".") / f"a_b{ending}")
    assert [row.id for row in _import(source)] == ["a_b"]


@pytest.mark.parametrize("second", ["a.png", "a.npy", "a_masks.tif"])
def test_two_labels_of_an_image_are_refused(tmp_path: Path, second: str) -> None:
    source = tmp_path / "source"
    _image(source / "images" / "a.tif")
    _label(source / "labels" / "a.tif")
    _label(source / "labels" / second)
    with pytest.raises(ImageError, match=r"a\.tif is annotated by .*, too; take one away"):
        _import(source)
    assert not (tmp_path / "out").exists()


def test_two_files_of_qupath_for_an_image_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "source"
    _image(source / "a.tif")
    _geojson(source / "a.geojson")
    _geojson(source / "a.json")
    with pytest.raises(ImageError, match=r"a\.tif is annotated by a\.geojson, too"):
        _import(source, "qupath")


@pytest.mark.parametrize("kind", ["labels", "qupath", "stardist"])
def test_images_without_annotation_are_counted_and_named(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "source"
    folder = source / "train" if kind == "stardist" else source
    images = folder if kind == "qupath" else folder / "images"
    for name in "abcdefgh":
        _image(images / f"{name}.tif")
    _geojson(folder / "b.geojson") if kind == "qupath" else _label(folder / "masks" / "b.tif")
    assert [row.id for row in _import(source, kind)] == ["b"]
    assert "left out: 7: a.tif, c.tif, d.tif, e.tif, f.tif and 2 more" in (caplog.text)


def _cellpose(path: Path) -> Path:
    np.save(path, {"masks": IDS, "outlines": IDS}, allow_pickle=True)  # type: ignore[arg-type]
    return path


def test_cellposes_own_file_is_refused_with_a_way_out(tmp_path: Path) -> None:
    source = tmp_path / "source"
    _image(source / "a.tif")
    _cellpose(source / "a_seg.npy")
    with pytest.raises(ImageError, match=r"a_seg\.npy: is a pickle.*--save_tif"):
        _import(source)


def test_beside_its_masks_it_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = tmp_path / "source"
    _image(source / "a.tif")
    _cellpose(source / "a_seg.npy")
    _label(source / "a_cp_masks.tif")
    with caplog.at_level(logging.INFO):
        assert len(_import(source)) == 1
    assert "1 *_seg.npy beside masks are left out" in caplog.text


def test_one_name_in_two_forms_of_unicode(tmp_path: Path) -> None:
    source = tmp_path / "source"
    composed, decomposed = (unicodedata.normalize(form, "Gewebe-ä") for form in ("NFC", "NFD"))
    _image(source / "images" / f"{composed}.tif")
    _label(source / "labels" / f"{decomposed}.tif")
    assert len(_import(source)) == 1
    other = tmp_path / "other" / "source"
    _image(other / f"{decomposed}.tif")
    _geojson(other / f"{composed}.geojson")
    assert len(_import(other, "qupath")) == 1


@pytest.mark.parametrize("name", [".a.geojson", "._a.geojson", ".ipynb_checkpoints/a.geojson"])
def test_hidden_files_are_no_part_of_a_source(tmp_path: Path, name: str) -> None:
    source = tmp_path / "source"
    _image(source / "a.tif")
    _geojson(source / "a.GEOJSON")
    _image(source / ".ipynb_checkpoints" / "a.tif")
    (source / name).write_bytes(b"\0\5\x16\7")
    assert len(_import(source, "qupath")) == 1


@pytest.mark.parametrize("kind", ["labels", "qupath"])
def test_an_output_inside_the_source_is_no_part_of_it(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "source"
    _image(source / "a.tif")
    _label(source / "a_masks.tif") if kind == "labels" else _geojson(source / "a.geojson")
    manifests = []
    for _ in range(2):
        manifests.append(import_annotations(kind, source, source / "out", ImportConfig()))
        assert len(read_manifest(manifests[-1])) == 1
    second = import_annotations(kind, source, source / "more" / "out", ImportConfig())
    assert len(read_manifest(second)) == 1
    third = import_annotations(kind, source, tmp_path / "out", ImportConfig())
    assert len(read_manifest(third)) == 1


def test_through_a_link_the_manifest_leads_to_the_images(tmp_path: Path) -> None:
    source = tmp_path / "source"
    _image(source / "images" / "a.tif")
    _label(source / "masks" / "a.tif")
    (tmp_path / "elsewhere" / "deep" / "down").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "deep" / "down")
    manifest = import_annotations("labels", source, tmp_path / "link" / "out", ImportConfig())
    assert [row.image.read_bytes() for row in read_manifest(manifest)]
    (tmp_path / "images").symlink_to(source / "images")
    again = ImportConfig(images=str(tmp_path / "images"))
    manifest = import_annotations("labels", source, tmp_path / "link" / "out2", again)
    assert [row.id for row in read_manifest(manifest)] == ["a"]


def test_images_that_are_links_keep_their_names(tmp_path: Path) -> None:
    source = tmp_path / "source"
    stored = _image(tmp_path / "store" / "5d41402abc4b2a76.tif").rename(tmp_path / "5d41402abc4b")
    (source / "images").mkdir(parents=True)
    (source / "images" / "a.tif").symlink_to(stored)
    _label(source / "labels" / "a.tif")
    rows = list(_import(source))
    assert [(row.id, row.image.name) for row in rows] == [("a", "a.tif")]


def test_linked_folders_are_walked_and_loops_are_not(tmp_path: Path) -> None:
    _image(tmp_path / "store" / "a.tif")
    (tmp_path / "source" / "below").mkdir(parents=True)
    (tmp_path / "source" / "batch 1").symlink_to(tmp_path / "store")
    (tmp_path / "source" / "below" / "loop").symlink_to(tmp_path / "source")
    assert list(images_below(tmp_path / "source")) == ["a"]


def test_one_of_several_images_in_a_file(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "images").mkdir(parents=True)
    with tifffile.TiffWriter(source / "images" / "a.ome.tif") as writer:
        for name, shape in (("first", (30, 30)), ("second", SHAPE)):
            writer.write(np.zeros(shape, np.uint8), metadata={"Name": name, "axes": "YX"})
    _label(source / "labels" / "a.tif")
    with pytest.raises(ImageError, match="choose one with --series"):
        _import(source)
    row = next(iter(_import(source, series="second")))
    assert row.series == "second"


def _mask_folder(folder: Path, *masks: str) -> None:
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros(SHAPE, np.uint8)).save(folder / "images" / f"{folder.name}.png")
    for number, mask in enumerate(masks, 1):
        Image.fromarray((number == IDS).astype(np.uint8) * 255).save(folder / "masks" / mask)


def test_images_of_dsb2018_without_masks_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "source"
    _mask_folder(source / "a", "1.png", "2.png")
    _mask_folder(source / "b")
    (source / "b" / "masks").rmdir()
    assert [row.id for row in _import(source, "dsb2018")] == ["a"]
    assert "images without masks, left out: 1: b" in caplog.text


def test_masks_of_another_kind_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "source"
    _mask_folder(source / "a", "1.png", "2.tif")
    with pytest.raises(ImageError, match=r"2\.tif: is no PNG; expected one PNG a nucleus"):
        _import(source, "dsb2018")


def test_images_that_coco_does_not_list_or_annotate_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "source"
    images = [_image(source / f"{name}.tif") for name in "abc"]
    polygon = [5, 10, 15, 10, 15, 20, 5, 20]
    content = {
        "images": [{"id": n, "file_name": path.name} for n, path in enumerate(images[:2])],
        "annotations": [{"id": 1, "image_id": 0, "category_id": 1, "segmentation": [polygon]}],
        "categories": [{"id": 1, "name": "nucleus"}],
    }
    (source / "a.json").write_text(json.dumps(content))
    out = import_annotations("coco", source / "a.json", tmp_path / "out", ImportConfig())
    assert [row.id for row in read_manifest(out)] == ["a"]
    assert "images not listed, left out: 1: c.tif" in caplog.text
    assert "b.tif" in caplog.text


@pytest.mark.parametrize(
    ("kind", "setting"),
    [("dsb2018", {"images": "x"}), ("pannuke", {"series": 1}), ("qupath", {"split_pieces": True})],
)
def test_a_setting_without_effect_is_refused(
    tmp_path: Path, kind: str, setting: dict[str, object]
) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        import_annotations(kind, tmp_path, tmp_path / "out", ImportConfig(**setting))


def test_a_split_that_the_source_has_itself_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "source"
    _image(source / "test" / "images" / "a.tif")
    _label(source / "test" / "masks" / "a.tif")
    assert [row.split for row in _import(source, "stardist", split="train")] == ["test"]
    assert "split=train has no effect on 1 images, which have their own: a" in caplog.text
