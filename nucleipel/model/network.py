"""The networks: MONAI's U-Nets with BatchNorm.

BatchNorm, because in eval mode it makes the output at a pixel depend on a
bounded window only, which exact tiling needs. InstanceNorm (MONAI's default)
looks at the whole window, and no halo is large enough for it.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from torch import nn

from nucleipel.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """Enough to build a network again; stored in every checkpoint."""

    family: Literal["unet", "basic_unet"]
    features: tuple[int, ...]
    residual_units: int
    in_channels: int
    classes: int

    @property
    def stride(self) -> int:
        """Sides of windows and origins of tiles must be multiples of this many pixels."""
        levels = len(self.features) if self.family == "unet" else 5
        return int(2 ** (levels - 1))

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)

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
        if spec.family not in ("unet", "basic_unet"):
            raise CheckpointError(f"network family '{spec.family}'; expected unet or basic_unet")
        return spec


def build_network(spec: NetworkSpec) -> nn.Module:
    """A network with random weights: (B, in_channels, H, W) to (B, classes, H, W) logits."""
    from monai.networks.nets import BasicUNet, UNet

    if spec.family == "unet":
        return UNet(
            spatial_dims=2,
            in_channels=spec.in_channels,
            out_channels=spec.classes,
            channels=spec.features,
            strides=(2,) * (len(spec.features) - 1),
            num_res_units=spec.residual_units,
            norm="batch",
        )
    return BasicUNet(
        spatial_dims=2,
        in_channels=spec.in_channels,
        out_channels=spec.classes,
        features=spec.features,
        norm="batch",
    )
