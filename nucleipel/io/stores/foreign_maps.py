"""Arrays that other programs wrote: zarr, TIFF or NPY, read by region."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from nucleipel.errors import StoreError

SUFFIXES = (".zarr", ".tif", ".tiff", ".npy")


@contextmanager
def foreign_array(path: Path) -> Iterator[Any]:
    """Open an array of any dtype and shape that is read when it is indexed.

    Of a zarr group, an OME-Zarr image say, its array "0"; of a TIFF the first series.

    Raises
    ------
    StoreError
        If there is none, or of another kind, or it cannot be opened.
    """
    suffix = path.suffix.lower()
    if not path.exists():
        raise StoreError(f"{path}: no such file; check the path")
    if suffix not in SUFFIXES and not path.is_dir():
        raise StoreError(f"{path}: unknown kind of map; expected one of {', '.join(SUFFIXES)}")
    with ExitStack() as opened:
        try:
            if path.is_dir():
                array = _open_zarr(path)
            elif suffix == ".npy":
                array = np.load(path, mmap_mode="r", allow_pickle=False)
            else:
                array = _open_tiff(path, opened)
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise StoreError(f"{path}: cannot be read as {suffix or 'zarr'}: {reason}") from error
        yield array


def _open_zarr(path: Path) -> Any:
    import zarr

    opened = zarr.open(path, mode="r")
    array: Any = opened["0"] if isinstance(opened, zarr.Group) else opened
    if array.ndim == 5 and array.shape[0] == 1 and array.shape[2] == 1:  # OME-Zarr's T and Z
        return _Planes(array)
    return array


def _open_tiff(path: Path, opened: ExitStack) -> Any:
    import tifffile
    import zarr

    file = opened.enter_context(tifffile.TiffFile(path))
    store: Any = opened.enter_context(closing(file.series[0].aszarr(level=0)))
    return zarr.open_array(store, mode="r")


class _Planes:
    """The (C, H, W) array of a (1, C, 1, H, W) one."""

    def __init__(self, array: Any) -> None:
        self._array, self.dtype = array, array.dtype
        self.shape = (array.shape[1], *array.shape[3:])

    def __getitem__(self, index: tuple[Any, Any, Any]) -> Any:
        channel, rows, columns = index
        return self._array[0, channel, 0, rows, columns]
