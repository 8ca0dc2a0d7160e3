"""Estimate what tiling, predicting and stitching will take, and whether it fits the machine.

Patches are counted: headers give sizes, a tissue mask gives what is skipped.
Seconds and bytes are measured on a few windows, with the stages' own functions,
and scaled to all pixels of images of similar size. Files are written into a
temporary folder only, which is removed.
"""

import logging
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nucleipel.config import PlanConfig
from nucleipel.core import machine
from nucleipel.core.evenly_spaced import thin
from nucleipel.core.progress import track
from nucleipel.core.stopwatch import Stopwatch
from nucleipel.errors import ResourceError
from nucleipel.inference.probability_map import choose_device, place_network
from nucleipel.instances.block_memory import BYTES_PER_PIXEL, needed_bytes
from nucleipel.instances.segment_map import BLOCK_PX
from nucleipel.io.manifest import Manifest
from nucleipel.io.slides.intensity_range import MOST_READ_PX
from nucleipel.io.tissue_mask import require_tissue_files
from nucleipel.model.foreign_model import read_model
from nucleipel.stages.pipeline.predict import THUMBNAIL_PX, slide_reader_for
from nucleipel.stages.pipeline.stitch import choose_block_px
from nucleipel.stages.pipeline.stitch_process import is_worth_it
from nucleipel.stages.plan.image_survey import ImageSurvey, survey_image
from nucleipel.stages.plan.patch_estimate import (
    START_WITHOUT_TORCH,
    StageEstimate,
    estimate_tile,
    plan_tiling,
)
from nucleipel.stages.plan.timed_samples import FIXED, GLASS, SampleCost, TimedSamples

log = logging.getLogger(__name__)

GB = 2**30
SMALL_IMAGES, SMALL_IMAGES_PX, LARGE_IMAGES = (6, 32), 2**23, 4
"""Images that are sampled: 6 to 32 whole ones of about so many pixels together, and 4 others."""
PART_COPIES = 3
"""Parts of a map that are held at a time: one is made, one waits, one is compressed."""


@dataclass(frozen=True, slots=True)
class ImageEstimate:
    """Estimate of one image in `predict` and `stitch`; `work_bytes` are freed at the end."""

    id: str
    cores: int
    windows: int
    nuclei: int
    map_bytes: int
    instance_bytes: int
    work_bytes: int
    predict_seconds: float
    stitch_seconds: float


@dataclass(frozen=True, slots=True)
class Plan:
    """All estimates, and what the machine has; without an output, `free_bytes` is None."""

    stages: tuple[StageEstimate, ...]
    total: StageEstimate
    segment: StageEstimate
    images: tuple[ImageEstimate, ...]
    sampled_images: int
    sampled_windows: int
    folder: Path | None
    free_bytes: int | None
    memory_bytes: int
    memory_set_by: str
    machine_cores: int
    device: str

    @property
    def windows(self) -> int:
        """Windows of the network in all images."""
        return sum(image.windows for image in self.images)

    def to_json(self) -> dict[str, Any]:
        """Convert to plain JSON types."""
        return {**asdict(self), "folder": self.folder and str(self.folder)}

    def require_fit(self) -> None:
        """Refuse what cannot fit.

        Raises
        ------
        ResourceError
            If disk or memory are too small, with both where both are.
        """
        faults = []
        if self.free_bytes is not None and self.total.disk_bytes > self.free_bytes:
            parts = ", ".join(
                f"{estimate.stage} {in_bytes(estimate.disk_bytes)}" for estimate in self.stages
            )
            faults.append(
                f"{self.folder}: {in_bytes(self.free_bytes)} are free on its disk, about"
                f" {in_bytes(self.total.disk_bytes)} are needed ({parts}); free some, give another"
                " --out, or do fewer images at a time"
            )
        most = max(self.stages, key=lambda estimate: estimate.memory_bytes)
        if most.memory_bytes > self.memory_bytes:
            faults.append(
                f"{self.memory_set_by} is {in_bytes(self.memory_bytes)}, {most.stage} needs about"
                f" {in_bytes(most.memory_bytes)}; allow more, or take a machine with more"
            )
        if faults:
            raise ResourceError("; ".join(faults))


