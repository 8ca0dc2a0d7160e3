"""Maps of any network as the probability map that nuclei are made from, converted when read."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.core.channel_names import NAMES, name_channels
from nucleipel.instances.quantize import quantize


class ChannelMaps:
    """The (3, H, W) or (4, H, W) uint8 map that follows from some channels of `values`.

    It is background, interior and boundary, with the distance as a fourth channel
    if there is one. Reading a box reads and converts that box only.

    Parameters
    ----------
    values : (H, W) or (C, H, W) array
        uint8 (255 is 1), uint16 (65,535 is 1), float in 0..1 or bool; NumPy, zarr, Dask.
    channels : mapping of str to int, optional
        Index of each channel: `foreground` alone, or `interior` and `boundary`, or
        `foreground` (the two together) and `boundary`; perhaps `background`, else it is the
        rest; perhaps `distance`, to the nucleus' own edge as a fraction of its greatest.
        Without it one channel is `foreground`, three or four are `OWN`.

    Raises
    ------
    ValueError
        If the shape, the dtype or the channels are others; when read, if a value is no
        probability.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, values: Any, channels: Mapping[str, int] | None = None) -> None:
        shape = tuple(int(length) for length in values.shape)
        if len(shape) not in (2, 3) or 0 in shape:
            raise ValueError(f"shape {shape}; expected (H, W) or (C, H, W)")
        if len(shape) == 3 and shape[2] <= len(NAMES) < shape[0]:
            raise ValueError(
                f"shape {shape}, channels last; expected (C, H, W): np.moveaxis(maps, -1, 0)"
            )
        kind = np.dtype(values.dtype)
        if kind.kind != "f" and kind not in (np.uint8, np.uint16, np.bool_):
            raise ValueError(f"{kind}; expected uint8, uint16, bool, or float in 0..1")
        count = 1 if len(shape) == 2 else shape[0]
        self._values, self._kind = values, kind
        self.channels = name_channels(channels, count)
        self.shape = (4 if "distance" in self.channels else 3, *shape[-2:])

    def __getitem__(self, index: tuple[slice, slice, slice]) -> npt.NDArray[np.uint8]:
        of = {name: self._read(place, index[1:]) for name, place in self.channels.items()}
        boundary = of.get("boundary", np.zeros((), np.uint8))
        if "foreground" in of:
            of["interior"] = of["foreground"] - np.minimum(of["foreground"], boundary)
        interior = of["interior"]
        rest = 255 - np.minimum(interior.astype(np.uint16) + boundary, 255)
        maps = np.zeros((self.shape[0], *interior.shape), np.uint8)
        maps[0], maps[1], maps[2] = of.get("background", rest), interior, boundary
        if "distance" in of:
            maps[3] = of["distance"]
        return maps[index[0]]

    def _read(self, place: int, box: tuple[slice, slice]) -> npt.NDArray[np.uint8]:
        flat = len(self._values.shape) == 2
        values = np.asarray(self._values[box] if flat else self._values[(place, *box)])
        if self._kind == np.uint8:
            return values
        if self._kind == np.uint16:
            return quantize(values / np.float32(65535))
        if self._kind.kind == "f" and not (values.min() >= 0 and values.max() <= 1):
            limits = f"{values.min():g}..{values.max():g}" if np.isfinite(values).all() else "NaN"
            raise ValueError(f"channel {place} holds {limits}; expected probabilities in 0..1")
        return quantize(values.astype(np.float32))
