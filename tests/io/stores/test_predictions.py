"""A store of predictions is written by many processes, each with images of its own."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import zarr

from nucleipel.core.geometry import Box
from nucleipel.io.slides.resolution import Resolution
from nucleipel.io.stores.write_predictions import PredictedImage, write_prediction

WRITERS = 8


def test_who_writes_first_does_not_matter(tiny_set, tmp_path: Path) -> None:
    image = tiny_set.image("val")
    resolution = Resolution.pixel_for_pixel((128, 128), 0.5)
    box = Box.of_shape(resolution.shape)
    values = np.full((4, *resolution.shape), 7, np.uint8)

    def write(store: Path, number: int, together: Barrier) -> None:
        together.wait()
        write_prediction(
            store, f"image-{number}", [(box, values)], PredictedImage(image, resolution),
            np.zeros((8, 8, 3), np.uint8), maps=4, core_px=128,
        )  # fmt: skip

    for attempt in range(6):  # each alone would notice a race every second time
        store, together = tmp_path / f"{attempt}.zarr", Barrier(WRITERS)
        with ThreadPoolExecutor(WRITERS) as pool:
            for done in [pool.submit(write, store, k, together) for k in range(WRITERS)]:
                done.result()
        group = zarr.open_group(store, mode="r")
        for number in range(WRITERS):
            np.testing.assert_array_equal(group[f"image-{number}/map"][:], values)
