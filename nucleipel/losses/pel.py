"""PointWise Exponential Loss (PEL), a powered Dice loss, in its four forms.

Source: https://github.com/bluesky314/PointWise-Exponential-Loss. The README's
two formulas, the code in its history and its text describe four different
losses; all four are here by name. For one class of one patch, with p the
softmax probability and g the one-hot annotation, sums over pixels:

    jaccard    1 - alpha * sum(p**n * g) / (sum(p*g) + sum(p*(1-g)) + sum((1-p)*g))
    dice       1 - alpha * sum(p**n * g) / (sum(p) + sum(g))
    original   1 - alpha * sum((p*g)**n) / (sum(p) + sum(g))
    deviation      alpha * sum(|p-g|**n) / (sum(p) + sum(g))

then the mean over classes, then over patches. `dice` (alpha 2, n 1) and
`deviation` (alpha 1, n 1) are exactly the soft Dice loss. `original` equals
`dice` for a 0/1 annotation; its author's code sums over the whole batch, with
alpha 20 and n 3: `PELoss("original", 20, 3, batch=True)`.

`deviation` alone may weigh pixels: with w(i) = `boundary_weight` where a pixel
within `boundary_px` of i (in a square) has another annotated class, else 1,

    deviation      alpha * sum(w * |p-g|**n) / sum(w * (p+g))

which is the weighted soft Dice loss for alpha 1, n 1 (nucleipel's own addition:
deviations lie at edges, and this weight sets what they count there).

With `block_px` a patch is cut into squares, each a patch of its own to the loss
(nucleipel's own addition too). In a sum over a whole patch large nuclei drown
small ones; in a square that holds one small nucleus the sums are that nucleus'.

A pixel whose annotation is 0 in every class counts nowhere (what lies outside of
an annotated region): sums leave it out. Squares then weigh as many of their
pixels count, the patch they are cut from as any other.

Gradients with respect to p on an annotated pixel (g = 1), with D the
denominator, N = sum(p**n * g) and S = sum(|p-g|**n):

    jaccard            -alpha * n * p**(n-1) / D
    dice, original     -alpha * (n * p**(n-1) - N/D) / D
    deviation          -alpha * (n * (1-p)**(n-1) + S/D) / D

Warning, for n > 1: the gradient of `jaccard` vanishes where p is small, and
that of `dice` and `original` even changes sign there (at n = 3 and a good fit,
where N/D is near 1/2, below p = .41): missed pixels are pushed further down.
Only `deviation` pulls more where the deviation is larger, and through the
softmax even its pull, n * p * (1-p)**n of two classes, fades at p near 0.
Pair PEL with cross-entropy, which does not let go of missed pixels.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import nn

from nucleipel.losses.counted_pixels import counted_pixels

Form = Literal["jaccard", "dice", "original", "deviation"]
FORMS: tuple[str, ...] = get_args(Form)
Reduction = Literal["mean", "sum", "none"]
EPSILON = 1e-6


class PELoss(nn.Module):
    """PEL of logits against a one-hot annotation: one value per patch and class, then the mean.

    Arguments are named as in the losses of MONAI (without `softmax`: the loss
    always takes logits). Computed in float32 also under
    autocast.

    A class that a patch does not hold stays in the mean with the formula's own
    value: 1 with zero gradient for `jaccard`, `dice` and `original`; for
    `deviation` the probability of the absent class is punished.
    0/0 is kept finite by an epsilon of 1e-6 in the denominator.

    Parameters
    ----------
    form : {"jaccard", "dice", "original", "deviation"}
        Which of the formulas at the top of this module.
    alpha : float
        Factor on the powered term, above 0. Under AdamW it acts as the weight
        of PEL against the cross-entropy that is added to it.
    n : float
        Exponent in (0, 4]; may be changed between calls. Below 1 the slope at
        0 would be infinite; values under 1e-6 then follow a straight line.
    include_background : bool
        Whether class 0 takes part; short for `classes=range(1, C)` when not.
    classes : sequence of int, optional
        The classes that take part; all if None.
    weight : sequence of float, optional
        Weights of the classes that take part, in their order. Only their
        ratios matter: the mean is a weighted mean.
    batch : bool
        Sum over the whole batch and not over each patch, as the original code
        does. The loss of a patch then depends on the others of its batch.
    boundary_weight : float
        Weight, above 0, of pixels near annotated boundaries, against 1 for all
        others; `deviation` only.
    boundary_px : int
        Largest distance along either axis to a pixel of another class that is near.
    block_px : int, optional
        Side of the squares (cubes, of volumes) that each patch is cut into, which
        then count as patches; the patch itself if None.
    to_onehot_y : bool
        Whether the annotation comes as (B, 1, H, W) class indices.
    reduction : {"mean", "sum", "none"}
        "none" gives the (B, classes) values, (1, classes) with `batch`, a row a
        square with `block_px`, each times its weight over the mean weight.

    Raises
    ------
    ValueError
        If a parameter is out of range, or shapes differ at the call.
    """

    def __init__(
        self,
        form: Form = "deviation",
        alpha: float = 1.0,
        n: float = 2.0,
        *,
        include_background: bool = True,
        classes: Sequence[int] | None = None,
        weight: Sequence[float] | None = None,
        batch: bool = False,
        boundary_weight: float = 1.0,
        boundary_px: int = 2,
        block_px: int | None = None,
        to_onehot_y: bool = False,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        if form not in FORMS:
            raise ValueError(f"form '{form}'; expected one of {', '.join(FORMS)}")
        if not alpha > 0:
            raise ValueError(f"alpha {alpha}; expected a number above 0")
        if not boundary_weight > 0 or boundary_px < 1:
            raise ValueError(
                f"boundary_weight {boundary_weight}, boundary_px {boundary_px}; expected a number"
                " above 0 and pixels from 1 on"
            )
        if boundary_weight != 1 and form != "deviation":
            raise ValueError(f"boundary_weight goes with the form deviation, not with {form}")
        if block_px is not None and (block_px < 1 or batch):
            raise ValueError(
                f"block_px {block_px}, batch {batch}; expected pixels from 1 on, without batch"
            )
        if reduction not in get_args(Reduction):
            raise ValueError(f"reduction '{reduction}'; expected mean, sum or none")
        self.form = form
        self.alpha = alpha
        self.n = n
        self.include_background = include_background
        self.classes = _checked_classes(classes, include_background=include_background)
        self.batch = batch
        self.boundary_weight = boundary_weight
        self.boundary_px = boundary_px
        self.block_px = block_px
        self.to_onehot_y = to_onehot_y
        self.reduction = reduction
        self._factors = _factors(weight, classes=self.classes)

    @property
    def n(self) -> float:
        """The exponent."""
        return self._n

    @n.setter
    def n(self, value: float) -> None:
        if not 0 < value <= 4:
            raise ValueError(f"n {value}; expected a number in (0, 4]")
        self._n = value

    def forward(self, logits: torch.Tensor, onehot: torch.Tensor) -> torch.Tensor:
        """Loss of (B, C, H, W) or (B, C, D, H, W) logits and a one-hot annotation of that shape."""
        if self.to_onehot_y:
            onehot = _to_onehot(onehot, logits)
        if logits.shape != onehot.shape or logits.ndim not in (4, 5):
            raise ValueError(
                f"logits {tuple(logits.shape)}, onehot {tuple(onehot.shape)};"
                " expected the same (B, C, H, W) or (B, C, D, H, W)"
            )
        with torch.autocast(device_type=logits.device.type, enabled=False):
            # float64 is left alone, so that gradients can be checked numerically
            precise = logits if logits.dtype == torch.float64 else logits.float()
            p = precise.softmax(dim=1)
            chosen = self._chosen(p.shape[1])
            g = onehot.to(p.dtype)
            counted = counted_pixels(g)
            if counted is not None:
                p = p * counted
            weights = None if self.boundary_weight == 1 else self._weights(g)
            p, g = p[:, chosen], g[:, chosen]
            if self.block_px is not None:
                p, g = _blocks(p, self.block_px), _blocks(g, self.block_px)
                weights = None if weights is None else _blocks(weights, self.block_px)
            values = self._per_class(p, g, weights)
            if counted is not None:
                values = values * self._shares(counted.to(p.dtype))
            if self._factors is not None:
                values = values * values.new_tensor(self._factors)
        if self.reduction == "none":
            return values
        return values.mean() if self.reduction == "mean" else values.sum()

    def _chosen(self, count: int) -> list[int]:
        """Indices of the classes that take part, of `count`."""
        if self.classes is not None and max(self.classes) >= count:
            raise ValueError(f"classes {list(self.classes)}; the logits have {count} classes")
        first = 0 if self.include_background else 1
        chosen = list(range(first, count) if self.classes is None else self.classes)
        if self._factors is not None and len(self._factors) != len(chosen):
            raise ValueError(
                f"{len(self._factors)} weights; expected {len(chosen)}, one a class that takes part"
            )
        return chosen

    def _weights(self, g: torch.Tensor) -> torch.Tensor:
        """(B, 1, ...) weights of the pixels of a (B, C, ...) annotation."""
        pool = nn.functional.max_pool2d if g.ndim == 4 else nn.functional.max_pool3d
        side = 2 * self.boundary_px + 1
        # likeliest class, so that a soft annotation has boundaries too
        hard = nn.functional.one_hot(g.argmax(dim=1), g.shape[1]).movedim(-1, 1).to(g.dtype)
        hard = hard * (g.sum(dim=1, keepdim=True) > 0)
        classes_near = pool(hard, side, stride=1, padding=self.boundary_px).sum(dim=1, keepdim=True)
        return torch.where(classes_near > 1, g.new_tensor(self.boundary_weight), g.new_tensor(1))

    def _shares(self, counted: torch.Tensor) -> torch.Tensor:
        """(rows, 1) weights of the values: 0 where nothing counts, of squares by what counts."""
        if self.batch:
            return counted.amax().reshape(1, 1)
        if self.block_px is None:
            return counted.flatten(1).amax(dim=1, keepdim=True)
        sums = _blocks(counted, self.block_px).flatten(1).sum(dim=1).reshape(len(counted), -1)
        return (sums / sums.mean(dim=1, keepdim=True).clamp_min(EPSILON)).reshape(-1, 1)

    def _per_class(
        self, p: torch.Tensor, g: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(B, C) values, (1, C) with `batch`, of (B, C, ...) probabilities and annotation."""
        if weights is not None:
            off = self._sums(weights * _power((p - g).abs(), self.n))
            return self.alpha * off / (self._sums(weights * (p + g)) + EPSILON)
        mass = self._sums(p) + self._sums(g)
        if self.form == "deviation":
            return self.alpha * self._sums(_power((p - g).abs(), self.n)) / (mass + EPSILON)
        if self.form == "original":
            hit = self._sums(_power(p * g, self.n))
        else:
            hit = self._sums(_power(p, self.n) * g)
        if self.form == "jaccard":
            mass = mass - self._sums(p * g)
        return 1 - self.alpha * hit / (mass + EPSILON)

    def _sums(self, values: torch.Tensor) -> torch.Tensor:
        each = values.flatten(2).sum(dim=2)
        return each.sum(dim=0, keepdim=True) if self.batch else each


