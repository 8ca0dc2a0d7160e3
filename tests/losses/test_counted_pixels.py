"""Pixels without a class count nowhere: a loss is that of the annotated part alone."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from nucleipel.losses import (
    ClassesAndDistance,
    CrossEntropyDice,
    CrossEntropyRegion,
    PELoss,
    build_region_loss,
)
from nucleipel.training.mean_teacher import mixed_targets

BUILD: dict[str, Callable[[], nn.Module]] = {
    "cross-entropy and Dice": lambda: CrossEntropyDice(1.0, 1.0),
    **{
        f"PEL {form}": lambda form=form: CrossEntropyRegion(
            PELoss(form, 1.5, 2.0), cross_entropy_weight=1.0
        )
        for form in ("jaccard", "dice", "original", "deviation")
    },
    "PEL at boundaries": lambda: PELoss("deviation", 1.0, 2.0, boundary_weight=3.0),
    "PEL below 1": lambda: PELoss("deviation", 1.0, 0.5, classes=[1, 2], weight=[1, 2]),
    "PEL of the batch": lambda: PELoss("original", 20.0, 3.0, batch=True),
    "PEL in squares": lambda: PELoss("deviation", 1.0, 2.0, block_px=8),
    **{
        name: lambda name=name: CrossEntropyRegion(
            build_region_loss(name), cross_entropy_weight=0.5
        )
        for name in ("none", "dice", "dice_focal", "focal_tversky")
    },
}
LOSSES = pytest.mark.parametrize("build", BUILD.values(), ids=BUILD)


def _batch(height: int = 16) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    outputs = torch.randn(3, 4, 16, 24, generator=random)
    classes = torch.randint(0, 3, (3, 16, 24), generator=random)
    onehot = nn.functional.one_hot(classes, 3).movedim(-1, 1).float()
    distance = torch.rand(3, 1, 16, 24, generator=random)
    return outputs[:, :, :height], onehot[:, :, :height], distance[:, :, :height]


@LOSSES
def test_the_loss_is_that_of_the_annotated_part(build) -> None:
    loss = ClassesAndDistance(build(), distance_weight=0.7)
    outputs, onehot, distance = _batch()
    onehot[:, :, 8:] = 0
    outputs.requires_grad_()
    value = loss(outputs, onehot, distance)
    value.backward()
    part, *targets = _batch(8)
    part.requires_grad_()
    expected = loss(part, *targets)
    expected.backward()
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(outputs.grad[:, :, :8], part.grad, atol=1e-7)
    assert not outputs.grad[:, :, 8:].any()


@LOSSES
def test_what_a_network_says_outside_is_nothing_to_it(build) -> None:
    loss = ClassesAndDistance(build(), distance_weight=0.7)
    outputs, onehot, distance = _batch()
    ignored = torch.rand(3, 1, 16, 24, generator=torch.Generator().manual_seed(1)) < 0.4
    onehot = onehot * ~ignored
    other = torch.where(ignored, 30 * torch.ones_like(outputs), outputs)
    assert torch.equal(loss(outputs, onehot, distance), loss(other, onehot, distance))


@pytest.mark.parametrize("build", [BUILD[name] for name in BUILD if name != "PEL of the batch"])
def test_a_patch_without_annotation_adds_nothing(build) -> None:
    loss = ClassesAndDistance(build(), distance_weight=0.7)
    outputs, onehot, distance = _batch()
    onehot[1] = 0
    outputs.requires_grad_()
    value = loss(outputs, onehot, distance)
    value.backward()
    assert torch.isfinite(outputs.grad).all()
    assert not outputs.grad[1].any()
    two = [tensor[[0, 2]] for tensor in (outputs.detach(), onehot, distance)]
    assert value.item() == pytest.approx(loss(*two).item() * 2 / 3, rel=1e-5)


def test_squares_weigh_by_what_counts_in_them() -> None:
    logits, onehot, _ = _batch()
    onehot[:, :, 4:8, :8] = 0
    onehot[:, :, 8:] = 0
    loss = PELoss("deviation", 1.0, 2.0, block_px=8)
    squares = [
        PELoss("deviation", 1.0, 2.0)(logits[:, :3, :8, x : x + 8], onehot[:, :, :8, x : x + 8])
        for x in (0, 8, 16)
    ]
    expected = (0.5 * squares[0] + squares[1] + squares[2]) / 2.5
    assert loss(logits[:, :3], onehot).item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_teacher_does_not_annotate() -> None:
    image, onehot, distance = _batch()
    onehot[:, :, 8:] = 0
    mixed, _ = mixed_targets(nn.Identity(), image, onehot, distance, share=0.3)
    assert not mixed[:, :, 8:].any()
    assert torch.allclose(mixed[:, :, :8].sum(dim=1), torch.ones(3, 8, 24))
