"""Training learns, and a killed training ends with the weights of an undisturbed one."""

import csv
import dataclasses
import json
import signal
import time
from pathlib import Path
from typing import Literal

import pytest
import torch
from support.discs import SPEC, Discs

from nucleipel.core.stop_signals import Stopped, listening
from nucleipel.data.sample import Sample
from nucleipel.errors import CheckpointError, TrainingError
from nucleipel.losses import ClassesAndDistance, CrossEntropyDice, CrossEntropyRegion, PELoss
from nucleipel.model.network import build_network, to_probabilities
from nucleipel.training.distributed import build_fabric, precision_of
from nucleipel.training.fit import FitOptions, fit

OPTIONS = FitOptions(
    epochs=4,
    steps_per_epoch=3,
    batch_size=2,
    optimizer="adamw",
    learning_rate=1e-2,
    weight_decay=1e-4,
    warmup_steps=2,
    ema_decay=0.9,
    clip_norm=1.0,
    validate_every=1,
    patience=10,
)


def _train(
    out: Path, *, validate=None, options: FitOptions = OPTIONS, loss=None, samples=None,
    precision: str = "auto",
):  # fmt: skip
    out.mkdir(exist_ok=True)
    fabric = build_fabric("cpu", seed=0, precision=precision)
    network = build_network(SPEC)
    loss = loss or ClassesAndDistance(CrossEntropyDice(1, 1), distance_weight=1)
    scores = validate or (lambda _: {"pq": 0.5, "dice": 0.5, "loss": 1.0})
    return fit(fabric, network, loss, samples or Discs(), scores, options=options, out=out)


@pytest.mark.parametrize(
    "loss",
    [
        CrossEntropyDice(1, 1),
        CrossEntropyRegion(PELoss("deviation", 1, 2), cross_entropy_weight=1, region_weight=1),
    ],
    ids=["cross-entropy + dice", "cross-entropy + PEL"],
)
def test_one_batch_can_be_learned_by_heart(loss: torch.nn.Module) -> None:
    loss = ClassesAndDistance(loss, distance_weight=1)
    build_fabric("cpu", seed=0)
    network = build_network(SPEC).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    samples = [Discs()[number] for number in range(2)]
    image = torch.stack([sample.image for sample in samples])
    onehot = torch.stack([sample.onehot for sample in samples])
    distance = torch.stack([sample.distance for sample in samples])
    for _ in range(120):
        optimizer.zero_grad()
        loss(network(image), onehot, distance).backward()
        optimizer.step()
    probabilities = to_probabilities(network(image))
    right = probabilities[:, :3].argmax(dim=1) == onehot.argmax(dim=1)
    assert right.float().mean() > 0.995
    assert (probabilities[:, 3:] - distance).abs().mean() < 0.02


@pytest.mark.parametrize(
    "precision, optimizer", [("float32", "adamw"), ("bfloat16", "adamw"), ("float32", "muon")]
)
def test_killed_after_any_epoch_ends_with_the_same_weights(
    tmp_path: Path, precision: str, optimizer: Literal["adamw", "muon"]
) -> None:
    options = dataclasses.replace(OPTIONS, optimizer=optimizer)
    undisturbed = _train(tmp_path / "undisturbed", precision=precision, options=options)
    for kill_in_epoch in (1, 3):
        out = tmp_path / f"killed {kill_in_epoch}"
        calls = []

        def killing(_: torch.nn.Module, calls=calls, last=kill_in_epoch) -> dict[str, float]:
            calls.append(1)
            if len(calls) == last + 1:
                raise KeyboardInterrupt
            return {"pq": len(calls) / 10, "dice": 0.5, "loss": 1.0}

        with pytest.raises(KeyboardInterrupt):
            _train(out, validate=killing, precision=precision, options=options)
        # PQ rises with every validation, so the last epoch is the best in both runs
        resumed = _train(
            out,
            validate=lambda _: {"pq": 0.9, "dice": 0.5, "loss": 1.0},
            precision=precision,
            options=options,
        )
        assert resumed.epoch in (kill_in_epoch + 1, OPTIONS.epochs)
        state = _last_network(out)
        for name, tensor in _last_network(tmp_path / "undisturbed").items():
            assert torch.equal(tensor, state[name]), name
    assert undisturbed.epoch == 1


