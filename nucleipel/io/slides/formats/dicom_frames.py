"""The frames of one DICOM file: where their bytes lie, and their pixels.

Bytes are read at their place, without moving a position that threads or forked
workers would share.
"""

import os
from collections.abc import Callable
from functools import cached_property
from typing import Any

import cv2
import numpy as np

from nucleipel.errors import ImageError
from nucleipel.io.slides.formats.dicom_header import Header
from nucleipel.io.slides.formats.stored_image import Pixels

NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
JPEG = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
CODECS = {
    **dict.fromkeys(JPEG, "jpeg8_decode"),
    **dict.fromkeys(("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"), "ljpeg_decode"),
    **dict.fromkeys(("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"), "jpegls_decode"),
    **dict.fromkeys(
        ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.201",
         "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203"), "jpeg2k_decode"),
    **dict.fromkeys(("1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.112"), "jpegxl_decode"),
}  # fmt: skip
ITEM, END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
LARGEST_FRAME_BYTES = 2**30
RGB_COLORSPACE = 2
"""Color space of libjpeg: samples are red, green and blue as they stand."""


class Frames:
    """The frames of a file, decoded one by one to (h, w, samples).

    Raises
    ------
    ImageError
        If they are packed in a way that is not read, or do not lie in the file.
    """

    def __init__(self, header: Header) -> None:
        self.header = header
        self._decode = _decoder(header)
        height, width = header.frame
        self.bytes = height * width * header.samples * header.bits // 8
        if self.bytes > LARGEST_FRAME_BYTES:
            raise ImageError(
                f"{header.file}: stored in frames of {height} x {width} px, which cannot be read by"
                " region; convert it to tiles"
            )
        self._descriptor = os.open(header.file, os.O_RDONLY)
        self._size = os.fstat(self._descriptor).st_size

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def read(self, index: int) -> Pixels:
        """The pixels (h, w, samples) of a frame."""
        data = b"".join(self._bytes(start, length) for start, length in self._pieces[index])
        pixels = self._decode(data).reshape(*self.header.frame, self.header.samples)
        return _meant(pixels, self.header)

    def require_whole(self) -> None:
        """Check that all frames lie in the file.

        Raises
        ------
        ImageError
            If not.
        """
        if len(self._pieces) < self.header.frames:
            raise ImageError(
                f"{self.header.file}: has {len(self._pieces)} of {self.header.frames} frames; copy"
                " it again"
            )
        end = max(
            (start + length for pieces in self._pieces for start, length in pieces), default=0
        )
        if end > self._size:
            raise ImageError(
                f"{self.header.file}: truncated: needs {end} bytes, has {self._size}; copy it again"
            )

    def _bytes(self, start: int, length: int) -> bytes:
        data = os.pread(self._descriptor, length, start)
        if len(data) < length:
            raise ImageError(f"{self.header.file}: truncated at {self._size} bytes; copy it again")
        return data

    @cached_property
    def _pieces(self) -> list[list[tuple[int, int]]]:
        """Pieces of each frame in the file, (start, length) in bytes."""
        header = self.header
        at = header.data_at + (12 if header.explicit else 8)
        if header.syntax in NATIVE:
            return [[(at + index * self.bytes, self.bytes)] for index in range(header.frames)]
        items = self._items(at)
        _, table_at, table_length = items[0]
        first = table_at + table_length
        if header.offsets:
            pairs = zip(header.offsets, header.lengths, strict=True)
            return [[(first + offset + 8, length)] for offset, length in pairs]
        table = np.frombuffer(self._bytes(table_at, table_length), "<u4").tolist()
        return _by_frame(header, [item for item in items[1:] if item[2]], first, table)

    def _items(self, at: int) -> list[tuple[int, int, int]]:
        """(place of the item, of its value, length of that) of each item of packed pixels."""
        items = []
        while at + 8 <= self._size:
            head = os.pread(self._descriptor, 8, at)
            if head[:4] != ITEM:
                break
            length = int.from_bytes(head[4:], "little")
            items.append((at, at + 8, length))
            if self.header.offsets:  # the file's own table has the rest
                break
            at += 8 + length
        if not items:
            raise ImageError(f"{self.header.file}: holds no pixels; copy it again")
        return items


def _by_frame(
    header: Header, items: list[tuple[int, int, int]], first: int, table: list[int]
) -> list[list[tuple[int, int]]]:
    """The pieces of each frame: those from its offset on; one each where there are no offsets."""
    pieces = [(start, length) for _, start, length in items]
    if table:
        frame_of = np.searchsorted(table, [at - first for at, _, _ in items], side="right") - 1
        frames: list[list[tuple[int, int]]] = [[] for _ in table]
        for frame, piece in zip(frame_of.tolist(), pieces, strict=True):
            frames[frame].append(piece)
        return frames
    if header.frames == 1:
        return [pieces]
    if len(pieces) > header.frames:
        raise ImageError(
            f"{header.file}: {header.frames} frames in {len(pieces)} pieces without a table of"
            " offsets; write it anew with one"
        )
    return [[piece] for piece in pieces]


def _decoder(header: Header) -> Callable[[bytes], Pixels]:
    import imagecodecs

    dtype = np.dtype("<u2" if header.bits == 16 else np.uint8)
    if header.bits not in (8, 16):
        raise ImageError(
            f"{header.file}: {header.bits} bits a sample; expected 8 or 16; convert it"
        )
    if header.syntax in NATIVE:
        return lambda data: _unpacked(np.frombuffer(data, dtype), header)
    name = CODECS.get(header.syntax)
    if name is None:
        raise ImageError(
            f"{header.file}: frames are packed by the transfer syntax {header.syntax}, which is not"
            " read; convert it, for instance to JPEG 2000"
        )
    decode: Callable[..., Any] = getattr(imagecodecs, name)
    if header.syntax in JPEG and header.photometric == "RGB":
        return lambda data: _decode_rgb_jpeg(decode, data)
    return lambda data: np.asarray(decode(data))


def _decode_rgb_jpeg(decode: Callable[..., Any], data: bytes) -> Pixels:
    """A JPEG that is said to be RGB: so it is, unless its own marker says that it is YCbCr."""
    marked = b"JFIF\0" in data[:64] or b"Adobe\0" in data[:1024]
    if marked:
        return np.asarray(decode(data))
    return np.asarray(decode(data, colorspace=RGB_COLORSPACE, outcolorspace=RGB_COLORSPACE))


def _unpacked(samples: Pixels, header: Header) -> Pixels:
    if not header.planar:
        return samples
    height, width = header.frame
    return samples.reshape(header.samples, height, width).transpose(1, 2, 0)


def _meant(pixels: Pixels, header: Header) -> Pixels:
    """Gray or RGB, of the samples as the codec gives them."""
    if header.photometric == "MONOCHROME1":
        return (2**header.stored_bits - 1 - pixels).astype(pixels.dtype)
    # JPEG's codec gives RGB; that of JPEG 2000 undoes YBR_ICT and YBR_RCT, and no other
    if header.photometric.startswith("YBR_FULL") and header.syntax not in JPEG:
        return cv2.cvtColor(np.ascontiguousarray(pixels[..., [0, 2, 1]]), cv2.COLOR_YCrCb2RGB)
    return pixels
