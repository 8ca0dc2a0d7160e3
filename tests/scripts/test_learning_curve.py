"""The curve at its smallest: one fine-tuning, its line, and nothing done twice."""

import runpy
from pathlib import Path

import pytest
import tifffile
from support import ROOT
from support.untrained import small_network, write_untrained

from nucleipel.io.csv_table import read_table
from nucleipel.io.manifest import read_manifest
from nucleipel.io.slides.resolution import Resolution

pytestmark = pytest.mark.slow

SCRIPT = runpy.run_path(str(ROOT / "scripts" / "reproduce" / "learning_curve.py"))
SHORT = [
    "windows=4", "window_px=32", "batch_size=2", "shares=[1.0]", "calibrate=[]", "device=cpu",
]  # fmt: skip


@pytest.fixture(scope="module")
def data(tiny_set, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images of `train`, one of `test`; no pixel sizes, and a start."""
    folder = tmp_path_factory.mktemp("curve")
    lines = ["id,image,label,split,source_id"]
    for name, split in (("train", "train"), ("val", "train"), ("test", "test")):
        label = tiny_set.folder / f"{name}_label.tif"
        lines.append(f"{name},{tiny_set.image(name)},{label},{split},{name}")
    (folder / "m.csv").write_text("\n".join(lines) + "\n")
    numbers = {"foreground_percent": 30, "min_area_px": 1}
    write_untrained(folder / "start", small_network(block_px=1), core_px=64, mpp=None,
                    instances=numbers)  # fmt: skip
    return folder


def _main(data: Path, out: Path, *arguments: str) -> None:
    sets = [word for assignment in SHORT for word in ("--set", assignment)]
    SCRIPT["main"]([
        "--manifest", str(data / "m.csv"), "--out", str(out), "--checkpoint", str(data / "start"),
        *sets, *arguments,
    ])  # fmt: skip


def test_a_line_for_the_start_and_one_for_each_result(data: Path, tmp_path: Path) -> None:
    _main(data, tmp_path, "--images", "2", "--seed", "3")
    start, result = read_table(tmp_path / "curve_test.csv")
    assert (start["annotated"], start["pq_gain"]) == ("start", "0.0000")
    assert (result["annotated"], result["seed"]) == ("2-images", "3")
    assert int(result["nuclei"]) > 20
    gain = float(result["pq"]) - float(start["pq"])
    assert float(result["pq_gain"]) == pytest.approx(gain, abs=2e-4)
    assert (tmp_path / "curve_test.png").is_file()
    record = tmp_path / "2-images-seed-3" / "nucleipel.json"
    before = record.stat().st_mtime_ns
    _main(data, tmp_path, "--images", "2", "--seed", "3")
    _main(data, tmp_path, "--images", "2", "--seed", "3", "--score", "train")
    assert read_table(tmp_path / "curve_train.csv")[0]["dice"] != start["dice"]
    assert record.stat().st_mtime_ns == before


def test_more_images_hold_the_fewer_and_a_region_holds_so_many_nuclei(
    data: Path, tmp_path: Path
) -> None:
    options = SCRIPT["_parse"](
        ["--manifest", str(data / "m.csv"), "--out", str(tmp_path), "--images", "2", "1",
         "--nuclei", "6", "--regions", "1", "--region-px", "48",
         "--checkpoint", str(data / "start")]
    )  # fmt: skip
    rows = read_manifest(data / "m.csv").of_split("train")
    sets = dict(SCRIPT["_sets"](options, rows, 0))
    assert list(sets) == ["6-nuclei", "1-images", "2-images", "1-suggested", "1-random"]
    assert sets["2-images"][:1] == sets["1-images"]
    (row,) = sets["6-nuclei"]
    shape = tifffile.imread(row.label).shape
    annotation = row.load_annotation(shape)
    (piece,) = annotation.pieces(Resolution.pixel_for_pixel(shape, None))
    ids = tifffile.imread(row.label)[piece.slices]
    assert len(set(ids.ravel().tolist()) - {0}) >= 6
    for name in ("1-suggested", "1-random"):
        (row,) = sets[name]
        shape = tifffile.imread(row.label).shape
        (piece,) = row.load_annotation(shape).pieces(Resolution.pixel_for_pixel(shape, None))
        assert piece.shape == (48, 48)


def test_a_training_from_random_weights_is_scored_beside_the_same_start(
    data: Path, tmp_path: Path
) -> None:
    """Its numbers are chosen on what it was trained on; `annotated` counts the same nuclei."""
    _main(data, tmp_path / "tuned", "--images", "1")
    _main(data, tmp_path / "scratch", "--images", "1", "--from-scratch", "2",
          "--set", "window_px=128")  # fmt: skip
    start, result = read_table(tmp_path / "scratch" / "curve_test.csv")
    of_start, tuned = read_table(tmp_path / "tuned" / "curve_test.csv")
    assert start == of_start
    assert result["kept"] == "scratch"
    # fine-tuning counts in quarters, where a nucleus may belong to none
    assert int(result["nuclei"]) == pytest.approx(int(tuned["nuclei"]), abs=2)
    assert (tmp_path / "scratch" / "1-images-seed-0" / "calibrated" / "calibration.csv").is_file()
