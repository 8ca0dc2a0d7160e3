"""Stitch a map that is in memory, or is read by slices: the nuclei that `stitch` would write."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.config import StitchConfig
from nucleipel.core.measured_nuclei import MeasuredNuclei
from nucleipel.instances.instance_rule import InstanceRule
from nucleipel.instances.measurements import MeasuredImage, measure_nuclei
from nucleipel.instances.nucleus_table import NucleusTable
from nucleipel.instances.output_frame import OutputMap
from nucleipel.instances.segment_map import segment_instances
from nucleipel.io.slides.resolution import Resolution
from nucleipel.io.slides.slide import Slide
from nucleipel.stages.pipeline.stitch import choose_block_px
from nucleipel.stages.pipeline.stitch_steps import frame_of


@dataclass(frozen=True)
class StitchedArray:
    """The nuclei of one map.

    Parameters
    ----------
    labels : (H, W) uint32
        Ids 1..n, 0 for background, in the frame of the result.
    certificate : dict
        As `certificate.json` has it, of plain JSON types.
    frame : Resolution
        Of `labels`.
    table : NucleusTable
        Sums over the pixels of the working map.
    drawn : OutputMap
        What `labels` were made from.
    """

    labels: npt.NDArray[np.uint32]
    certificate: dict[str, Any]
    frame: Resolution
    table: NucleusTable = field(repr=False)
    drawn: OutputMap = field(repr=False)

    def measure(self, slide: Slide | None = None) -> Iterator[MeasuredNuclei]:
        """The rows of the table of nuclei, with intensities where there is a slide."""
        image = None
        if slide is not None:
            level0 = Slide(slide.image, self.frame)
            white = level0.white() if level0.is_stained() else None
            image = MeasuredImage(level0.read, slide.image.channels, white=white)
        return measure_nuclei(self.table, self.drawn, mpp=self.frame.mpp, image=image)


def stitch_array(
    maps: Any,
    resolution: Resolution,
    rule: InstanceRule,
    config: StitchConfig,
    *,
    canonical_map: bool | None = None,
    facts: dict[str, Any] | None = None,
) -> StitchedArray:
    """Stitch a (3, H, W) or (4, H, W) uint8 map in the frame of `resolution`.

    `facts` are said in the certificate. The map is read block by block.
    """
    nuclei = segment_instances(
        maps, rule=rule, block_px=choose_block_px(config), workers=config.threads
    )
    frame = frame_of(resolution, config)
    drawn = OutputMap(
        nuclei.map,
        nuclei=len(nuclei.table),
        shape=frame.shape,
        ratio=resolution.ratio / frame.ratio,
    )
    same = frame.shape == resolution.shape and not drawn.lost
    labels = nuclei.map if same else drawn[:, :]
    facts = {
        **nuclei.certificate.to_json(canonical_map=canonical_map),
        "map": drawn.to_json(),
        "source": asdict(resolution.source),
        **(facts or {}),
    }
    certificate = json.loads(json.dumps(facts))  # lists and tuples as the file has them
    return StitchedArray(labels, certificate, frame, nuclei.table, drawn)
