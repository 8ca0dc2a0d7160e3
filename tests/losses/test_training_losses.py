"""Sums of losses, their schedules, the rivals of PEL, and the pull of a loss on a pixel."""

import numpy as np
import pytest
import torch
from support.dice_of_monai import monai_dice

from nucleipel.losses import (
    ClassesAndDistance,
    CrossEntropyRegion,
    PELoss,
    Ramp,
    annotated_logit_step,
    build_region_loss,
)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(0)
    classes = random.integers(0, 3, (2, 8, 8))
    logits = torch.from_numpy(random.normal(size=(2, 3, 8, 8))).float()
    return logits, torch.nn.functional.one_hot(torch.from_numpy(classes), 3).movedim(-1, 1).float()


def test_a_ramp_goes_in_a_straight_line_and_stays() -> None:
    ramp = Ramp(1, 3, 0.5)
    assert [ramp.at(progress) for progress in (0, 0.25, 0.5, 0.75, 1)] == [1, 2, 3, 3, 3]
    assert Ramp(1, 3, 0).at(0) == 3
    assert Ramp(1, 0.5, 1).at(0.5) == 0.75


def test_n_and_weight_follow_the_progress() -> None:
    logits, onehot = batch()
    outputs = torch.cat([logits, torch.zeros(2, 1, 8, 8)], dim=1)
    distance = torch.zeros(2, 1, 8, 8)
    loss = ClassesAndDistance(
        CrossEntropyRegion(
            PELoss("deviation", n=3),
            cross_entropy_weight=1,
            region_weight=Ramp(0, 2, 1),
            exponent=Ramp(1, 3, 0.5),
        ),
        distance_weight=0,
    )
    entropy = torch.nn.functional.cross_entropy(logits, onehot).item()

    def expected(weight: float, n: float) -> float:
        return entropy + weight * PELoss("deviation", n=n)(logits, onehot).item()

    # without a progress it is what it will be at the end
    assert loss(outputs, onehot, distance).item() == pytest.approx(expected(2, 3))
    for progress, weight, n in ((0, 0, 1), (0.25, 0.5, 2), (0.5, 1, 3), (1, 2, 3), (0.25, 0.5, 2)):
        loss.set_progress(progress)
        assert loss(outputs, onehot, distance).item() == pytest.approx(expected(weight, n))


def test_dice_and_its_gradient_are_those_of_monai_to_the_bit() -> None:
    logits, onehot = batch()
    onehot[0] = torch.tensor([1.0, 0, 0])[:, None, None]  # two classes are nowhere in this patch
    gradients = []
    for loss in (build_region_loss("dice"), monai_dice()):
        own = logits.clone().requires_grad_()
        loss(own, onehot).backward()
        gradients.append(own.grad)
    assert torch.equal(*gradients)


def test_region_losses_by_name() -> None:
    logits, onehot = batch()
    dice = monai_dice()(logits, onehot).item()
    assert build_region_loss("dice")(logits, onehot).item() == dice
    assert build_region_loss("none") is None
    p = logits.softmax(dim=1)
    focal = -(onehot * (1 - p) ** 2 * p.log()).sum(dim=1).mean().item()
    found = build_region_loss("dice_focal")(logits, onehot).item()
    assert found == pytest.approx(dice + focal, rel=1e-5)
    hit, false, missed = (
        values.sum(dim=(2, 3)) for values in (p * onehot, p * (1 - onehot), (1 - p) * onehot)
    )
    tversky = ((1 - hit / (hit + 0.3 * false + 0.7 * missed)) ** 0.75).mean().item()
    assert build_region_loss("focal_tversky")(logits, onehot).item() == pytest.approx(tversky, 1e-4)
    with pytest.raises(ValueError, match="region loss 'dise'; expected dice, dice_focal"):
        build_region_loss("dise")


@pytest.mark.parametrize("name", ["dice", "dice_focal", "focal_tversky"])
@pytest.mark.parametrize("sure", [0.0, 1e4, -1e4])
def test_rivals_stay_finite(name: str, sure: float) -> None:
    _, onehot = batch()
    onehot[0] = torch.tensor([1.0, 0, 0])[:, None, None]
    logits = (sure * (2 * onehot - 1)).requires_grad_()
    value = build_region_loss(name)(logits, onehot)
    value.backward()
    assert value.isfinite()
    assert logits.grad.isfinite().all()


def test_without_a_region_loss_cross_entropy_is_alone() -> None:
    logits, onehot = batch()
    found = CrossEntropyRegion(None, cross_entropy_weight=2)(logits, onehot).item()
    expected = 2 * torch.nn.functional.cross_entropy(logits, onehot).item()
    assert found == pytest.approx(expected)


def test_pull_of_cross_entropy_is_the_deviation() -> None:
    logits, onehot = batch()
    p, g = logits[0].softmax(dim=0), onehot[0]
    pull = annotated_logit_step(torch.nn.functional.cross_entropy, p, g)
    assert torch.allclose(pull, (p - g).abs().sum(dim=0) / 2 / 64, atol=1e-6)


def test_the_pull_differs_between_the_forms() -> None:
    """A good fit with one nucleus missed: jaccard hardly pulls on it, deviation does."""
    g = torch.zeros(2, 32, 32)
    g[1, 4:12, 4:12], g[1, 20:28, 20:28] = 1, 1
    g[0] = 1 - g[1]
    p1 = torch.where(g[1] > 0, 0.9, 0.1)
    p1[20:28, 20:28] = 0.1
    p = torch.stack([1 - p1, p1])
    found = {
        form: annotated_logit_step(PELoss(form, n=3), p, g) for form in ("jaccard", "deviation")
    }
    ratio = {form: (pull[24, 24] / pull[8, 8]).item() for form, pull in found.items()}
    assert ratio["jaccard"] < 1
    assert ratio["deviation"] > 5
