"""What a plan measures: the stages' own work on a few windows, in a folder that goes away."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from nucleipel.config import PlanConfig, PredictConfig, StitchConfig, TileConfig
from nucleipel.core.geometry import Box
from nucleipel.core.intensity import IntensityRange
from nucleipel.core.machine import bytes_below
from nucleipel.core.stopwatch import Stopwatch
from nucleipel.inference.windows import BACKGROUND, predict_parts
from nucleipel.instances.rule import InstanceRule
from nucleipel.instances.segment import BLOCK_PX, segment_instances
from nucleipel.io.fingerprint import fingerprint
from nucleipel.io.formats import Level, StoredImage
from nucleipel.io.instances import OVERLAY, create_working_map, write_overlay
from nucleipel.io.mosaic import build_mosaic
from nucleipel.io.output import claim_output
from nucleipel.io.patch_store import all_shards, write_patches
from nucleipel.io.predictions import (
    THUMBNAIL,
    Prediction,
    open_predictions,
    shard_boxes,
    write_prediction,
)
from nucleipel.io.reading import Reading
from nucleipel.io.resolution import Resolution
from nucleipel.io.slide import Slide
from nucleipel.io.tissue import tissue_of
from nucleipel.model.checkpoint import Checkpoint
from nucleipel.stages.plan_looks import Look
from nucleipel.stages.predict import THUMBNAIL_PX
from nucleipel.stages.stitch import frame_of, stitch_map
from nucleipel.stages.tile import TilePlan, describe_intensity, read_patches

FIXED, GLASS = "fixed", "glass"
FIXED_PX = 16
"""Side of the empty image that tells what an image costs beside its pixels."""
TILED_IMAGES, TILED_PATCHES = 6, 8
"""Images that patches are sampled from, and patches of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What so many pixels of an image took; seconds are those of the clock.

    `prepare_seconds` come before the first window; `reopen_seconds`, the
    thumbnail and the overlay belong to the image and not to its pixels.
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
    map_bytes: int = 0
    thumbnail_bytes: int = 0
    work_bytes: int = 0
    instance_bytes: int = 0
    overlay_bytes: int = 0


@dataclass(frozen=True, slots=True)
class TileCost:
    """What a patch took, and an image beside its patches."""

    patch_bytes: float
    patch_seconds: float
    image_seconds: float


