"""Manifests: every row is checked before work, and all faults are reported at once."""

import json
import re
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.command_line import refusal

from nucleipel.errors import ImageError, ManifestError
from nucleipel.io.manifest import manifest_of_images, read_manifest
from nucleipel.io.slides.write_slide import write_annotation, write_slide

HEADER = "image,label,split,source_id,mpp,id\n"
WITH_REGION = "image,label,split,source_id,mpp,id,region\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        write_slide(tmp_path / f"{name}.ome.tif", np.zeros((8, 9), np.uint8), mpp=None)
        write_annotation(tmp_path / f"{name}_label.tif", np.zeros((8, 9), np.uint16))
    shutil.copy(tmp_path / "a.ome.tif", tmp_path / "copy of a.ome.tif")
    write_annotation(tmp_path / "wide_label.tif", np.zeros((9, 8), np.uint16))
    return tmp_path


def _manifest(folder: Path, text: str) -> Path:
    path = folder / "m.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_are_read(folder: Path) -> None:
    path = _manifest(
        folder,
        HEADER + "a.ome.tif,a_label.tif,train,p1,0.25,\nb.ome.tif,,,,,slide b\n",
    )
    first, second = read_manifest(path).rows
    assert (first.id, first.split, first.source_id, first.mpp) == ("a", "train", "p1", 0.25)
    assert first.label == folder / "a_label.tif"
    assert (second.id, second.label, second.mpp) == ("slide b", None, None)


def test_byte_order_mark_crlf_quotes_and_further_columns(folder: Path) -> None:
    path = folder / "excel.csv"
    path.write_bytes(
        b'\xef\xbb\xbfimage,label,split,source_id,organ\r\n"a.ome.tif",,test,"p,1",lung\r\n'
    )
    assert read_manifest(path).rows[0].source_id == "p,1"


