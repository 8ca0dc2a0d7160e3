"""The networks: MONAI's U-Nets.

With BatchNorm, because in eval mode it makes the output at a pixel depend on a
bounded window only, which exact tiling needs. InstanceNorm (MONAI's default)
looks at the whole window, and no halo is large enough for it: whoever trains
with it accepts seams.

With `block_px` 2 a network works on blocks of 2 x 2 pixels, moved into channels
and back (sub-pixel convolution, Shi et al. 2016), where MONAI's UNet would
stride at once: no detail is lost on the way in or out. With `nuclear_dye` they
are shown the dye of nuclei beside red, green and blue (`NuclearDye`).
"""

from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

import torch
from torch import nn

from nucleipel.errors import CheckpointError
from nucleipel.model.nuclear_dye import NuclearDye
from nucleipel.model.stride import Family, Norm, network_stride


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """Enough to build a network again; stored in every checkpoint."""

    family: Family
    features: tuple[int, ...]
    residual_units: int
    in_channels: int
    classes: int
    block_px: int
    norm: Norm = "batch"
    nuclear_dye: bool = False

    @property
    def stride(self) -> int:
        """Sides of windows and origins of tiles must be multiples of this many pixels."""
        return network_stride(
            self.family,
            levels=len(self.features),
            block_px=self.block_px,
            nuclear_dye=self.nuclear_dye,
        )

    @property
    def is_bounded(self) -> bool:
        """Whether an output pixel depends on a bounded window, so that tiles can be exact."""
        return self.norm == "batch"

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types; BatchNorm and no dye go without saying, as before the choice."""
        fields = asdict(self)
        if self.norm == "batch":
            del fields["norm"]
        if not self.nuclear_dye:
            del fields["nuclear_dye"]
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
        for what, found, known in (
            ("family", spec.family, get_args(Family)),
            ("norm", spec.norm, get_args(Norm)),
        ):
            if found not in known:
                raise CheckpointError(f"network {what} '{found}'; expected {' or '.join(known)}")
        return spec


def build_network(spec: NetworkSpec) -> nn.Module:
    """A network with random weights: (B, in_channels, H, W) to (B, classes + 1, H, W) outputs.

    The first outputs are the logits of the classes; the last one is the logit
    of the distance to the nucleus' edge. `to_probabilities` tells them apart.
    """
    from monai.networks.nets import BasicUNet, UNet

    pixels = spec.block_px**2
    seen = spec.in_channels + spec.nuclear_dye
    core: nn.Module
    if spec.family == "unet":
        core = UNet(
            spatial_dims=2,
            in_channels=seen * pixels,
            out_channels=(spec.classes + 1) * pixels,
            channels=spec.features,
            strides=(2 // spec.block_px,) + (2,) * (len(spec.features) - 2),
            num_res_units=spec.residual_units,
            norm=spec.norm,
        )
    else:
        core = BasicUNet(
            spatial_dims=2,
            in_channels=seen * pixels,
            out_channels=(spec.classes + 1) * pixels,
            features=spec.features,
            norm=spec.norm,
        )
    if spec.block_px > 1:
        blocks, pixel = nn.PixelUnshuffle(spec.block_px), nn.PixelShuffle(spec.block_px)
        core = nn.Sequential(blocks, core, pixel)
    return nn.Sequential(NuclearDye(), core) if spec.nuclear_dye else core


def with_nuclear_dye(network: nn.Module, spec: NetworkSpec) -> tuple[nn.Module, NetworkSpec]:
    """The same network shown the nuclear dye, too; as it has no weight yet, it gives the same.

    Raises
    ------
    CheckpointError
        If with one more channel it would have other layers: MONAI leaves out a
        unit's projection where as many channels go in as come out.
    """
    shown = replace(spec, nuclear_dye=True)
    dyed = build_network(shown)
    wider = dyed[1].state_dict()  # type: ignore[index]
    if wider.keys() != network.state_dict().keys():
        raise CheckpointError(
            f"a network of {spec.features} channels cannot be shown the nuclear dye afterwards;"
            " train one from the start with network.nuclear_dye"
        )
    for name, weights in network.state_dict().items():
        wanted = wider[name].zero_()
        wanted[tuple(map(slice, weights.shape))] = weights
    dyed[1].load_state_dict(wider)  # type: ignore[index]
    return dyed, shown


def to_probabilities(outputs: torch.Tensor) -> torch.Tensor:
    """Class probabilities and distance, float32, of (B, classes + 1, H, W) network outputs."""
    outputs = outputs.float()
    return torch.cat([outputs[:, :-1].softmax(dim=1), outputs[:, -1:].sigmoid()], dim=1)
