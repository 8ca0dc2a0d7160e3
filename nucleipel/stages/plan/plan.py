"""Tell before the start what tiling, predicting and stitching will take, and whether it fits.

Headers give sizes, a tissue mask gives what is skipped: so patches are counted,
not guessed. Seconds and bytes are those of a few windows that the stages' own
functions were run on, taken for all pixels of the images that are like them in
size. Nothing is written but into a folder for temporary files, which goes away.
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
from nucleipel.core.progress import track
from nucleipel.core.stopwatch import Stopwatch
from nucleipel.core.thinning import thin
from nucleipel.errors import ResourceError
from nucleipel.inference.probability_map import choose_device, place_network
from nucleipel.instances.block_memory import BYTES_PER_PIXEL, needed_bytes
from nucleipel.instances.segment import BLOCK_PX
from nucleipel.io.manifest import Manifest
from nucleipel.io.slides.slide import WHOLE_READ_LIMIT_PX
from nucleipel.io.tissue_mask import require_tissue_files
from nucleipel.model.checkpoint import read_checkpoint
from nucleipel.stages.pipeline.concurrent_stitch import is_worth_it
from nucleipel.stages.pipeline.predict import THUMBNAIL_PX, reading_of
from nucleipel.stages.pipeline.stitch import choose_block_px
from nucleipel.stages.plan.image_survey import Look, look_at
from nucleipel.stages.plan.patch_estimate import (
    START_WITHOUT_TORCH,
    Need,
    tile_need,
    tiling_of,
)
from nucleipel.stages.plan.timed_samples import FIXED, GLASS, Cost, Sampling

log = logging.getLogger(__name__)

GB = 2**30
SMALL_IMAGES, SMALL_IMAGES_PX, LARGE_IMAGES = (6, 32), 2**23, 4
"""Of images that are sampled whole, from 6 to 32 with about so many pixels; 4 of the others."""
PART_COPIES = 3
"""Parts of a map that are held at a time: one is made, one waits, one is compressed."""


@dataclass(frozen=True, slots=True)
class ImageNeed:
    """What one image needs of `predict` and `stitch`; `work_bytes` are gone in the end."""

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
    """All needs, and what there is. `free_bytes` of `folder` are None where no output was named."""

    stages: tuple[Need, ...]
    total: Need
    segment: Need
    images: tuple[ImageNeed, ...]
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
        """Of the network, in all images."""
        return sum(image.windows for image in self.images)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
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
            parts = ", ".join(f"{need.stage} {in_bytes(need.disk_bytes)}" for need in self.stages)
            faults.append(
                f"{self.folder}: {in_bytes(self.free_bytes)} are free on its disk, about"
                f" {in_bytes(self.total.disk_bytes)} are needed ({parts}); free some, give another"
                " --out, or do fewer images at a time"
            )
        most = max(self.stages, key=lambda need: need.memory_bytes)
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

    `out` is where outputs would go: its disk is looked at, nothing is made
    there. `clock` was started with the process, so that it knows how long a
    start takes.

    Raises
    ------
    NucleipelError
        As the stages themselves, if an image cannot be used or memory is too small for any block.
    """
    block_px = choose_block_px(config)
    model = read_checkpoint(checkpoint)
    reading = reading_of(model, config)
    rows.require_readable(reading)
    require_tissue_files(config.tissue, [row.id for row in rows.rows])
    tiling = tiling_of(rows, config)
    device = choose_device(config.device)
    place_network(model.network, device)
    start_seconds = clock.elapsed
    machine.forget_peak()
    looks = [look_at(model, row, reading, config) for row in track(rows.rows, "looking at images")]
    chosen = _choose(looks)
    with tempfile.TemporaryDirectory(prefix="nucleipel-plan-") as folder:
        sampling = Sampling(
            Path(folder), model, reading, config, chosen,
            glass_px=max(look.glass_px for look in looks), device=device, block_px=block_px,
        )  # fmt: skip
        sampling.predict()
        predict_peak = machine.peak_bytes()
        machine.forget_peak()
        costs = sampling.stitch()
        segment_peak = max(predict_peak, machine.peak_bytes())
        patches = Path(folder) / "patches.zarr"
        tile = () if tiling is None else (tile_need(tiling, config, patches, start_seconds),)
    images = tuple(_need_of(look, chosen, costs) for look in looks)
    maps = len(model.description.maps)
    # what compiles now, does not then
    stitch_start = START_WITHOUT_TORCH * start_seconds + min(sampling.load_seconds, start_seconds)
    stages = (
        *tile,
        _predict_need(looks, chosen, images, predict_peak, maps, start_seconds),
        _stitch_need(looks, images, config, block_px, stitch_start),
    )
    return _summed(stages, images, chosen, out, config, segment_peak, block_px, str(device))


def _choose(looks: Sequence[Look]) -> list[Look]:
    """The images that are sampled, evenly spread over all sizes."""
    alike = {
        whole: sorted(
            (look for look in looks if look.windows and look.is_whole == whole),
            key=lambda look: (look.px, look.row.id),
        )
        for whole in (True, False)
    }
    small, large = alike[True], alike[False]
    least, most = SMALL_IMAGES
    fitting = SMALL_IMAGES_PX * len(small) // max(1, sum(look.px for look in small))
    count = min(max(fitting, least), most)
    return [
        *(small[place] for place in thin(range(len(small)), count)),
        *(large[place] for place in thin(range(len(large)), LARGE_IMAGES)),
    ]


