"""The four forms of PEL against their formulas, their gradients, and what they share with Dice."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from support.dice_of_monai import monai_dice

from nucleipel.losses import CrossEntropyRegion, PELoss
from nucleipel.losses.pel import EPSILON, FORMS

EXPONENTS = [0.5, 1, 2, 3, 4]


def batch(seed: int = 0, *, shape: tuple[int, ...] = (3, 3, 6, 5)) -> tuple[torch.Tensor, ...]:
    """Float64 logits and a one-hot annotation that holds every class in every patch."""
    random = np.random.default_rng(seed)
    classes = random.integers(0, shape[1], (shape[0], *shape[2:]))
    classes[:, 0, : shape[1]] = np.arange(shape[1])
    onehot = np.moveaxis(np.eye(shape[1])[classes], -1, 1)
    logits = random.normal(scale=2, size=shape)
    return torch.from_numpy(logits), torch.from_numpy(onehot.copy())


def by_formula(
    logits: torch.Tensor,
    onehot: torch.Tensor,
    form: str,
    alpha: float,
    n: float,
    *,
    include_background: bool = True,
) -> float:
    """The formulas as they are written, pixel by pixel, in float64 NumPy."""
    z = logits.detach().double().numpy()
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    g = onehot.double().numpy()
    values = []
    for patch in range(len(p)):
        for index in range(0 if include_background else 1, p.shape[1]):
            pc, gc = p[patch, index].ravel(), g[patch, index].ravel()
            if form == "jaccard":
                union = sum(pc * gc) + sum(pc * (1 - gc)) + sum((1 - pc) * gc)
                values.append(1 - alpha * sum(pc**n * gc) / (union + EPSILON))
            elif form == "dice":
                values.append(1 - alpha * sum(pc**n * gc) / (sum(pc) + sum(gc) + EPSILON))
            elif form == "original":
                values.append(1 - alpha * sum((pc * gc) ** n) / (sum(pc) + sum(gc) + EPSILON))
            else:
                values.append(alpha * sum(abs(pc - gc) ** n) / (sum(pc) + sum(gc) + EPSILON))
    return float(np.mean(values))


# --- values --------------------------------------------------------------------------


@pytest.mark.parametrize("n", EXPONENTS)
@pytest.mark.parametrize("form", FORMS)
def test_value_is_the_formula(form: str, n: float) -> None:
    logits, onehot = batch()
    found = PELoss(form, alpha=1.7, n=n)(logits, onehot)
    assert found.dtype == torch.float64
    assert found.item() == pytest.approx(by_formula(logits, onehot, form, 1.7, n), rel=1e-12)


@pytest.mark.parametrize("n", [0.5, 3])
@pytest.mark.parametrize("form", FORMS)
def test_annotation_may_be_soft(form: str, n: float) -> None:
    logits, onehot = batch()
    soft = 0.8 * onehot + 0.1
    found = PELoss(form, alpha=1, n=n)(logits, soft).item()
    assert found == pytest.approx(by_formula(logits, soft, form, 1, n), rel=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_without_background(form: str) -> None:
    logits, onehot = batch()
    found = PELoss(form, alpha=1, n=3, include_background=False)(logits, onehot).item()
    expected = by_formula(logits, onehot, form, 1, 3, include_background=False)
    assert found == pytest.approx(expected, rel=1e-12)
    assert found != pytest.approx(PELoss(form, alpha=1, n=3)(logits, onehot).item(), rel=1e-3)


def test_by_hand() -> None:
    # p of class 1 is 3/4, 3/4, 1/4, 1/4; the first and third pixel are annotated
    p = torch.tensor([0.75, 0.75, 0.25, 0.25], dtype=torch.float64)
    logits = torch.stack([1 - p, p]).log().reshape(1, 2, 1, 4)
    g = torch.tensor([1.0, 0, 1, 0], dtype=torch.float64)
    onehot = torch.stack([1 - g, g]).reshape(1, 2, 1, 4)
    # n 2: sum p^2 g = 9/16 + 1/16 = 10/16; sum p + sum g = 4; union 4 - 1 = 3;
    # sum |p - g|^2 = (1 + 9 + 9 + 1) / 16 = 20/16; class 0 mirrors class 1
    for form, expected in {
        "jaccard": 1 - 10 / 16 / 3,
        "dice": 1 - 10 / 16 / 4,
        "original": 1 - 10 / 16 / 4,
        "deviation": 20 / 16 / 4,
    }.items():
        found = PELoss(form, alpha=1, n=2)(logits, onehot).item()
        assert found == pytest.approx(expected, abs=1e-6), form


@pytest.mark.parametrize("alpha", [0.5, 1, 20])
@pytest.mark.parametrize("n", EXPONENTS)
def test_perfect_prediction(n: float, alpha: float) -> None:
    _, onehot = batch()
    sure = 1e4 * (2 * onehot - 1)
    for form, expected in {
        "jaccard": 1 - alpha,
        "dice": 1 - alpha / 2,
        "original": 1 - alpha / 2,
        "deviation": 0,
    }.items():
        found = PELoss(form, alpha=alpha, n=n)(sure, onehot).item()
        assert found == pytest.approx(expected, abs=alpha * 1e-6), form


@pytest.mark.parametrize("form", FORMS)
def test_alpha_scales_the_powered_term(form: str) -> None:
    logits, onehot = batch()
    one, six = (PELoss(form, alpha=alpha, n=2)(logits, onehot).item() for alpha in (1, 6))
    offset = 0 if form == "deviation" else 1
    assert six - offset == pytest.approx(6 * (one - offset), rel=1e-12)


# --- batches -------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_loss_is_the_mean_over_patches(form: str) -> None:
    logits, onehot = batch()
    # patches that differ much, so that sums over the batch would show
    onehot[0] = torch.eye(3, dtype=torch.float64)[0][:, None, None]
    loss = PELoss(form, alpha=2, n=3)
    each = [loss(logits[[patch]], onehot[[patch]]).item() for patch in range(3)]
    assert loss(logits, onehot).item() == pytest.approx(np.mean(each), rel=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_order_of_the_batch_does_not_matter(form: str) -> None:
    logits, onehot = batch()
    loss = PELoss(form, alpha=2, n=3)
    order = torch.tensor([2, 0, 1])
    expected = loss(logits, onehot).item()
    assert loss(logits[order], onehot[order]).item() == pytest.approx(expected, rel=1e-12)


def test_cross_entropy_and_pel_of_each_patch_on_its_own() -> None:
    logits, onehot = (tensor.float() for tensor in batch())
    pel = PELoss("deviation", n=2)
    loss = CrossEntropyRegion(pel, cross_entropy_weight=0.5, region_weight=3)
    each = []
    for patch in range(3):
        p = logits[patch].softmax(dim=0)
        entropy = -(onehot[patch] * p.log()).sum(dim=0).mean().item()
        each.append(0.5 * entropy + 3 * pel(logits[[patch]], onehot[[patch]]).item())
    assert loss(logits, onehot).item() == pytest.approx(np.mean(each), rel=1e-5)


# --- the original code, classes, weights, MONAI's arguments ----------------------------


def test_the_original_code() -> None:
    """Its sums run over the whole batch, class by class; alpha 20, n 3, no epsilon."""
    logits, onehot = batch(shape=(3, 2, 6, 5))
    onehot[0] = torch.tensor([1.0, 0])[:, None, None]  # a patch that differs much
    p, g = logits.softmax(dim=1).numpy(), onehot.numpy()
    scores = []
    for index in range(2):
        pc, gc = p[:, index].ravel(), g[:, index].ravel()
        scores.append(1 - (20 * (pc * gc) ** 3).sum() / (pc.sum() + gc.sum()))
    found = PELoss("original", alpha=20, n=3, batch=True)(logits, onehot).item()
    assert found == pytest.approx(np.mean(scores), rel=1e-6)
    apart = PELoss("original", alpha=20, n=3)(logits, onehot).item()
    assert apart != pytest.approx(found, rel=1e-3)


@pytest.mark.parametrize("form", FORMS)
def test_sums_over_the_batch_are_those_of_one_large_patch(form: str) -> None:
    logits, onehot = batch()
    large = [torch.cat(list(tensor), dim=1)[None] for tensor in (logits, onehot)]
    expected = PELoss(form, n=3)(*large).item()
    assert PELoss(form, n=3, batch=True)(logits, onehot).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_only_the_chosen_classes_take_part(form: str) -> None:
    logits, onehot = batch()
    each = PELoss(form, n=3, reduction="none")(logits, onehot)
    assert each.shape == (3, 3)
    for classes in ([1], [2, 0], [0, 1, 2]):
        found = PELoss(form, n=3, classes=classes)(logits, onehot).item()
        assert found == pytest.approx(each[:, classes].mean().item(), rel=1e-9)
    without = PELoss(form, n=3, include_background=False)(logits, onehot).item()
    assert without == pytest.approx(each[:, 1:].mean().item(), rel=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_class_weights_make_a_weighted_mean(form: str) -> None:
    logits, onehot = batch()
    each = PELoss(form, n=2, reduction="none")(logits, onehot).mean(dim=0).numpy()
    found = PELoss(form, n=2, weight=[1, 2, 5])(logits, onehot).item()
    assert found == pytest.approx(np.average(each, weights=[1, 2, 5]), rel=1e-9)
    alike = PELoss(form, n=2, weight=[7, 7, 7])(logits, onehot).item()
    assert alike == pytest.approx(each.mean(), rel=1e-9)
    left_out = PELoss(form, n=2, weight=[0, 1, 1])(logits, onehot).item()
    assert left_out == pytest.approx(each[1:].mean(), rel=1e-9)
    ordered = PELoss(form, n=2, classes=[2, 0], weight=[3, 1])(logits, onehot).item()
    assert ordered == pytest.approx((3 * each[2] + each[0]) / 4, rel=1e-9)


def test_reductions_and_indices_for_an_annotation() -> None:
    logits, onehot = batch()
    none, total, mean = (
        PELoss(n=2, weight=[1, 2, 3], reduction=reduction)(logits, onehot)
        for reduction in ("none", "sum", "mean")
    )
    assert none.sum().item() == pytest.approx(total.item())
    assert none.mean().item() == pytest.approx(mean.item())
    assert PELoss(batch=True, reduction="none")(logits, onehot).shape == (1, 3)
    indices = onehot.argmax(dim=1, keepdim=True)
    found = PELoss(n=2, to_onehot_y=True)(logits, indices).item()
    assert found == pytest.approx(PELoss(n=2)(logits, onehot).item(), rel=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_volumes(form: str) -> None:
    logits, onehot = batch(shape=(2, 3, 8, 6))
    volumes = [tensor.reshape(2, 3, 2, 4, 6) for tensor in (logits, onehot)]
    expected = PELoss(form, n=3)(logits, onehot).item()
    assert PELoss(form, n=3)(*volumes).item() == pytest.approx(expected, rel=1e-12)


# --- squares of a patch -----------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_squares_of_a_patch_are_patches_of_their_own(form: str) -> None:
    logits, onehot = batch(shape=(2, 3, 6, 9))
    loss = PELoss(form, alpha=2, n=3)
    squares = [
        loss(logits[[patch], :, y : y + 3, x : x + 3], onehot[[patch], :, y : y + 3, x : x + 3])
        for patch in range(2)
        for y in (0, 3)
        for x in (0, 3, 6)
    ]
    cut = PELoss(form, alpha=2, n=3, block_px=3)
    assert cut(logits, onehot).item() == pytest.approx(np.mean(squares), rel=1e-12)
    assert cut(logits, onehot).item() != pytest.approx(loss(logits, onehot).item(), rel=1e-3)
    each = PELoss(form, alpha=2, n=3, block_px=3, reduction="none")(logits, onehot)
    assert each.shape == (12, 3)
    assert each.mean(dim=1).tolist() == pytest.approx([value.item() for value in squares])


def test_cubes_of_a_volume() -> None:
    logits, onehot = batch(shape=(2, 3, 8, 8))
    volumes = [tensor.reshape(2, 3, 2, 4, 8) for tensor in (logits, onehot)]
    loss = PELoss("deviation", n=2)
    corner = slice(0, 2)
    first = [volume[:1, :, corner, corner, corner] for volume in volumes]
    each = PELoss("deviation", n=2, block_px=2, reduction="none")(*volumes)
    assert each.shape == (16, 3)
    assert each[0].mean().item() == pytest.approx(loss(*first).item(), rel=1e-12)


def test_a_missed_small_nucleus_counts_as_much_as_a_large_one_elsewhere() -> None:
    """Soft Dice of a patch hardly sees it; in a square of its own it is all there is."""
    onehot = torch.zeros(1, 2, 64, 64)
    onehot[0, 1, 2:30, 2:30], onehot[0, 1, 40:44, 40:44] = 1, 1
    onehot[:, 0] = 1 - onehot[:, 1]
    logits = 12 * (2 * onehot - 1)
    missed = logits.clone()
    missed[0, :, 40:44, 40:44] *= -1
    lost = {}
    for block_px in (None, 32):
        loss = PELoss("dice", 2, 1, include_background=False, block_px=block_px)
        lost[block_px] = loss(missed, onehot).item() - loss(logits, onehot).item()
    assert lost[None] == pytest.approx(0.01, abs=0.002)
    assert lost[32] == pytest.approx(0.25, abs=0.002)  # one square of four is all wrong


def test_pixels_near_boundaries_are_found_before_a_patch_is_cut() -> None:
    logits, onehot = (tensor[:, :, :, :10] for tensor in halves())
    settings = {"n": 2, "boundary_weight": 4, "boundary_px": 1}
    weights = PELoss("deviation", **settings)._weights(onehot)
    p = logits.softmax(dim=1)
    each = []
    for y in range(0, 12, 2):
        for x in range(0, 10, 2):
            rows, columns = slice(y, y + 2), slice(x, x + 2)
            square = [part[:, :, rows, columns] for part in (p, onehot, weights)]
            each.append(PELoss("deviation", **settings)._per_class(*square).mean().item())
    found = PELoss("deviation", block_px=2, **settings)(logits, onehot).item()
    assert found == pytest.approx(np.mean(each), rel=1e-12)


# --- weights near boundaries -----------------------------------------------------------


def near_boundaries(onehot: torch.Tensor, radius_px: int) -> np.ndarray:
    """(B, H, W): whether another class stands within a square around each pixel, by looking."""
    classes = onehot.argmax(dim=1).numpy()
    near = np.zeros(classes.shape, bool)
    for patch, y, x in np.ndindex(*classes.shape):
        rows = slice(max(y - radius_px, 0), y + radius_px + 1)
        columns = slice(max(x - radius_px, 0), x + radius_px + 1)
        near[patch, y, x] = (classes[patch, rows, columns] != classes[patch, y, x]).any()
    return near


def halves(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Float64 logits, and annotations of two and three classes with long edges, 12 x 11 px."""
    logits = torch.from_numpy(np.random.default_rng(seed).normal(scale=2, size=(2, 3, 12, 11)))
    classes = torch.zeros(2, 12, 11, dtype=torch.long)
    classes[0, 6:], classes[1, :3, :4], classes[1, 9:, 7:] = 1, 1, 2
    return logits, torch.nn.functional.one_hot(classes, 3).movedim(-1, 1).double()


