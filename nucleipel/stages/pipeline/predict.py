"""Predict class probabilities of whole images and slides."""

import logging
import math
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from nucleipel.config import PredictConfig
from nucleipel.core.geometry import Box
from nucleipel.core.glass_cores import Tissue
from nucleipel.core.listing import first_faults
from nucleipel.core.progress import track
from nucleipel.core.run_options import WHOLE_RUN, RunOptions
from nucleipel.core.shard import Part, parts_of
from nucleipel.core.stopwatch import Stopwatch
from nucleipel.errors import ImageError, StoreError
from nucleipel.inference.probability_map import choose_device, place_network
from nucleipel.io.manifest import Manifest, Row
from nucleipel.io.records.output import Output, holding
from nucleipel.io.slides.slide import Slide
from nucleipel.io.slides.slide_reader import SlideReader
from nucleipel.io.stores.stored_map import MapLayout
from nucleipel.io.stores.write_predictions import MapWriter, PredictedImage, is_predicted
from nucleipel.io.tissue_mask import mask_of_region, require_tissue_files, tissue_of
from nucleipel.model.checkpoint import Checkpoint
from nucleipel.model.foreign_model import read_model
from nucleipel.stages.pipeline.image_by_image import ImageWork, alone_on, finish_images, killer
from nucleipel.stages.pipeline.reader_settings import build_slide_reader
from nucleipel.stages.pipeline.run_parts import SharedRun, Step, claim
from nucleipel.stages.pipeline.seen_slide import (
    SeenSlide,
    chooses_view,
    fixed_scale,
    predict_seen,
    require_scale_fits,
    see,
    see_kept,
)

log = logging.getLogger(__name__)

THUMBNAIL_PX = 2048
KEPT = ".slide.json"
"""What is measured of an image that several processes share, in its folder until it is done."""
MEASURE_SECONDS = 1800.0
"""So long a process waits for another one that measures the same slide."""
AHEAD = 2
"""A process may have been at work on so many shards at a time."""


def predict(
    checkpoint: Path | Checkpoint,
    rows: Manifest,
    out: Path,
    config: PredictConfig,
    *,
    options: RunOptions = WHOLE_RUN,
    inputs: dict[str, str] | None = None,
    parts: Sequence[Part] | None = None,
    within_regions: bool = False,
) -> Path:
    """Write the probability maps of all images of a manifest into the store `out`.

    With a shard in `options`, only its parts of the images: several processes
    may be at work at a time, on one slide, too, and a last run without a shard,
    or with `CLOSE`, completes the store. `inputs` are those of `inputs_of`,
    `parts` those of `parts_of_images`, where they are known. `within_regions`: of an
    image that was annotated in a region, nothing is predicted that lies far from it.
    """
    clock = Stopwatch()
    model = read_model(checkpoint)
    reader = slide_reader_for(model, config)
    if options.shard.closes and not options.allow_missing:
        rows.require_readable(reader)
    predict_images(
        model, rows, out, config, inputs or inputs_of(model, rows, reader, config),
        parts=parts, options=options, clock=clock, within_regions=within_regions,
    )  # fmt: skip
    clock.log_summary(log)
    return out


def predict_images(
    model: Checkpoint,
    rows: Manifest,
    out: Path,
    config: PredictConfig,
    inputs: dict[str, str],
    *,
    parts: Sequence[Part] | None = None,
    options: RunOptions = WHOLE_RUN,
    clock: Stopwatch,
    then: Callable[[str], object] = lambda _: None,
    within_regions: bool = False,
) -> Path:
    """Predict with a checkpoint that is read, images that are checked: `inputs_of` them.

    `then` is called with the id of each image of the shard, once its map is there.
    """
    reader = slide_reader_for(model, config)
    parts = parts or parts_of_images(model, rows, reader)
    if options.shard.count and not options.shard.of(parts):
        log.info("shard %s of %d parts is empty: nothing to do", options.shard, len(parts))
        return out
    output = _claim(model, rows, out, config, inputs, options)
    if output.complete:
        log.info("%s: these predictions are finished", out)
        return out
    _explain(model, reader, chooses=chooses_view(model, config))
    device = choose_device(config.device)
    place_network(model.network, device)
    predictor = _Predictor(model, out, reader, config, device, clock, within_regions)
    by_id = {row.id: row for row in rows}
    finish_images(
        output,
        parts,
        lambda work: predictor.predict(by_id[work.image], work),
        done=lambda name: is_predicted(out, name),
        options=options,
        then=then,
        instances=model.description.instances,
    )
    if options.shard.closes:
        for row in rows:  # a process may have been late
            (out / row.id / KEPT).unlink(missing_ok=True)
    return out


