"""Residual UNet and BasicUNet in two dimensions, layer for layer those of MONAI.

Weights have MONAI's names, random weights are drawn in MONAI's order, and outputs are equal, which
a test checks against MONAI itself. They stand here because `import monai` takes several seconds,
which everyone who predicts one image would wait for.

Source: MONAI 1.6 (Apache-2.0), `monai.networks.nets.UNet`, after Kerfoot et al. (2018), and
`monai.networks.nets.BasicUNet`, after Falk et al. (2019).
"""

from collections.abc import Callable, Sequence

import torch
from torch import nn

Activation = Callable[[], nn.Module]
NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "instance": nn.InstanceNorm2d,
}


def _leaky_relu() -> nn.Module:
    return nn.LeakyReLU(negative_slope=0.1, inplace=True)


class Convolution(nn.Module):
    """A convolution `conv`, then, unless it is `bare`, norm `adn.N` and activation `adn.A`.

    With a stride, a convolution makes (B, C, H, W) smaller, a transposed one larger.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        norm: str,
        activation: Activation = nn.PReLU,
        stride: int = 1,
        transposed: bool = False,
        bare: bool = False,
    ) -> None:
        super().__init__()
        self.conv: nn.Module
        if transposed:
            self.conv = nn.ConvTranspose2d(
                inputs, outputs, 3, stride, padding=1, output_padding=stride - 1
            )
        else:
            self.conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1)
        self.adn = nn.Sequential()
        if not bare:
            self.adn.add_module("N", NORMS[norm](outputs))
            self.adn.add_module("A", activation())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From (B, inputs, H, W) to (B, outputs, H', W')."""
        features: torch.Tensor = self.adn(self.conv(x))
        return features


class ResidualUnit(nn.Module):
    """Convolutions in a row, whose input is added to their output."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        norm: str,
        units: int,
        stride: int = 1,
        last_bare: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Sequential()
        self.residual: nn.Module = nn.Identity()
        for unit in range(units):
            convolution = Convolution(
                inputs if unit == 0 else outputs,
                outputs,
                norm=norm,
                stride=stride if unit == 0 else 1,
                bare=last_bare and unit == units - 1,
            )
            self.conv.add_module(f"unit{unit}", convolution)
        if stride != 1:
            self.residual = nn.Conv2d(inputs, outputs, 3, stride, padding=1)
        elif inputs != outputs:
            self.residual = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From (B, inputs, H, W) to (B, outputs, H', W')."""
        residual = self.residual(x)
        features: torch.Tensor = self.conv(x) + residual
        return features


