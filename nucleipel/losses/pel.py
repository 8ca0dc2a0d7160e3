"""PointWise Exponential Loss (PEL), a powered Dice loss, in its four forms.

Source: https://github.com/bluesky314/PointWise-Exponential-Loss. The README's
two formulas, the code in its history and its text describe four different
losses; all four are here by name. For one class of one patch, with p the
softmax probability and g the one-hot annotation, sums over pixels:

    jaccard    1 - alpha * sum(p**n * g) / (sum(p*g) + sum(p*(1-g)) + sum((1-p)*g))
    dice       1 - alpha * sum(p**n * g) / (sum(p) + sum(g))
    original   1 - alpha * sum((p*g)**n) / (sum(p) + sum(g))
    deviation      alpha * sum(|p-g|**n) / (sum(p) + sum(g))

`dice` (alpha 2, n 1) and `deviation` (alpha 1, n 1) are exactly the soft Dice
loss. `original` equals `dice` for a 0/1 annotation.

Warning, for n > 1: with respect to p on annotated pixels, the gradient of
`jaccard` vanishes where p is small, and that of `dice` and `original` even
changes sign there: missed pixels are pushed further down. Only `deviation`
pulls more where the deviation is larger. Pair PEL with cross-entropy.
"""

from typing import Literal, get_args

import torch
from torch import nn

Form = Literal["jaccard", "dice", "original", "deviation"]
FORMS: tuple[str, ...] = get_args(Form)
EPSILON = 1e-6


class PELoss(nn.Module):
    """PEL of logits against a one-hot annotation: one value per patch and class, then the mean.

    Computed in float32 also under autocast. A class that a patch does not hold
    stays in the mean with the formula's own value: 1 with zero gradient for
    `jaccard`, `dice` and `original`; for `deviation` the probability given to
    the absent class is what is punished. 0/0 is kept finite by an epsilon of
    1e-6 in the denominator.

    Parameters
    ----------
    form : {"jaccard", "dice", "original", "deviation"}
        Which of the formulas above.
    alpha : float
        Factor on the powered term, above 0. Under AdamW it acts as the weight
        of PEL against the cross-entropy beside it.
    n : float
        Exponent in (0, 4]. Below 1 the slope at 0 would be infinite; values
        under 1e-6 then follow a straight line.
    include_background : bool
        Whether class 0 takes part in the mean.

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
    ) -> None:
        super().__init__()
        if form not in FORMS:
            raise ValueError(f"form '{form}'; expected one of {', '.join(FORMS)}")
        if not alpha > 0:
            raise ValueError(f"alpha {alpha}; expected a number above 0")
        if not 0 < n <= 4:
            raise ValueError(f"n {n}; expected a number in (0, 4]")
        self.form = form
        self.alpha = alpha
        self.n = n
        self.include_background = include_background

    def forward(self, logits: torch.Tensor, onehot: torch.Tensor) -> torch.Tensor:
        """Mean loss of (B, C, H, W) logits and a (B, C, H, W) one-hot annotation."""
        if logits.shape != onehot.shape or logits.ndim != 4:
            raise ValueError(
                f"logits {tuple(logits.shape)}, onehot {tuple(onehot.shape)};"
                " expected the same (B, C, H, W)"
            )
        with torch.autocast(device_type=logits.device.type, enabled=False):
            # float64 is left alone, so that gradients can be checked numerically
            precise = logits if logits.dtype == torch.float64 else logits.float()
            p = precise.softmax(dim=1)
            g = onehot.to(p.dtype)
            if not self.include_background:
                p, g = p[:, 1:], g[:, 1:]
            return self._per_class(p, g).mean()

    def _per_class(self, p: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        """(B, C) values of (B, C, H, W) probabilities and annotation."""
        mass = _sums(p) + _sums(g)
        if self.form == "deviation":
            return self.alpha * _sums(_power((p - g).abs(), self.n)) / (mass + EPSILON)
        if self.form == "original":
            hit = _sums(_power(p * g, self.n))
        else:
            hit = _sums(_power(p, self.n) * g)
        if self.form == "jaccard":
            mass = mass - _sums(p * g)
        return 1 - self.alpha * hit / (mass + EPSILON)


def _sums(values: torch.Tensor) -> torch.Tensor:
    return values.sum(dim=(2, 3))


def _power(base: torch.Tensor, n: float) -> torch.Tensor:
    """Raise base >= 0 to the power of n, with a finite slope at 0 for n < 1."""
    if n >= 1:
        return base**n
    small = base < EPSILON
    # the masked branch must stay finite too: 0 * inf in its gradient is NaN
    return torch.where(
        small, base * EPSILON ** (n - 1), torch.where(small, torch.ones_like(base), base) ** n
    )
