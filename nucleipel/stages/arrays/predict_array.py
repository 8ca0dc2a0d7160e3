"""Predict an image that is in memory: the map that `predict` would write."""

from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.config import PredictConfig
from nucleipel.core.glass_cores import Tissue
from nucleipel.core.progress import track
from nucleipel.inference.probability_map import choose_device, place_network
from nucleipel.io.slides.formats.array import image_of_array
from nucleipel.io.slides.resolution import Resolution
from nucleipel.io.slides.slide import Slide
from nucleipel.io.stores.stored_map import shard_boxes
from nucleipel.io.tissue_mask import tissue_of
from nucleipel.model.checkpoint import Checkpoint
from nucleipel.stages.pipeline.predict import slide_reader_for
from nucleipel.stages.pipeline.seen_slide import predict_seen, see


@dataclass(frozen=True)
class PredictedArray:
    """The map of an image in memory.

    Parameters
    ----------
    maps : (3, H, W) or (4, H, W) uint8
        Background, interior, boundary and perhaps distance, in the frame of `resolution`.
    resolution : Resolution
        The working frame of the image.
    canonical_map : bool
        False if the map depends on how the image was cut into windows.
    tissue, intensity, view : dict
        What was skipped as glass; which stored values became 0 and 1; how the scale was chosen.
    instances : dict
        Numbers of the `InstanceRule` that suits the map.
    """

    maps: npt.NDArray[np.uint8]
    resolution: Resolution
    canonical_map: bool
    tissue: dict[str, Any]
    intensity: dict[str, Any]
    view: dict[str, Any]
    instances: dict[str, Any]


def open_array(model: Checkpoint, image: Any, config: PredictConfig) -> Slide:
    """An (H, W) or (H, W, C) array, as the network of a checkpoint sees it."""
    return slide_reader_for(model, config).frame(image_of_array(image), mpp=None)


def predict_array(model: Checkpoint, slide: Slide, config: PredictConfig) -> PredictedArray:
    """Predict a slide; values, and so nuclei, are those of `predict` on the same pixels.

    Raises
    ------
    PredictionError
        If a probability is not finite, or the device is not there.
    """
    description, device = model.description, choose_device(config.device)
    place_network(model.network, device)

    def find_tissue(seen: Slide) -> Tissue | None:
        return tissue_of(seen, config.tissue, image_id=str(seen.path))

    seen = see(model, slide, find_tissue, config, device)
    maps = np.empty((len(description.maps), *seen.slide.shape), np.uint8)
    boxes = list(shard_boxes(seen.slide.shape, core_px=seen.grid.core_px))
    parts = predict_seen(model, seen, boxes, config, device)
    with closing(parts):
        for box, values in track(parts, "predicting", total=len(boxes)):
            maps[(slice(None), *box.slices)] = values
    return PredictedArray(
        maps,
        seen.slide.resolution,
        description.canonical_map,
        seen.tissue_record,
        seen.intensity_record,
        seen.view_record,
        {**description.instances, **seen.instances},
    )
