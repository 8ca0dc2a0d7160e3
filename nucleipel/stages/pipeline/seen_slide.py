"""Everything that holds of a slide as a whole, before a network sees windows of it.

Processes that share a slide measure it once: the first keeps in a file what the
others then read.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from nucleipel.config import PredictConfig
from nucleipel.core.atomic import read_sealed_json, write_sealed_json
from nucleipel.core.geometry import Box
from nucleipel.core.glass_cores import Tissue, describe_skipped, glass_cores
from nucleipel.core.intensity import IntensityRange
from nucleipel.core.stopwatch import Stopwatch
from nucleipel.errors import ConfigError
from nucleipel.inference.choose_view import ChosenView, View, choose_view
from nucleipel.inference.network_input import show_in
from nucleipel.inference.probability_map import predict_parts
from nucleipel.instances.training_targets import MAPS
from nucleipel.io.slides.slide import Slide
from nucleipel.model.checkpoint import Checkpoint, WindowGrid


@dataclass(frozen=True)
class SeenSlide:
    """A slide in the view that is predicted, the network and grid for it, and what was measured.

    `skipped` are the cores that are glass, `chosen` says why this view was taken, `instances` which
    numbers of the instance rule are others for this slide. `tissue_record` says what was skipped,
    `intensity_record` what becomes 0 and 1, `view_record` how it is seen.
    """

    slide: Slide
    chosen: ChosenView
    network: nn.Module
    grid: WindowGrid
    intensity: IntensityRange
    skipped: frozenset[Box]
    instances: dict[str, Any]
    tissue_record: dict[str, Any]
    intensity_record: dict[str, Any]

    @property
    def view_record(self) -> dict[str, Any]:
        """The scale, what stains are shown as, and what was measured to choose them."""
        view = self.chosen.view
        return {
            "scale": view.scale,
            "stained_as": "dye" if view.as_dye else "color",
            "certainty": self.chosen.certainty,
            "width_px": self.chosen.width_px,
            "disagreements": self.chosen.disagreements,
        }

    def keep(self, path: Path) -> None:
        """Write what was measured, all but the network and its grid, into a JSON file."""
        measured = {
            "view": self.view_record,
            "intensity": asdict(self.intensity),
            "skipped": [astuple(core) for core in sorted(self.skipped, key=astuple)],
            "instances": self.instances,
            "tissue": self.tissue_record,
            "shown": self.intensity_record,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        write_sealed_json(path, measured)


def see(
    model: Checkpoint,
    slide: Slide,
    find_tissue: Callable[[Slide], Tissue | None],
    config: PredictConfig,
    device: torch.device,
    clock: Stopwatch | None = None,
) -> SeenSlide:
    """Measure a slide for a network; without tissue from `find_tissue` nothing is skipped."""
    chosen = _view(model, slide, config, device, clock)
    own = model.description.stained_instances
    instances = own if own and slide.is_stained() else {}
    slide = slide.at_scale(chosen.view.scale)
    network, grid = show_in(model, slide.shape, as_dye=chosen.view.as_dye)
    intensity, tissue = slide.intensity_range(), find_tissue(slide)
    cut = {"core_px": grid.core_px, "halo_px": grid.halo_px}
    skipped = glass_cores(tissue, slide.shape, **cut)
    tissue_record = describe_skipped(tissue, skipped, slide.shape, **cut, mpp=slide.mpp)
    intensity_record = {**asdict(intensity), "from": slide.range_rule.describe()}
    return SeenSlide(
        slide, chosen, network, grid, intensity, skipped, instances, tissue_record, intensity_record
    )


def see_kept(path: Path, model: Checkpoint, slide: Slide) -> SeenSlide | None:
    """What `see` found of a slide and another process kept; None if no whole file is there."""
    try:
        kept = read_sealed_json(path)
    except (OSError, ValueError):
        return None
    seen = kept["view"]
    view = View(seen["scale"], as_dye=seen["stained_as"] == "dye")
    chosen = ChosenView(view, seen["certainty"], seen["width_px"], seen["disagreements"])
    slide = slide.at_scale(chosen.view.scale)
    network, grid = show_in(model, slide.shape, as_dye=chosen.view.as_dye)
    low, high = (tuple(kept["intensity"][side]) for side in ("low", "high"))
    skipped = frozenset(Box(*core) for core in kept["skipped"])
    return SeenSlide(
        slide,
        chosen,
        network,
        grid,
        IntensityRange(low, high),
        skipped,
        kept["instances"],
        kept["tissue"],
        kept["shown"],
    )


def predict_seen(
    model: Checkpoint,
    seen: SeenSlide,
    parts: Sequence[Box],
    config: PredictConfig,
    device: torch.device,
    *,
    clock: Stopwatch | None = None,
) -> Generator[tuple[Box, npt.NDArray[np.uint8]]]:
    """Each part of a seen slide and its map, as of `predict_parts`; what is known is not made anew.

    Raises
    ------
    PredictionError
        If a probability is not finite.
    """
    known = None if config.tta or seen.skipped else seen.chosen.maps
    if known is not None:
        return ((part, known[(slice(None), *part.slices)]) for part in parts)
    description = model.description
    return predict_parts(
        seen.network, seen.slide, parts,
        intensity=seen.intensity,
        grid=seen.grid,
        channels=description.network.in_channels,
        maps=len(description.maps),
        device=device,
        flips=config.tta,
        precision=config.precision,
        skipped=seen.skipped,
        clock=clock,
    )  # fmt: skip


def chooses_view(model: Checkpoint, config: PredictConfig) -> bool:
    """Return whether each image is predicted in the view that suits it."""
    if config.scale is None:
        return model.description.chooses_scale and config.at_mpp is None
    return config.scale == "auto"


def fixed_scale(config: PredictConfig) -> float:
    """The scale at which images are opened: 1 where none is set, and where one will be chosen."""
    return config.scale if isinstance(config.scale, float) else 1.0


def require_scale_fits(model: Checkpoint, config: PredictConfig) -> None:
    """Refuse a scale for a network that has an mpp, or that cannot choose one.

    Raises
    ------
    ConfigError
        If a scale is set for a network that works at an mpp or on whole images, or is to be
        chosen by one without a distance map.
    """
    description, scale = model.description, config.scale
    if scale is None:
        return
    if description.mpp is not None or description.grid.whole_image_px is not None:
        works = "on whole images" if description.mpp is None else f"at {description.mpp:g} um"
        raise ConfigError(f"scale {scale}: the checkpoint works {works}; leave scale out")
    if scale == "auto" and description.maps != MAPS:
        raise ConfigError(
            "scale auto: needs a network with a distance map, as nucleipel train makes them;"
            " set scale to a number"
        )


def _view(
    model: Checkpoint,
    slide: Slide,
    config: PredictConfig,
    device: torch.device,
    clock: Stopwatch | None,
) -> ChosenView:
    as_dye = None if config.stained_as == "auto" else config.stained_as == "dye"
    if chooses_view(model, config):
        return choose_view(
            model,
            slide,
            as_dye=as_dye,
            device=device,
            precision=config.precision,
            clock=clock,
        )
    return ChosenView(View(fixed_scale(config), bool(as_dye) and slide.is_stained()))