@pytest.mark.parametrize("radius_px", [1, 2])
@pytest.mark.parametrize("weight", [0.25, 3])
@pytest.mark.parametrize("n", [1, 2.5])
def test_pixels_near_boundaries_weigh_more_or_less(n: float, weight: float, radius_px: int) -> None:
    logits, onehot = halves()
    near = near_boundaries(onehot, radius_px)
    assert 0 < near.mean() < 0.7
    w = np.where(near, weight, 1.0)[:, None]
    z = logits.numpy()
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    g = onehot.numpy()
    off, mass = (w * abs(p - g) ** n).sum(axis=(2, 3)), (w * (p + g)).sum(axis=(2, 3))
    expected = (1.5 * off / (mass + EPSILON)).mean()
    loss = PELoss("deviation", 1.5, n, boundary_weight=weight, boundary_px=radius_px)
    assert loss(logits, onehot).item() == pytest.approx(expected, rel=1e-12)
    volumes = [tensor[:, :, None] for tensor in (logits, onehot)]
    assert loss(*volumes).item() == pytest.approx(expected, rel=1e-12)
    over_batch = PELoss("deviation", 1.5, n, batch=True, boundary_weight=weight, boundary_px=1)
    large = over_batch(logits, onehot).item()
    assert large != pytest.approx(expected, rel=1e-3)


