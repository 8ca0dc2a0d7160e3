"""The input of a network: windows on a grid, and stained slides perhaps as their nuclear dye.

A network that knows fluorescence finds nuclei of stained tissue in the gray of
their dye without having been trained on any; one that was trained on such
stains knows more from their colors.
"""

import dataclasses
import math

from torch import nn

from nucleipel.core.choices import StainedAs
from nucleipel.errors import PredictionError
from nucleipel.io.slides.slide import Slide
from nucleipel.model.checkpoint import Checkpoint, WindowGrid
from nucleipel.model.nuclear_dye import CELL_PX, REACH_PX, NuclearDyeLayer


def show(
    model: Checkpoint, slide: Slide, *, stained_as: StainedAs = "color"
) -> tuple[nn.Module, WindowGrid]:
    """The network that takes the pixels of a slide, and the grid of its windows; auto is color.

    Raises
    ------
    PredictionError
        If the grid of the checkpoint does not fit the cells that the dye is measured in.
    """
    as_dye = stained_as == "dye" and slide.is_stained()
    return show_in(model, slide.shape, as_dye=as_dye)


def show_in(
    model: Checkpoint, shape: tuple[int, int], *, as_dye: bool
) -> tuple[nn.Module, WindowGrid]:
    """The network for colors, or for the dye of stained tissue, and its grid of windows.

    `shape` is (height, width) of the image in its working frame. The halo grows by what the
    dye of a pixel depends on, so that tiles stay exact.

    Raises
    ------
    PredictionError
        As of `show`.
    """
    description = model.description
    grid, stride = description.grid, description.network.stride
    if not as_dye:
        return model.network, grid.fitted(shape, stride=stride)
    stride = math.lcm(stride, CELL_PX)
    side_px = grid.whole_image_px or grid.core_px
    if side_px % stride:
        raise PredictionError(
            f"stained_as dye: needs windows of a multiple of {stride} px, the checkpoint has"
            f" {side_px}; set stained_as=color"
        )
    halo_px = -(-(grid.halo_px + REACH_PX) // stride) * stride
    wider = dataclasses.replace(grid, halo_px=halo_px)
    return nn.Sequential(NuclearDyeLayer(), model.network), wider.fitted(shape, stride=stride)
