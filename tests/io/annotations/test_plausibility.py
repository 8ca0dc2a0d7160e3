"""Labels that are instance maps pass; what only has their shape is refused with its figures."""

import logging
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from support import odd_labels
from support.command_line import refusal
from support.odd_labels import Change

from nucleipel.config import ImportConfig
from nucleipel.io.annotations import map_counts
from nucleipel.io.annotations.plausibility import assess_ids, assess_map, split_pieces
from nucleipel.io.manifest import read_manifest
from nucleipel.io.slides.slide import read_annotation
from nucleipel.stages.files.import_annotations import import_annotations

REFUSED: dict[str, tuple[Change, str]] = {
    "resized": (odd_labels.resized, r"3\d% of its nuclei's pixels lie apart .* interpolation"),
    "rotated": (odd_labels.rotated, r"2\d% of its nuclei's pixels lie apart .* interpolation"),
    "blurred mask": (odd_labels.blurred_mask, "lie apart from the largest piece of their id"),
    "picture": (odd_labels.picture_of, "holds the pixels of its own image"),
    "distances": (odd_labels.distances, "each in 49 pieces or more: gray levels"),
    "speckle": (odd_labels.speckled, r"id 1000 lies in \d+ pieces, all 50 ids in \d+: it is no"),
    "border": (odd_labels.with_border, "id 9999 touches 49 of the 49 other ids: a border"),
    "background": (odd_labels.with_background, r"id 1 covers 76% .* 49 of the 49 other ids"),
    "exchanged": (odd_labels.exchanged, r"id 255 covers 76% of the label, around 49 holes"),
    "eight bits": (odd_labels.eight_bits, r"20 ids, 49 pieces.*ids repeat; was it cut to 8 bits"),
    "classes": (odd_labels.classes, "ids 1, 2, 3, each in 16 pieces or more: classes"),
    "mask": (lambda ids: (ids > 0).astype(np.uint8), "one id, 1, in 49 pieces: a mask"),
    "points": (odd_labels.points, "49 of 49 ids have 4 px or less: points"),
}


@pytest.mark.parametrize(("change", "says"), REFUSED.values(), ids=REFUSED)
def test_import_and_manifest_refuse_alike(tmp_path: Path, change: Change, says: str) -> None:
    ids = odd_labels.nuclei()
    for folder in ("images", "labels"):
        (tmp_path / "source" / folder).mkdir(parents=True)
    image, label = (tmp_path / "source" / folder / "a.tif" for folder in ("images", "labels"))
    tifffile.imwrite(image, odd_labels.picture_of(ids))
    tifffile.imwrite(label, change(ids))
    out, manifest = tmp_path / "out", tmp_path / "m.csv"
    manifest.write_text(
        "image,label,split,source_id\nsource/images/a.tif,source/labels/a.tif,train,a\n"
    )
    imported = refusal("import", "labels", tmp_path / "source", "--out", out, untouched=out)
    assert re.search(rf"{label}: .*{says}", imported), imported
    for command in ("tile", "train"):
        message = refusal(command, "--manifest", manifest, "--out", out, untouched=out)
        assert message == f"{manifest}: line 2: {imported}"


def test_instance_maps_are_not_refused() -> None:
    ids = odd_labels.nuclei()
    assert assess_ids(ids).refusal == ""
    cut = ids.copy()
    cut[20:31, 24:27] = 0  # one nucleus of two parts
    assert assess_ids(cut) == assess_ids(ids)
    assert not assess_ids(np.where(ids == 1, 1, 0)).warnings
    assert not assess_ids(np.zeros((5, 5), int)).warnings
    touching = np.kron(np.arange(1, 101).reshape(10, 10), np.ones((9, 9), int))
    assert assess_ids(touching).refusal == ""
    large = ids.copy()
    large[:80, :80] = 1
    assert assess_ids(large).refusal == ""


@pytest.mark.parametrize("where", [np.s_[:64, :64], np.s_[10:40, 8:30], np.s_[100:, 3:200]])
def test_crops_of_instance_maps_are_not_refused(where: tuple[slice, slice]) -> None:
    assert assess_ids(odd_labels.nuclei()[where]).refusal == ""


def test_what_is_odd_is_a_warning_with_its_figures(tmp_path: Path, caplog) -> None:
    ids = odd_labels.nuclei()
    single = ids.copy()
    single[0, :6:2] = [900, 901, 902]
    assert assess_ids(single).warnings[0].startswith("3 of 52 ids have one pixel")
    pieces = ids.copy()
    pieces[2, :32:4] = 1
    assert assess_ids(pieces).warnings == ("id 1 lies in 9 pieces",)
    area = odd_labels.nuclei(side_px=600)
    area[40:230, 40:230][area[40:230, 40:230] == 0] = 5000
    assert any("id 5000 has" in odd and "times the median" in odd
               for odd in assess_ids(area).warnings)  # fmt: skip
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    tifffile.imwrite(tmp_path / "images" / "a.tif", odd_labels.picture_of(ids))
    tifffile.imwrite(tmp_path / "labels" / "a.tif", single)
    with caplog.at_level(logging.WARNING):
        import_annotations("labels", tmp_path, tmp_path / "out", ImportConfig())
    assert "labels/a.tif: 3 of 52 ids have one pixel" in caplog.text


def test_ids_that_repeat_are_numbered_with_split_pieces(tmp_path: Path) -> None:
    ids = odd_labels.nuclei()
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    tifffile.imwrite(tmp_path / "images" / "a.tif", odd_labels.picture_of(ids))
    tifffile.imwrite(tmp_path / "labels" / "a.tif", odd_labels.eight_bits(ids))
    config = ImportConfig(split_pieces=True)
    manifest = import_annotations("labels", tmp_path, tmp_path / "out", config)
    found = read_annotation(read_manifest(manifest).rows[0].require_label())
    assert np.array_equal(found, ids)
    assert np.array_equal(split_pieces(odd_labels.classes(ids)) > 0, ids > 0)


def test_a_map_in_windows_is_assessed_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = odd_labels.nuclei(side_px=600)
    good, bad = assess_ids(ids), assess_ids(odd_labels.resized(ids))
    monkeypatch.setattr(map_counts, "WINDOW_PX", 300)
    assert assess_ids(ids) == good
    assert "lie apart" in bad.refusal and "lie apart" in assess_ids(odd_labels.resized(ids)).refusal
    assert "touches" in assess_ids(odd_labels.with_border(ids)).refusal
    assert "background" in assess_ids(odd_labels.with_background(ids)).refusal


def test_the_image_is_compared_where_nuclei_are() -> None:
    label = np.zeros((40, 40), np.uint8)
    label[10:20, 10:20] = 3
    other = label.copy()
    other[0, 0] = 1

    def assessed(image: np.ndarray) -> str:
        return assess_map(
            lambda box: label[box.slices], label.shape, image=lambda box: image[box.slices]
        ).refusal

    assert "its own image" in assessed(label)
    assert assessed(other) == ""


def test_no_false_alarm_on_real_labels(real_data: Path) -> None:
    labels = sorted(real_data.glob("*/labels/*.tif"))
    assert len(labels) > 600
    for path in labels:
        assessed = assess_ids(read_annotation(path))
        assert (assessed.refusal, assessed.warnings) == ("", ()), path
