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
    """The network that takes the pixels of a slide, and the grid of its windows.

    The halo grows by what the dye of a pixel depends on, so that tiles stay exact.

    Raises
    ------
    PredictionError
        If the grid of the checkpoint does not fit the cells that the dye is measured in.
    """
    description = model.description
    grid, stride = description.grid, description.network.stride
    if stained_as == "color" or not slide.is_stained():
        return model.network, grid.fitted(slide.shape, stride=stride)
    stride = math.lcm(stride, CELL_PX)
    side_px = grid.whole_image_px or grid.core_px
    if side_px % stride:
        raise PredictionError(
            f"stained_as dye: needs windows of a multiple of {stride} px, the checkpoint has"
            f" {side_px}; set stained_as=color"
        )
    halo_px = -(-(grid.halo_px + REACH_PX) // stride) * stride
    wider = dataclasses.replace(grid, halo_px=halo_px)
    return nn.Sequential(NuclearDyeLayer(), model.network), wider.fitted(slide.shape, stride=stride)
