"""The networks: MONAI's U-Nets, built layer for layer in `nucleipel.model.unet`.

With BatchNorm, because in eval mode it makes the output at a pixel depend on a
bounded window only, which exact tiling needs. InstanceNorm (MONAI's default)
takes its statistics from the whole window, for which no halo is large enough:
training with it accepts seams.

With `block_px` 2 a network works on blocks of 2 x 2 pixels, moved into channels
and back (sub-pixel convolution, Shi et al. 2016), where MONAI's UNet would
stride at once: no detail is lost on the way in or out.
"""

from dataclasses import asdict, dataclass
from typing import Any, get_args

import torch
from torch import nn

from nucleipel.errors import CheckpointError
from nucleipel.model.stride import Family, Norm, network_stride
from nucleipel.model.unet import BasicUNet, Convolution, UNet


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """The specification of a network, to build it again; stored in every checkpoint.

    Parameters
    ----------
    family : {"unet", "basic_unet"}
        Which of MONAI's U-Nets.
    features : tuple of int
        Channels of each level, the finest first.
    residual_units : int
        Residual units of each level of a `unet`.
    in_channels, classes : int
        Channels of the input; classes, to which the distance is added as one more output.
    block_px : int
        Side of the blocks of pixels that are moved into channels; 1 for none.
    norm : {"batch", "instance"}
        Kind of normalization.
    """

    family: Family
    features: tuple[int, ...]
    residual_units: int
    in_channels: int
    classes: int
    block_px: int
    norm: Norm = "batch"

    @property
    def stride(self) -> int:
        """Stride in pixels (`network_stride`)."""
        return network_stride(self.family, levels=len(self.features), block_px=self.block_px)

    @property
    def is_bounded(self) -> bool:
        """Return whether an output pixel depends on a bounded window: then tiles can be exact."""
        return self.norm == "batch"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types; without `norm` for BatchNorm, as before there was a choice."""
        fields = asdict(self)
        if self.norm == "batch":
            del fields["norm"]
        return fields

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "NetworkSpec":
        """From plain JSON types.

        Raises
        ------
        CheckpointError
            If this version does not know the network.
        """
        try:
            spec = cls(**{**fields, "features": tuple(fields["features"])})
        except (TypeError, KeyError) as error:
            raise CheckpointError(f"network spec {fields} is not understood: {error}") from error
        for field, value, known in (
            ("family", spec.family, get_args(Family)),
            ("norm", spec.norm, get_args(Norm)),
        ):
            if value not in known:
                raise CheckpointError(f"network {field} '{value}'; expected {' or '.join(known)}")
        return spec


@dataclass(frozen=True, slots=True)
class OwnNetwork:
    """A network that this package did not build, as prediction has to know it."""

    in_channels: int
    stride: int
    norm: str = "own"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return asdict(self)


def build_network(spec: NetworkSpec) -> nn.Module:
    """Build a network with random weights: (B, in_channels, H, W) to (B, classes + 1, H, W).

    The first outputs are the logits of the classes; the last one is the logit
    of the distance to the nucleus' edge. `to_probabilities` takes each as what it is.
    """
    pixels = spec.block_px**2
    inputs, outputs = spec.in_channels * pixels, (spec.classes + 1) * pixels
    core: nn.Module
    if spec.family == "unet":
        core = UNet(
            inputs,
            outputs,
            channels=spec.features,
            strides=(2 // spec.block_px,) + (2,) * (len(spec.features) - 2),
            residual_units=spec.residual_units,
            norm=spec.norm,
        )
    else:
        core = BasicUNet(inputs, outputs, features=spec.features, norm=spec.norm)
    if spec.block_px == 1:
        return core
    return nn.Sequential(nn.PixelUnshuffle(spec.block_px), core, nn.PixelShuffle(spec.block_px))


def to_probabilities(outputs: torch.Tensor) -> torch.Tensor:
    """Class probabilities and distance, float32 in [0, 1], from (B, classes + 1, H, W) outputs."""
    outputs = outputs.float()
    return torch.cat([outputs[:, :-1].softmax(dim=1), outputs[:, -1:].sigmoid()], dim=1)


def fold_batch_norm(network: nn.Module) -> None:
    """Fold each BatchNorm into the convolution before it; for prediction only, not reversible.

    In eval mode it is a factor and an offset a channel, so a convolution with other
    weights does both, and values go through memory once less. Outputs are equal up to
    rounding. InstanceNorm, which depends on the window, stays.
    """
    from torch.nn.utils import fuse_conv_bn_eval

    network.eval()
    for block in network.modules():
        # a convolution, then norm, dropout and activation in this order
        rest: Any = getattr(block, "adn", None) if isinstance(block, Convolution) else None
        if isinstance(getattr(rest, "N", None), nn.BatchNorm2d):
            convolution: Any = block.conv
            transposed = isinstance(convolution, nn.ConvTranspose2d)
            block.conv = fuse_conv_bn_eval(convolution, rest.N, transpose=transposed)
            rest.N = nn.Identity()
