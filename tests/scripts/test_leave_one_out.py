"""Groups by size, rows of a fold, and one fold of two arms at its smallest."""

import runpy
from pathlib import Path

import pytest
from support import ROOT

from nucleipel.io.csv_table import read_table
from nucleipel.io.manifest import read_manifest

pytestmark = pytest.mark.slow

SCRIPT = runpy.run_path(str(ROOT / "scripts" / "reproduce" / "leave_one_out.py"))
SHORT = """
device: cpu
workers: 0
epochs: 1
window_px: 32
core_px: 64
windows_per_epoch: 4
batch_size: 2
network: {features: [16, 24], block_px: 1}
instances: {foreground_percent: 30, min_area_px: 1}
"""


@pytest.fixture
def manifest(tiny_set, tmp_path: Path) -> Path:
    """Images of three sizes, two of them of `train`; one source has two of them."""
    lines = ["id,image,label,split,source_id,modality"]
    for name, split in (("train", "train"), ("test", "train"), ("val", "val")):
        label = tiny_set.folder / f"{name}_label.tif"
        lines.append(f"{name},{tiny_set.image(name)},{label},{split},{name},tissue")
    path = tmp_path / "m.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_fold_trains_without_its_group_and_scores_on_it(manifest: Path, tmp_path: Path) -> None:
    settings, out = tmp_path / "short.yaml", tmp_path / "out"
    settings.write_text(SHORT)
    arguments = [
        "--manifest", str(manifest), "--out", str(out), "--config", str(settings),
        "--fold", "tissue-100x170", "--arm", "plain", "--arm", "uneven", "augment.uneven=1",
    ]  # fmt: skip
    SCRIPT["main"](arguments)
    plain, uneven = read_table(out / "scores.csv")
    assert (plain["group"], plain["arm"], plain["images"]) == ("tissue-100x170", "plain", "1")
    assert uneven["arm"] == "uneven"
    differences = read_table(out / "differences.csv")
    assert {line["arm"] for line in differences} == {"uneven - plain"}
    gain = 100 * (float(uneven["dice"]) - float(plain["dice"]))
    (dice,) = (line for line in differences if line["measure"] == "dice")
    assert float(dice["points"]) == pytest.approx(gain, abs=0.02)
    assert (out / "differences.png").is_file()
    rows = read_manifest(out / "tissue-100x170" / "manifest.csv")
    assert {row.id: row.split for row in rows} == {"train": "train", "test": "test", "val": "val"}


def test_a_group_that_is_not_there_is_named(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"no such group; found tissue-100x170 \(1\), tissue-128"):
        SCRIPT["main"](
            ["--manifest", str(manifest), "--out", str(tmp_path / "out"), "--fold", "tissue-1x1"]
        )
