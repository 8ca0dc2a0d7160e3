"""CZI files, written small and by hand: the library that reads them writes no pyramids.

Laid out as Zeiss describes it: segments of 32 bytes and their data; a directory of subblocks,
each a rectangle of pixels that is stored smaller than it is on a level of a pyramid.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PIXEL_TYPES = {(1, "u1"): 0, (1, "u2"): 1, (3, "u1"): 3, (3, "u2"): 4}


@dataclass(frozen=True)
class Block:
    """Pixels (h, w) or (h, w, 3) at (y, x) px of level 0, each `step` px of it wide."""

    pixels: np.ndarray
    y: int = 0
    x: int = 0
    step: int = 1
    channel: int = 0
    scene: int | None = None
    z: int = 0


def write_czi(
    path: Path, blocks: list[Block], *, mpp: float | None = None, names: tuple[str, ...] = (),
    scenes: tuple[str, ...] = (),
) -> Path:  # fmt: skip
    """A file of these blocks, and metadata of a pixel size and of names of channels and scenes."""
    data = bytearray(_segment("ZISRAWFILE", bytes(512)))
    entries = []
    for block in blocks:
        entry = _entry(block, len(data))
        color = block.pixels.ndim == 3
        samples = np.ascontiguousarray(block.pixels[..., ::-1] if color else block.pixels).tobytes()
        head = struct.pack("<iiq", 0, 0, len(samples)) + entry
        data += _segment("ZISRAWSUBBLOCK", head.ljust(256, b"\0") + samples)
        entries.append(entry)
    directory = len(data)
    data += _segment("ZISRAWDIRECTORY", struct.pack("<i124x", len(entries)) + b"".join(entries))
    metadata = len(data)
    xml = _xml(mpp, names, scenes).encode()
    data += _segment("ZISRAWMETADATA", struct.pack("<ii248x", len(xml), 0) + xml)
    guid = bytes(range(16))
    header = struct.pack("<4i16s16siqqiq", 1, 0, 0, 0, guid, guid, 0, directory, metadata, 0, 0)
    data[32 : 32 + len(header)] = header
    path.write_bytes(data)
    return path


def _segment(name: str, content: bytes) -> bytes:
    size = -(-len(content) // 32) * 32
    return struct.pack("<16sqq", name.encode(), size, size) + content.ljust(size, b"\0")


def _entry(block: Block, at: int) -> bytes:
    height, width = block.pixels.shape[:2]
    samples = 3 if block.pixels.ndim == 3 else 1
    kind = PIXEL_TYPES[samples, block.pixels.dtype.str[1:]]
    places = [
        ("X", block.x, width * block.step, width), ("Y", block.y, height * block.step, height),
        ("C", block.channel, 1, 1), ("Z", block.z, 1, 1),
    ]  # fmt: skip
    if block.scene is not None:
        places.append(("S", block.scene, 1, 1))
    if block.step == 1:
        places.append(("M", 0, 1, 1))
    pyramid = 0 if block.step == 1 else 2
    head = struct.pack("<2siqiiBB4xi", b"DV", kind, at, 0, 0, pyramid, 0, len(places))
    return head + b"".join(
        struct.pack("<4siifi", name.encode(), start, size, 0.0, stored)
        for name, start, size, stored in places
    )


def _xml(mpp: float | None, names: tuple[str, ...], scenes: tuple[str, ...]) -> str:
    distance = "".join(
        f'<Distance Id="{axis}"><Value>{mpp * 1e-6}</Value></Distance>' for axis in "XY"
    ) if mpp else ""  # fmt: skip
    channels = "".join(f'<Channel Id="Channel:{i}" Name="{name}"/>' for i, name in enumerate(names))
    held = "".join(f'<Scene Index="{i}" Name="{name}"/>' for i, name in enumerate(scenes))
    return (
        "<ImageDocument><Metadata><Information><Image><Dimensions>"
        f"<Channels>{channels}</Channels><S><Scenes>{held}</Scenes></S></Dimensions></Image>"
        f"</Information><Scaling><Items>{distance}</Items></Scaling></Metadata></ImageDocument>"
    )
