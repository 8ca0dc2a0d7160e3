"""An ablation on a tiny set: equal steps and data for all arms; finished runs stay."""

import csv
import json
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from support.processes import finish, start, wait_until

from nucleipel.config import (
    AblateConfig,
    ArmConfig,
    FinetunePatchesConfig,
    NetworkConfig,
    TrainConfig,
)
from nucleipel.config.experiments import FinalistsConfig, GridConfig
from nucleipel.config.pipeline.finetune_patches import PELConfig
from nucleipel.data.synthetic import build_scene
from nucleipel.errors import ConfigError, ManifestError, OutputError
from nucleipel.io.slides.write_slide import write_annotation, write_slide
from nucleipel.stages.experiments.ablate import ablate, select_finalists, select_transfer
from nucleipel.stages.pipeline.train import train

pytestmark = pytest.mark.slow

STEPS = FinetunePatchesConfig(epochs=1, patches_per_epoch=4, batch_size=4, warmup_steps=1)
ALONE = ("none", "control", "deviation-n1-a1", "deviation-n2-a1")
"""The arms of `settings`, each with one seed."""
MEASURES = ("dice", "aji", "pq", "ap@0.50", "ap@0.75")


@dataclass(frozen=True)
class SmallSet:
    """One image to train on, two of two sources to choose by, two to report on."""

    folder: Path
    manifest: Path


@pytest.fixture(scope="module")
def tiny_set(tmp_path_factory) -> SmallSet:
    folder = tmp_path_factory.mktemp("images")
    lines = ["image,label,split,source_id,mpp"]
    for seed, split in enumerate(("train", "val", "val", "test", "test")):
        scene = build_scene((128, 128) if split == "train" else (96, 96), seed=seed, glass=False)
        write_slide(folder / f"{split}{seed}.ome.tif", scene.image, mpp=0.5)
        write_annotation(folder / f"{split}{seed}_label.tif", scene.instance_map)
        lines.append(f"{split}{seed}.ome.tif,{split}{seed}_label.tif,{split},source-{seed},0.5")
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(lines) + "\n")
    return SmallSet(folder, manifest)


@pytest.fixture(scope="module")
def base(tiny_set, tmp_path_factory) -> Path:
    config = TrainConfig(
        device="cpu",
        workers=0,
        mpp=0.5,
        window_px=64,
        windows_per_epoch=32,
        epochs=4,
        batch_size=4,
        core_px=32,
        learning_rate=1e-2,
        warmup_steps=4,
        ema_decay=0.9,
        network=NetworkConfig(features=(16, 24), residual_units=1),
    )
    return train(tiny_set.manifest, tmp_path_factory.mktemp("base") / "run", config)


def settings(base: Path, manifest: Path, **changed: object) -> AblateConfig:
    fields: dict[str, object] = {
        "base": str(base),
        "manifest": str(manifest),
        "device": "cpu",
        "workers": 0,
        "patch_px": 64,
        "overlap_px": 16,
        "finetune": STEPS,
        "calibrate": ("foreground_percent",),
        "arms": {"control": ArmConfig(region_loss="dice")},
        "grid": GridConfig(forms=("deviation",), n=(1, 2), alpha=(1,)),
        "finalists": FinalistsConfig(seeds=()),
    }
    return AblateConfig(**(fields | changed))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


ALL = {
    "calibrate": ("foreground_percent", "min_probability_percent"),
    "arms": {
        "control": ArmConfig(region_loss="dice"),
        "cross-entropy": ArmConfig(region_loss="none"),
        "original": ArmConfig(pel=PELConfig(form="original", alpha=20, n=3, batch_sums=True)),
        "dice-focal": ArmConfig(region_loss="dice_focal", cross_entropy_weight=0),
        "dice-twice": ArmConfig(pel=PELConfig(form="dice", alpha=2, n=1)),
    },
    "grid": GridConfig(forms=("deviation",), n=(1, 3), alpha=(1,)),
    "finalists": FinalistsConfig(seeds=(0, 1)),
}


@pytest.fixture(scope="module")
def whole(base, tiny_set, tmp_path_factory) -> Path:
    """An ablation with every kind of arm and both phases, which nobody disturbed."""
    out = tmp_path_factory.mktemp("whole") / "out"
    report = ablate(out, settings(base, tiny_set.manifest, **ALL))
    assert report == out / "report.md"
    return out