def _need_of(look: Look, chosen: Sequence[Look], costs: Mapping[str, Cost]) -> ImageNeed:
    """The costs of the sampled image that is nearest in size, for the pixels of this one."""
    fixed, glass = costs[FIXED], costs[GLASS]
    near = _nearest(look, chosen)
    cost = fixed if near is None else costs[near.row.id]
    share, glass_share = look.tissue_px / cost.px, look.glass_px / glass.px
    pictures = _picture_px(look) / cost.picture_px if cost.picture_px else 0.0
    again = 0.0 if near is None else _preparing(look, near)

    def all_of(name: str) -> float:
        once: float = getattr(fixed, name)
        predicted, skipped = getattr(cost, name) - once, getattr(glass, name) - once
        return once + max(0.0, predicted) * share + max(0.0, skipped) * glass_share

    network = cost.network_seconds * look.batches / max(cost.batches, 1)
    return ImageNeed(
        id=look.row.id,
        cores=look.cores,
        windows=look.windows,
        nuclei=round(cost.nuclei * share),
        map_bytes=round(all_of("map_bytes") + cost.thumbnail_bytes * pictures),
        instance_bytes=round(all_of("instance_bytes") + cost.picture_bytes * pictures),
        work_bytes=round(all_of("work_bytes")),
        predict_seconds=cost.prepare_seconds * again + network + all_of("write_seconds"),
        stitch_seconds=cost.reopen_seconds * again
        + all_of("stitch_seconds")
        + cost.picture_seconds * pictures,
    )


def _nearest(look: Look, chosen: Sequence[Look]) -> Look | None:
    """The image itself, if it was sampled; else one of its kind and size; None without windows."""
    if not look.windows:
        return None
    kind = [near for near in chosen if near.is_whole == look.is_whole]
    return min(
        kind,
        key=lambda near: (
            near.row.id != look.row.id,
            abs(math.log(near.px / look.px)),
        ),
    )


def _picture_px(look: Look) -> float:
    """Of the thumbnail of an image."""
    step = -(-look.resolution.shape[1] // THUMBNAIL_PX)
    return look.px / step**2


def _preparing(look: Look, near: Look) -> float:
    """How many times as long as the other one an image takes before its first window."""
    if look is near:
        return 1.0
    if min(look.tissue_seconds, near.tissue_seconds) > 0.1:
        return look.tissue_seconds / near.tissue_seconds
    return min(look.px, WHOLE_READ_LIMIT_PX) / min(near.px, WHOLE_READ_LIMIT_PX)


def _predict_need(
    looks: Sequence[Look],
    chosen: Sequence[Look],
    images: Sequence[ImageNeed],
    peak: int,
    maps: int,
    start_seconds: float,
) -> Need:
    """Memory is the peak that was seen, and the parts of maps that no sample was as large as."""
    sampled = max((look.sampled_px for look in chosen), default=0)
    part = max(look.part_px for look in looks)
    return Need(
        "predict",
        sum(image.windows for image in images),
        sum(image.map_bytes for image in images),
        peak + PART_COPIES * maps * max(0, part - sampled),
        start_seconds + sum(image.predict_seconds for image in images),
    )


def _stitch_need(
    looks: Sequence[Look],
    images: Sequence[ImageNeed],
    config: PlanConfig,
    block_px: int,
    start_seconds: float,
) -> Need:
    """Memory by the rule that `--max-ram` goes by, and what is held of images."""
    memory = max(
        needed_bytes(min(block_px, max(look.resolution.shape)), config.threads) + look.held_bytes
        for look in looks
    )
    return Need(
        "stitch",
        sum(image.windows for image in images),
        sum(image.instance_bytes for image in images) + max(image.work_bytes for image in images),
        memory,
        start_seconds + sum(image.stitch_seconds for image in images),
    )


def _summed(
    stages: tuple[Need, ...],
    images: tuple[ImageNeed, ...],
    chosen: Sequence[Look],
    out: Path | None,
    config: PlanConfig,
    segment_peak: int,
    block_px: int,
    device: str,
) -> Plan:
    *_, predict, stitch = stages
    larger_blocks = config.threads * BYTES_PER_PIXEL * max(0, block_px**2 - BLOCK_PX**2)
    segment = Need(
        "segment",
        predict.patches,
        predict.disk_bytes + stitch.disk_bytes,
        max(segment_peak, predict.memory_bytes)
        + (stitch.memory_bytes if is_worth_it(len(images)) else larger_blocks),
        predict.seconds + stitch.seconds,
    )
    total = Need(
        "total",
        sum(need.patches for need in stages if need.stage != "stitch"),
        sum(need.disk_bytes for need in stages),
        max(need.memory_bytes for need in stages),
        sum(need.seconds for need in stages),
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
        sampled_windows=sum(len(look.sampled) + len(look.timed) for look in chosen),
        folder=folder,
        free_bytes=free,
        memory_bytes=memory,
        memory_set_by=set_by,
        machine_cores=machine.core_count(),
        device=device,
    )


def in_bytes(count: float) -> str:
    """Bytes for people: three digits, and GB of 2**30."""
    for unit, size in (("TB", 2**40), ("GB", GB), ("MB", 2**20)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1024:.3g} kB"
