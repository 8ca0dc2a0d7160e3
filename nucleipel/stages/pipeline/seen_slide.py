"""Everything that holds of a slide as a whole, before a network sees windows of it.

Processes that share a slide measure it once: the first keeps in a file what the
others then read.
"""

from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from nucleipel.core.atomic import read_sealed_json, write_sealed_json
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

    def keep(self, path: Path) -> None:
        """Write what was measured, all but the network and its grid, into a JSON file."""
        measured = {
            "intensity": asdict(self.intensity),
            "skipped": [astuple(core) for core in sorted(self.skipped, key=astuple)],
            "tissue": self.tissue_record,
            "shown": self.intensity_record,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        write_sealed_json(path, measured)


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


def see_kept(
    path: Path, model: Checkpoint, slide: Slide, *, stained_as: StainedAs
) -> SeenSlide | None:
    """What `see` found of a slide and another process kept; None if no whole file is there."""
    try:
        kept = read_sealed_json(path)
    except (OSError, ValueError):
        return None
    network, grid = show(model, slide, stained_as=stained_as)
    low, high = (tuple(kept["intensity"][side]) for side in ("low", "high"))
    skipped = frozenset(Box(*core) for core in kept["skipped"])
    return SeenSlide(
        network, grid, IntensityRange(low, high), skipped, kept["tissue"], kept["shown"]
    )