def parts_of_images(model: Checkpoint, rows: Manifest, reader: SlideReader) -> list[Part]:
    """The parts of all images that different processes may predict.

    One that cannot be opened is one part: whose it is, says why.
    """
    grid, maps = model.description.grid, len(model.description.maps)
    counts = {}
    for row in rows:
        counts[row.id] = 1
        with suppress(ImageError), row.open(reader) as slide:
            if grid.whole_image_px is None:
                counts[row.id] = MapLayout(slide.shape, maps, grid.core_px).parts()
    return parts_of(counts)


def share_predict(
    checkpoint: Path,
    rows: Manifest,
    out: Path,
    config: PredictConfig,
    options: RunOptions = WHOLE_RUN,
    *,
    inputs: dict[str, str] | None = None,
) -> SharedRun:
    """Take the store `out` for workers that each `predict` parts of the manifest's images."""
    model = read_model(checkpoint)
    reader = slide_reader_for(model, config)
    inputs = inputs or inputs_of(model, rows, reader, config)
    output = _claim(model, rows, out, config, inputs, options)
    parts = parts_of_images(model, rows, reader)
    work = partial(predict, checkpoint, rows, out, config, inputs=inputs, parts=parts)
    return SharedRun(output, [Step("predicting", work, parts)], work, options)


def _claim(
    model: Checkpoint,
    rows: Manifest,
    out: Path,
    config: PredictConfig,
    inputs: dict[str, str],
    options: RunOptions,
) -> Output:
    images, instances = [row.id for row in rows], model.description.instances
    plan = {"images": images, "instances": instances}
    return claim("predict", out, config, inputs, options, plan=plan)


def _explain(model: Checkpoint, reader: SlideReader, *, chooses: bool) -> None:
    if reader.whole_image_px is not None:
        log.info("whole images are resized to %d px, as in training", reader.whole_image_px)
    elif chooses:
        log.info("the checkpoint knows no mpp: images are used at the scale that suits each")
    elif reader.at_mpp is None:
        log.info("the checkpoint was trained without mpp: images are used pixel for pixel")
    if not model.description.canonical_map:
        log.warning(
            "the checkpoint's network (%s norm) sees whole windows: maps depend on how images are"
            " cut, and nuclei where windows meet may have seams",
            model.description.network.norm,
        )


def slide_reader_for(model: Checkpoint, config: PredictConfig) -> SlideReader:
    """Build the reader of images for a checkpoint: at its mpp, or as `at_mpp` or `scale` say.

    Raises
    ------
    ConfigError
        As of `require_scale_fits`.
    """
    require_scale_fits(model, config)
    description = model.description
    at_mpp = description.mpp if config.at_mpp is None else config.at_mpp
    fixed = description.normalization.get("intensity_range")
    if fixed is not None and config.intensity_range is None and config.percentiles is None:
        config = config.model_copy(update={"intensity_range": (tuple(fixed),)})
    return build_slide_reader(
        config,
        at_mpp=at_mpp,
        channels=description.network.in_channels,
        scale=fixed_scale(config),
        whole_image_px=description.grid.whole_image_px,
        percentiles=description.percentiles,
    )


def inputs_of(
    model: Checkpoint, rows: Manifest, reader: SlideReader, config: PredictConfig
) -> dict[str, str]:
    """Hashes of all that goes into predictions: the checkpoint, the images, the tissue masks.

    Raises
    ------
    ImageError
        If a tissue mask is missing, or does not fit its image.
    """
    masks = require_tissue_files(config.tissue, [row.id for row in rows])
    for row in rows if masks else ():
        with row.open(reader) as slide:
            tissue_of(slide, config.tissue, image_id=row.id)
    return {"checkpoint": model.fingerprint, "images": rows.fingerprint(), **masks}


