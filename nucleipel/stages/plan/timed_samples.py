"""What a plan measures: the stages' own work on a few windows, in a folder that goes away."""

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
from nucleipel.instances.overlay import draw_overlay
from nucleipel.instances.rule import InstanceRule
from nucleipel.instances.segment import BLOCK_PX, segment_instances
from nucleipel.instances.training_targets import BACKGROUND, INTERIOR
from nucleipel.io.nuclei.image_output import OVERLAY, REPORT, create_working_map
from nucleipel.io.pictures import write_picture
from nucleipel.io.records.fingerprint import fingerprint
from nucleipel.io.records.output import claim_output
from nucleipel.io.slides.formats import Level, StoredImage
from nucleipel.io.slides.mosaic import Mosaic, build_mosaic
from nucleipel.io.slides.resolution import Resolution
from nucleipel.io.slides.slide import Slide
from nucleipel.io.slides.slide_reader import Reading
from nucleipel.io.stores.predictions import THUMBNAIL, Prediction, open_predictions
from nucleipel.io.stores.stored_map import CORES_PER_SHARD, shard_boxes
from nucleipel.io.stores.write_predictions import PredictedImage, write_prediction
from nucleipel.io.tissue_mask import tissue_of
from nucleipel.model.checkpoint import Checkpoint, WindowGrid
from nucleipel.stages.pipeline.image_report import report_of_image
from nucleipel.stages.pipeline.predict import THUMBNAIL_PX
from nucleipel.stages.pipeline.stitch import frame_of, stitch_map
from nucleipel.stages.plan.image_survey import Look

