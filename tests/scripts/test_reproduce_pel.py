"""The recipe of the PEL results, with a stand-in for nucleipel that logs its arguments."""

from pathlib import Path

import pytest

from nucleipel.config import (
    AblateConfig,
    FinetunePatchesConfig,
    TileConfig,
    TrainConfig,
    load_config,
)

KINDS = {
    "train": TrainConfig,
    "tile": TileConfig,
    "finetune-patches": FinetunePatchesConfig,
    "ablate": AblateConfig,
}
LEAVES = """
if arguments[0] == "finetune-patches":
    # each round gains half of what the one before it gained: .4, .2, .1 points
    gain = 0.8 / 2 ** int(out.name[-1])
    rows = ["epoch,learning_rate,loss,val_loss,val_dice,val_pq", "0,,,0.5,0.9,0.7"]
    rows += ["1,1e-4,0.4,,,", "2,1e-5,0.4,0.5," + str(0.9 + gain / 100) + ",0.7"]
    (out / "metrics.csv").write_text("\\n".join(rows) + "\\n")
if arguments[0] == "ablate":
    chosen = ["control", "deviation-n2-a1", "dice-focal"]
    selection = {"finalists": [*chosen[:2], "original", chosen[2]], "transfer": chosen}
    (out / "selection.json").write_text(json.dumps(selection))
    (out / "report.md").write_text("#")
    lines = ["split,arm,reference,measure,seeds,images,sources,points,low,high"]
    for measure in ("dice", "pq", "aji", "ap@0.50", "ap@0.75"):
        lines.append("test,control,none," + measure + ",5,65,30,1,0.5,1.5")
    (out / "differences.csv").write_text("\\n".join(lines) + "\\n")
"""


@pytest.fixture
def run(tmp_path: Path, run_recipe):
    for name in ("dsb2018", "monuseg"):
        (tmp_path / "data" / name / "images").mkdir(parents=True)

    def start(**variables: str) -> list[list[str]]:
        commands = run_recipe("pel.sh", {"nucleipel": LEAVES}, **variables)
        return [words for _, *words in commands]

    return start


def _value(command: list[str], option: str) -> str:
    return command[command.index(option) + 1]


def _settings(command: list[str]) -> list[str]:
    return [command[place + 1] for place, word in enumerate(command) if word == "--set"]


def test_bases_are_saturated_and_arms_carried_over(run, tmp_path: Path) -> None:
    commands = run()
    out = tmp_path / "out"
    # two rounds gain .4 and .2 points, the third less: the run of the second is the base
    rounds = [Path(_value(c, "--out")).name for c in commands if c[0] == "finetune-patches"]
    names = ("windows", "basic_unet", "monuseg")
    assert rounds == [f"{name}-on-{k}" for name in names for k in (1, 2, 3)]
    ablations = {Path(_value(c, "--out")).name: c for c in commands if c[0] == "ablate"}
    bases = {
        name: Path(_value(command, "--checkpoint")).name for name, command in ablations.items()
    }
    assert bases == {
        "ablation": "windows-on-2",
        "ablation_whole": "train_whole",
        "ablation_further": "windows-on-2",
        "ablation_basic_unet": "basic_unet-on-2",
        "ablation_monuseg": "monuseg-on-2",
    }
    transfer = 'finalists.arms=["control", "deviation-n2-a1", "dice-focal"]'
    for name in ("ablation_basic_unet", "ablation_monuseg"):
        assert transfer in _settings(ablations[name])
    answer = (out / "answer.md").read_text()
    assert answer.count("`control`") == len(ablations)


def test_every_command_has_settings_that_are_taken(run) -> None:
    for command in run(JOBS="3"):
        config = load_config(
            KINDS[command[0]],
            file=Path(_value(command, "--config")),
            assignments=_settings(command),
        )
        if command[0] == "ablate":
            assert config.jobs == 3
        if command[0] == "train":
            assert config.optimizer == "adamw"
        if command[0] == "finetune-patches":
            assert (config.region_loss, config.keep) == ("dice", "last")


def test_steps_can_be_left_out(run) -> None:
    assert [command[0] for command in run(STEPS="1")] == [
        *["train"] * 2,
        "tile",
        *["finetune-patches"] * 3,
    ]