class SkipConnection(nn.Module):
    """The input and a submodule's output of it, one after the other along the channels."""

    def __init__(self, submodule: nn.Module) -> None:
        super().__init__()
        self.submodule = submodule

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From (B, C, H, W) to (B, C + outputs of the submodule, H, W)."""
        return torch.cat([x, self.submodule(x)], dim=1)


class UNet(nn.Module):
    """The residual UNet: each level is a way down, the next level beside a skip, and a way up.

    Parameters
    ----------
    inputs, outputs : int
        Channels of the input and of the output.
    channels : sequence of int
        Channels of each level, from the top; at least two.
    strides : sequence of int
        Stride between each level and the next one.
    residual_units : int
        Convolutions in the residual unit of each way down; 0 for plain convolutions.
    norm : {"batch", "instance"}
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        channels: Sequence[int],
        strides: Sequence[int],
        residual_units: int,
        norm: str,
    ) -> None:
        super().__init__()
        self._norm, self._units = norm, residual_units
        self.model = self._level(inputs, outputs, channels, strides, top=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From (B, inputs, H, W) to (B, outputs, H, W)."""
        outputs: torch.Tensor = self.model(x)
        return outputs

    def _level(
        self,
        inputs: int,
        outputs: int,
        channels: Sequence[int],
        strides: Sequence[int],
        *,
        top: bool,
    ) -> nn.Module:
        width, stride, below = channels[0], strides[0], channels[1]
        deeper: nn.Module
        # the deepest levels come first, so that random weights are drawn in MONAI's order
        if len(channels) > 2:
            deeper = self._level(width, width, channels[1:], strides[1:], top=False)
            joined = 2 * width
        else:
            deeper = self._down(width, below, stride=1)
            joined = width + below
        down = self._down(inputs, width, stride=stride)
        up = self._up(joined, outputs, stride=stride, top=top)
        return nn.Sequential(down, SkipConnection(deeper), up)

    def _down(self, inputs: int, outputs: int, *, stride: int) -> nn.Module:
        if self._units:
            return ResidualUnit(inputs, outputs, norm=self._norm, units=self._units, stride=stride)
        return Convolution(inputs, outputs, norm=self._norm, stride=stride)

    def _up(self, inputs: int, outputs: int, *, stride: int, top: bool) -> nn.Module:
        convolution = Convolution(
            inputs, outputs,
            norm=self._norm, stride=stride, transposed=True, bare=top and not self._units,
        )  # fmt: skip
        if not self._units:
            return convolution
        unit = ResidualUnit(outputs, outputs, norm=self._norm, units=1, last_bare=top)
        return nn.Sequential(convolution, unit)


class BasicUNet(nn.Module):
    """The UNet of Falk et al.: pairs of convolutions, max pooling, transposed convolutions.

    `features` are the channels of its five levels, and those after the last way up.
    """

    def __init__(self, inputs: int, outputs: int, *, features: Sequence[int], norm: str) -> None:
        super().__init__()
        self.conv_0 = _pair(inputs, features[0], norm)
        for level in range(1, 5):
            down = nn.Sequential()
            down.add_module("max_pooling", nn.MaxPool2d(2))
            down.add_module("convs", _pair(features[level - 1], features[level], norm))
            self.add_module(f"down_{level}", down)
        for level in (4, 3, 2):
            self.add_module(
                f"upcat_{level}",
                _UpCat(features[level], features[level - 1], features[level - 1], norm),
            )
        self.upcat_1 = _UpCat(features[1], features[0], features[5], norm, halves=False)
        self.final_conv = nn.Conv2d(features[5], outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From (B, inputs, H, W) to (B, outputs, H, W)."""
        levels = [self.conv_0(x)]
        for level in range(1, 5):
            levels.append(self.get_submodule(f"down_{level}")(levels[-1]))
        features = levels.pop()
        for level in (4, 3, 2, 1):
            features = self.get_submodule(f"upcat_{level}")(features, levels.pop())
        outputs: torch.Tensor = self.final_conv(features)
        return outputs


class _UpCat(nn.Module):
    """A level's way up: twice as large, joined with what the way down left there."""

    def __init__(
        self, inputs: int, skipped: int, outputs: int, norm: str, *, halves: bool = True
    ) -> None:
        super().__init__()
        width = inputs // 2 if halves else inputs
        self.upsample = nn.Sequential()
        self.upsample.add_module("deconv", nn.ConvTranspose2d(inputs, width, 2, 2))
        self.convs = _pair(skipped + width, outputs, norm)

    def forward(self, x: torch.Tensor, skipped: torch.Tensor) -> torch.Tensor:
        larger = self.upsample(x)
        rows, columns = (
            have - want for have, want in zip(skipped.shape[2:], larger.shape[2:], strict=True)
        )
        if rows or columns:  # max pooling dropped the last line of an odd length
            larger = nn.functional.pad(larger, (0, columns, 0, rows), "replicate")
        features: torch.Tensor = self.convs(torch.cat([skipped, larger], dim=1))
        return features


def _pair(inputs: int, outputs: int, norm: str) -> nn.Sequential:
    pair = nn.Sequential()
    pair.add_module("conv_0", Convolution(inputs, outputs, norm=norm, activation=_leaky_relu))
    pair.add_module("conv_1", Convolution(outputs, outputs, norm=norm, activation=_leaky_relu))
    return pair
