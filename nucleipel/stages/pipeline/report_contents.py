"""Gather the contents of the report page of one image."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.figures.image_report import build_report
from nucleipel.instances.statistics import ImageStatistics
from nucleipel.io.records.output import made_by
from nucleipel.io.slides.resolution import Resolution
from nucleipel.io.slides.slide import Slide, as_picture
from nucleipel.io.stores.predictions import Prediction


def report_of_image(
    prediction: Prediction,
    summary: ImageStatistics,
    *,
    instance_map: Any,
    slide: Slide | None,
    overlay: npt.NDArray[np.uint8],
    certificate: Mapping[str, Any],
    frame: Resolution,
    record: Mapping[str, Any],
) -> str:
    """The HTML page of one image, whose nuclei are written in the pixels of `frame`."""
    return build_report(
        prediction.id,
        summary,
        instance_map=instance_map,
        read=None if slide is None else _picture_reader(slide.of_channel(prediction.channel)),
        overlay=overlay,
        mpp=frame.mpp,
        certificate=certificate,
        facts=_facts(prediction),
        settings=made_by(record),  # nothing that changes later: a repaired page is the same page
    )


def _picture_reader(slide: Slide) -> Callable[[Box], npt.NDArray[np.uint8]]:
    intensity = slide.shown_range()
    return lambda box: as_picture(slide.read(box), intensity)


def _facts(prediction: Prediction) -> dict[str, str]:
    working = prediction.resolution
    height, width = working.source_shape
    facts = {"file": prediction.image.name, "size": f"{width:,} x {height:,} px"}
    if working.source_mpp is not None:
        facts["pixel"] = f"{working.source_mpp:.4g} µm"
    facts["segmented"] = (
        f"at {working.mpp:.4g} µm per pixel" if working.mpp is not None else "pixel for pixel"
    )
    return facts
