"""Exact nuclei from the probability maps of any network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nucleipel.api.arguments import as_path, require_array, settings_of
from nucleipel.api.results import ArrayResult, SlideResult
from nucleipel.config import StitchMapsConfig
from nucleipel.core.run_options import RunOptions
from nucleipel.errors import ArgumentError, ConfigError
from nucleipel.instances.channel_maps import ChannelMaps
from nucleipel.instances.instance_rule import InstanceRule
from nucleipel.io.slides.resolution import Resolution
from nucleipel.stages.arrays.stitch_array import stitch_array
from nucleipel.stages.pipeline.stitch_maps import name_of, stitch_maps

SHORTS = {"max_ram": "max_ram_gb"}


def stitch_probabilities(
    maps: Any,
    *,
    channels: Mapping[str, int] | None = None,
    mpp: float | None = None,
    instances: Mapping[str, Any] | None = None,
    out: Path | str | None = None,
    image: Path | str | None = None,
    overwrite: bool = False,
    **settings: Any,
) -> ArrayResult | SlideResult:
    """Turn the probability map of any network into nuclei, exactly and whatever its size.

    Nuclei are a pure function of the map: the same for every block size and number of
    threads. The map is read block by block.

    Parameters
    ----------
    maps : (H, W) or (C, H, W) array, or Path
        uint8 (255 is 1), uint16 (65,535 is 1), bool, or float in 0..1; NumPy, zarr or Dask; or,
        with `out`, the path of a zarr array, TIFF or NPY file.
    channels : dict of str to int, optional
        Index of each channel: {"foreground": 0}; {"interior": 0, "boundary": 1};
        {"foreground": 0, "boundary": 1}, where the foreground holds the boundary, too; with each
        of these perhaps "distance", to the nucleus' own edge as a fraction of its greatest.
        Without it one channel is the foreground; three or four are background, interior,
        boundary and distance.
    mpp : float, optional
        Um per pixel of the map.
    instances : dict, optional
        Numbers of the `InstanceRule`: {"persistence": 0.05, "min_area_px": 20}, say.
    out : Path or str, optional
        Folder for the files that `nucleipel stitch --maps` writes; a call that was interrupted
        continues there. Without it nothing is written.
    image : Path or str, optional
        With `out`: the image of the map, of the same shape, to measure intensities in.
    overwrite : bool
        Whether another run in `out` is replaced.
    **settings
        `threads`, `max_ram`: memory and speed, never the result.

    Returns
    -------
    ArrayResult, or SlideResult with `out`
        `.labels`, `.nuclei`, `.certificate`, `.report`. The certificate speaks of the map as it
        was given: `canonical_map` is None, since nobody here knows how it was made.

    Raises
    ------
    ArgumentError
        If the map or its channels are not as above.
    ConfigError
        If a setting is wrong.

    Examples
    --------
    >>> import numpy as np, nucleipel as npl
    >>> foreground = np.zeros((40, 60), np.float32)
    >>> foreground[5:20, 5:20] = foreground[10:35, 30:50] = 0.9
    >>> result = npl.stitch_probabilities(foreground)
    >>> int(result.labels.max()), result.certificate["equal_to_uncut"]
    (2, True)
    """
    words = {"channels": channels, "mpp": mpp, "instances": instances, **settings}
    config = settings_of(StitchMapsConfig, words, function="stitch_probabilities", shorts=SHORTS)
    if out is not None:
        source_maps = Path(maps) if isinstance(maps, str) else maps
        source = None if image is None else as_path(image, "image")
        options = RunOptions(overwrite=overwrite)
        folder = stitch_maps(
            source_maps, as_path(out, "out"), config, image=source, options=options
        )
        return SlideResult(folder, name_of(source_maps, source))
    if image is not None or isinstance(maps, str | Path):
        raise ArgumentError("stitch_probabilities: files need out=, the folder for the results")
    maps = require_array(maps, "maps")
    try:
        seen = ChannelMaps(maps, config.channels)
        frame = Resolution.pixel_for_pixel((seen.shape[1], seen.shape[2]), mpp)
        rule = InstanceRule(**config.instances.over({}))
        facts = {"map_of": "another program", "channels": seen.channels}
        stitched = stitch_array(seen, frame, rule, config, facts=facts)
        return ArrayResult(stitched, None, expand_um=config.expand_um)
    except ConfigError:
        raise
    except ValueError as error:
        raise ArgumentError(f"maps: {error}") from error