def test_paths_start_at_the_data_root(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = _manifest(tmp_path_factory.mktemp("elsewhere"), HEADER + "a.ome.tif,,,,,\n")
    assert read_manifest(path, data_root=folder).rows[0].image == folder / "a.ome.tif"
    with pytest.raises(ManifestError, match=r"line 2: .*a\.ome\.tif: no such file"):
        read_manifest(path)


@pytest.fixture
def drawn(folder: Path) -> Path:
    """Labels and regions as polygons: on the image of 8 x 9 px, and far from it."""
    for name, x in (("near", 2), ("far", 40)):
        for kind in ("detection", "annotation"):
            corners = [[x, 2], [x + 4, 2], [x + 4, 6], [x, 6], [x, 2]]
            feature = {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": [corners]},
                "properties": {"objectType": kind},
            }
            text = json.dumps({"type": "FeatureCollection", "features": [feature]})
            (folder / f"{name}_{kind}.geojson").write_text(text)
    (folder / "none.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    (folder / "bad.parquet").write_bytes(b"PAR1")
    pq.write_table(pa.table({"id": [1]}), folder / "plain.parquet")
    Image.fromarray(np.ones((8, 4), np.uint8)).save(folder / "tall.png")
    Image.fromarray(np.zeros((8, 9), np.uint8)).save(folder / "empty.png")
    Image.fromarray(np.ones((8, 9), np.uint8)).save(folder / "lossy.jpg")
    return folder


def test_labels_and_regions_may_be_polygons(drawn: Path, caplog) -> None:
    for label in ("near_detection.geojson", "none.geojson", "a_label.tif"):
        for region in ("near_annotation.geojson", "a_label.tif" if label != "a_label.tif" else ""):
            if region == "a_label.tif":
                write_annotation(drawn / region, np.eye(8, 9, dtype=np.uint16))
            text = WITH_REGION + f"a.ome.tif,{label},train,p,,,{region}\n"
            (row,) = read_manifest(_manifest(drawn, text)).rows
            assert row.region == (drawn / region if region else None)
    assert "none.geojson: no nucleus lies in the region" in caplog.text


def test_a_region_counts_in_the_fingerprint(drawn: Path) -> None:
    def fingerprint(region: str) -> str:
        text = WITH_REGION + f"a.ome.tif,a_label.tif,train,p,,,{region}\n"
        return read_manifest(_manifest(drawn, text)).fingerprint()

    assert fingerprint("") != fingerprint("near_annotation.geojson")


@pytest.mark.parametrize(
    ("label", "region", "message"),
    [
        ("gone.geojson", "", r"gone\.geojson: no such file"),
        ("near_detection.geojson", "gone.geojson", r"gone\.geojson: no such file; .* region"),
        ("", "near_annotation.geojson", "a region, but no label; name the nuclei"),
        ("far_detection.geojson", "", r"far_d.*: all 1 nuclei lie outside the image of 8 x 9 px"),
        ("a_label.tif", "far_annotation.geojson", "feature 0: this region lies outside the image"),
        ("a_label.tif", "near_detection.geojson", "holds no region; expected polygons of what"),
        ("a_label.tif", "none.geojson", "holds no region"),
        ("a_label.tif", "empty.png", r"empty\.png: holds no region: all of it is 0"),
        ("a_label.tif", "tall.png", r"picture of 8 x 4 px, its image has 8 x 9 px; expected"),
        ("a_label.tif", "lossy.jpg", r"lossy\.jpg: JPEG blurs the region's edges"),
        ("bad.parquet", "", r"bad\.parquet: cannot be read as Parquet"),
        ("plain.parquet", "", r"plain\.parquet: has no column 'geometry'; expected GeoParquet"),
    ],
)
def test_faults_of_labels_and_regions_are_named(
    drawn: Path, label: str, region: str, message: str
) -> None:
    path, out = _manifest(drawn, WITH_REGION + f"a.ome.tif,{label},train,p,,,{region}\n"), "out"
    output = refusal("tile", "--manifest", path, "--out", drawn / out, untouched=drawn / out)
    assert output.startswith(f"{path}: line 2: ")
    assert re.search(message, output), output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,split,source_id\n", "column 'label' is missing; found image, split, source_id"),
        ("", "column 'image' is missing; found none"),
        (HEADER, "no rows"),
        (HEADER + "a.ome.tif,x\n", "line 2: not 6 cells"),
        (HEADER + "gone.png,,,,,\n", "line 2: .*gone.png: no such file"),
        (HEADER + "a.ome.tif,gone.tif,,,,\n", "line 2: .*gone.tif: no such file"),
        (HEADER + "a.ome.tif,wide_label.tif,val,p,,\n", "the label is 9 x 8 px, its image 8 x"),
        (HEADER + "a.ome.tif,,training,p,,\n", "split 'training'; expected train, val, test"),
        (HEADER + "a.ome.tif,,train,,,\n", "source_id is empty"),
        (HEADER + "a.ome.tif,,,,fine,\n", "mpp 'fine'; expected micrometers per pixel"),
        (HEADER + "a.ome.tif,,,,-1,\n", "mpp '-1'; expected micrometers per pixel"),
        (HEADER + "a.ome.tif,,,,nan,\n", "mpp 'nan'; expected micrometers per pixel"),
        (HEADER + "a.ome.tif,,,,,../up\n", r"id '\.\./up' cannot name a folder"),
        (HEADER + "a.ome.tif,,,,,/etc/x\n", "id '/etc/x' cannot name a folder"),
        (HEADER + "a.ome.tif,,,,,a\x07b\n", r"id 'a\\x07b' cannot name a folder"),
        (HEADER + f"a.ome.tif,,,,,{'é' * 121}\n", "cannot name a folder.*at most 240 bytes"),
        (HEADER + "a.ome.tif,,,,,X\nb.ome.tif,,,,,x\n", "lines 2 and 3: .* share the id 'x'"),
        (HEADER + "a.ome.tif,,,,,é\nb.ome.tif,,,,,e\u0301\n", "lines 2 and 3: .* share the id"),
        (HEADER + "a.ome.tif,,,,,x\nb.ome.tif,,,,,\n./a.ome.tif,,,,,y\n",
         "lines 2 and 4: the same image"),
        (HEADER.replace("label", "lable"), "column 'label' is missing; .* is 'lable' meant"),
        (HEADER + 'a.ome.tif,"x,,,,\n', "no CSV"),
        (HEADER.replace("mpp", "split"), "line 1: column 'split' stands there twice; drop one"),
        (HEADER + f"{'a' * 300}.png,,train,p,,b\n", "line 2: .*File name too long"),
        (HEADER + "a\0.png,,train,p,,b\n", "line 2: holds a NUL byte"),
        (HEADER + "a.ome.tif,,,,500,\n", "mpp '500'; expected micrometers per pixel"),
        (
            HEADER + "a.ome.tif,,train,p,,\nb.ome.tif,,test,p,,\n",
            "source_id 'p' is in the splits test and train",
        ),
        (HEADER + "a.ome.tif,,train,p,,\n./a.ome.tif,a_label.tif,test,q,,b\n",
         "lines 2 and 3: .* in train and .* in test hold the same bytes"),
        (HEADER + "a.ome.tif,,train,p,,\ncopy of a.ome.tif,,val,q,,\n",
         "lines 2 and 3: .* in train and .*copy of a.* in val hold the same bytes"),
    ],
)  # fmt: skip
def test_faults_are_named(folder: Path, text: str, message: str) -> None:
    path, out = _manifest(folder, text), folder / "out"
    output = refusal("tile", "--manifest", path, "--out", out, untouched=out)
    assert output.startswith(str(path))
    assert re.search(message, output), output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER.replace(",", ";") + "a.ome.tif;;;;;\n", "line 1: cells are separated by semi"),
        (HEADER.replace(",", "\t") + "a.ome.tif\t\t\t\t\t\n", "cells are separated by tabs"),
        (HEADER.replace(",", "|") + "a.ome.tif|||||\n", "line 1: cells are separated by bars"),
        (HEADER + "a.ome.tif;;;;;\n", "line 2: not 6 cells; are its cells separated by semicolons"),
        (HEADER + ".\\a.ome.tif,,,,,\n", r"line 2: image '\.\\a\.ome\.tif' has backslashes; write"),
        (HEADER + "C:\\x\\a.tif,,,,,\n", "has backslashes; write the path of this machine, with /"),
        (HEADER + 'a.ome.tif,,,,"0,25",\n', "mpp '0,25'; .*; write 0.25"),
    ],
)  # fmt: skip
def test_habits_of_other_programs_are_guessed_at(folder: Path, text: str, message: str) -> None:
    output = refusal("tile", "--manifest", _manifest(folder, text), "--out", folder / "out")
    assert re.search(message, output), output
    assert "faults" not in output


