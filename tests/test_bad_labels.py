"""Bad labels, one case a kind of failure: refused in one line, or read as what they are.

The first number of a case is that of its row in `test_bad_files.ROWS`.
"""

import re
from pathlib import Path

import numpy as np
import pytest
from support.bad_files import LFS, NOISE, Make, content, cut, raster, tiff
from support.bad_labels import DOTS, REFUSED_LABELS
from support.command_line import accepted, refusal

from nucleipel.io.slides.slide import read_annotation
from nucleipel.io.slides.write_slide import write_annotation
from nucleipel.io.stores.patches import open_patch_store


@pytest.mark.parametrize(
    ("make", "says"),
    [pytest.param(*case[2:], id=f"{case[0]} {case[1]}") for case in REFUSED_LABELS],
)
@pytest.mark.parametrize("command", ["tile", "train"])
def test_a_label_that_is_refused(tmp_path: Path, command: str, make: Make, says: str) -> None:
    raster("image.png", NOISE)(tmp_path)
    label = make(tmp_path)
    manifest = tmp_path / "m.csv"
    manifest.write_text(f"image,label,split,source_id\nimage.png,{label.name},train,a\n")
    out = tmp_path / "out"
    message = refusal(command, "--manifest", manifest, "--out", out, untouched=out)
    assert re.search(says, message), message
    assert message.startswith(f"{manifest}: line 2: {label}: "), message


def test_24_integral_floats_are_imported(tmp_path: Path) -> None:
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    raster("a.png", NOISE)(tmp_path / "images")
    ids = DOTS // 255 * (1 + np.arange(300)[:, None] // 50 + np.arange(320) // 40)
    tiff("a.tif", ids.astype(np.float32))(tmp_path / "labels")
    accepted("import", "labels", tmp_path, "--out", tmp_path / "out")
    found = read_annotation(tmp_path / "out" / "labels" / "a.tif")
    assert (found.dtype, found.max()) == (np.uint16, 2)
    assert np.array_equal(found > 0, DOTS > 0)


def test_26_gaps_in_ids_change_no_nucleus(tmp_path: Path) -> None:
    raster("a.png", NOISE[:40, :50])(tmp_path)
    ids = np.zeros((40, 50), np.uint32)
    ids[5:15, 5:15], ids[20:35, 20:45] = 1, 2
    stored = []
    for name, values in (("whole", [0, 1, 2]), ("gaps", [0, 2**32 - 1, 70_000])):
        write_annotation(tmp_path / "l.tif", np.array(values, np.uint32)[ids])
        manifest = tmp_path / "m.csv"
        manifest.write_text("image,label,split,source_id\na.png,l.tif,train,a\n")
        path = tmp_path / f"{name}.zarr"
        accepted("tile", "--manifest", manifest, "--out", path, "--set", "splits=[train]",
                 "--set", "patch_px=32", "--set", "overlap_px=8")  # fmt: skip
        store = open_patch_store(path)
        stored.append([store.read(row)[1] for row in store.rows])
    for whole, gaps in zip(*stored, strict=True):
        assert np.array_equal(np.select([gaps == 2**32 - 1, gaps == 70_000], [1, 2]), whole)


def test_20_22_29_training_on_next_to_nothing_stays_finite(tmp_path: Path) -> None:
    """A pixel, a constant image, and one without a nucleus; `train` ends on a loss of NaN."""
    lines = ["image,label,split,source_id"]
    label = np.zeros((70, 80), np.uint16)
    label[5:20, 5:20] = 1
    images = {"pixel": (NOISE[:1, :1], label[:1, :1]), "constant": (NOISE[:70, :80] * 0, label),
              "empty": (NOISE[:70, :80], label * 0)}  # fmt: skip
    for index, (name, (image, ids)) in enumerate(images.items()):
        for split in ("train", "val"):
            pixels = image.copy()
            pixels[0, 0] = index + 100 * (split == "val")
            raster(f"{split}-{name}.png", pixels)(tmp_path)
            write_annotation(tmp_path / f"{split}-{name}.tif", ids)
            lines.append(f"{split}-{name}.png,{split}-{name}.tif,{split},{split}-{name}")
    manifest = tmp_path / "m.csv"
    manifest.write_text("\n".join(lines) + "\n")
    settings = ("epochs=1", "batch_size=3", "windows_per_epoch=6", "window_px=64",
                "network.features=[16,24]", "network.residual_units=1")  # fmt: skip
    flat = [part for setting in settings for part in ("--set", setting)]
    message = accepted("train", "--manifest", manifest, "--out", tmp_path / "run",
                    "--device", "cpu", *flat)  # fmt: skip
    assert re.search(r"epoch 1: loss \d\.\d+, val_loss \d\.\d+, val_dice \d", message), message


