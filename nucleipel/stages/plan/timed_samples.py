"""Time the stages' own work on samples of some images, in a temporary folder."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nucleipel.config import PlanConfig, PredictConfig, StitchConfig
from nucleipel.core.geometry import Box
from nucleipel.core.intensity import IntensityRange
from nucleipel.core.machine import bytes_below
from nucleipel.core.stopwatch import Stopwatch
from nucleipel.figures.image_report import overview
from nucleipel.inference.network_input import show
from nucleipel.inference.probability_map import predict_parts
from nucleipel.instances.instance_rule import InstanceRule
from nucleipel.instances.overlay import draw_overlay
from nucleipel.instances.training_targets import BACKGROUND, INTERIOR
from nucleipel.io.nuclei.image_output import OVERLAY, REPORT, work_folder
from nucleipel.io.pictures import write_picture
from nucleipel.io.records.fingerprint import fingerprint
from nucleipel.io.records.output import claim_output
from nucleipel.io.slides.formats import Level, StoredImage
from nucleipel.io.slides.mosaic import Mosaic, build_mosaic
from nucleipel.io.slides.resolution import Resolution
from nucleipel.io.slides.slide import Slide
from nucleipel.io.slides.slide_reader import SlideReader
from nucleipel.io.stores.predictions import THUMBNAIL, Prediction, open_predictions
from nucleipel.io.stores.stored_map import CORES_PER_SHARD, shard_boxes
from nucleipel.io.stores.write_predictions import PredictedImage, write_prediction
from nucleipel.io.tissue_mask import tissue_of
from nucleipel.model.checkpoint import Checkpoint, WindowGrid
from nucleipel.stages.pipeline.predict import THUMBNAIL_PX
from nucleipel.stages.pipeline.report_contents import report_of_image
from nucleipel.stages.pipeline.stitch_steps import WRITING, ImageStitch, do_all, frame_of
from nucleipel.stages.plan.image_survey import ImageSurvey

FIXED, GLASS = "fixed", "glass"
FIXED_PX, NUCLEUS_PX = 16, 12
"""Sides of the image that shows what an image costs besides its pixels, and of its one nucleus."""
PINK = (0.9, 0.7, 0.85)
"""Color of a generated image that counts as stained tissue, as a share of white."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleCost:
    """Cost of `px` pixels of tissue, in seconds of wall time and bytes.

    `prepare_seconds` pass before the first window. These, `reopen_seconds`, the
    thumbnail and the pictures (report and overlay, `overlay_bytes` of them) grow
    with the image's thumbnail, of `picture_px`, and not with its pixels.
    """

    px: int
    picture_px: int = 0
    batches: int = 0
    nuclei: int = 0
    prepare_seconds: float = 0.0
    network_seconds: float = 0.0
    write_seconds: float = 0.0
    reopen_seconds: float = 0.0
    stitch_seconds: float = 0.0
    picture_seconds: float = 0.0
    map_bytes: int = 0
    thumbnail_bytes: int = 0
    work_bytes: int = 0
    instance_bytes: int = 0
    picture_bytes: int = 0
    overlay_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _OverlayCost:
    """Cost of an overlay, as a file and within the report."""

    overlay_bytes: int
    report_bytes: int
    seconds: float