def test_grid_is_scored_on_val_and_finalists_on_test(whole: Path) -> None:
    rows = table(whole / "results.csv")
    on_val = [row for row in rows if row["split"] == "val"]
    on_test = [row for row in rows if row["split"] == "test"]
    arms = ["none", *ALL["arms"], "deviation-n1-a1", "deviation-n3-a1"]
    assert [row["arm"] for row in on_val] == arms
    assert {row["seed"] for row in on_val} == {"0"}
    finalists = json.loads((whole / "selection.json").read_text())["finalists"]
    assert {row["arm"] for row in on_test} == {"none", *finalists}
    for arm in finalists:
        assert [row["seed"] for row in on_test if row["arm"] == arm] == ["0", "1"]
    assert not any(row["failed"] for row in rows)
    assert all(0 <= float(row["dice"]) <= 1 for row in rows)
    best = max((row for row in on_val if row["form"] == "deviation"), key=lambda r: float(r["pq"]))
    assert best["arm"] in finalists
    assert {"control", "original"} < set(finalists)


def test_every_arm_has_its_first_seed_before_any_has_its_second(whole: Path) -> None:
    ended = [
        [report.stat().st_mtime_ns for report in whole.glob(f"runs/*/seed-{seed}/test.json")]
        for seed in (0, 1)
    ]
    assert [len(times) for times in ended] == [6, 5], "the base has one seed"
    assert max(ended[0]) < min(ended[1])


def test_three_names_of_soft_dice_give_one_row(whole: Path) -> None:
    rows = {row["arm"]: row for row in table(whole / "results.csv") if row["split"] == "val"}
    for measure in MEASURES:
        values = [float(rows[arm][measure]) for arm in ("control", "deviation-n1-a1", "dice-twice")]
        assert max(values) - min(values) < 2e-3, measure
    weights = [_weights(whole, arm) for arm in ("control", "deviation-n1-a1", "dice-twice")]
    moved = _distance(weights[0], _weights(whole, "cross-entropy"))
    assert moved > 0
    for other in weights[1:]:
        assert _distance(weights[0], other) < 0.05 * moved


def _weights(out: Path, arm: str) -> torch.Tensor:
    import safetensors.torch

    path = out / "runs" / arm / "seed-0" / "finetune" / "checkpoint.safetensors"
    tensors = safetensors.torch.load_file(path)
    return torch.cat([value.flatten().float() for value in tensors.values()])


def _distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm())


def test_every_figure_of_the_report_stands_in_a_table(whole: Path) -> None:
    report = (whole / "report.md").read_text()
    differences = table(whole / "differences.csv")
    images = table(whole / "images.csv")
    for split in ("val", "test"):
        for row in (row for row in table(whole / "results.csv") if row["split"] == split):
            values = [
                float(image["pq"])
                for image in images
                if (image["split"], image["arm"], image["seed"]) == (split, row["arm"], row["seed"])
            ]
            assert sum(values) / len(values) == pytest.approx(float(row["pq"]))
    for row in differences:
        message = (
            f"{float(row['points']):+.2f} [{float(row['low']):+.2f}, {float(row['high']):+.2f}]"
        )
        assert (message in report) or row["measure"] not in ("dice", "pq")
        assert float(row["low"]) <= float(row["points"]) <= float(row["high"])
    for name in ("saturation.png", "grid_pq.png", "differences_val.png", "differences_test.png"):
        assert name in report
        assert (whole / name).read_bytes().startswith(b"\x89PNG")
    assert "saturated" in report


def test_patches_and_the_loss_have_columns_of_their_own(whole: Path) -> None:
    report = (whole / "report.md").read_text().split("## The finalists")[1].splitlines()
    head = next(line for line in report if "Dice: patches" in line).strip("| ").split(" | ")
    assert head[1:4] == ["Dice: patches", "Dice: loss", "Dice: both"]
    lines = [line.strip("| ").split(" | ") for line in report if line.startswith("| `")]
    message = {cells[0].strip("`"): cells[1:] for cells in lines if len(cells) > 6}
    means = {
        (row["arm"], row["reference"], row["measure"]): float(row["points"])
        for row in table(whole / "differences.csv")
        if row["split"] == "test"
    }
    assert "original" in message
    for arm in message.keys() - {"control"}:
        for place, measure in ((0, "dice"), (3, "pq")):
            patches, loss, both = (float(message[arm][place + k].split()[0]) for k in range(3))
            assert patches == pytest.approx(means["control", "none", measure], abs=6e-3)
            assert loss == pytest.approx(means[arm, "control", measure], abs=6e-3)
            assert both == pytest.approx(means[arm, "none", measure], abs=6e-3)
            assert patches + loss == pytest.approx(both, abs=2e-2)


