"""A pyramid holds the pixels that were given, whatever its size, and repeats cost nothing."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from nucleipel.core.geometry import Box
from nucleipel.io.slides.slide import open_slide, read_annotation
from nucleipel.io.slides.write_pyramid import write_pyramid, write_tiled_annotation


@pytest.mark.parametrize("shape", [(1, 3), (256, 256), (1500, 2301), (1029, 4099), (4100, 257)])
@pytest.mark.parametrize("channels", [1, 3])
def test_levels_of_16_bit_are_exact(shape: tuple[int, int], channels: int, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 2**16, (*shape, channels)).astype(np.uint16)
    boxes: list[Box] = []

    def read(box: Box) -> np.ndarray:
        boxes.append(box)
        return pixels[box.slices]

    write_pyramid(tmp_path / "a.ome.tif", shape, read, mpp=0.25)
    assert max(max(box.shape) for box in boxes) <= 256
    with open_slide(tmp_path / "a.ome.tif") as slide:
        assert (slide.mpp, slide.dtype, slide.channels) == (0.25, np.uint16, channels)
        assert np.array_equal(slide.read(Box.of_shape(shape)), pixels)
        finer = pixels
        for index, level in enumerate(slide.image.levels[1:], start=1):
            height, width = finer.shape[0] // 4, finer.shape[1] // 4
            assert level.shape == (height, width)
            squares = finer[: 4 * height, : 4 * width].reshape(height, 4, width, 4, channels)
            coarse = slide.image.read(index, Box.of_shape(level.shape))
            assert np.abs(coarse - squares.mean(axis=(1, 3))).max() <= 1
            finer = coarse


def test_jpeg_of_color(tmp_path: Path) -> None:
    shape = (1500, 2301)
    rows, columns = np.indices(shape)
    pixels = np.stack([rows % 200 + 20, columns % 200 + 20, rows * 0 + 99], -1).astype(np.uint8)
    write_pyramid(tmp_path / "a.ome.tif", shape, lambda box: pixels[box.slices], mpp=0.5)
    with open_slide(tmp_path / "a.ome.tif") as slide:
        assert [level.shape for level in slide.image.levels] == [(1500, 2301), (375, 575)]
        assert "JPEG" in slide.image.container
        assert slide.image.channels == ("red", "green", "blue")
        found = slide.read(Box.of_shape(shape)).astype(int)
        assert np.abs(found - pixels).mean() < 3


def test_what_repeats_is_read_once(tmp_path: Path) -> None:
    shape = (2048, 5000)
    draw = np.random.default_rng(0)
    ground = draw.integers(0, 255, (512, 512, 1)).astype(np.uint8)
    boxes: list[Box] = []

    def read(box: Box) -> np.ndarray:
        boxes.append(box)
        rows, columns = np.arange(box.y0, box.y1) % 512, np.arange(box.x0, box.x1) % 512
        return ground[np.ix_(rows, columns)]

    write_pyramid(
        tmp_path / "a.ome.tif",
        shape,
        read,
        mpp=0.5,
        repeats=lambda box: (box.y0 % 512, box.x0 % 512),
    )
    first = boxes[0]
    assert len(boxes) - 1 == 2 * 2 + 2, "four tiles, two that the edge cuts, one sample"
    assert first.shape == (1, 1)
    write_pyramid(tmp_path / "b.ome.tif", shape, read, mpp=0.5)
    with open_slide(tmp_path / "a.ome.tif") as one, open_slide(tmp_path / "b.ome.tif") as other:
        for index, level in enumerate(one.image.levels):
            box = Box.of_shape(level.shape)
            assert np.array_equal(one.image.read(index, box), other.image.read(index, box))


def test_annotation(tmp_path: Path) -> None:
    ids = np.random.default_rng(0).integers(0, 2**32, (700, 301)).astype(np.uint32)
    ids[:256, :256] = ids[256:512, :256] = 0
    write_tiled_annotation(tmp_path / "a.tif", ids.shape, lambda box: ids[box.slices])
    assert np.array_equal(read_annotation(tmp_path / "a.tif"), ids)


def test_memory_is_that_of_a_row_of_tiles(tmp_path: Path) -> None:
    """201 MB of pixels, no two tiles alike for all that the writer knows."""
    tile = np.zeros((256, 256, 3), np.uint8)
    tracemalloc.start()
    write_pyramid(tmp_path / "a.ome.tif", (8192, 8192), lambda box: tile, mpp=0.5)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6
