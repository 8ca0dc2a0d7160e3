"""The recipe for H&E, with a stand-in that tells what it was asked."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STAND_IN = '#!/bin/bash\necho "$*" >> "$ASKED"\n'


@pytest.fixture
def start(tmp_path: Path):
    (tmp_path / "data" / "monuseg" / "images").mkdir(parents=True)
    stand_in = tmp_path / "bin" / "nucleipel"
    stand_in.parent.mkdir()
    stand_in.write_text(STAND_IN)
    stand_in.chmod(0o755)

    def run(**more: str) -> list[list[str]]:
        asked = tmp_path / "asked"
        asked.unlink(missing_ok=True)
        subprocess.run(
            [ROOT / "scripts" / "reproduce_monuseg.sh", tmp_path / "data", tmp_path / "out"],
            env={
                "PATH": f"{stand_in.parent}{os.pathsep}/usr/bin:/bin",
                "ASKED": str(asked),
                **more,
            },
            check=True,
            capture_output=True,
        )
        return [line.split() for line in asked.read_text().splitlines()]

    return run


def test_it_learns_calibrates_on_val_and_is_scored_on_test(start) -> None:
    asked = start()
    assert [words[0] for words in asked] == ["train", "calibrate", "predict", "stitch", "evaluate"]
    train, calibrate, predict, _, evaluate = asked
    assert train[1:3] == ["--checkpoint", "default"]
    assert calibrate[calibrate.index("--split") + 1] == "val"
    assert (
        predict[predict.index("--split") + 1] == evaluate[evaluate.index("--split") + 1] == "test"
    )
    assert "--checkpoint" not in start(START="none")[0]


def test_flips_and_turns_are_averaged_for_the_rule_as_for_the_result(start) -> None:
    for wanted, asked in (("false", start()), ("true", start(TTA="true"))):
        for words in asked[1:3]:
            assert f"tta={wanted}" in words