def _checked_classes(
    classes: Sequence[int] | None, *, include_background: bool
) -> tuple[int, ...] | None:
    if classes is None:
        return None
    if not classes or min(classes) < 0 or len(set(classes)) < len(classes):
        raise ValueError(f"classes {list(classes)}; expected indices from 0 on, each once")
    if not include_background and 0 in classes:
        raise ValueError(f"classes {list(classes)} hold the background; include_background is off")
    return tuple(classes)


def _factors(
    weight: Sequence[float] | None, *, classes: tuple[int, ...] | None
) -> list[float] | None:
    """Weights over their mean, so that the mean of the products is the weighted mean."""
    if weight is None:
        return None
    weights = [float(value) for value in weight]
    if not all(value >= 0 for value in weights) or not 0 < sum(weights) < float("inf"):
        raise ValueError(f"weight {weights}; expected numbers from 0 on, not all 0")
    if classes is not None and len(weights) != len(classes):
        raise ValueError(f"weight {weights}; expected {len(classes)}, one of each class")
    return [value * len(weights) / sum(weights) for value in weights]


def _to_onehot(indices: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    if indices.shape != (logits.shape[0], 1, *logits.shape[2:]):
        raise ValueError(
            f"annotation {tuple(indices.shape)}, logits {tuple(logits.shape)};"
            " with to_onehot_y expected (B, 1, H, W) class indices"
        )
    onehot = nn.functional.one_hot(indices[:, 0].long(), logits.shape[1])
    return onehot.movedim(-1, 1)


def _blocks(values: torch.Tensor, side: int) -> torch.Tensor:
    """(B, C, ...) cut into squares or cubes: (B * squares, C, side, side) or with one more side."""
    if any(length % side for length in values.shape[2:]):
        raise ValueError(f"block_px {side} does not divide patches of {tuple(values.shape[2:])} px")
    axes = range(2, values.ndim)
    for axis in axes:
        values = values.unfold(axis, side, side)
    return values.movedim(1, len(axes) + 1).flatten(0, len(axes))


def _power(base: torch.Tensor, n: float) -> torch.Tensor:
    """Raise base >= 0 to the power of n, with a finite slope at 0 for n < 1."""
    if n >= 1:
        return base**n
    small = base < EPSILON
    # the masked branch must stay finite too: 0 * inf in its gradient is NaN
    return torch.where(
        small, base * EPSILON ** (n - 1), torch.where(small, torch.ones_like(base), base) ** n
    )
