"""The recipe for H&E, with a stand-in that logs its arguments."""

from pathlib import Path

import pytest


@pytest.fixture
def start(tmp_path: Path, run_recipe):
    (tmp_path / "data" / "monuseg" / "images").mkdir(parents=True)

    def run(**variables: str) -> list[list[str]]:
        commands = run_recipe("monuseg.sh", {"nucleipel": ""}, **variables)
        return [words for _, *words in commands]

    return run


def test_it_learns_calibrates_on_val_and_is_scored_on_test(start) -> None:
    commands = start()
    assert [words[0] for words in commands] == [
        "train",
        "calibrate",
        "predict",
        "stitch",
        "evaluate",
    ]
    train, calibrate, predict, _, evaluate = commands
    assert train[1:3] == ["--checkpoint", "default"]
    assert calibrate[calibrate.index("--split") + 1] == "val"
    for command in (predict, evaluate):
        assert command[command.index("--split") + 1] == "test"
    assert "--checkpoint" not in start(START="none")[0]


def test_flips_and_turns_are_averaged_for_the_rule_as_for_the_result(start) -> None:
    for wanted, commands in (("false", start()), ("true", start(TTA="true"))):
        for words in commands[1:3]:
            assert f"tta={wanted}" in words
