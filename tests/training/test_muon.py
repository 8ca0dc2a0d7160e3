"""Muon: kernels step by an orthogonal matrix of AdamW's size, other weights as in AdamW."""

import pytest
import torch
from torch import nn

from nucleipel.training.muon import Muon, orthogonalized


@pytest.mark.parametrize("shape", [(16, 144), (144, 16), (32, 32), (1, 9)])
def test_singular_values_become_about_one_and_their_vectors_stay(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    values = torch.logspace(0, -2, min(shape))  # the least a hundredth of the greatest
    found = orthogonalized(left @ torch.diag(values) @ right)
    ones = left.T @ found @ right.T
    assert torch.diag(ones).min() > 0.5 and torch.diag(ones).max() < 1.3
    assert (ones - torch.diag(torch.diag(ones))).abs().max() < 1e-3


def test_nothing_stays_nothing() -> None:
    assert torch.equal(orthogonalized(torch.zeros(4, 9)), torch.zeros(4, 9))


def test_matrices_step_as_with_the_optimizer_of_torch() -> None:
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("torch.optim.Muon came with torch 2.9")
    torch.manual_seed(0)
    start, target = torch.randn(24, 40), torch.randn(24, 40)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizers = [
        Muon([ours], lr=1e-2, weight_decay=0.1),
        torch.optim.Muon([theirs], lr=1e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
    ]
    for _ in range(10):
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            (parameter - target).square().sum().backward()
            optimizer.step()
    moved = (theirs - start).norm()
    assert (ours - theirs).norm() < 0.02 * moved  # theirs iterates in bfloat16


def test_a_kernel_steps_as_the_matrix_that_it_flattens_to() -> None:
    torch.manual_seed(0)
    start, gradient = torch.randn(8, 4, 3, 3), torch.randn(8, 4, 3, 3)
    kernel, matrix = nn.Parameter(start.clone()), nn.Parameter(start.flatten(1).clone())
    kernel.grad, matrix.grad = gradient, gradient.flatten(1)
    for parameter in (kernel, matrix):
        Muon([parameter], lr=1e-2, weight_decay=0).step()
    assert torch.equal(kernel.flatten(1), matrix)
    rms = (kernel - start).square().mean().sqrt() / 1e-2
    assert 0.15 < rms < 0.25  # of all directions together, 0.2 as AdamW's usual steps


def test_biases_and_norms_step_as_with_adamw() -> None:
    torch.manual_seed(0)
    start = torch.randn(32)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizers = [
        Muon([ours], lr=1e-2, weight_decay=0.1),
        torch.optim.AdamW([theirs], lr=1e-2, weight_decay=0.1),
    ]
    for step in range(10):
        gradient = torch.randn(32) * (step + 1)
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            parameter.grad = gradient.clone()
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_what_has_no_gradient_stays() -> None:
    kernel, bias = nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(2))
    bias.grad = torch.ones(2)
    Muon([kernel, bias], lr=0.1, weight_decay=0.1).step()
    assert torch.equal(kernel, torch.ones(2, 3))
    assert (bias < 1).all()


def test_directions_of_small_gradients_are_learned_sooner_than_with_adamw() -> None:
    """The reason for it: a problem some of whose directions are a hundred times flatter."""
    torch.manual_seed(0)
    mixed = torch.linalg.qr(torch.randn(16, 16)).Q
    inputs = torch.diag(torch.logspace(0, -2, 16)) @ mixed
    target = torch.randn(8, 16)
    left = {}
    for name, optimizer_of in (
        ("muon", lambda p: Muon([p], lr=3e-2, weight_decay=0)),
        ("adamw", lambda p: torch.optim.AdamW([p], lr=3e-2, weight_decay=0)),
    ):
        weights = nn.Parameter(torch.zeros(8, 16))
        optimizer = optimizer_of(weights)
        for step in range(200):
            optimizer.param_groups[0]["lr"] = 3e-2 * (1 - step / 200)
            optimizer.zero_grad()
            ((weights - target) @ inputs.T).square().mean().backward()
            optimizer.step()
        left[name] = float((weights - target).detach().norm())
    assert left["muon"] < left["adamw"], left
