"""Instance maps of blocks, small enough to keep: LZ4, mostly zeros."""

import imagecodecs
import numpy as np
import numpy.typing as npt


def pack(values: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
    """Compress an (h, w) int32 map, losslessly."""
    narrow = values.astype(np.uint16) if values.max(initial=0) < 2**16 else values
    return np.frombuffer(
        imagecodecs.lz4_encode(np.ascontiguousarray(narrow), header=True), np.uint8
    )


def unpack(
    packed: npt.NDArray[np.uint8], shape: tuple[int, int]
) -> npt.NDArray[np.int32 | np.uint16]:
    """What `pack` was given, of this shape; uint16 where that holds all values."""
    content = imagecodecs.lz4_decode(np.ascontiguousarray(packed), header=True)
    wide = len(content) == 4 * shape[0] * shape[1]
    values = np.frombuffer(content, np.int32 if wide else np.uint16)
    return values.reshape(shape)