class Sampling:
    """Maps and instances of samples, below `folder`.

    All are predicted first and stitched then, as a run does it: so the peak of
    memory in between is that of predicting. Both give a `Cost` for each image
    of `looks`, by its id, and for an empty image (`FIXED`) and one core of
    `GLASS`.
    """

    def __init__(
        self,
        folder: Path,
        model: Checkpoint,
        reading: Reading,
        config: PlanConfig,
        looks: Sequence[Look],
        *,
        device: torch.device,
        block_px: int,
    ) -> None:
        self._folder, self._model, self._reading = folder, model, reading
        self._config, self._looks = config, looks
        self._device, self._block_px = device, block_px
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
                self._predicted(slide, smallest, slide.intensity_range(), smallest.sampled[:1])
        for index, look in enumerate(self._looks):
            self._costs[look.row.id] = self._predict(str(index), look)
        for name in (FIXED, GLASS):
            self._costs[name] = self._write_empty(name)
        output.release()
        return self._costs

    def stitch(self) -> dict[str, Cost]:
        """Stitch what was predicted; the costs with those of stitching."""
        store = open_predictions(self._maps, unfinished=True)
        rule = InstanceRule(**self._config.instances.over(store.instances))
        self._stitched(store.image(FIXED), None, rule, "warm")
        for name in (FIXED, GLASS):
            prediction = store.image(name)
            slide = _blank(prediction.resolution, self._looks)
            self._costs[name] = self._stitch(prediction, slide, rule, self._costs[name])
        for index, look in enumerate(self._looks):
            with self._open(look) as slide:
                start = time.perf_counter()
                fingerprint(look.row.image)
                prediction = store.image(str(index))
                if look.is_whole:
                    framed = Slide(slide.image, frame_of(slide.resolution, self._config))
                else:
                    framed = self._mosaic(slide, look)
                    Slide(slide.image, frame_of(slide.resolution, self._config)).shown_range()
                    write_overlay(self._folder / OVERLAY, self._pictures[look.row.id])
                reopened = time.perf_counter() - start
                cost = self._stitch(prediction, framed, rule, self._costs[look.row.id])
            if not look.is_whole:
                size = (self._folder / OVERLAY).stat().st_size
                cost = replace(cost, overlay_bytes=size)
            self._costs[look.row.id] = replace(cost, reopen_seconds=reopened)
        return self._costs

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
            maps = self._predicted(slide, look, intensity, look.sampled)
            predicted = time.perf_counter()
            resolution, picture = slide.resolution, thumbnail
            if not look.is_whole:
                mosaic = self._mosaic(slide, look)
                picture, resolution = mosaic.thumbnail(THUMBNAIL_PX), mosaic.resolution
        written = self._write(name, look, resolution, maps, picture)
        self._pictures[look.row.id] = thumbnail
        once = self._model.description.grid.whole_image_px is not None
        return replace(
            written,
            batches=look.batches if once else len(look.sampled),
            prepare_seconds=prepared - start,
            network_seconds=predicted - prepared,
            thumbnail_bytes=written.thumbnail_bytes * thumbnail.size // picture.size,
            picture_px=thumbnail.size // 3,
        )

    def _predicted(
        self, slide: Slide, look: Look, intensity: IntensityRange, cores: Sequence[Box]
    ) -> npt.NDArray[np.uint8]:
        """The maps of some cores; of a whole image where they lie in it, else side by side."""
        description = self._model.description
        made = predict_parts(
            self._model.network, slide, cores,
            intensity=intensity,
            grid=look.grid,
            channels=description.network.in_channels,
            maps=len(description.maps),
            device=self._device,
            flips=self._config.tta,
        )  # fmt: skip
        with closing(made):
            parts = list(made)
        if len(cores) < look.cores:
            return np.concatenate([values for _, values in parts], axis=2)
        maps = np.empty((len(description.maps), *slide.shape), np.uint8)
        for box, values in parts:
            maps[(slice(None), *box.slices)] = values
        return maps

    def _mosaic(self, slide: Slide, look: Look) -> Slide:
        level = 0 if self._config.map_frame == "level0" else slide.resolution.level
        mosaic = build_mosaic(slide, look.sampled, level=level)
        return Slide(mosaic.image, mosaic.resolution, channel=slide.channel)

    def _write_empty(self, name: str) -> Cost:
        core_px = self._model.description.grid.core_px
        side = FIXED_PX if name == FIXED else core_px
        description = self._model.description
        maps = np.zeros((len(description.maps), side, side), np.uint8)
        maps[BACKGROUND] = 255
        picture = np.full((side, side, 3), 255, np.uint8)
        resolution = Resolution.pixel_for_pixel((side, side), description.mpp)
        cost = self._write(name, None, resolution, maps, picture)
        return replace(cost, px=side * side)

    def _write(
        self,
        name: str,
        look: Look | None,
        resolution: Resolution,
        maps: npt.NDArray[np.uint8],
        picture: npt.NDArray[np.uint8],
    ) -> Cost:
        grid = self._model.description.grid if look is None else look.grid
        image = self._maps / "zarr.json" if look is None else look.row.image
        parts = shard_boxes(resolution.shape, core_px=grid.core_px)
        start = time.perf_counter()
        write_prediction(
            self._maps,
            name,
            ((box, maps[(slice(None), *box.slices)]) for box in parts),
            image=image,
            resolution=resolution,
            maps=len(maps),
            core_px=grid.core_px,
            thumbnail=picture,
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
        nuclei = self._stitched(prediction, slide, rule, "instances")
        seconds = time.perf_counter() - start
        done = self._folder / "instances" / prediction.id
        overlay = (done / OVERLAY).stat().st_size
        return replace(
            cost,
            nuclei=nuclei,
            stitch_seconds=seconds,
            work_bytes=bytes_below(work),
            instance_bytes=bytes_below(done) - overlay,
            overlay_bytes=overlay,
        )

    def _stitched(
        self, prediction: Prediction, slide: Slide | None, rule: InstanceRule, folder: str
    ) -> int:
        config = self._config.part(StitchConfig)
        output = claim_output(
            self._folder / folder, stage="stitch", config=config.identity(), inputs={}
        )
        try:
            return stitch_map(
                prediction,
                slide,
                output,
                config,
                rule=rule,
                block_px=self._block_px,
                source="",
                clock=Stopwatch(),
            )
        finally:
            output.release()


def _blank(resolution: Resolution, looks: Sequence[Look]) -> Slide:
    """White pixels with the channels of the images."""
    channels = looks[0].channels if looks else ("red", "green", "blue")
    dtype = looks[0].dtype if looks else np.dtype(np.uint8)
    white = 2 ** (8 * dtype.itemsize) - 1
    pixels = np.full((*resolution.shape, len(channels)), white, dtype)
    level = Level(resolution.shape, 1.0, lambda box: pixels[box.slices])
    image = StoredImage(Path("blank"), "none", (level,), dtype, channels, "blank")
    return Slide(image, resolution)


def sample_tiles(plan: TilePlan, config: TileConfig, folder: Path) -> TileCost:
    """Cut and store some patches of some images, as `tile` does."""
    chosen = evenly(range(len(plan.images)), TILED_IMAGES)
    firsts = np.cumsum([0, *(len(image.tiles) for image in plan.images)]).tolist()
    wanted = [
        index
        for place in chosen
        for index in evenly(range(firsts[place], firsts[place + 1]), TILED_PATCHES)
    ]
    start = time.perf_counter()
    write_patches(
        folder,
        read_patches(plan, wanted=set(wanted)),
        shards=all_shards(len(wanted), min(config.shard_patches, len(wanted))),
        count=len(wanted),
        patch_px=config.patch_px,
        channels=config.channels,
        dtype=plan.dtype,
        shard_patches=min(config.shard_patches, len(wanted)),
    )
    cut = time.perf_counter()
    for place in chosen:
        describe_intensity(plan.images[place], plan.reading)
    end = time.perf_counter()
    return TileCost(
        patch_bytes=bytes_below(folder) / len(wanted),
        patch_seconds=(cut - start) / len(wanted),
        image_seconds=(end - cut) / len(chosen),
    )


def evenly(items: Sequence[int], count: int) -> list[int]:
    """At most `count` of the items, the first and the last among them, evenly spread."""
    if len(items) <= count:
        return list(items)
    return [items[round(place * (len(items) - 1) / (count - 1))] for place in range(count)]
