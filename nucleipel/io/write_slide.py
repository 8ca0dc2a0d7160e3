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

    metadata: dict[str, Any] = {"axes": "YXS" if pixels.ndim == 3 else "YX"}
    if mpp is not None:
        metadata |= {"PhysicalSizeX": mpp, "PhysicalSizeXUnit": "µm"}
        metadata |= {"PhysicalSizeY": mpp, "PhysicalSizeYUnit": "µm"}
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


def write_picture(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    """Write an (H, W) or (H, W, 3) uint8 picture as PNG."""
    from PIL import Image

    with replacing(path) as temporary:
        Image.fromarray(pixels).save(temporary, "PNG")