def _judged(base: Path, manifest: Path, out: Path, **changed: object) -> dict[str, str]:
    """The scores on test of the base alone."""
    finalists = FinalistsConfig(seeds=(0,), arms=())
    ablate(out, settings(base, manifest, finalists=finalists, **changed))
    (row,) = table(out / "results.csv")
    assert (row["arm"], row["split"]) == ("none", "test")
    return row


def test_scores_are_those_of_segment_and_evaluate(base, tiny_set, tmp_path) -> None:
    from nucleipel.config import EvaluateConfig, SegmentConfig
    from nucleipel.config.pipeline.instances import InstanceOverrides
    from nucleipel.io.manifest import read_manifest
    from nucleipel.stages.pipeline.evaluate import evaluate
    from nucleipel.stages.pipeline.segment import segment

    row = _judged(base, tiny_set.manifest, tmp_path / "out")
    numbers = json.loads((tmp_path / "out/runs/none/seed-0/numbers.json").read_text())
    rows = read_manifest(tiny_set.manifest).of_split("test")
    for by, measures in (("dice", ("dice",)), ("pq", ("aji", "pq", "ap@0.50", "ap@0.75"))):
        config = SegmentConfig(
            device="cpu", instances=InstanceOverrides(**numbers[by]["instances"])
        )
        instances = segment(base, rows, tmp_path / by, config)
        report = evaluate(
            tiny_set.manifest, instances, tmp_path / f"{by}.json", EvaluateConfig(), split="test"
        )
        for measure in measures:
            assert float(row[measure]) == pytest.approx(report["mean_over_images"][measure])
            assert float(row[f"pooled {measure}"]) == pytest.approx(
                report["pooled_over_nuclei"][measure]
            )
        chosen = numbers[by]["instances"]["foreground_percent"]
        assert float(row[f"foreground_percent for {by}"]) == chosen