class TimedSamples:
    """Samples that are predicted and stitched below `folder`.

    All are predicted before any is stitched, so that the peak of memory in
    between is that of predicting. Both methods return a `SampleCost` for each
    image of `surveys`, by its id; `stitch` adds one of a tiny image (`FIXED`) and
    one of an image of `GLASS`, of which images have `glass_px` at most.
    `load_seconds` is the time of the first stitching.
    """

    def __init__(
        self,
        folder: Path,
        model: Checkpoint,
        reader: SlideReader,
        config: PlanConfig,
        surveys: Sequence[ImageSurvey],
        *,
        glass_px: int,
        device: torch.device,
        block_px: int,
    ) -> None:
        self._folder, self._model, self._reader = folder, model, reader
        self._config, self._surveys = config, surveys
        self._device, self._block_px = device, block_px
        self._glass_px = glass_px
        self.load_seconds = 0.0
        self._costs: dict[str, SampleCost] = {}
        self._pictures: dict[str, npt.NDArray[np.uint8]] = {}
        self._maps = folder / "maps.zarr"

    def predict(self) -> dict[str, SampleCost]:
        """Predict and store the samples."""
        instances = self._model.description.instances
        names = [*map(str, range(len(self._surveys))), FIXED, GLASS]
        output = claim_output(
            self._maps,
            stage="predict",
            config=self._config.part(PredictConfig).identity(),
            inputs={},
            plan={"images": names, "instances": instances},
        )
        if self._surveys:  # the first pass of a network takes longer
            smallest = min(self._surveys, key=lambda survey: survey.px)
            with self._open(smallest) as slide:
                self._parts(slide, smallest.sampled[:1], smallest.sampled_grid)
        for index, survey in enumerate(self._surveys):
            self._costs[survey.row.id] = self._predict(str(index), survey)
        output.release()
        return self._costs

    def stitch(self) -> dict[str, SampleCost]:
        """Stitch what was predicted, and add its costs."""
        for name in (FIXED, GLASS):
            self._costs[name] = self._write_empty(name)
        store = open_predictions(self._maps, unfinished=True)
        rule = InstanceRule(**self._config.instances.over(store.instances))
        for name in (FIXED, GLASS):
            prediction = store.image(name)
            slide = _blank(prediction.resolution, self._surveys)
            start = time.perf_counter()
            if name == FIXED:  # the first time it loads what was compiled, or compiles
                self._stitch_and_report(prediction, slide, rule, "warm")
                self.load_seconds = time.perf_counter() - start
            self._costs[name] = self._stitch(prediction, slide, rule, self._costs[name])
        for index, survey in enumerate(self._surveys):
            with self._open(survey) as slide:
                start = time.perf_counter()
                fingerprint(survey.row.image)
                prediction = store.image(str(index))
                if survey.is_whole:
                    framed = Slide(slide.image, frame_of(slide.resolution, self._config))
                else:
                    mosaic = self._mosaic(slide, survey)
                    framed = Slide(mosaic.image, frame_of(mosaic.resolution, self._config))
                    Slide(slide.image, frame_of(slide.resolution, self._config)).shown_range()
                reopened = time.perf_counter() - start
                cost = self._stitch(prediction, framed, rule, self._costs[survey.row.id])
            if not survey.is_whole:  # its pictures are not those of the image
                own = self._time_overlay(self._pictures[survey.row.id])
                drawn = self._time_overlay(prediction.read_thumbnail())
                cost = replace(
                    cost,
                    picture_bytes=cost.picture_bytes - cost.overlay_bytes - drawn.report_bytes
                    + own.overlay_bytes + own.report_bytes,
                    picture_seconds=cost.picture_seconds - drawn.seconds + own.seconds,
                )  # fmt: skip
            self._costs[survey.row.id] = replace(cost, reopen_seconds=reopened)
        return self._costs

    def _time_overlay(self, picture: npt.NDArray[np.uint8]) -> "_OverlayCost":
        """Time the overlay of a picture without nuclei."""
        start = time.perf_counter()
        overlay = draw_overlay(picture, np.zeros(picture.shape[:2], np.uint32))
        write_picture(self._folder / OVERLAY, overlay)
        seconds = time.perf_counter() - start
        size = (self._folder / OVERLAY).stat().st_size
        return _OverlayCost(size, len(overview(overlay)), seconds)

    @contextmanager
    def _open(self, survey: ImageSurvey) -> Iterator[Slide]:
        with survey.row.open(self._reader) as slide:
            yield slide

    def _predict(self, name: str, survey: ImageSurvey) -> SampleCost:
        start = time.perf_counter()
        with self._open(survey) as slide:
            intensity = slide.intensity_range()
            tissue_of(slide, self._config.tissue, image_id=survey.row.id)
            thumbnail = slide.thumbnail(THUMBNAIL_PX)
            prepared = time.perf_counter()
            self._parts(slide, survey.timed, survey.grid, intensity)
            timed = time.perf_counter()
            maps = self._map(slide, survey, intensity)
            predicted = time.perf_counter()
            resolution, picture = slide.resolution, thumbnail
            if not survey.is_whole:
                mosaic = self._mosaic(slide, survey)
                resolution = mosaic.resolution
                seen = Slide(mosaic.image, resolution, channel=slide.channel)
                picture = seen.thumbnail(THUMBNAIL_PX)
        written = self._write(name, survey, resolution, maps, picture, channel=slide.channel)
        self._pictures[survey.row.id] = thumbnail
        once = self._model.description.grid.whole_image_px is not None
        return replace(
            written,
            px=survey.sampled_tissue_px,
            batches=survey.batches if once else len(survey.timed) or len(survey.sampled),
            prepare_seconds=prepared - start,
            network_seconds=timed - prepared if survey.timed else predicted - timed,
            thumbnail_bytes=written.thumbnail_bytes * thumbnail.size // picture.size,
            picture_px=thumbnail.size // 3,
        )

    def _parts(
        self,
        slide: Slide,
        cores: Sequence[Box],
        grid: WindowGrid,
        intensity: IntensityRange | None = None,
    ) -> list[tuple[Box, npt.NDArray[np.uint8]]]:
        """Predict cores of a grid: each with its map."""
        description = self._model.description
        network, _ = show(self._model, slide, stained_as=self._config.stained_as)
        made = predict_parts(
            network, slide, cores,
            intensity=intensity or slide.intensity_range(),
            grid=grid,
            channels=description.network.in_channels,
            maps=len(description.maps),
            device=self._device,
            flips=self._config.tta,
            precision=self._config.precision,
        )  # fmt: skip
        with closing(made):
            return list(made)

    def _map(
        self, slide: Slide, survey: ImageSurvey, intensity: IntensityRange
    ) -> npt.NDArray[np.uint8]:
        """Predict the map of a whole image, or of the sampled pieces from left to right."""
        parts = self._parts(slide, survey.sampled, survey.sampled_grid, intensity)
        if not survey.is_whole:
            return np.concatenate([values for _, values in parts], axis=2)
        maps = np.empty((len(parts[0][1]), *slide.shape), np.uint8)
        for box, values in parts:
            maps[(slice(None), *box.slices)] = values
        return maps

    def _mosaic(self, slide: Slide, survey: ImageSurvey) -> Mosaic:
        level = 0 if self._config.map_frame == "level0" else slide.resolution.level
        return build_mosaic(slide, survey.sampled, level=level)

    def _write_empty(self, name: str) -> SampleCost:
        core_px = self._model.description.grid.core_px
        side = FIXED_PX
        if name == GLASS:  # as much as there is in one part: of less the seconds are not sure
            most = math.isqrt(self._glass_px) // core_px
            side = core_px * min(max(most, 1), CORES_PER_SHARD)
        description = self._model.description
        maps = np.zeros((len(description.maps), side, side), np.uint8)
        maps[BACKGROUND] = 255
        if name == FIXED:
            maps[:, :NUCLEUS_PX, :NUCLEUS_PX] = 0
            maps[INTERIOR, :NUCLEUS_PX, :NUCLEUS_PX] = 255
        picture = np.full((FIXED_PX, FIXED_PX, 3), 255, np.uint8)
        resolution = Resolution.pixel_for_pixel((side, side), description.mpp)
        channel = None if self._config.channel is None else 0
        cost = self._write(name, None, resolution, maps, picture, channel=channel)
        return replace(cost, px=side * side)

    def _write(
        self,
        name: str,
        survey: ImageSurvey | None,
        resolution: Resolution,
        maps: npt.NDArray[np.uint8],
        picture: npt.NDArray[np.uint8],
        *,
        channel: int | None = None,
    ) -> SampleCost:
        grid = self._model.description.grid if survey is None else survey.sampled_grid
        image = self._maps / "zarr.json" if survey is None else survey.row.image
        parts = shard_boxes(resolution.shape, core_px=grid.core_px)
        start = time.perf_counter()
        write_prediction(
            self._maps,
            name,
            ((box, maps[(slice(None), *box.slices)]) for box in parts),
            PredictedImage(image, resolution, channel),
            picture,
            maps=len(maps),
            core_px=grid.core_px,
        )
        seconds = time.perf_counter() - start
        thumbnail = bytes_below(self._maps / name / THUMBNAIL)
        return SampleCost(
            px=math.prod(maps.shape[1:]),
            write_seconds=seconds,
            map_bytes=bytes_below(self._maps / name) - thumbnail,
            thumbnail_bytes=thumbnail,
        )

    def _stitch(
        self, prediction: Prediction, slide: Slide, rule: InstanceRule, cost: SampleCost
    ) -> SampleCost:
        """Stitch a sample; returns its cost with that of stitching."""
        start = time.perf_counter()
        nuclei, reported, work_bytes = self._stitch_and_report(prediction, slide, rule, "instances")
        seconds = time.perf_counter() - start
        drawn = self._time_overlay(prediction.read_thumbnail()).seconds
        done = self._folder / "instances" / prediction.id
        overlay = (done / OVERLAY).stat().st_size
        pictures = overlay + (done / REPORT).stat().st_size
        return replace(
            cost,
            nuclei=nuclei,
            stitch_seconds=max(0.0, seconds - reported - drawn),
            picture_seconds=reported + drawn,
            work_bytes=work_bytes,
            instance_bytes=bytes_below(done) - pictures,
            picture_bytes=pictures,
            overlay_bytes=overlay,
        )

    def _stitch_and_report(
        self, prediction: Prediction, slide: Slide, rule: InstanceRule, folder: str
    ) -> tuple[int, float, int]:
        """Stitch and report; returns how many nuclei, seconds of the report, bytes meanwhile."""
        config = self._config.part(StitchConfig)
        output = claim_output(
            self._folder / folder, stage="stitch", config=config.identity(), inputs={}
        )
        seconds, work_bytes = 0.0, 0

        def build_report(*about: Any, **more: Any) -> str:
            nonlocal seconds
            start = time.perf_counter()
            page = report_of_image(*about, **more)
            seconds = time.perf_counter() - start
            return page

        try:
            image = ImageStitch(
                prediction, slide, output, config,
                rule=rule, block_px=self._block_px, source="", clock=Stopwatch(),
                build_report=build_report, in_memory=False,
            )  # fmt: skip
            for step in image.steps:
                if step.name == WRITING:
                    work_bytes = bytes_below(work_folder(output.folder, prediction.id))
                do_all([step])
        finally:
            output.release()
        return image.nuclei, seconds, work_bytes


def _blank(resolution: Resolution, surveys: Sequence[ImageSurvey]) -> Slide:
    """Make an image of one color with the channels of the images."""
    channels = surveys[0].channels if surveys else ("red", "green", "blue")
    dtype = surveys[0].dtype if surveys else np.dtype(np.uint8)
    color = np.array(PINK if len(channels) == len(PINK) else [1.0] * len(channels))
    white = 2 ** (8 * dtype.itemsize) - 1
    pixels = np.broadcast_to((color * white).astype(dtype), (*resolution.shape, len(channels)))
    level = Level(resolution.shape, 1.0, lambda box: pixels[box.slices])
    image = StoredImage(Path("blank"), "none", (level,), dtype, channels, "blank")
    return Slide(image, resolution)