def plan(
    checkpoint: Path,
    rows: Manifest,
    config: PlanConfig,
    *,
    out: Path | None = None,
    clock: Stopwatch,
) -> Plan:
    """Estimate what it takes to tile the annotated rows, and to predict and stitch all of them.

    `out` is where outputs would go: only the free space of its disk is read.
    `clock` was started with the process and knows how long a start takes.

    Raises
    ------
    NucleipelError
        As the stages themselves, if an image cannot be used or memory is too small for any block.
    """
    block_px = choose_block_px(config)
    model = read_model(checkpoint)
    reader = slide_reader_for(model, config)
    rows.require_readable(reader)
    require_tissue_files(config.tissue, [row.id for row in rows])
    tiling = plan_tiling(rows, config)
    device = choose_device(config.device)
    place_network(model.network, device)
    start_seconds = clock.elapsed
    machine.forget_peak()
    surveys = [survey_image(model, row, reader, config) for row in track(rows, "surveying images")]
    chosen = _choose_samples(surveys)
    with tempfile.TemporaryDirectory(prefix="nucleipel-plan-") as folder:
        sampling = TimedSamples(
            Path(folder), model, reader, config, chosen,
            glass_px=max(survey.glass_px for survey in surveys), device=device, block_px=block_px,
        )  # fmt: skip
        sampling.predict()
        predict_peak = machine.peak_bytes()
        machine.forget_peak()
        costs = sampling.stitch()
        segment_peak = max(predict_peak, machine.peak_bytes())
        patches = Path(folder) / "patches.zarr"
        tile = () if tiling is None else (estimate_tile(tiling, config, patches, start_seconds),)
    images = tuple(_estimate_image(survey, chosen, costs) for survey in surveys)
    maps = len(model.description.maps)
    # what compiles now is compiled in a later run
    stitch_start = START_WITHOUT_TORCH * start_seconds + min(sampling.load_seconds, start_seconds)
    stages = (
        *tile,
        _estimate_predict(surveys, chosen, images, predict_peak, maps, start_seconds),
        _estimate_stitch(surveys, images, config, block_px, stitch_start),
    )
    return _sum_up(stages, images, chosen, out, config, segment_peak, block_px, str(device))


def _choose_samples(surveys: Sequence[ImageSurvey]) -> list[ImageSurvey]:
    """Choose the images that are sampled, at even distances over all sizes."""
    alike = {
        whole: sorted(
            (survey for survey in surveys if survey.windows and survey.is_whole == whole),
            key=lambda survey: (survey.px, survey.row.id),
        )
        for whole in (True, False)
    }
    small, large = alike[True], alike[False]
    least, most = SMALL_IMAGES
    fitting = SMALL_IMAGES_PX * len(small) // max(1, sum(survey.px for survey in small))
    count = min(max(fitting, least), most)
    return [
        *(small[place] for place in thin(range(len(small)), count)),
        *(large[place] for place in thin(range(len(large)), LARGE_IMAGES)),
    ]


def _estimate_image(
    survey: ImageSurvey, chosen: Sequence[ImageSurvey], costs: Mapping[str, SampleCost]
) -> ImageEstimate:
    """Scale the costs of the sampled image that is nearest in size to the pixels of this one."""
    fixed, glass = costs[FIXED], costs[GLASS]
    near = _nearest(survey, chosen)
    cost = fixed if near is None else costs[near.row.id]
    share, glass_share = survey.tissue_px / cost.px, survey.glass_px / glass.px
    pictures = _picture_px(survey) / cost.picture_px if cost.picture_px else 0.0
    again = 0.0 if near is None else _preparation_ratio(survey, near)

    def scaled(name: str) -> float:
        once: float = getattr(fixed, name)
        predicted, skipped = getattr(cost, name) - once, getattr(glass, name) - once
        return once + max(0.0, predicted) * share + max(0.0, skipped) * glass_share

    network = cost.network_seconds * survey.batches / max(cost.batches, 1)
    return ImageEstimate(
        id=survey.row.id,
        cores=survey.cores,
        windows=survey.windows,
        nuclei=round(cost.nuclei * share),
        map_bytes=round(scaled("map_bytes") + cost.thumbnail_bytes * pictures),
        instance_bytes=round(scaled("instance_bytes") + cost.picture_bytes * pictures),
        work_bytes=round(scaled("work_bytes")),
        predict_seconds=cost.prepare_seconds * again + network + scaled("write_seconds"),
        stitch_seconds=cost.reopen_seconds * again
        + scaled("stitch_seconds")
        + cost.picture_seconds * pictures,
    )