def test_a_weight_of_1_changes_nothing_and_a_perfect_prediction_is_still_0() -> None:
    logits, onehot = halves()
    plain = PELoss("deviation", 2, 2)(logits, onehot).item()
    assert PELoss("deviation", 2, 2, boundary_weight=1)(logits, onehot).item() == plain
    weighted = PELoss("deviation", 2, 2, boundary_weight=5)
    assert weighted(logits, onehot).item() != pytest.approx(plain, rel=1e-3)
    assert weighted(1e4 * (2 * onehot - 1), onehot).item() == pytest.approx(0, abs=1e-6)
    empty = torch.zeros_like(onehot)
    empty[:, 0] = 1
    expected = PELoss("deviation", 2, 2)(logits, empty).item()
    assert weighted(logits, empty).item() == pytest.approx(expected, rel=1e-12), "no boundary"


@pytest.mark.parametrize("n", [0.5, 1, 3])
def test_gradient_with_weights_is_that_of_finite_differences(n: float) -> None:
    logits, onehot = halves()
    logits = logits[:, :, 4:8, :4].clone().requires_grad_()
    onehot = onehot[:, :, 4:8, :4]
    loss = PELoss("deviation", 1.3, n, boundary_weight=4, boundary_px=1)
    assert torch.autograd.gradcheck(lambda z: loss(z, onehot), logits)


