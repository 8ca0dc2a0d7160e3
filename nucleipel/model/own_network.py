"""A torch module of the user's own in place of a checkpoint: it is measured, and never stored."""

import copy
import hashlib
from typing import Any, cast

import torch
from torch import nn

from nucleipel.core.intensity import HIGH_PERCENTILE, LOW_PERCENTILE
from nucleipel.errors import CheckpointError
from nucleipel.model.checkpoint import Checkpoint, Description, WindowGrid
from nucleipel.model.network import NetworkSpec, OwnNetwork
from nucleipel.model.receptive_field import receptive_radius

MAPS = ("background", "interior", "boundary", "distance")


class _WithDistance(nn.Module):
    """A network of three classes, with a fourth output that nobody reads."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits = self.network(image)
        return torch.cat([logits, torch.zeros_like(logits[:, :1])], dim=1)


def checkpoint_of_module(
    module: nn.Module,
    *,
    channels: int,
    stride: int,
    mpp: float | None,
    core_px: int,
    receptive_radius_px: int | None = None,
    accept_seams: bool = False,
    instances: dict[str, Any] | None = None,
) -> Checkpoint:
    """Describe a module as a checkpoint is described; a copy of it is made, in eval mode.

    Parameters
    ----------
    module : torch.nn.Module
        From (B, `channels`, H, W) float32 in 0..1 to logits (B, 3 or 4, H, W) of background,
        interior, boundary and perhaps of the distance to the nucleus' own edge.
    channels, stride : int
        Channels of its input; sides of its windows are multiples of `stride`.
    mpp : float, optional
        Um per pixel that it was trained at; None without pixel sizes.
    core_px : int
        Side of the cores of its windows.
    receptive_radius_px : int, optional
        Measured if None.
    accept_seams : bool
        Whether a network whose output depends on the whole window is taken; the halo
        is then `receptive_radius_px`, or `core_px` / 4.
    instances : dict, optional
        Numbers of the `InstanceRule`; the defaults if None.

    Raises
    ------
    CheckpointError
        If its output is of another shape, or depends on the whole window.
    """
    network = copy.deepcopy(module).cpu().eval()
    if core_px < stride or core_px % stride:
        raise CheckpointError(f"core_px {core_px}: expected a multiple of the stride, {stride} px")
    maps = _outputs(network, channels, core_px)
    radius = receptive_radius_px
    if radius is None and not accept_seams:
        radius = _measured(network, channels, stride)
    halo = (core_px // 4) if radius is None else radius
    description = Description(
        network=cast(NetworkSpec, OwnNetwork(channels, stride)),  # all that prediction reads
        mpp=mpp,
        grid=WindowGrid(core_px, -(-halo // stride) * stride, batch=1, edge_px=None),
        receptive_radius_px=None if accept_seams else radius,
        boundary_px=0,
        maps=MAPS[:maps],
        instances=dict(instances or {}),
        normalization={"low_percentile": LOW_PERCENTILE, "high_percentile": HIGH_PERCENTILE},
        versions={"torch": torch.__version__},
        config={},
        parent_sha256=None,
    )
    whole = network if maps == len(MAPS) else _WithDistance(network)
    return Checkpoint(description, whole.eval(), _hash(network))


def _outputs(network: nn.Module, channels: int, side_px: int) -> int:
    """The number of maps that a network gives."""
    name = type(network).__name__
    try:
        with torch.inference_mode():
            logits = network(torch.zeros(1, channels, side_px, side_px))
    except RuntimeError as error:
        raise CheckpointError(
            f"{name}: fails on (1, {channels}, {side_px}, {side_px}) float32:"
            f" {str(error).splitlines()[0]}; set channels= and stride="
        ) from error
    made = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if made not in [(1, maps, side_px, side_px) for maps in (3, 4)]:
        raise CheckpointError(
            f"{name}: gives {made} for (1, {channels}, {side_px}, {side_px}); expected 3 or 4"
            f" logits a pixel: {', '.join(MAPS[:3])} and perhaps {MAPS[3]}"
        )
    return int(logits.shape[1])


def _measured(network: nn.Module, channels: int, stride: int) -> int:
    try:
        return receptive_radius(network, in_channels=channels, stride=stride)
    except ValueError as error:
        raise CheckpointError(
            f"{type(network).__name__}: {error}; or pass accept_seams=True"
        ) from error


def _hash(network: nn.Module) -> str:
    """Hash of the module's text and of all its tensors."""
    content = hashlib.sha256(repr(network).encode())
    for name, tensor in network.state_dict().items():
        content.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        content.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return content.hexdigest()