def _nearest(survey: ImageSurvey, chosen: Sequence[ImageSurvey]) -> ImageSurvey | None:
    """The image itself, if it was sampled; else one of its kind and size; None without windows."""
    if not survey.windows:
        return None
    kind = [near for near in chosen if near.is_whole == survey.is_whole]
    return min(
        kind,
        key=lambda near: (
            near.row.id != survey.row.id,
            abs(math.log(near.px / survey.px)),
        ),
    )


def _picture_px(survey: ImageSurvey) -> float:
    """Pixels of the thumbnail of an image."""
    step = -(-survey.resolution.shape[1] // THUMBNAIL_PX)
    return survey.px / step**2


def _preparation_ratio(survey: ImageSurvey, near: ImageSurvey) -> float:
    """Time of an image before its first window, in units of that of the other one."""
    if survey is near:
        return 1.0
    if min(survey.tissue_seconds, near.tissue_seconds) > 0.1:
        return survey.tissue_seconds / near.tissue_seconds
    return min(survey.px, MOST_READ_PX) / min(near.px, MOST_READ_PX)


def _estimate_predict(
    surveys: Sequence[ImageSurvey],
    chosen: Sequence[ImageSurvey],
    images: Sequence[ImageEstimate],
    peak: int,
    maps: int,
    start_seconds: float,
) -> StageEstimate:
    """Memory is the measured peak, plus parts of maps that are larger than every sample."""
    sampled = max((survey.sampled_px for survey in chosen), default=0)
    part = max(survey.part_px for survey in surveys)
    return StageEstimate(
        "predict",
        sum(image.windows for image in images),
        sum(image.map_bytes for image in images),
        peak + PART_COPIES * maps * max(0, part - sampled),
        start_seconds + sum(image.predict_seconds for image in images),
    )


def _estimate_stitch(
    surveys: Sequence[ImageSurvey],
    images: Sequence[ImageEstimate],
    config: PlanConfig,
    block_px: int,
    start_seconds: float,
) -> StageEstimate:
    """Memory follows the rule of `--max-ram`, plus pixels of images that stay in memory."""
    memory = max(
        needed_bytes(min(block_px, max(survey.resolution.shape)), config.threads)
        + survey.held_bytes
        for survey in surveys
    )
    return StageEstimate(
        "stitch",
        sum(image.windows for image in images),
        sum(image.instance_bytes for image in images) + max(image.work_bytes for image in images),
        memory,
        start_seconds + sum(image.stitch_seconds for image in images),
    )


def _sum_up(
    stages: tuple[StageEstimate, ...],
    images: tuple[ImageEstimate, ...],
    chosen: Sequence[ImageSurvey],
    out: Path | None,
    config: PlanConfig,
    segment_peak: int,
    block_px: int,
    device: str,
) -> Plan:
    *_, predict, stitch = stages
    larger_blocks = config.threads * BYTES_PER_PIXEL * max(0, block_px**2 - BLOCK_PX**2)
    segment = StageEstimate(
        "segment",
        predict.patches,
        predict.disk_bytes + stitch.disk_bytes,
        max(segment_peak, predict.memory_bytes)
        + (stitch.memory_bytes if is_worth_it() else larger_blocks),
        predict.seconds + stitch.seconds,
    )
    total = StageEstimate(
        "total",
        sum(estimate.patches for estimate in stages if estimate.stage != "stitch"),
        sum(estimate.disk_bytes for estimate in stages),
        max(estimate.memory_bytes for estimate in stages),
        sum(estimate.seconds for estimate in stages),
    )
    memory, set_by = machine.memory_limit()
    if config.max_ram_gb is not None and config.max_ram_gb * GB < memory:
        memory, set_by = round(config.max_ram_gb * GB), "--max-ram"
    folder, free = (None, None) if out is None else machine.free_disk(out)
    return Plan(
        stages=stages,
        total=total,
        segment=segment,
        images=images,
        sampled_images=len(chosen),
        sampled_windows=sum(len(survey.sampled) + len(survey.timed) for survey in chosen),
        folder=folder,
        free_bytes=free,
        memory_bytes=memory,
        memory_set_by=set_by,
        machine_cores=machine.core_count(),
        device=device,
    )


def in_bytes(count: float) -> str:
    """Write bytes for people: three digits, and GB of 2**30."""
    for unit, size in (("TB", 2**40), ("GB", GB), ("MB", 2**20)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1024:.3g} kB"
