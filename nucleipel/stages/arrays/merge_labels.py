"""Merge labels of tiles that another program made: map, table, certificate."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from nucleipel.core.measured_nuclei import MeasuredNuclei
from nucleipel.instances.map_hash import digest
from nucleipel.instances.measurements import measure_nuclei
from nucleipel.instances.merge_tiles import LabeledTile, merge_tiles
from nucleipel.instances.nucleus_table import NucleusTable
from nucleipel.instances.output_frame import OutputMap
from nucleipel.instances.table_of_map import table_of_map

NOT_THEIRS = "mean_probability"
"""A column that labels alone do not have."""


@dataclass(frozen=True)
class LabeledArray:
    """An (H, W) uint32 instance map that was not made from probabilities; NumPy or read by parts.

    Ids are 1..n, in raster order of first pixels.
    """

    labels: Any
    mpp: float | None
    certificate: dict[str, Any]
    table: NucleusTable = field(repr=False)

    def measure(self) -> Iterator[MeasuredNuclei]:
        """The rows of the table of nuclei."""
        drawn = OutputMap(self.labels, nuclei=len(self.table))
        for rows in measure_nuclei(self.table, drawn, mpp=self.mpp):
            columns = {name: of for name, of in rows.columns.items() if name != NOT_THEIRS}
            yield MeasuredNuclei(columns, rows.outlines)


def merge_labels(
    tiles: Sequence[LabeledTile], shape: tuple[int, int], *, mpp: float | None, min_iou: float
) -> LabeledArray:
    """Merge tiles on an image of shape (height, width); see `instances/merge_tiles.py`."""
    merged = merge_tiles(tiles, shape, min_iou=min_iou)
    certificate = {
        "map_of": "another program",
        "made_from": "labels of overlapping tiles",
        "equal_to_uncut": None,  # how labels came about nobody here knows
        "shape": list(shape),
        **merged.facts,
        "instances_digest": f"{digest(merged.map, origin=(0, 0), width=shape[1]):016x}",
        "rule": {"min_iou": min_iou},
    }
    return LabeledArray(merged.map, mpp, certificate, table_of_map(merged.map))
