"""nucleipel as the model of other programs: Sopa, LazySlide.

These programs cut an image into tiles, call the model for each and merge what they get by
their own rule. So nuclei depend on the tiles; `nucleipel.segment_slide` has none.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nucleipel.api.arguments import own_scale, require_mpp
from nucleipel.api.model import Model, load
from nucleipel.errors import ArgumentError, MissingPackageError

if TYPE_CHECKING:
    import torch
    from torch import nn

Labels = npt.NDArray[np.uint32]


def sopa_method(
    model: "Model | nn.Module | Path | str" = "default",
    *,
    mpp: float | None = None,
    **settings: Any,
) -> Callable[[npt.NDArray[Any]], Labels]:
    """Build the `method` of `sopa.segmentation.custom_staining_based`.

    Parameters
    ----------
    model : str, Path, torch.nn.Module or Model
        As of `load`.
    mpp : float, optional
        Um per pixel of the image.
    **settings
        As of `segment`: `stained_as="dye"`, `device`, ...

    Returns
    -------
    callable
        From (C, Y, X), one or three channels, to (Y, X) uint32 ids, 0 for background. Floats
        in 0..1, which Sopa makes when it equalizes contrast, become 8 bits; integers stay.

    Raises
    ------
    ArgumentError
        When it is called, if the image is of another shape or holds other values.

    Examples
    --------
    >>> import nucleipel as npl
    >>> method = npl.guests.sopa_method(stained_as="dye")
    >>> image = npl.datasets.sample(64).image.transpose(2, 0, 1)
    >>> method(image).shape
    (64, 64)
    """
    require_mpp(mpp)
    loaded = load(model)
    words = _of_tiles(loaded, settings)

    def method(image: npt.NDArray[Any]) -> Labels:
        if image.ndim != 3 or image.shape[0] not in (1, 3):
            raise ArgumentError(
                f"image: shape {image.shape}; expected (C, Y, X) with one or three channels: name"
                " them in channels="
            )
        pixels = np.moveaxis(_in_8_bits(image) if image.dtype.kind == "f" else image, 0, -1)
        return loaded(np.ascontiguousarray(pixels), mpp=mpp, **words)

    return method


def _of_tiles(model: Model, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings for tiles: all are seen at one scale, and none of their pixels is glass.

    Which pixels are glass, the program that cut the tiles has decided.
    """
    return {"tissue": "off", **own_scale(model.mpp, settings), **settings}


def _in_8_bits(image: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    if not (image.min() >= 0 and image.max() <= 1):
        limits = f"{image.min():g}..{image.max():g}"
        raise ArgumentError(f"image: floats in {limits}; expected 0..1, or integers")
    return np.rint(255 * image).astype(np.uint8)


class LazySlideModel:
    """A segmentation model for `lazyslide.seg.cells(slide, model=...)`.

    It takes tiles of RGB as the slide has them. Set tiles to the working mpp, overlapping by
    more than a nucleus.

    Parameters
    ----------
    model : str, Path, torch.nn.Module or Model
        As of `load`.
    mpp : float, optional
        Um per pixel of the tiles.
    **settings
        As of `segment`: `stained_as="dye"`, `device`, ...
    """

    name = "nucleipel"

    def __init__(
        self,
        model: "Model | nn.Module | Path | str" = "default",
        *,
        mpp: float | None = None,
        **settings: Any,
    ) -> None:
        require_mpp(mpp)
        self._loaded, self._mpp = load(model), mpp
        self._settings = _of_tiles(self._loaded, settings)
        self.model = self._loaded.checkpoint.network

    def get_transform(self) -> None:
        """Tiles stay as they are: nucleipel normalizes."""
        return

    def to(self, device: Any) -> "LazySlideModel":
        """Work on a device; one in the settings goes first."""
        name = str(device).partition(":")[0]
        self._settings = {"device": name, **self._settings}
        return self

    def try_compile(self, **_: Any) -> None:
        """Nothing is compiled: the network is small."""

    def segment(self, image: "torch.Tensor", *_: Any, **__: Any) -> Any:
        """Give the instance maps (B, H, W) of tiles (B, H, W, 3) uint8, as LazySlide wants them.

        Raises
        ------
        MissingPackageError
            If LazySlide is not installed.
        ArgumentError
            If tiles are no RGB of 8 bits.
        """
        try:
            from lazyslide_models.base import SegmentationOutput
        except ImportError as error:
            raise MissingPackageError("this needs LazySlide: pip install lazyslide") from error
        import torch

        tiles = image.cpu().numpy()
        if tiles.ndim != 4 or tiles.shape[-1] != 3 or tiles.dtype != np.uint8:
            raise ArgumentError(
                f"tiles: {tiles.dtype} of shape {tiles.shape}; expected (B, H, W, 3) uint8: leave"
                " out transform="
            )
        maps = [self._loaded(tile, mpp=self._mpp, **self._settings) for tile in tiles]
        return SegmentationOutput(instance_map=torch.from_numpy(np.stack(maps).astype(np.int32)))