def test_numbers_are_chosen_once_and_on_val_alone(base, tiny_set, tmp_path, monkeypatch) -> None:
    import nucleipel.stages.experiments.ablation_runs as stage

    real, calls = stage._write_scores, []

    def killed_first(run, *arguments):
        calls.append(run.arm)
        if len(calls) == 1:
            raise KeyboardInterrupt
        real(run, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(stage, "_write_scores", killed_first)
        with pytest.raises(KeyboardInterrupt):
            _judged(base, tiny_set.manifest, tmp_path / "out")
    file = tmp_path / "out/runs/none/seed-0/numbers.json"
    before = file.stat().st_mtime_ns
    row = _judged(base, tiny_set.manifest, tmp_path / "out")
    assert file.stat().st_mtime_ns == before
    assert row == _judged(base, tiny_set.manifest, tmp_path / "undisturbed")
    numbers = json.loads(file.read_text())
    assert float(row["val pooled dice"]) == numbers["dice"]["val"]
    assert float(row["val pooled pq"]) == numbers["pq"]["val"]


def test_a_base_with_other_numbers_is_another_base(base, tiny_set, tmp_path) -> None:
    import dataclasses

    from nucleipel.model.checkpoint import read_checkpoint, write_checkpoint

    model = read_checkpoint(base)
    other = tmp_path / "other"
    other.mkdir()
    numbers = {**model.description.instances, "min_area_px": 3}
    write_checkpoint(
        other, dataclasses.replace(model.description, instances=numbers), model.network.state_dict()
    )
    _judged(base, tiny_set.manifest, tmp_path / "out")
    with pytest.raises(OutputError, match="another base"):
        _judged(other, tiny_set.manifest, tmp_path / "out")


def test_all_arms_see_the_same_samples(base, tiny_set, tmp_path, monkeypatch) -> None:
    from nucleipel.data.patch_samples import TrainingPatches

    seen: list[tuple[int, bytes]] = []
    real = TrainingPatches.__getitem__

    def spied(self: TrainingPatches, number: int):
        sample = real(self, number)
        seen.append((number, sample.image.numpy().tobytes()))
        return sample

    monkeypatch.setattr(TrainingPatches, "__getitem__", spied)
    grid = GridConfig(forms=("deviation",), n=(1, 2), alpha=(1,), seeds=(0, 1))
    ablate(tmp_path / "out", settings(base, tiny_set.manifest, grid=grid))
    # control and two of the grid, with two seeds each, four samples a run
    assert len(seen) == 3 * 2 * 4
    runs = [seen[start : start + 4] for start in range(0, len(seen), 4)]
    by_seed = {0: runs[:3], 1: runs[3:]}
    for of_seed in by_seed.values():
        assert of_seed[0] == of_seed[1] == of_seed[2]
    assert by_seed[0][0] != by_seed[1][0]


def test_the_grid_needs_no_test_images(base, tiny_set, tmp_path) -> None:
    manifest = tiny_set.folder / "without_test.csv"
    lines = tiny_set.manifest.read_text().splitlines()
    manifest.write_text("\n".join(line for line in lines if "test" not in line) + "\n")
    ablate(tmp_path / "out", settings(base, manifest))
    assert {row["split"] for row in table(tmp_path / "out" / "results.csv")} == {"val"}
    with_finalists = settings(base, manifest, finalists=FinalistsConfig(seeds=(0,)))
    with pytest.raises(ManifestError, match="no row has split 'test'"):
        ablate(tmp_path / "other", with_finalists)
    assert not (tmp_path / "other").exists()


def test_more_arms_and_seeds_keep_what_is_finished(base, tiny_set, tmp_path) -> None:
    out = tmp_path / "out"
    ablate(out, settings(base, tiny_set.manifest))
    before = _times(out)
    more = settings(
        base,
        tiny_set.manifest,
        grid=GridConfig(forms=("deviation",), n=(1, 2, 3), alpha=(1,)),
        finalists=FinalistsConfig(seeds=(0,)),
    )
    ablate(out, more)
    after = _times(out)
    assert before.items() <= after.items()
    assert out / "runs" / "deviation-n3-a1" / "seed-0" / "val.json" in after
    changed = settings(base, tiny_set.manifest, finetune=STEPS.model_copy(update={"epochs": 2}))
    with pytest.raises(OutputError, match=r"config\.finetune\.epochs 1 there, 2 now"):
        ablate(out, changed)
    renamed = {"control": ArmConfig(region_loss="dice", region_weight=2)}
    with pytest.raises(OutputError, match="holds a run of another arm 'control'"):
        ablate(out, settings(base, tiny_set.manifest, arms=renamed))


def _times(out: Path) -> dict[Path, int]:
    names = ("val.json", "checkpoint.safetensors")
    files = [file for name in names for file in (out / "runs").rglob(name)]
    assert files
    return {file: file.stat().st_mtime_ns for file in files}


def test_an_arm_that_diverges_is_reported_and_the_others_continue(
    base, tiny_set, tmp_path, monkeypatch
) -> None:
    from nucleipel.losses import PELoss

    real = PELoss.forward

    def broken(self: PELoss, logits: torch.Tensor, onehot: torch.Tensor) -> torch.Tensor:
        return real(self, logits, onehot) * (float("nan") if self.n == 2 else 1)

    monkeypatch.setattr(PELoss, "forward", broken)
    out = tmp_path / "out"
    ablate(out, settings(base, tiny_set.manifest))
    rows = {row["arm"]: row for row in table(out / "results.csv")}
    assert "the loss is nan at step 1" in rows["deviation-n2-a1"]["failed"]
    assert rows["deviation-n2-a1"]["pq"] == ""
    assert rows["deviation-n1-a1"]["pq"] != ""
    assert "`deviation-n2-a1`, seed 0, failed: the loss is nan" in (out / "report.md").read_text()
    chosen = json.loads((out / "selection.json").read_text())["finalists"]
    assert chosen == ["control", "deviation-n1-a1"]


def test_one_source_has_no_interval(base, tiny_set, tmp_path) -> None:
    manifest = tiny_set.folder / "one_source.csv"
    lines = tiny_set.manifest.read_text().splitlines()
    manifest.write_text("\n".join(line for line in lines if "val2" not in line) + "\n")
    ablate(tmp_path / "out", settings(base, manifest))
    rows = table(tmp_path / "out" / "differences.csv")
    assert {row["low"] for row in rows} == {row["high"] for row in rows} == {"nan"}
    report = (tmp_path / "out" / "report.md").read_text()
    assert "nan" not in report
    assert "one seed: the intervals do not know how much seeds differ" in report


def test_finalists_by_name_need_no_grid(base, tiny_set, tmp_path) -> None:
    finalists = FinalistsConfig(seeds=(0,), arms=("control", "deviation-n2-a1"))
    out = tmp_path / "out"
    ablate(out, settings(base, tiny_set.manifest, finalists=finalists))
    rows = table(out / "results.csv")
    assert [(row["arm"], row["split"]) for row in rows] == [
        ("none", "test"),
        ("control", "test"),
        ("deviation-n2-a1", "test"),
    ]


def test_killed_with_several_jobs_ends_with_the_same_tables(base, tiny_set, tmp_path) -> None:
    changed = {"finalists": FinalistsConfig(seeds=(0,))}
    whole = tmp_path / "whole"
    ablate(whole, settings(base, tiny_set.manifest, **changed))
    out = tmp_path / "out"
    config = tmp_path / "config.yaml"
    fields = settings(base, tiny_set.manifest, jobs=2).model_dump(mode="json")
    keys = ("epochs", "patches_per_epoch", "batch_size", "warmup_steps")
    fields["finetune"] = {key: fields["finetune"][key] for key in keys}
    config.write_text(json.dumps(fields))  # JSON is YAML
    words = ["ablate", "--config", config, "--out", out]
    process = start(*words)
    wait_until(lambda: _ended_runs(out) > 0, process)
    process.kill()
    message = process.finish()
    assert process.returncode == -signal.SIGKILL, message
    assert 0 < _ended_runs(out) < len(ALONE)
    before = {file: file.stat().st_mtime_ns for file in (out / "runs").rglob("val.json")}
    finish(*words)
    assert len(table(out / "results.csv")) == len(ALONE)
    # the finalists, one job at a time
    ablate(out, settings(base, tiny_set.manifest, **changed))
    assert before.items() <= _times(out).items()
    for name in ("results.csv", "images.csv", "differences.csv", "report.md", "selection.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    runs = (out / "runs").rglob("*")
    left = [file for file in runs if "state" in file.name or "maps" in file.name]
    assert not left
    assert (out / "runs" / "control" / "seed-0" / "finetune" / "checkpoint.safetensors").is_file()


def _ended_runs(out: Path) -> int:
    return len(table(out / "results.csv")) if (out / "results.csv").is_file() else 0


def test_selection_takes_the_best_of_each_form_and_the_best_rival() -> None:
    arms = AblateConfig(grid=GridConfig(n=(1, 2), alpha=(1, 4))).all_arms()
    means = dict.fromkeys(arms, 0.5)
    means |= {"jaccard-n2-a4": 0.6, "dice-n1-a4": 0.51, "deviation-n2-a1": 0.7, "dice-focal": 0.55}
    assert select_finalists(arms, means, by="pq") == (
        "control",
        "jaccard-n2-a4",
        "dice-n1-a4",
        "deviation-n2-a1",
        "original",
        "dice-focal",
    )
    finalists = select_finalists(arms, means, by="pq")
    assert select_transfer(arms, finalists, means) == ("control", "deviation-n2-a1", "dice-focal")
    assert select_transfer(arms, ("control",), means) == ("control",)
    drawn = arms | {"drawn": ArmConfig(region_loss="dice", sampling="deviation")}
    assert select_finalists(drawn, means | {"drawn": 0.4}, by="pq")[-1] == "drawn"
    del means["deviation-n2-a1"]  # it failed: the first of the equal ones is taken
    assert "deviation-n1-a1" in select_finalists(arms, means, by="pq")


def test_what_arms_share_is_not_set_by_the_arms(base, tiny_set) -> None:
    with pytest.raises(ValueError, match=r"finetune\.seed is set by the arms or beside finetune"):
        settings(base, tiny_set.manifest, finetune=FinetunePatchesConfig(seed=3))
    with pytest.raises(ValueError, match="no arm 'deviation-n9-a1'"):
        settings(base, tiny_set.manifest, finalists=FinalistsConfig(arms=("deviation-n9-a1",)))
    with pytest.raises(ValueError, match="arms must hold 'control' and not 'none'"):
        settings(base, tiny_set.manifest, arms={"dice": ArmConfig(region_loss="dice")})


def test_inputs_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="base is not set"):
        ablate(tmp_path / "out", AblateConfig(manifest="m.csv"))
    with pytest.raises(ConfigError, match="manifest is not set"):
        ablate(tmp_path / "out", AblateConfig(base="run"))
