"""Everything that holds of a slide as a whole, before a network sees windows of it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from nucleipel.core.choices import StainedAs
from nucleipel.core.geometry import Box
from nucleipel.core.glass_cores import Tissue, describe_skipped, glass_cores
from nucleipel.core.intensity import IntensityRange
from nucleipel.inference.network_input import show
from nucleipel.io.slides.slide import Slide
from nucleipel.model.checkpoint import Checkpoint, WindowGrid


@dataclass(frozen=True)
class SeenSlide:
    """The network and grid for a slide, its range of intensities, and which cores are glass.

    `tissue_record` says what was skipped, `intensity_record` what becomes 0 and 1.
    """

    network: nn.Module
    grid: WindowGrid
    intensity: IntensityRange
    skipped: frozenset[Box]
    tissue_record: dict[str, Any]
    intensity_record: dict[str, Any]


def see(
    model: Checkpoint,
    slide: Slide,
    find_tissue: Callable[[], Tissue | None],
    *,
    stained_as: StainedAs,
) -> SeenSlide:
    """Measure a slide for a network; without tissue from `find_tissue` nothing is skipped."""
    network, grid = show(model, slide, stained_as=stained_as)
    intensity, tissue = slide.intensity_range(), find_tissue()
    cut = {"core_px": grid.core_px, "halo_px": grid.halo_px}
    skipped = glass_cores(tissue, slide.shape, **cut)
    tissue_record = describe_skipped(tissue, skipped, slide.shape, **cut, mpp=slide.mpp)
    intensity_record = {**asdict(intensity), "from": slide.range_rule.describe()}
    return SeenSlide(network, grid, intensity, skipped, tissue_record, intensity_record)
