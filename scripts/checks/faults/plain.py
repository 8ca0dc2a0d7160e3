"""Kill scripts that only call zarr and tifffile, for comparison."""

import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from faults.child import in_child


def plain_trials(work: Path, trials: int, draw: random.Random) -> Iterator[dict[str, Any]]:
    """Kill a script that writes a map with zarr, or a mask with tifffile."""
    pixels = np.random.default_rng(0).integers(0, 255, (4, 2048, 2048), np.uint8)

    def write_zarr() -> None:
        array = zarr.create_array(
            work / "map.zarr", shape=pixels.shape, chunks=(4, 128, 128), dtype=np.uint8
        )
        for y in range(0, 2048, 128):
            array[:, y : y + 128] = pixels[:, y : y + 128]

    def write_tiff() -> None:
        tifffile.imwrite(work / "mask.tif", pixels[0], tile=(128, 128), compression="zlib")

    def check_zarr() -> None:
        print("same" if np.array_equal(zarr.open_array(work / "map.zarr")[:], pixels) else "wrong")  # noqa: T201

    def check_tiff() -> None:
        same = np.array_equal(tifffile.imread(work / "mask.tif"), pixels[0])
        print("same" if same else "wrong")  # noqa: T201

    for name, write, check in (
        ("zarr", write_zarr, check_zarr),
        ("tifffile", write_tiff, check_tiff),
    ):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        start = time.monotonic()
        in_child(write)
        took = time.monotonic() - start
        for _ in range(trials):
            shutil.rmtree(work)
            work.mkdir()
            in_child(write, kill_after=draw.uniform(0, took))
            code, output = in_child(check)
            found = output.split()[-1] if code == 0 else "refused"
            yield {"stage": name, "reader": found, "right": found == "same"}
