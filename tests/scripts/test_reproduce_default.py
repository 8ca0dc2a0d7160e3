"""The recipe of the packaged weights, with stand-ins that tell what they were asked."""

import os
import subprocess
from pathlib import Path

import pytest

from nucleipel.config import TrainConfig, load_config

ROOT = Path(__file__).parents[2]
STAND_IN = """#!/bin/bash
echo "$(basename "$0") $*" >> "$ASKED"
while [ $# -gt 1 ]; do [ "$1" = --out ] && out=$2; shift; done
mkdir -p "$out"
if [ "$(basename "$0")" = python ]; then
    printf 'image,label,split,source_id,modality\\nimage.png,label.tif,train,S,histology_he\\n' \
        > "$out/manifest.csv"
fi
"""


@pytest.fixture
def start(tmp_path: Path):
    data = tmp_path / "data"
    for name in ("dsb2018/images", "slides"):
        (data / name).mkdir(parents=True)
    (data / "slides" / "CMU-1-Small-Region.svs").touch()
    places = tmp_path / "bin"
    places.mkdir()
    for name in ("nucleipel", "python"):
        (places / name).write_text(STAND_IN)
        (places / name).chmod(0o755)

    def run() -> list[str]:
        asked = tmp_path / "asked"
        asked.unlink(missing_ok=True)
        subprocess.run(
            [ROOT / "scripts" / "reproduce_default.sh", data, tmp_path / "out"],
            env={"PATH": f"{places}{os.pathsep}/usr/bin:/bin", "ASKED": str(asked)},
            check=True,
            capture_output=True,
        )
        return [line.replace(f"{tmp_path}/", "") for line in asked.read_text().splitlines()]

    return run


def test_each_round_learns_from_the_labels_of_the_network_before_it(start, tmp_path: Path) -> None:
    asked = start()
    labels = [line for line in asked if line.startswith("python")]
    assert ["--colour" in line for line in labels] == [False, True]
    assert "--checkpoint out/dsb2018/packaged" in labels[0]
    assert "--checkpoint out/round_1" in labels[1]
    rounds = [line for line in asked if "train_dsb2018_stained.yaml" in line]
    assert [line.split("--manifest ")[1].split()[0] for line in rounds] == [
        "out/data_1/manifest.csv",
        "out/data_2/manifest.csv",
    ]
    for number in (1, 2):
        rows = (tmp_path / "out" / f"data_{number}" / "manifest.csv").read_text().splitlines()
        assert rows[-1] == "slide/image.png,slide/label.tif,train,S,histology_he"
        assert rows[:-1] == (ROOT / "data_manifests" / "dsb2018.csv").read_text().splitlines()
    parts = rounds[1].split()
    changes = [parts[i + 1] for i, part in enumerate(parts) if part == "--set"]
    recipe = ROOT / "configs" / "train_dsb2018_stained.yaml"
    second = load_config(TrainConfig, file=recipe, assignments=changes)
    assert (second.epochs, second.seed, second.augment.stain) == (14, 3, 2.0)


def test_the_dye_is_learned_last_and_counts_a_third(start) -> None:
    asked = start()
    (learned,) = [line for line in asked if "train_dsb2018_dye.yaml" in line]
    assert "--checkpoint out/colours" in learned
    assert "--manifest out/data_2/manifest.csv" in learned
    assert "nucleipel average out/colours out/colours out/dye --out out/mean" in asked
    assert load_config(TrainConfig, file=ROOT / "configs" / "train_dsb2018_dye.yaml").augment.as_dye


def test_the_same_command_does_not_label_again(start) -> None:
    start()
    assert not [line for line in start() if line.startswith("python")]
