"""A slide that several processes share: with little to predict, and small.

Slides are shared out from a size on that takes long to read and to write, so all processes that
use this one lower the thresholds first, with `small_parts.share_small_slides`.
"""

from dataclasses import asdict
from pathlib import Path

import numpy as np

from nucleipel.data.synthetic import build_scene
from nucleipel.instances.instance_rule import InstanceRule
from support.sparse_slide import write_image
from support.untrained import small_network, write_untrained

SIZE_PX = 1450
"""So large that `predict` and `stitch` share it out; `predict` in two parts."""
ISLANDS = ((225, 225), (990, 990))
"""Corners of the islands, one a part; each lies on four shards of cores of `CORE_PX`."""
ISLAND_PX, CORE_PX = 65, 64
POISON = "poison"
DEADLY_SHARD = f"{POISON}/map/c/0/4/4"
"""A shard of the second island of one of two slides."""
NAMED = f"{POISON}, pixels 1024:1280, 1024:1280: killed its process 2 times in a row"


def write_two_islands(path: Path, *, seed: int) -> None:
    """Write an OME-Zarr slide of glass with two islands of tissue."""
    slide = write_image(path, SIZE_PX, np.uint8, fill=240, channels=3)
    for number, (y, x) in enumerate(ISLANDS):
        scene = build_scene((ISLAND_PX, ISLAND_PX), seed=seed + number, glass=False)
        slide[:, y : y + ISLAND_PX, x : x + ISLAND_PX] = scene.image.transpose(2, 0, 1)


def write_two_slides(folder: Path) -> Path:
    """Write the slides `train` and `poison`; returns their manifest."""
    lines = ["id,image,label,split,source_id,mpp"]
    for seed, name in enumerate(("train", POISON)):
        write_two_islands(folder / f"{name}.zarr", seed=10 * seed)
        lines.append(f"{name},{name}.zarr,,test,{name},0.5")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder / "manifest.csv"


def write_network(folder: Path) -> Path:
    """A checkpoint that was never trained, with cores of `CORE_PX`."""
    network = small_network(block_px=1)
    rule = asdict(InstanceRule(min_area_px=1))
    return write_untrained(folder, network, seed=1, core_px=CORE_PX, instances=rule)


def files_of(folder: Path, image_id: str) -> dict[str, bytes]:
    """The files of an image in an output, but for those that name its inputs."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in (folder / image_id).rglob("*")
        if path.is_file() and path.name not in ("image.json", "report.html", "certificate.json")
    }