@pytest.mark.parametrize("blank", [",,,,,", ",,", " , ,,,,", ",,,,,,,,", "   "])
def test_blank_rows_are_none(folder: Path, blank: str) -> None:
    text = f"{HEADER}{blank}\na.ome.tif,,,,,\n{blank}\n{blank}\n"
    assert [row.id for row in read_manifest(_manifest(folder, text))] == ["a"]


@pytest.mark.parametrize(("in_table", "on_disk"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_are_the_same_in_any_form(folder: Path, in_table: str, on_disk: str) -> None:
    name, below = "Gewebe-\u00e4\u00f6", "H\u00fcft"
    written = unicodedata.normalize(on_disk, f"{below}/{name}.ome.tif")
    (folder / written).parent.mkdir()
    shutil.copy(folder / "a.ome.tif", folder / written)
    row = next(iter(read_manifest(_manifest(
        folder, HEADER + unicodedata.normalize(in_table, f"{below}/{name}.ome.tif,,,,,\n")
    ))))  # fmt: skip
    assert row.image.is_file()
    assert row.id == name
    assert next(iter(manifest_of_images([folder / written]))).id == name


def test_a_patient_in_two_forms_of_unicode_is_one(folder: Path) -> None:
    text = HEADER + "a.ome.tif,,train,J\u00f6rg,,\nb.ome.tif,,test,Jo\u0308rg,,\n"
    with pytest.raises(ManifestError, match="is in the splits test and train"):
        read_manifest(_manifest(folder, text))


def test_many_faults_are_counted_and_logged_a_line_each(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = HEADER + "".join(f"gone{number}.png,,,,,\n" for number in range(40))
    with pytest.raises(ManifestError) as caught:
        read_manifest(_manifest(folder, text))
    message = str(caught.value)
    assert "40 faults: line 2: " in message
    assert message.endswith("and 36 more, listed above")
    assert len(caplog.records) == 40


def test_all_faults_in_one_report(folder: Path) -> None:
    text = HEADER + "gone.png,,,,,\na.ome.tif,wide_label.tif,nope,p,x,\n"
    with pytest.raises(ManifestError) as caught:
        read_manifest(_manifest(folder, text))
    message = str(caught.value)
    assert "4 faults" in message
    assert all(part in message for part in ("line 2: ", "line 3: split", "mpp 'x'", "9 x 8 px"))


def test_not_utf8(folder: Path) -> None:
    path = folder / "latin.csv"
    path.write_bytes(HEADER.encode() + "sl\u00fcde.png,,,,,\n".encode("latin-1"))
    message = refusal("tile", "--manifest", path, "--out", folder / "out", untouched=folder / "out")
    assert message.startswith(f"{path}: line 2: no UTF-8: invalid start byte; save it as CSV UTF-8")


def test_missing_manifest(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"gone\.csv: no such manifest"):
        read_manifest(tmp_path / "gone.csv")


def test_files_of_other_splits_need_not_be_readable(folder: Path, caplog) -> None:
    (folder / "b.ome.tif").write_bytes((folder / "b.ome.tif").read_bytes()[:60])
    rows = "a.ome.tif,a_label.tif,train,p1,,\n" + "b.ome.tif,b_label.tif,test,p2,,\n"
    path = _manifest(folder, HEADER + rows)
    for needed in (None, ("test",)):
        with pytest.raises(ManifestError, match=r"line 3: .*b\.ome\.tif"):
            read_manifest(path, needed=needed)
    assert len(read_manifest(path, needed=("train", "val")).rows) == 2
    assert "b.ome.tif" in caplog.text
    # a file that is not there is a slip of the pen in any split
    (folder / "b.ome.tif").unlink()
    with pytest.raises(ManifestError, match=r"line 3: .*b\.ome\.tif: no such file"):
        read_manifest(path, needed=())


def test_split_and_labels_on_demand(folder: Path) -> None:
    manifest = read_manifest(_manifest(folder, HEADER + "a.ome.tif,,test,p,,\n"))
    assert len(manifest.of_split("test").rows) == 1
    with pytest.raises(ManifestError, match="no row has split 'train'; found test"):
        manifest.of_split("train")
    with pytest.raises(ManifestError, match="image 'a' has no label"):
        manifest.annotated()


def test_fingerprint_follows_content_not_place(folder: Path, tmp_path: Path) -> None:
    text = HEADER + "a.ome.tif,a_label.tif,test,p,,\n"
    before = read_manifest(_manifest(folder, text)).fingerprint()
    write_slide(folder / "a.ome.tif", np.zeros((8, 9), np.uint8), mpp=None)
    same = read_manifest(_manifest(folder, text.replace("a.ome.tif", "./a.ome.tif"))).fingerprint()
    write_annotation(folder / "a_label.tif", np.ones((8, 9), np.uint16))
    changed = read_manifest(_manifest(folder, text)).fingerprint()
    assert changed != before
    # tifffile invents a UUID for each OME-TIFF, so only the spelling of the path may differ here
    assert isinstance(same, str)


def test_images_named_one_by_one(folder: Path) -> None:
    manifest = manifest_of_images([folder / "a.ome.tif", folder / "b.ome.tif"])
    assert [row.id for row in manifest.rows] == ["a", "b"]
    with pytest.raises(ManifestError, match="share the id 'a'; list the images in a manifest"):
        manifest_of_images([folder / "a.ome.tif", folder / "a.ome.tif"])
    with pytest.raises(ImageError, match="no such file"):
        manifest_of_images([folder / "gone.png"])


def test_rows_with_a_value_in_a_column(folder: Path) -> None:
    lines = "a.ome.tif,,,a,kidney\nb.ome.tif,,,b,liver\n"
    rows = read_manifest(_manifest(folder, f"image,label,split,source_id,organ\n{lines}"))
    assert [row.id for row in rows.where("organ", "liver")] == ["b"]
    with pytest.raises(ManifestError, match="no organ is 'lung'; found kidney, liver"):
        rows.where("organ", "lung")
    with pytest.raises(ManifestError, match=r"column 'tissue' is missing; found .*organ"):
        rows.where("tissue", "liver")
