"""One instance map from the labels of overlapping tiles, made by any program."""

from collections.abc import Iterable
from typing import Any

from nucleipel.api.arguments import require_labels, require_mpp
from nucleipel.api.results import LabelsResult
from nucleipel.errors import ArgumentError
from nucleipel.instances.merge_tiles import LabeledTile
from nucleipel.stages.arrays.merge_labels import merge_labels


def stitch_instances(
    tiles: Iterable[tuple[Any, tuple[int, int]]],
    *,
    shape: tuple[int, int] | None = None,
    mpp: float | None = None,
    min_iou: float = 0.5,
) -> LabelsResult:
    """Merge the labels of overlapping tiles, of StarDist, Cellpose or InstanSeg say.

    The result depends on the tiles, not on their order or their ids. Tiles that are cut
    from one map give this map back. Where tiles disagree, the nucleus that was seen farther
    from the border of its tile keeps the pixels, and a duplicate is dropped.

    Parameters
    ----------
    tiles : iterable of (labels, (y0, x0))
        (h, w) integers, 0 for background, and where the tile's first pixel lies on the
        image. Tiles should overlap by more than a nucleus.
    shape : (height, width), optional
        Of the image; by default as far as the tiles reach.
    mpp : float, optional
        Um per pixel.
    min_iou : float
        Agreement where two tiles overlap, above 0 and up to 1, from which two pieces are one
        nucleus.

    Returns
    -------
    LabelsResult
        `.labels`, `.nuclei`, `.certificate`: how many nuclei were joined and dropped, and on how
        many pixels tiles disagree (`disputed_px`).

    Raises
    ------
    ArgumentError
        If a tile holds no labels, or lies outside of the image.

    Examples
    --------
    >>> import numpy as np, nucleipel as npl
    >>> whole = np.zeros((20, 30), int)
    >>> whole[3:9, 8:17] = whole[12:18, 20:27] = 1
    >>> whole[12:18, 20:27] = 2
    >>> result = npl.stitch_instances([(whole[:, :20], (0, 0)), (whole[:, 10:], (0, 10))])
    >>> bool((result.labels == whole).all()), result.certificate["disputed_px"]
    (True, 0)
    """
    require_mpp(mpp)
    if not 0 < min_iou <= 1:
        raise ArgumentError(f"min_iou: {min_iou}; expected above 0 and up to 1")
    if not isinstance(tiles, Iterable):
        raise ArgumentError(f"tiles: {type(tiles).__name__}; expected (labels, (y0, x0)) of each")
    if shape is not None and not (isinstance(shape, tuple | list) and len(shape) == 2):
        raise ArgumentError(f"shape: {shape}; expected (height, width)")
    placed = [_tile(number, given) for number, given in enumerate(tiles)]
    if not placed and shape is None:
        raise ArgumentError("tiles: none; expected at least one, or shape=")
    reach = tuple(
        max((t.box.y1, t.box.x1)[axis] for t in placed) if placed else 0 for axis in (0, 1)
    )
    height, width = reach if shape is None else shape
    if height < reach[0] or width < reach[1] or min(height, width) < 1:
        raise ArgumentError(
            f"shape: {(height, width)}; the tiles reach to {reach}: expected at least that"
        )
    return LabelsResult(merge_labels(placed, (height, width), mpp=mpp, min_iou=min_iou))


def _tile(number: int, labels_and_place: Any) -> LabeledTile:
    name = f"tiles[{number}]"
    try:
        labels, (y0, x0) = labels_and_place
        place = int(y0), int(x0)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{name}: expected (labels, (y0, x0))") from error
    if min(place) < 0 or place != (y0, x0):
        raise ArgumentError(f"{name}: lies at {(y0, x0)}; expected whole pixels from (0, 0) on")
    return LabeledTile(require_labels(labels, name), *place)
