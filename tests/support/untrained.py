"""Runs with networks that were never trained, for tests that do not check the nuclei."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from nucleipel.model.checkpoint import build_description, write_checkpoint
from nucleipel.model.network import NetworkSpec, build_network

State = dict[str, torch.Tensor]


def small_network(
    *, block_px: int, features: tuple[int, ...] = (16, 24), channels: int = 3
) -> NetworkSpec:
    return NetworkSpec(
        "unet", features, residual_units=1, in_channels=channels, classes=3, block_px=block_px
    )


def write_untrained(
    folder: Path,
    network: NetworkSpec,
    *,
    seed: int = 0,
    mpp: float | None = 0.5,
    core_px: int = 32,
    boundary_px: int = 2,
    instances: Mapping[str, Any] | None = None,
    stained_instances: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    changed: Callable[[State], State] = dict,
) -> Path:
    """Write a run whose weights are those of a seed, `changed`; returns its folder."""
    torch.manual_seed(seed)
    built = build_network(network).eval()
    description = build_description(
        built,
        network,
        mpp=mpp,
        core_px=core_px,
        boundary_px=boundary_px,
        maps=("background", "interior", "boundary", "distance"),
        instances=dict(instances or {}),
        config=dict(config or {}),
    )
    if stained_instances:
        description = replace(description, stained_instances=dict(stained_instances))
    folder.mkdir(parents=True, exist_ok=True)
    write_checkpoint(folder, description, changed(built.state_dict()))
    return folder