@pytest.mark.parametrize("batch", [0, 2, 3, 7])
@pytest.mark.parametrize("within_step", [False, True])
def test_a_signal_in_the_middle_of_an_epoch_changes_nothing(
    tmp_path: Path, batch: int, within_step: bool
) -> None:
    scores = {"pq": 0.5, "dice": 0.5, "loss": 1.0}
    _train(tmp_path / "undisturbed", validate=lambda _: scores)
    out = tmp_path / "stopped"
    loss = Signaling(at=batch if within_step else None)
    samples = SignalingDiscs(at=None if within_step else batch * OPTIONS.batch_size)
    with listening(), pytest.raises(Stopped) as caught:
        _train(out, validate=lambda _: scores, loss=loss, samples=samples)
    assert caught.value.exit_code == 143
    done = json.loads((out / "state.json").read_text())
    steps = batch + 1 if within_step else batch
    assert (done["epoch"], done["batches"]) in (
        divmod(steps, OPTIONS.steps_per_epoch),
        # at an epoch's end: before its validation
        (steps // OPTIONS.steps_per_epoch - 1, OPTIONS.steps_per_epoch),
    )
    _train(out, validate=lambda _: scores)
    assert (out / "metrics.csv").read_text() == (
        tmp_path / "undisturbed" / "metrics.csv"
    ).read_text()
    name = f"state-{OPTIONS.epochs:05d}.safetensors"
    assert (out / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()


def test_a_step_that_takes_too_long_is_given_up_and_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nucleipel.core.stop_signals.PATIENCE_SECONDS", 0.05)
    _train(tmp_path / "undisturbed")
    with listening(), pytest.raises(Stopped):
        _train(tmp_path / "stopped", loss=Signaling(at=4, seconds=60))
    assert json.loads((tmp_path / "stopped" / "state.json").read_text())["batches"] == 0
    _train(tmp_path / "stopped")
    states = [_last_network(tmp_path / name) for name in ("undisturbed", "stopped")]
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


class SignalingDiscs(Discs):
    """Asks to stop before sample number `at` is made."""

    def __init__(self, at: int | None) -> None:
        self.at = at

    def __getitem__(self, number: int) -> Sample:
        if number == self.at:
            signal.raise_signal(signal.SIGTERM)
        return super().__getitem__(number)


class Signaling(ClassesAndDistance):
    """Asks to stop within step number `at`, which then takes its time."""

    def __init__(self, at: int | None, seconds: float = 0) -> None:
        super().__init__(CrossEntropyDice(1, 1), distance_weight=1)
        self.at, self.calls, self.seconds = at, 0, seconds

    def forward(self, *arguments: torch.Tensor) -> torch.Tensor:
        if self.calls == self.at:
            signal.raise_signal(signal.SIGTERM)
            time.sleep(self.seconds)
        self.calls += 1
        return super().forward(*arguments)


def _last_network(out: Path) -> dict[str, torch.Tensor]:
    import safetensors.torch

    tensors = safetensors.torch.load_file(out / f"state-{OPTIONS.epochs:05d}.safetensors")
    return {name: value for name, value in tensors.items() if not name.startswith("best.")}


def test_best_validation_is_kept_and_patience_ends(tmp_path: Path) -> None:
    scores = iter([0.1, 0.4, 0.3, 0.2, 0.9])
    options = dataclasses.replace(OPTIONS, epochs=5, patience=2)
    best = _train(
        tmp_path / "run",
        validate=lambda _: {"pq": next(scores), "dice": 0.0, "loss": 0.0},
        options=options,
    )
    assert (best.pq, best.epoch) == (0.4, 2)
    rows = list(csv.DictReader((tmp_path / "run" / "metrics.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert (tmp_path / "run" / "curves.png").stat().st_size > 1000
    assert list((tmp_path / "run" / "tensorboard").iterdir())


def test_a_loss_that_is_not_finite_stops(tmp_path: Path) -> None:
    class Broken(torch.nn.Module):
        def forward(self, outputs: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
            return outputs.sum() * float("nan")

    with pytest.raises(TrainingError, match="the loss is nan at step 1; lower learning_rate"):
        _train(tmp_path / "run", loss=Broken())


def test_damaged_state_is_reported(tmp_path: Path) -> None:
    _train(tmp_path / "run")
    state = next((tmp_path / "run").glob("state-*.safetensors"))
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"state\.json: the saved state cannot be read"):
        _train(tmp_path / "run")


def _dtypes_of_training(out: Path, precision: str) -> set[tuple[torch.dtype, torch.dtype]]:
    """Train; dtypes of the last convolution's output and of the loss's input at each step."""
    convolved: list[torch.dtype] = []
    seen = set()

    def record(module: torch.nn.Module, _: object, output: torch.Tensor) -> None:
        if isinstance(module, torch.nn.Conv2d):
            convolved.append(output.dtype)

    class Recording(ClassesAndDistance):
        def forward(self, outputs: torch.Tensor, *targets: torch.Tensor) -> torch.Tensor:
            seen.add((convolved[-1], outputs.dtype))
            return super().forward(outputs, *targets)

    loss = Recording(CrossEntropyDice(1, 1), distance_weight=1)
    with torch.nn.modules.module.register_module_forward_hook(record):
        _train(out, loss=loss, precision=precision)
    return seen


def test_bfloat16_multiplies_in_bfloat16_and_learns_as_float32_does(tmp_path: Path) -> None:
    seen, losses = {}, {}
    for precision in ("float32", "bfloat16"):
        out = tmp_path / precision
        seen[precision] = _dtypes_of_training(out, precision)
        rows = (out / "metrics.csv").read_text().splitlines()
        losses[precision] = [float(row.split(",")[2]) for row in rows[1:]]
        assert all(tensor.dtype != torch.bfloat16 for tensor in _last_network(out).values())
    assert seen["float32"] == {(torch.float32, torch.float32)}
    assert seen["bfloat16"] == {(torch.bfloat16, torch.float32)}
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.03)
    assert losses["bfloat16"][-1] < losses["bfloat16"][0]


@pytest.mark.parametrize(
    ("precision", "on_cpu", "on_gpu"),
    [
        ("auto", "32-true", "16-mixed"),
        ("float32", "32-true", "32-true"),
        ("bfloat16", "bf16-mixed", "bf16-mixed"),
    ],
)
def test_what_a_precision_is_on_each_device(precision: str, on_cpu: str, on_gpu: str) -> None:
    assert precision_of(precision, on_gpu=False) == on_cpu
    assert precision_of(precision, on_gpu=True) == on_gpu


def test_no_gpu_is_reported() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(TrainingError, match="no usable GPU was found; use --device cpu or auto"):
        build_fabric("cuda", seed=0)


def test_nothing_is_trained_on_apples_gpu() -> None:
    with pytest.raises(TrainingError, match="device mps: for prediction alone; train with"):
        build_fabric("mps", seed=0)


def test_schedule_warms_up_and_decays_to_zero() -> None:
    factors = [OPTIONS.factor(step) for step in range(12)]
    assert factors[:2] == [0.5, 1.0]
    assert factors[2:] == sorted(factors[2:], reverse=True)
    assert 0 < factors[-1] < 0.05
