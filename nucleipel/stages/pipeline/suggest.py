"""Suggest what to annotate next: regions in which a network is least sure."""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nucleipel.config import PredictConfig, SuggestConfig
from nucleipel.core.geometry import Box
from nucleipel.core.glass_cores import Tissue
from nucleipel.core.progress import track
from nucleipel.errors import ImageError
from nucleipel.instances.doubt import CELLS, doubt_of_cells, most_doubtful
from nucleipel.io.annotations.polygons import Polygons
from nucleipel.io.annotations.region import write_region
from nucleipel.io.csv_table import write_table
from nucleipel.io.manifest import Manifest, Row
from nucleipel.io.records.output import claim_output
from nucleipel.io.slides.slide import Slide
from nucleipel.io.slides.slide_reader import SlideReader
from nucleipel.io.stores.predictions import Prediction, open_predictions
from nucleipel.io.tissue_mask import require_tissue_files, tissue_of
from nucleipel.model.checkpoint import read_checkpoint
from nucleipel.stages.pipeline.predict import predict, slide_reader_for

log = logging.getLogger(__name__)

PLAIN_PX = 256
"""Side of a region where neither a pixel size nor a side in pixels is known."""
WORK, TABLE = ".work", "regions.csv"
COLUMNS = ("rank", "id", "y0", "x0", "y1", "x1", "doubt")


@dataclass(frozen=True, slots=True)
class SuggestedRegion:
    """A square of an image, (y0, x0, y1, x1) in pixels of level 0, and its mean doubt.

    Doubt is 0 where the network is sure, and 1 where nucleus or not are as probable.
    """

    image_id: str
    corners: tuple[float, float, float, float]
    doubt: float


def suggest(
    checkpoint: Path, rows: Manifest, out: Path, config: SuggestConfig, *, overwrite: bool = False
) -> Path:
    """Write the regions in which a network is least sure, as `<id>.geojson` for QuPath.

    A region is a square; at least half of it is tissue, and none shares a pixel with another.
    The least sure one of each image comes first, then the second of each, and so on.
    `regions.csv` lists all of them. Both follow from the probability maps alone.
    """
    model = read_checkpoint(checkpoint)
    reader = slide_reader_for(model, config)
    rows = rows.require_readable(reader)
    masks = require_tissue_files(config.tissue, [row.id for row in rows])
    inputs = {"checkpoint": model.fingerprint, "images": rows.fingerprint(), **masks}
    output = claim_output(
        out, stage="suggest", config=config.identity(), inputs=inputs, overwrite=overwrite
    )
    if not output.complete:
        maps = predict(checkpoint, rows, out / WORK / "maps.zarr", config.part(PredictConfig))
        images = zip(rows, open_predictions(maps).images, strict=True)
        regions = [
            _of_image(row, prediction, reader, config)
            for row, prediction in track(list(images), "suggesting")
        ]
        chosen = in_rounds(regions, config.regions)
        _write(out, chosen)
        output.commit(regions=len(chosen))
        log.info("%s: %d regions in %d images", out, len(chosen), len({r.image_id for r in chosen}))
    shutil.rmtree(out / WORK, ignore_errors=True)
    return out


def _of_image(
    row: Row, prediction: Prediction, reader: SlideReader, config: SuggestConfig
) -> list[SuggestedRegion]:
    """The least sure regions of one image, the least sure one first."""
    frame = prediction.resolution
    with row.open(reader) as opened:
        slide = Slide(opened.image, frame, channel=opened.channel)
        tissue = tissue_of(slide, config.tissue, image_id=row.id)
    of_known = PLAIN_PX / frame.ratio if frame.mpp is None else config.size_um / frame.mpp
    side_px = config.size_px or of_known
    cell_px = max(1, round(side_px / CELLS))
    if min(frame.shape) < cell_px:
        raise ImageError(
            f"{row.image}: {frame.shape[0]} x {frame.shape[1]} px, too small for a region of"
            f" {side_px:g} px; set size_px or size_um to less"
        )

    def is_tissue(box: Box) -> bool:
        return tissue is None or tissue.holds(box)

    def is_mostly_tissue(square: Box) -> bool:
        return _half_is_tissue(tissue, _scaled(square, cell_px))

    sums = doubt_of_cells(prediction.open_map(), cell_px, is_tissue)
    best = most_doubtful(sums, config.regions, is_mostly_tissue)
    regions = []
    for square, doubt in best:
        box = _scaled(square, cell_px)
        corners = tuple(round(frame.ratio * edge, 3) for edge in (box.y0, box.x0, box.y1, box.x1))
        mean = doubt / (255 * box.shape[0] * box.shape[1])
        regions.append(SuggestedRegion(row.id, corners, mean))  # type: ignore[arg-type]
    return regions


def _half_is_tissue(tissue: Tissue | None, box: Box) -> bool:
    return tissue is None or 2 * tissue.px(box) >= box.shape[0] * box.shape[1]


def _scaled(box: Box, by: int) -> Box:
    return Box(by * box.y0, by * box.x0, by * box.y1, by * box.x1)


def in_rounds(by_image: list[list[SuggestedRegion]], count: int) -> list[SuggestedRegion]:
    """The first of each image by falling doubt, then the second of each; at most `count`."""
    rounds = max(map(len, by_image), default=0)
    ordered = []
    for place in range(rounds):
        of_round = [regions[place] for regions in by_image if place < len(regions)]
        ordered += sorted(of_round, key=lambda region: -region.doubt)
    return ordered[:count]


def _write(out: Path, chosen: list[SuggestedRegion]) -> None:
    ranked = list(enumerate(chosen, 1))
    for image_id in sorted({region.image_id for region in chosen}):
        own = [(rank, region) for rank, region in ranked if region.image_id == image_id]
        areas = Polygons.of_outlines([[_ring(region.corners)]] for _, region in own)
        names = [f"suggested {rank}, doubt {region.doubt:.3f}" for rank, region in own]
        write_region(out / f"{image_id}.geojson", areas, names=names)
    lines = [
        {
            "rank": rank,
            "id": region.image_id,
            **dict(zip(COLUMNS[2:6], region.corners, strict=True)),
            "doubt": f"{region.doubt:.5f}",
        }
        for rank, region in ranked
    ]
    write_table(out / TABLE, lines, columns=COLUMNS)


def _ring(corners: tuple[float, float, float, float]) -> np.ndarray:
    y0, x0, y1, x1 = corners
    return np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0]])