def _evaluated(folder: Path) -> str:
    """The scores that `evaluate` gives a.png, with the label l.tif and the instances in `found`."""
    manifest = folder / "m.csv"
    manifest.write_text("image,label,split,source_id\na.png,l.tif,test,a\n")
    return accepted(
        "evaluate", "--manifest", manifest, "--instances", folder / "found",
        "--out", folder / "report.json",
    )  # fmt: skip


IDS = [1, 65535, 65536, 2**24, 2**24 + 1, 2**31, 2**32 - 2, 2**32 - 1]


def test_25_large_ids_stay_apart(tmp_path: Path) -> None:
    ids = np.zeros((40, 100), np.uint32)
    for index, value in enumerate(IDS):
        ids[5:15, 10 * index : 10 * index + 10] = value
    raster("a.png", NOISE[:40, :100])(tmp_path)
    write_annotation(tmp_path / "l.tif", ids)
    assert np.array_equal(read_annotation(tmp_path / "l.tif"), ids)
    (tmp_path / "found" / "a").mkdir(parents=True)
    numbered = np.searchsorted([0, *IDS], ids).astype(np.uint32)
    write_annotation(tmp_path / "found" / "a" / "instances.ome.tif", numbered)
    message = _evaluated(tmp_path)
    assert "8 annotated nuclei" in message
    assert re.search(r"pq\s+1\.0000\s+1\.0000", message), message


def test_29_an_empty_label_has_defined_scores(tmp_path: Path) -> None:
    raster("a.png", NOISE[:40, :50])(tmp_path)
    write_annotation(tmp_path / "l.tif", np.zeros((40, 50), np.uint16))
    (tmp_path / "found" / "a").mkdir(parents=True)
    write_annotation(tmp_path / "found" / "a" / "instances.ome.tif", np.zeros((40, 50), np.uint32))
    message = _evaluated(tmp_path)
    assert "0 annotated nuclei" in message
    assert "nan" not in (tmp_path / "report.json").read_text().casefold()


FOUND = np.eye(40, 50, dtype=np.int32)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        pytest.param(tiff("l.tif", FOUND / 2), "of float64; expected one integer", id="24 float"),
        pytest.param(tiff("l.tif", -FOUND), "holds the negative id -1", id="30 negative"),
        pytest.param(tiff("l.tif", FOUND.T), "is 50 x 40 px, .* 40 x 50 px", id="23 transposed"),
        pytest.param(content("l.tif", LFS), "is a Git LFS pointer", id="2 git lfs"),
        pytest.param(cut(tiff("l.tif", FOUND), 0.5), "truncated: needs", id="1 cut"),
    ],
)
def test_instances_of_another_tool_that_are_none(tmp_path: Path, make: Make, says: str) -> None:
    raster("a.png", NOISE[:40, :50])(tmp_path)
    write_annotation(tmp_path / "truth.tif", FOUND.astype(np.uint16))
    manifest, out = tmp_path / "m.csv", tmp_path / "report.json"
    manifest.write_text("image,label,split,source_id\na.png,truth.tif,test,a\n")
    (tmp_path / "found" / "a").mkdir(parents=True)
    make(tmp_path).rename(tmp_path / "found" / "a" / "instances.ome.tif")
    message = refusal("evaluate", "--manifest", manifest, "--instances", tmp_path / "found",
                   "--out", out, untouched=out)  # fmt: skip
    assert re.search(says, message), message
    assert message.startswith(str(tmp_path / "found" / "a")), message