def test_the_classes_that_take_part_do_not_move_the_boundaries() -> None:
    logits, onehot = halves()
    settings = {"n": 2, "boundary_weight": 4}
    each = PELoss("deviation", reduction="none", **settings)(logits, onehot)
    alone = PELoss("deviation", classes=[2], **settings)(logits, onehot).item()
    assert alone == pytest.approx(each[:, 2].mean().item(), rel=1e-12)


# --- gradients -----------------------------------------------------------------------


@pytest.mark.parametrize("n", EXPONENTS)
@pytest.mark.parametrize("form", FORMS)
def test_gradient_is_that_of_finite_differences(form: str, n: float) -> None:
    logits, onehot = batch(shape=(2, 3, 2, 4))
    loss = PELoss(form, alpha=1.3, n=n)
    assert torch.autograd.gradcheck(lambda z: loss(z, onehot), logits.requires_grad_())


def gradient_in_p(form: str, n: float, p: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """With respect to the probabilities themselves, not through the softmax."""
    p = p.reshape(1, 1, 1, -1).requires_grad_()
    value = PELoss(form, alpha=1, n=n)._per_class(p, g.reshape(1, 1, 1, -1))
    (gradient,) = torch.autograd.grad(value.sum(), p)
    return gradient.ravel()


def good_fit() -> tuple[torch.Tensor, torch.Tensor]:
    """200 pixels found and 200 left alone, all sure; then annotated ones found less and less."""
    doubts = torch.tensor([0.9, 0.7, 0.5, 0.3, 0.1, 0.01], dtype=torch.float64)
    p = torch.cat([torch.ones(200).double(), torch.zeros(200).double(), doubts])
    g = torch.cat([torch.ones(200), torch.zeros(200), torch.ones(len(doubts))]).double()
    return p, g


def test_jaccard_does_not_pull_on_missed_pixels() -> None:
    p, g = good_fit()
    pull = -gradient_in_p("jaccard", 3, p, g)[400:]
    assert (pull > 0).all()
    assert (pull.diff() < 0).all(), "the worse the miss, the weaker the pull"
    # the factor n p^(n-1): 2.43 at p = .9, .0003 at p = .01
    assert (pull[0] / pull[-1]).item() == pytest.approx(2.43 / 0.0003)


@pytest.mark.parametrize("form", ["dice", "original"])
def test_dice_pushes_missed_pixels_down(form: str) -> None:
    p, g = good_fit()
    pull = -gradient_in_p(form, 3, p, g)[400:]
    # the sign changes where n p^(n-1) falls below about 1/2: at p = .41
    assert (pull > 0).tolist() == [True, True, True, False, False, False]


@pytest.mark.parametrize("n", [1.5, 2, 3, 4])
def test_deviation_pulls_more_where_the_deviation_is_larger(n: float) -> None:
    p, g = good_fit()
    pull = -gradient_in_p("deviation", n, p, g)[400:]
    assert (pull > 0).all()
    assert (pull.diff() > 0).all()


def test_at_n_1_all_annotated_pixels_are_pulled_alike() -> None:
    p, g = good_fit()
    for form in FORMS:
        pull = -gradient_in_p(form, 1, p, g)[400:]
        assert (pull > 0).all(), form
        assert pull.max().item() == pytest.approx(pull.min().item()), form


@pytest.mark.parametrize("n", [1, 2, 3])
def test_gradients_are_those_of_the_docs(n: float) -> None:
    p, g = good_fit()
    missed = p[400:]
    mass, hit, off = (p + g).sum(), (p**n * g).sum(), ((p - g).abs() ** n).sum()
    expected = {
        "jaccard": -n * missed ** (n - 1) / (mass - (p * g).sum()),
        "dice": -(n * missed ** (n - 1) - hit / mass) / mass,
        "original": -(n * missed ** (n - 1) - hit / mass) / mass,
        "deviation": -(n * (1 - missed) ** (n - 1) + off / mass) / mass,
    }
    for form, gradient in expected.items():
        assert torch.allclose(gradient_in_p(form, n, p, g)[400:], gradient, rtol=1e-6), form


@pytest.mark.parametrize("n", [1, 2, 3])
def test_through_the_softmax_even_deviation_fades_on_sure_misses(n: float) -> None:
    """One pixel among many settled ones, two classes: its pull goes as n p (1-p)^n."""
    pulls = []
    chances = torch.linspace(0.001, 0.999, 999).double()
    for chance in chances:
        logits = torch.zeros(1, 2, 1, 2001, dtype=torch.float64)
        logits[0, 0, 0, :1000], logits[0, 0, 0, 1000:] = 50, -50
        logits[0, 1, 0, -1], logits[0, 0, 0, -1] = torch.logit(chance), 0
        onehot = torch.zeros_like(logits)
        onehot[0, 0, 0, :1000], onehot[0, 1, 0, 1000:] = 1, 1
        logits.requires_grad_()
        PELoss("deviation", 1, n)(logits, onehot).backward()
        pulls.append(-logits.grad[0, 1, 0, -1].item())
    best = chances[int(np.argmax(pulls))].item()
    assert best == pytest.approx(1 / (n + 1), abs=0.01)
    assert pulls[0] < 0.1 * max(pulls)


@pytest.mark.parametrize("form", FORMS)
def test_absent_class(form: str) -> None:
    p = torch.tensor([0.1, 0.4, 0.7], dtype=torch.float64)
    nothing = torch.zeros(3, dtype=torch.float64)
    gradient = gradient_in_p(form, 2, p, nothing)
    value = PELoss(form, n=2)._per_class(p.reshape(1, 1, 1, 3), nothing.reshape(1, 1, 1, 3))
    if form == "deviation":
        assert value.item() == pytest.approx((0.01 + 0.16 + 0.49) / 1.2, abs=1e-6)
        assert gradient[2] > 0, "the surest false alarm is pushed down"
    else:
        assert value.item() == 1
        assert not gradient.any()


# --- identities ----------------------------------------------------------------------


def test_three_names_of_soft_dice() -> None:
    logits, onehot = batch()
    p = logits.softmax(dim=1).numpy()
    g = onehot.numpy()
    shared, mass = (p * g).sum(axis=(2, 3)), (p + g).sum(axis=(2, 3))
    soft_dice = (1 - 2 * shared / mass).mean()
    assert PELoss("dice", alpha=2, n=1)(logits, onehot).item() == pytest.approx(soft_dice, abs=1e-6)
    deviation = PELoss("deviation", alpha=1, n=1)(logits, onehot).item()
    assert deviation == pytest.approx(soft_dice, abs=1e-6)
    # MONAI adds 1e-5 above and below
    monai = monai_dice()(logits, onehot).item()
    assert monai == pytest.approx(soft_dice, abs=1e-5)


def test_the_names_of_soft_dice_share_their_gradient() -> None:
    logits, onehot = batch()
    gradients = []
    for loss in (
        PELoss("dice", alpha=2, n=1),
        PELoss("deviation", alpha=1, n=1),
        PELoss("original", alpha=2, n=1),
        monai_dice(),
    ):
        leaf = logits.clone().requires_grad_()
        loss(leaf, onehot).backward()
        gradients.append(leaf.grad)
    for other in gradients[1:]:
        assert torch.allclose(other, gradients[0], rtol=1e-4, atol=1e-7)


def test_three_names_of_soft_dice_give_one_training_curve() -> None:
    images = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 1, 16, 16))).float()
    classes = (images[:, 0] > 0).long() + (images[:, 0] > 1).long()
    onehot = torch.nn.functional.one_hot(classes, 3).movedim(-1, 1).float()
    curves = []
    for loss in (
        PELoss("dice", alpha=2, n=1),
        PELoss("deviation", alpha=1, n=1),
        monai_dice(),
        PELoss("deviation", alpha=1, n=2),
    ):
        torch.manual_seed(0)
        network = torch.nn.Sequential(
            torch.nn.Conv2d(1, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(16, 3, 1)
        )
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
        curve = []
        for _ in range(30):
            value = loss(network(images), onehot)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            curve.append(value.item())
        curves.append(curve)
    dice, deviation, soft_dice, squared = map(np.array, curves)
    assert dice[-1] < 0.7 * dice[0], "it learns"
    assert np.allclose(dice, deviation, atol=1e-4)
    assert np.allclose(dice, soft_dice, atol=1e-4)
    assert not np.allclose(dice, squared, atol=1e-2), "another loss has another curve"


@pytest.mark.parametrize("n", EXPONENTS)
def test_original_is_dice_for_a_hard_annotation(n: float) -> None:
    logits, onehot = batch()
    values, gradients = [], []
    for form in ("original", "dice"):
        leaf = logits.clone().requires_grad_()
        value = PELoss(form, alpha=20, n=n)(leaf, onehot)
        value.backward()
        values.append(value.item())
        gradients.append(leaf.grad)
    assert values[0] == pytest.approx(values[1], rel=1e-12)
    assert torch.allclose(*gradients, rtol=1e-10, atol=1e-14)


# --- numbers that go wrong elsewhere --------------------------------------------------


@pytest.mark.parametrize("include_background", [True, False])
@pytest.mark.parametrize("n", EXPONENTS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sure", [0.0, 3.0, 1e4, -1e4])
def test_patches_of_background_only(
    form: str, n: float, include_background: bool, sure: float
) -> None:
    onehot = torch.zeros(2, 3, 4, 4)
    onehot[:, 0] = 1
    logits = (sure * (2 * onehot - 1)).requires_grad_()
    value = PELoss(form, n=n, include_background=include_background)(logits, onehot)
    value.backward()
    assert value.isfinite()
    assert logits.grad.isfinite().all()
    if sure == 1e4:
        # all right: absent classes have their formula's own value
        absent, held = (0, 0) if form == "deviation" else (1, 0 if form == "jaccard" else 0.5)
        expected = (held + 2 * absent) / 3 if include_background else absent
        assert value.item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("n", EXPONENTS)
@pytest.mark.parametrize("form", FORMS)
def test_probabilities_of_exactly_0_and_1(form: str, n: float) -> None:
    _, onehot = batch()
    # half of the pixels surely right, half surely wrong
    sure = 1e4 * (2 * onehot - 1)
    sure[..., ::2] *= -1
    logits = sure.float().requires_grad_()
    value = PELoss(form, n=n)(logits, onehot.float())
    value.backward()
    assert value.isfinite()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("form", FORMS)
def test_power_below_1_joins_its_straight_line(form: str) -> None:
    # p of class 1 on either side of 1e-6, where the straight line begins
    values = []
    for p in (0.999e-6, 1.001e-6):
        p = torch.tensor([p, 0.5], dtype=torch.float64)
        logits = torch.stack([1 - p, p]).log().reshape(1, 2, 1, 2)
        onehot = torch.tensor([[0.0, 0], [1, 1]], dtype=torch.float64).reshape(1, 2, 1, 2)
        values.append(PELoss(form, n=0.5)(logits, onehot).item())
    assert values[0] == pytest.approx(values[1], abs=2e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("form", FORMS)
def test_autocast_does_not_touch_it(form: str, dtype: torch.dtype) -> None:
    logits, onehot = (tensor.float() for tensor in batch())
    loss = PELoss(form, n=3)
    expected = loss(logits, onehot)
    with torch.autocast("cpu", dtype=dtype):
        found = loss(logits, onehot)
    assert found.dtype == torch.float32
    assert found.item() == expected.item()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("form", FORMS)
def test_half_precision_logits_are_widened_first(form: str, dtype: torch.dtype) -> None:
    logits, onehot = batch()
    half = logits.to(dtype).requires_grad_()
    loss = PELoss(form, n=3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(half, onehot.to(dtype))
    assert found.dtype == torch.float32
    assert found.item() == loss(half.float(), onehot.float()).item()
    found.backward()
    assert half.grad.dtype == dtype
    assert half.grad.isfinite().all()


def test_a_patch_of_a_million_pixels_keeps_its_digits() -> None:
    logits, onehot = batch(shape=(1, 3, 1024, 1024))
    for form in FORMS:
        single = PELoss(form, n=3)(logits.float(), onehot.float()).item()
        assert single == pytest.approx(PELoss(form, n=3)(logits, onehot).item(), rel=1e-5), form


@pytest.mark.parametrize("n", [0.01, 0.5, 1, 4])
@pytest.mark.parametrize("form", FORMS)
def test_gradient_in_p_is_finite_at_0_and_where_p_is_g(form: str, n: float) -> None:
    p = torch.tensor([0.0, 0, 1, 1, 1e-8, 1 - 1e-8, 0.5])
    g = torch.tensor([0.0, 1, 1, 0, 0, 1, 1])
    assert gradient_in_p(form, n, p, g).isfinite().all()


# --- mistakes are named --------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"form": "dise"},
            r"form 'dise'; expected one of jaccard, dice, original, deviation",
        ),
        ({"alpha": 0}, r"alpha 0; expected a number above 0"),
        ({"alpha": -1.5}, r"alpha -1\.5; expected a number above 0"),
        ({"alpha": float("nan")}, r"alpha nan; expected a number above 0"),
        ({"n": 0}, r"n 0; expected a number in \(0, 4\]"),
        ({"n": -2}, r"n -2; expected a number in \(0, 4\]"),
        ({"n": 4.01}, r"n 4\.01; expected a number in \(0, 4\]"),
        ({"n": float("nan")}, r"n nan; expected a number in \(0, 4\]"),
        ({"classes": [0, 0]}, r"classes \[0, 0\]; expected indices from 0 on, each once"),
        ({"classes": []}, r"classes \[\]; expected indices"),
        ({"classes": [0], "include_background": False}, r"classes \[0\] hold the background"),
        ({"weight": [0, 0]}, r"weight \[0\.0, 0\.0\]; expected numbers from 0 on, not all 0"),
        ({"weight": [1, -1]}, r"expected numbers from 0 on, not all 0"),
        ({"weight": [1, 2], "classes": [0]}, r"weight \[1\.0, 2\.0\]; expected 1, one of each"),
        ({"boundary_weight": 0}, "boundary_weight 0, boundary_px 2; expected a number above 0"),
        ({"boundary_weight": 2, "boundary_px": 0}, "boundary_px 0; expected a number above 0 and"),
        ({"form": "dice", "boundary_weight": 2}, "goes with the form deviation, not with dice"),
        ({"block_px": 0}, "block_px 0, batch False; expected pixels from 1 on"),
        ({"block_px": 8, "batch": True}, "block_px 8, batch True; expected .*, without batch"),
        ({"reduction": "men"}, r"reduction 'men'; expected mean, sum or none"),
    ],
)
def test_parameters_out_of_range(parameters: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PELoss(**parameters)


@pytest.mark.parametrize(
    ("logits", "onehot"),
    [
        ((2, 3, 4, 4), (2, 3, 4, 5)),
        ((2, 3, 4, 4), (2, 1, 4, 4)),  # would broadcast silently
        ((2, 3, 4, 4), (2, 4, 4)),
        ((3, 4, 4), (3, 4, 4)),
    ],
)
def test_shapes_that_do_not_fit(logits: tuple[int, ...], onehot: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected the same \(B, C, H, W\)") as caught:
        PELoss()(torch.zeros(logits), torch.zeros(onehot))
    assert str(caught.value).startswith(f"logits {logits}, onehot {onehot};")


def test_squares_that_do_not_fill_a_patch() -> None:
    logits, onehot = batch()
    with pytest.raises(ValueError, match=r"block_px 4 does not divide patches of \(6, 5\) px"):
        PELoss(block_px=4)(logits, onehot)


def test_classes_that_the_logits_do_not_have() -> None:
    logits, onehot = batch()
    with pytest.raises(ValueError, match=r"classes \[3\]; the logits have 3 classes"):
        PELoss(classes=[3])(logits, onehot)
    with pytest.raises(ValueError, match="2 weights; expected 3, one a class that takes part"):
        PELoss(weight=[1, 2])(logits, onehot)
    with pytest.raises(ValueError, match=r"with to_onehot_y expected \(B, 1, H, W\)"):
        PELoss(to_onehot_y=True)(logits, onehot)
    loss = PELoss()
    with pytest.raises(ValueError, match=r"n 5; expected a number in \(0, 4\]"):
        loss.n = 5


@pytest.mark.slow
def test_it_is_imported_without_the_rest_of_the_package() -> None:
    heavy = ("nucleipel.stages", "nucleipel.data", "nucleipel.io", "albumentations")
    code = (
        "import sys; from nucleipel.losses import PELoss;"
        f" print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.decode().strip() == "[]"
