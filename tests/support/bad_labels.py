"""Labels that cannot be used: row of `test_bad_files.ROWS`, name of the case, maker, message."""

import numpy as np

from support.bad_files import LFS, NOISE, Make, content, pipe, raster, tiff

GRAY = NOISE[..., 0]
SHAPE = NOISE.shape[:2]
DOTS = np.zeros(SHAPE, np.uint8)
DOTS[20:30, 20:30] = DOTS[50:60, 20:30] = DOTS[20:30, 50:60] = 255
CLASSES = np.kron(np.arange(60).reshape(6, 10) % 4, np.ones((50, 32), int)).astype(np.uint8)
BEYOND = np.where(DOTS, 2**32, 0).astype(np.uint64)
REFUSED_LABELS: list[tuple[int, str, Make, str]] = [
    (2, "git lfs", content("l.tif", LFS), "is a Git LFS pointer, .* run git lfs pull"),
    (17, "pipe", pipe, "no regular file"),
    (23, "transposed", tiff("l.tif", np.zeros(SHAPE[::-1], np.uint16)),
     "the label is 320 x 300 px, its image 300 x 320 px"),
    (23, "half size", tiff("l.tif", np.zeros((150, 160), np.uint16)),
     "the label is 150 x 160 px, its image 300 x 320 px"),
    (24, "integral float", tiff("l.tif", DOTS.astype(np.float32)),
     "1 channel.s. of float32; expected one integer channel .* nucleipel import"),
    (24, "fraction", tiff("l.tif", DOTS / 510), "of float64; expected one integer channel"),
    (24, "nan", tiff("l.tif", np.full(SHAPE, np.nan)), "of float64; expected one integer channel"),
    (25, "beyond 32 bits", tiff("l.tif", BEYOND), "holds the id 4294967296; .* import labels"),
    (28, "classes", tiff("l.tif", CLASSES),
     "ids 1, 2, 3, each in 15 pieces or more: classes, not instances; to number"),
    (28, "mask", raster("l.png", DOTS), "one id, 255, in 3 pieces: a mask, not instances"),
    (28, "mask of ones", tiff("l.tif", DOTS // 255), "one id, 1, in 3 pieces: a mask"),
    (28, "color", raster("l.png", NOISE), r"3 channel.s. of uint8; expected one integer channel"),
    (28, "jpeg", raster("l.jpg", GRAY), "JPEG changes ids"),
    (30, "negative", tiff("l.tif", np.full(SHAPE, -1, np.int16)), "holds the negative id -1"),
]  # fmt: skip
