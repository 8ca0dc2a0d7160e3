"""The teacher's map has its share of the targets, and comes from the running mean."""

import dataclasses
from pathlib import Path

import pytest
import torch
from support.discs import SPEC, Discs
from torch import nn

from nucleipel.losses import ClassesAndDistance, CrossEntropyDice
from nucleipel.model.network import build_network, to_probabilities
from nucleipel.training.distributed import build_fabric
from nucleipel.training.fit import FitOptions, fit
from nucleipel.training.mean_teacher import mixed_targets

OPTIONS = FitOptions(
    epochs=2, steps_per_epoch=4, batch_size=2, optimizer="adamw", learning_rate=1e-2,
    weight_decay=0, warmup_steps=1, ema_decay=0.9, clip_norm=1.0, validate_every=1, patience=9,
)  # fmt: skip


class Sure(nn.Module):
    """Everything is interior and central, for any image."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = torch.full((len(images), 4, *images.shape[2:]), -40.0)
        logits[:, [1, 3]] = 40.0
        return logits


def test_a_share_of_the_targets_is_the_teachers() -> None:
    sample = Discs()[3]
    image, onehot, distance = (part[None] for part in sample[:3])
    classes, central = mixed_targets(Sure(), image, onehot, distance, share=0.25)
    expected = 0.75 * onehot
    expected[:, 1] += 0.25
    torch.testing.assert_close(classes, expected)
    torch.testing.assert_close(classes.sum(dim=1), torch.ones(1, 32, 32))
    torch.testing.assert_close(central, 0.75 * distance + 0.25)


class Recording(ClassesAndDistance):
    """Records the targets that it takes."""

    def __init__(self) -> None:
        super().__init__(CrossEntropyDice(1, 1), distance_weight=1)
        self.targets: list[tuple[torch.Tensor, torch.Tensor]] = []

    def forward(self, outputs, onehot, distance):
        self.targets.append((onehot, distance))
        return super().forward(outputs, onehot, distance)


def _fit(out: Path, *, share: float, stop_after: int | None = None) -> Recording:
    out.mkdir(exist_ok=True)
    fabric, loss, calls = build_fabric("cpu", seed=0), Recording(), []

    def validate(_: nn.Module) -> dict[str, float]:
        calls.append(1)
        if len(calls) == stop_after:
            raise KeyboardInterrupt
        return {"pq": 0.5}

    options = dataclasses.replace(OPTIONS, teacher_share=share)
    fit(fabric, build_network(SPEC), loss, Discs(), validate, options=options, out=out)
    return loss


def test_the_teacher_is_the_network_itself_before_the_first_step(tmp_path: Path) -> None:
    onehot, distance = _fit(tmp_path / "taught", share=0.4).targets[0]
    build_fabric("cpu", seed=0)
    start = build_network(SPEC).eval()
    samples = [Discs()[number] for number in range(2)]
    with torch.no_grad():
        p = to_probabilities(start(torch.stack([sample.image for sample in samples])))
    annotated = torch.stack([sample.onehot for sample in samples])
    torch.testing.assert_close(onehot, 0.6 * annotated + 0.4 * p[:, :-1])
    central = torch.stack([sample.distance for sample in samples])
    torch.testing.assert_close(distance, 0.6 * central + 0.4 * p[:, -1:])


def test_without_a_share_the_targets_are_the_annotation(tmp_path: Path) -> None:
    for number, (onehot, _) in enumerate(_fit(tmp_path / "plain", share=0).targets):
        assert torch.equal(onehot[0], Discs()[2 * number].onehot)


def test_a_killed_run_goes_on_with_the_same_teacher(tmp_path: Path) -> None:
    undisturbed = _fit(tmp_path / "undisturbed", share=0.4).targets
    with pytest.raises(KeyboardInterrupt):
        _fit(tmp_path / "killed", share=0.4, stop_after=2)
    rest = _fit(tmp_path / "killed", share=0.4).targets
    assert 0 < len(rest) < len(undisturbed)
    for ours, theirs in zip(rest, undisturbed[-len(rest) :], strict=True):
        assert torch.equal(ours[0], theirs[0])