FIXED, GLASS = "fixed", "glass"
FIXED_PX, NUCLEUS_PX = 16, 12
"""Sides of the image that tells what an image costs beside its pixels, and of its one nucleus."""
PINK = (0.9, 0.7, 0.85)
"""Of an image that passes for stained tissue, as a share of white."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What so many pixels of tissue took; seconds are those of the clock.

    `prepare_seconds` come before the first window. These, `reopen_seconds`, the
    thumbnail and the pictures (the report, and the overlay, also apart) grow
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
class _Drawn:
    """An overlay, and what it takes of the report."""

    overlay_bytes: int
    report_bytes: int
    seconds: float


class Sampling:
    """Maps and instances of samples, below `folder`.

    All are predicted first and stitched then, as a run does it: so the peak of
    memory in between is that of predicting. Both give a `Cost` for each image
    of `looks`, by its id, and `stitch` for one that is hardly there (`FIXED`)
    and one of `GLASS` too, of which an image has `glass_px` at most.
    `load_seconds` are those of the first stitching.
    """

    def __init__(
        self,
        folder: Path,
        model: Checkpoint,
        reading: Reading,
        config: PlanConfig,
        looks: Sequence[Look],
        *,
        glass_px: int,
        device: torch.device,
        block_px: int,
    ) -> None:
        self._folder, self._model, self._reading = folder, model, reading
        self._config, self._looks = config, looks
        self._device, self._block_px = device, block_px
        self._glass_px = glass_px
        self.load_seconds = 0.0
        self._costs: dict[str, Cost] = {}
        self._pictures: dict[str, npt.NDArray[np.uint8]] = {}
        self._maps = folder / "maps.zarr"

    def predict(self) -> dict[str, Cost]:
        """Predict and store the samples."""
        instances = self._model.description.instances
        names = [*map(str, range(len(self._looks))), FIXED, GLASS]
        output = claim_output(
            self._maps,
            stage="predict",
            config=self._config.part(PredictConfig).identity(),
            inputs={},
            plan={"images": names, "instances": instances},
        )
        if self._looks:  # the first pass of a network takes longer
            smallest = min(self._looks, key=lambda look: look.px)
            with self._open(smallest) as slide:
                self._parts(slide, smallest.sampled[:1], smallest.sampled_grid)
        for index, look in enumerate(self._looks):
            self._costs[look.row.id] = self._predict(str(index), look)
        output.release()
        return self._costs

    def stitch(self) -> dict[str, Cost]:
        """Stitch what was predicted; the costs with those of stitching."""
        for name in (FIXED, GLASS):
            self._costs[name] = self._write_empty(name)
        store = open_predictions(self._maps, unfinished=True)
        rule = InstanceRule(**self._config.instances.over(store.instances))
        for name in (FIXED, GLASS):
            prediction = store.image(name)
            slide = _blank(prediction.resolution, self._looks)
            start = time.perf_counter()
            if name == FIXED:  # the first time it loads what was compiled, or compiles
                self._stitched(prediction, slide, rule, "warm")
                self.load_seconds = time.perf_counter() - start
            self._costs[name] = self._stitch(prediction, slide, rule, self._costs[name])
        for index, look in enumerate(self._looks):
            with self._open(look) as slide:
                start = time.perf_counter()
                fingerprint(look.row.image)
                prediction = store.image(str(index))
                if look.is_whole:
                    framed = Slide(slide.image, frame_of(slide.resolution, self._config))
                else:
                    mosaic = self._mosaic(slide, look)
                    framed = Slide(mosaic.image, frame_of(mosaic.resolution, self._config))
                    Slide(slide.image, frame_of(slide.resolution, self._config)).shown_range()
                reopened = time.perf_counter() - start
                cost = self._stitch(prediction, framed, rule, self._costs[look.row.id])
            if not look.is_whole:  # its pictures are not those of the image
                own = self._draw(self._pictures[look.row.id])
                drawn = self._draw(prediction.read_thumbnail())
                cost = replace(
                    cost,
                    picture_bytes=cost.picture_bytes - cost.overlay_bytes - drawn.report_bytes
                    + own.overlay_bytes + own.report_bytes,
                    picture_seconds=cost.picture_seconds - drawn.seconds + own.seconds,
                )  # fmt: skip
            self._costs[look.row.id] = replace(cost, reopen_seconds=reopened)
        return self._costs

    def _draw(self, picture: npt.NDArray[np.uint8]) -> "_Drawn":
        """What the overlay of a picture takes, without nuclei."""
        start = time.perf_counter()
        overlay = draw_overlay(picture, np.zeros(picture.shape[:2], np.uint32))
        write_picture(self._folder / OVERLAY, overlay)
        seconds = time.perf_counter() - start
        size = (self._folder / OVERLAY).stat().st_size
        return _Drawn(size, len(overview(overlay)), seconds)

    @contextmanager
    def _open(self, look: Look) -> Iterator[Slide]:
        with self._reading.open(look.row.image, mpp=look.row.mpp) as slide:
            yield slide

    def _predict(self, name: str, look: Look) -> Cost:
        start = time.perf_counter()
        with self._open(look) as slide:
            intensity = slide.intensity_range()
            tissue_of(slide, self._config.tissue, image_id=look.row.id)
            thumbnail = slide.thumbnail(THUMBNAIL_PX)
            prepared = time.perf_counter()
            self._parts(slide, look.timed, look.grid, intensity)
            timed = time.perf_counter()
            maps = self._map(slide, look, intensity)
            predicted = time.perf_counter()
            resolution, picture = slide.resolution, thumbnail
            if not look.is_whole:
                mosaic = self._mosaic(slide, look)
                resolution = mosaic.resolution
                seen = Slide(mosaic.image, resolution, channel=slide.channel)
                picture = seen.thumbnail(THUMBNAIL_PX)
        written = self._write(name, look, resolution, maps, picture, channel=slide.channel)
        self._pictures[look.row.id] = thumbnail
        once = self._model.description.grid.whole_image_px is not None
        return replace(
            written,
            px=look.sampled_tissue_px,
            batches=look.batches if once else len(look.timed) or len(look.sampled),
            prepare_seconds=prepared - start,
            network_seconds=timed - prepared if look.timed else predicted - timed,
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
        """Cores of a grid and their maps."""
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
        )  # fmt: skip
        with closing(made):
            return list(made)

    def _map(self, slide: Slide, look: Look, intensity: IntensityRange) -> npt.NDArray[np.uint8]:
        """The map of a whole image, or of the sampled pieces from left to right."""
        parts = self._parts(slide, look.sampled, look.sampled_grid, intensity)
        if not look.is_whole:
            return np.concatenate([values for _, values in parts], axis=2)
        maps = np.empty((len(parts[0][1]), *slide.shape), np.uint8)
        for box, values in parts:
            maps[(slice(None), *box.slices)] = values
        return maps

    def _mosaic(self, slide: Slide, look: Look) -> Mosaic:
        level = 0 if self._config.map_frame == "level0" else slide.resolution.level
        return build_mosaic(slide, look.sampled, level=level)

    def _write_empty(self, name: str) -> Cost:
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
        look: Look | None,
        resolution: Resolution,
        maps: npt.NDArray[np.uint8],
        picture: npt.NDArray[np.uint8],
        *,
        channel: int | None = None,
    ) -> Cost:
        grid = self._model.description.grid if look is None else look.sampled_grid
        image = self._maps / "zarr.json" if look is None else look.row.image
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
        return Cost(
            px=math.prod(maps.shape[1:]),
            write_seconds=seconds,
            map_bytes=bytes_below(self._maps / name) - thumbnail,
            thumbnail_bytes=thumbnail,
        )

    def _stitch(self, prediction: Prediction, slide: Slide, rule: InstanceRule, cost: Cost) -> Cost:
        """The same cost with that of stitching."""
        work = self._folder / "work" / prediction.id
        segment_instances(
            prediction.open_map(),
            rule=rule,
            block_px=self._block_px,
            workers=self._config.threads,
            out=create_working_map(
                work, "map", prediction.resolution.shape, chunk_px=min(self._block_px, BLOCK_PX)
            ),
            scratch=work / "scratch",
        )
        start = time.perf_counter()
        nuclei, reported = self._stitched(prediction, slide, rule, "instances")
        seconds = time.perf_counter() - start
        drawn = self._draw(prediction.read_thumbnail()).seconds
        done = self._folder / "instances" / prediction.id
        overlay = (done / OVERLAY).stat().st_size
        pictures = overlay + (done / REPORT).stat().st_size
        return replace(
            cost,
            nuclei=nuclei,
            stitch_seconds=max(0.0, seconds - reported - drawn),
            picture_seconds=reported + drawn,
            work_bytes=bytes_below(work),
            instance_bytes=bytes_below(done) - pictures,
            picture_bytes=pictures,
            overlay_bytes=overlay,
        )

    def _stitched(
        self, prediction: Prediction, slide: Slide, rule: InstanceRule, folder: str
    ) -> tuple[int, float]:
        """How many nuclei there are, and the seconds of the report."""
        config = self._config.part(StitchConfig)
        output = claim_output(
            self._folder / folder, stage="stitch", config=config.identity(), inputs={}
        )
        seconds = 0.0

        def build_report(*about: Any, **more: Any) -> str:
            nonlocal seconds
            start = time.perf_counter()
            page = report_of_image(*about, **more)
            seconds = time.perf_counter() - start
            return page

        try:
            count = stitch_map(
                prediction, slide, output, config,
                rule=rule, block_px=self._block_px, source="", clock=Stopwatch(),
                build_report=build_report,
            )  # fmt: skip
        finally:
            output.release()
        return count, seconds


def _blank(resolution: Resolution, looks: Sequence[Look]) -> Slide:
    """Pixels of one colour with the channels of the images."""
    channels = looks[0].channels if looks else ("red", "green", "blue")
    dtype = looks[0].dtype if looks else np.dtype(np.uint8)
    colour = np.array(PINK if len(channels) == len(PINK) else [1.0] * len(channels))
    white = 2 ** (8 * dtype.itemsize) - 1
    pixels = np.broadcast_to((colour * white).astype(dtype), (*resolution.shape, len(channels)))
    level = Level(resolution.shape, 1.0, lambda box: pixels[box.slices])
    image = StoredImage(Path("blank"), "none", (level,), dtype, channels, "blank")
    return Slide(image, resolution)
