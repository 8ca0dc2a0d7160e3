"""Writing slides and annotations: what the demo, tests and benchmarks read back."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.core.atomic import replacing

TILE_PX = 256


def write_slide(path: Path, pixels: npt.NDArray[Any], *, mpp: float | None) -> None:
    """Write an (H, W) or (H, W, 3) image as a tiled OME-TIFF; `path` ends in .ome.tif."""
    import tifffile

    metadata = {"axes": "YXS" if pixels.ndim == 3 else "YX", **physical_size(mpp)}
    with replacing(path) as temporary:
        tifffile.imwrite(
            temporary,
            pixels,
            ome=True,
            photometric="rgb" if pixels.ndim == 3 else "minisblack",
            tile=(TILE_PX, TILE_PX),
            compression="zlib",
            predictor=True,
            metadata=metadata,
        )


def physical_size(mpp: float | None) -> dict[str, Any]:
    """The entries of an OME header that say how wide and high a pixel is."""
    if mpp is None:
        return {}
    sides = {f"PhysicalSize{axis}": mpp for axis in "XY"}
    return {**sides, **{f"{side}Unit": "µm" for side in sides}}


def write_annotation(path: Path, instance_map: npt.NDArray[np.integer]) -> None:
    """Write an (H, W) instance map as a tiled integer TIFF."""
    import tifffile

    with replacing(path) as temporary:
        tifffile.imwrite(
            temporary,
            instance_map,
            tile=(TILE_PX, TILE_PX),
            compression="zlib",
            predictor=True,
            photometric="minisblack",
        )
