"""The Muon optimizer: kernels move by their momentum, made orthogonal.

A convolution's gradient is nearly of low rank: a few directions take most of a
step, and what thin boundaries need lies in the others. Muon sets all singular
values of the momentum to about one (K. Jordan et al., "Muon: an optimizer for
hidden layers in neural networks", 2024, https://kellerjordan.github.io/posts/muon).
`torch.optim.Muon` takes matrices only; here kernels are flattened to
(first axis, all others), as the post says, and what is no kernel - biases,
norms - is stepped by Adam with decoupled weight decay. Scores on DSB2018 with and
without it: docs/choices.md.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration; they raise small singular values fastest (same post)."""
ITERATIONS = 5
MOMENTUM = 0.95
BETAS = (0.9, 0.999)
EPSILON = 1e-8


class Muon(Optimizer):
    """Muon for parameters of two axes and more, AdamW for the others.

    The step of a kernel of a x b values, flattened, is scaled by
    0.2 sqrt(max(a, b)), so that its root mean square is that of AdamW's usual
    steps and both share one learning rate and weight decay (J. Liu et al.,
    "Muon is scalable for LLM training", 2025, arXiv:2502.16982).

    Parameters
    ----------
    parameters : iterable of Parameter
        The parameters of a network; groups are made here.
    lr : float
        Learning rate of all of them.
    weight_decay : float
        Decoupled: each step takes lr x weight_decay of a value away.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float
    ) -> None:
        parameters = list(parameters)
        kernels = [parameter for parameter in parameters if parameter.ndim >= 2]
        others = [parameter for parameter in parameters if parameter.ndim < 2]
        groups = [
            {"params": group, "orthogonal": orthogonal}
            for group, orthogonal in ((kernels, True), (others, False))
            if group
        ]
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Step every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            direction = _orthogonal if group["orthogonal"] else _adam
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.sub_(
                        direction(parameter.grad, self.state[parameter]), alpha=group["lr"]
                    )
        return loss


def _orthogonal(gradient: Tensor, state: dict[str, Tensor]) -> Tensor:
    if not state:
        state["momentum"] = torch.zeros_like(gradient)
    state["momentum"].lerp_(gradient, 1 - MOMENTUM)
    momentum = gradient.lerp(state["momentum"], MOMENTUM).flatten(1)  # Nesterov's
    scale = 0.2 * max(momentum.shape) ** 0.5
    return scale * orthogonalized(momentum).reshape(gradient.shape)


def _adam(gradient: Tensor, state: dict[str, Tensor]) -> Tensor:
    if not state:
        state["step"] = torch.tensor(0.0)
        state["mean"] = torch.zeros_like(gradient)
        state["square"] = torch.zeros_like(gradient)
    state["step"] += 1
    first, second = BETAS
    state["mean"].lerp_(gradient, 1 - first)
    state["square"].lerp_(gradient.square(), 1 - second)
    mean = state["mean"] / (1 - first ** float(state["step"]))
    square = state["square"] / (1 - second ** float(state["step"]))
    return mean / square.sqrt().add_(EPSILON)


def orthogonalized(matrix: Tensor) -> Tensor:
    """Make a matrix (rows, columns) orthogonal: the same singular vectors, values of about one.

    Newton and Schulz's iteration, of the fifth order. It ends between 0.7 and 1.2 for all
    that are not below a thousandth of the norm, which is as good to Muon as exactly one.
    Computed in float32 also in mixed precision: not all processors have shorter numbers.
    """
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    near = matrix.float().T if tall else matrix.float()
    near = near / near.norm().clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = near @ near.T
        near = torch.addmm(near, torch.addmm(gram, gram, gram, beta=b, alpha=c), near, beta=a)
    return near.T if tall else near