@dataclass(frozen=True)
class _Predictor:
    """A network in its place, and where the maps of images go."""

    model: Checkpoint
    out: Path
    reader: SlideReader
    config: PredictConfig
    device: torch.device
    clock: Stopwatch
    within_regions: bool

    def predict(self, row: Row, work: ImageWork) -> None:
        """Predict parts of an image; complete it once all its shards are there."""
        with row.open(self.reader) as opened:
            seen = self._see(opened, row, work)
            slide = seen.slide
            layout = MapLayout(slide.shape, len(self.model.description.maps), seen.grid.core_px)
            writer = MapWriter(
                self.out, row.id, layout, skipped=seen.skipped, journal=_journal(work.parts)
            )
            shards = [shard for part in work.parts for shard in writer.shards_of(part)]
            left = writer.left(shards)
            self.clock.note_image(row.id, pixels=sum(map(_area, left)), mpp=slide.mpp)
            if work.deaths == 0:
                with closing(self._maps(seen, left)) as maps:
                    done = len(shards) - len(left)
                    bar = track(maps, f"predicting {work}", total=len(shards), done=done)
                    writer.write(bar, clock=self.clock)
            else:
                self._write_one_by_one(seen, writer, left)
            with alone_on(self.out, work) as mine:
                if mine and not writer.left(writer.shards):
                    image = PredictedImage(
                        row.image,
                        slide.resolution,
                        slide.channel,
                        seen.tissue_record,
                        seen.intensity_record,
                        seen.view_record,
                        self.model.description.canonical_map,
                        seen.instances,
                    )
                    writer.finish(image, self._thumbnail(slide))
                    (self.out / row.id / KEPT).unlink(missing_ok=True)

    def _see(self, slide: Slide, row: Row, work: ImageWork) -> SeenSlide:
        with self.clock.phase("read"):
            shared = not work.has_all_parts
            seen = self._measure_once(slide, row) if shared else self._measure(slide, row)
        frame = seen.slide.resolution
        log.info("%s: %s, %s", row.id, frame.describe(), slide.image.photometric)
        if len(seen.chosen.disagreements) > 1:
            log.info("%s: best known at a scale of %s", row.id, seen.chosen.view)
        if seen.chosen.view.as_dye:
            log.info("%s: stained, shown as its nuclear dye", row.id)
        elif self.config.stained_as == "dye":
            log.warning(
                "%s: stained_as=dye has no effect, no stain in color on bright ground was found",
                row.id,
            )
        if "tissue_percent" in seen.tissue_record:
            percent = seen.tissue_record["skipped_percent"]
            log.info("%s: %g %% of the image skipped as glass", row.id, percent)
        return seen

    def _measure(self, slide: Slide, row: Row) -> SeenSlide:
        def find_tissue(slide: Slide) -> Tissue | None:
            return self._tissue(slide, row)

        return see(self.model, slide, find_tissue, self.config, self.device, self.clock)

    def _measure_once(self, slide: Slide, row: Row) -> SeenSlide:
        """What another process measured of the slide; the first one measures it, and keeps it."""
        kept = self.out / row.id / KEPT
        seen = see_kept(kept, self.model, slide)
        if seen is None:
            with holding(self.out, row.id, kind="slide", wait_seconds=MEASURE_SECONDS):
                seen = see_kept(kept, self.model, slide)
                if seen is None:
                    seen = self._measure(slide, row)
                    seen.keep(kept)
        return seen

    def _thumbnail(self, slide: Slide) -> npt.NDArray[np.uint8]:
        with self.clock.phase("read"):
            return slide.thumbnail(THUMBNAIL_PX)

    def _tissue(self, slide: Slide, row: Row) -> Tissue | None:
        if self.within_regions and row.region is not None:
            return mask_of_region(slide, row.load_annotation(slide.resolution.source_shape))
        return tissue_of(slide, self.config.tissue, image_id=row.id)

    def _maps(
        self, seen: SeenSlide, shards: list[Box]
    ) -> Generator[tuple[Box, npt.NDArray[np.uint8]]]:
        return predict_seen(self.model, seen, shards, self.config, self.device, clock=self.clock)

    def _write_one_by_one(self, seen: SeenSlide, writer: MapWriter, left: list[Box]) -> None:
        """Write shards of which one may kill its process: that one is set aside by name.

        The process before died of the first shard that it left, or of the one
        that it read ahead: these come last.
        """
        faults = []
        for shard in [*left[AHEAD:], *reversed(left[:AHEAD])]:
            name = f"{writer.image_id}, pixels {shard.y0}:{shard.y1}, {shard.x0}:{shard.x1}"
            place = f"{writer.image_id}-at-{shard.y0}-{shard.x0}"
            with holding(self.out, place, kind="shard") as lock:
                if lock.deaths:
                    faults.append(killer(name, lock.deaths + 1))
                    continue
                with closing(self._maps(seen, [shard])) as maps:
                    writer.write(maps, clock=self.clock)
        if faults:
            raise StoreError(first_faults(faults))


def _journal(parts: Sequence[Part]) -> str:
    """Ends the name of a process' journal; nothing where it has all of an image."""
    if not parts or len(parts) == parts[0].count:
        return ""
    return f"-{parts[0].number}-of-{parts[0].count}"


def _area(box: Box) -> int:
    return math.prod(box.shape)
