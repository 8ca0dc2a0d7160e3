"""The report of nuclei that are in memory."""

import numpy as np

from nucleipel import __version__
from nucleipel.figures.image_report import EXAMPLES, build_report
from nucleipel.instances.overlay import draw_overlay
from nucleipel.instances.statistics import ImageStatistics
from nucleipel.io.slides.slide import Slide, as_picture
from nucleipel.stages.arrays.stitch_array import StitchedArray

OVERLAY_PX = 2048


def report_of_array(stitched: StitchedArray, slide: Slide | None, *, name: str = "image") -> str:
    """The HTML page; without a slide contours stand on black, and no nuclei are shown."""
    summary = ImageStatistics(stitched.frame.shape, examples=EXAMPLES)
    for rows in stitched.measure():
        summary.add(rows)
    read = None
    if slide is None:
        step = -(-stitched.labels.shape[1] // OVERLAY_PX)
        height, width = (-(-length // step) for length in stitched.labels.shape)
        picture = np.zeros((height, width, 3), np.uint8)
    else:
        picture = slide.thumbnail(OVERLAY_PX)
        level0, shown = (
            Slide(slide.image, stitched.frame, channel=slide.channel),
            slide.shown_range(),
        )
        read = lambda box: as_picture(level0.read(box), shown)  # noqa: E731
    height, width = stitched.frame.shape
    return build_report(
        name,
        summary,
        instance_map=stitched.labels,
        read=read,
        overlay=draw_overlay(picture, stitched.drawn.at_working_size()),
        mpp=stitched.frame.mpp,
        certificate=stitched.certificate,
        facts={"size": f"{width:,} x {height:,} px"},
        settings={"nucleipel": __version__},
    )
