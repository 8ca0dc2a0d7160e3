"""The two functions most people want: nuclei of an array, nuclei of a slide."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import numpy.typing as npt

from nucleipel.api.arguments import as_path, settings_of
from nucleipel.api.model import Model, load
from nucleipel.api.results import SlideResult
from nucleipel.config import SegmentConfig
from nucleipel.core.run_options import RunOptions
from nucleipel.io.manifest import manifest_of_images
from nucleipel.stages.pipeline.segment import segment as segment_files

if TYPE_CHECKING:
    from torch import nn

    Labels = npt.NDArray[np.uint32]


@overload
def segment(
    image: Any, *, table: Literal[False] = ..., mpp: float | None = ..., **settings: Any
) -> "Labels": ...


@overload
def segment(
    image: Any, *, table: Literal[True], mpp: float | None = ..., **settings: Any
) -> "tuple[Labels, Any]": ...


def segment(
    image: Any,
    *,
    mpp: float | None = None,
    table: bool = False,
    model: "Model | nn.Module | Path | str" = "default",
    at_mpp: float | None = None,
    stained_as: str | None = None,
    channel: int | str | None = None,
    device: str | None = None,
    **settings: Any,
) -> Any:
    """Segment the nuclei of an image in memory; nothing is written.

    Parameters
    ----------
    image : (H, W) or (H, W, C) uint8 or uint16
        Gray, RGB, or one `channel` of many; NumPy, zarr or Dask.
    mpp : float, optional
        Um per pixel of the image. It is never guessed: without it measurements have no um, and
        a model that works at an mpp refuses the image.
    table : bool
        Whether a table of the nuclei is made, too.
    model : str, Path, torch.nn.Module or Model
        As of `load`.
    at_mpp : float, optional
        Um per pixel to work at, instead of the model's.
    stained_as : {"color", "dye"}, optional
        Whether stained tissue is seen in color, or as the gray of its nuclear dye.
    channel : int or str, optional
        The only channel that is used.
    device : {"auto", "cpu", "cuda", "mps"}, optional
    **settings
        Any other setting of `nucleipel segment`: `tissue`, `tta`, `threads`, `max_ram`,
        `instances={"min_area_px": 30}`, ...

    Returns
    -------
    labels : (H, W) uint32
        Ids 1..n, 0 for background, in pixels of the image; numbered in raster order of first
        pixels at the working resolution.
    nuclei : GeoDataFrame
        Only with `table`: one row a nucleus, as nuclei.parquet has it. Needs geopandas.

    Raises
    ------
    ArgumentError, ConfigError, ImageError
        If an argument is wrong, or the image does not fit the model.

    Examples
    --------
    >>> import nucleipel as npl
    >>> sample = npl.datasets.sample(96)
    >>> labels = npl.segment(sample.image, stained_as="dye")
    >>> labels.shape, str(labels.dtype)
    ((96, 96), 'uint32')
    """
    words: dict[str, Any] = {
        "at_mpp": at_mpp, "stained_as": stained_as, "channel": channel, "device": device,
    }  # fmt: skip
    result = load(model).segment(image, mpp=mpp, **words, **settings)
    return (result.labels, result.nuclei) if table else result.labels


def segment_slide(
    path: Path | str,
    *,
    out: Path | str,
    model: "Model | nn.Module | Path | str" = "default",
    mpp: float | None = None,
    at_mpp: float | None = None,
    stained_as: str | None = None,
    channel: int | str | None = None,
    series: int | str | None = None,
    device: str | None = None,
    overwrite: bool = False,
    config: Path | str | None = None,
    **settings: Any,
) -> SlideResult:
    """Segment the nuclei of a slide, or of any image file, into a folder.

    It is `nucleipel segment`: the slide is read region by region, a call that was
    interrupted continues, and the files have the same bytes.

    Parameters
    ----------
    path : Path or str
        The image or slide.
    out : Path or str
        Folder for the results.
    model : str, Path, torch.nn.Module or Model
        As of `load`. A call with a module continues one with the same weights.
    mpp, at_mpp, stained_as, channel, device
        As of `segment`; an mpp that the file states is used, and must agree.
    series : int or str, optional
        Which image of a file that holds several.
    overwrite : bool
        Whether another run in `out` is replaced.
    config : Path or str, optional
        A YAML file of settings.
    **settings
        Any other setting of `nucleipel segment`.

    Returns
    -------
    SlideResult
        `.labels`, `.nuclei`, `.certificate`, `.report`, each read when it is used.

    Raises
    ------
    NucleipelError
        As the command.
    """
    words = {
        "mpp": mpp, "at_mpp": at_mpp, "stained_as": stained_as, "channel": channel,
        "series": series, "device": device, **settings,
    }  # fmt: skip
    chosen = settings_of(SegmentConfig, words, function="segment_slide", config=config)
    rows = manifest_of_images([as_path(path, "path")], series=chosen.series)
    options = RunOptions(overwrite=overwrite)
    folder = segment_files(
        load(model).checkpoint, rows, as_path(out, "out"), chosen, options=options
    )
    return SlideResult(folder, rows.rows[0].id)
