"""Describe a file, and what would be done with it."""

from pathlib import Path
from typing import Any

from nucleipel.config import InfoConfig
from nucleipel.errors import ImageError
from nucleipel.io.slides.formats import StoredImage, open_image
from nucleipel.io.slides.formats.series import listed
from nucleipel.io.slides.resolution import describe_mpp
from nucleipel.io.slides.slide import Slide
from nucleipel.stages.pipeline.reader_settings import build_slide_reader


def info(path: Path, config: InfoConfig, *, checkpoint: Path | None = None) -> dict[str, str]:
    """Describe an image: what it holds, and how a checkpoint (or `config`) would have it read.

    Raises
    ------
    ImageError
        If the file cannot be read at all; that it cannot be used as asked is
        part of the answer.
    """
    image = open_image(path, series=config.series)
    try:
        return {
            "format": image.container,
            **_describe_series(image),
            "size": f"{image.shape[0]} x {image.shape[1]} px (height x width)",
            **_describe_place(image),
            "levels": _describe_levels(image),
            "mpp": describe_mpp(image.pixel_sizes, stated=config.source_mpp),
            "channels": ", ".join(f"{i} ({name})" for i, name in enumerate(image.channels)),
            "pixels": f"{image.dtype}, {image.photometric}",
            **_describe_use(path, config, checkpoint),
        }
    finally:
        image.close()


def _describe_series(image: StoredImage) -> dict[str, str]:
    """Describe which of the images of a file this is, where it holds several."""
    if len(image.series) < 2:
        return {}
    return {"series": f"{image.source.series} is read, of {listed(image.series)}"}


def _describe_place(image: StoredImage) -> dict[str, str]:
    """Describe where the image lies in a wider frame, if it does."""
    (y, x), (up, left) = image.source.offset_px, image.source.translation_px
    places = []
    if (y, x) != (0, 0):
        places.append(f"starts at y {y}, x {x} px of the scanner's frame; results start at 0, 0")
    if (up, left) != (0.0, 0.0):
        places.append(f"its first pixel is placed at y {up:g}, x {left:g} px; so are labels")
    return {"place": "; ".join(places)} if places else {}


def _describe_levels(image: StoredImage) -> str:
    return ", ".join(
        f"{index}: {level.shape[0]} x {level.shape[1]} (1/{level.downsample:g})"
        for index, level in enumerate(image.levels)
    )


def _describe_use(path: Path, config: InfoConfig, checkpoint: Path | None) -> dict[str, str]:
    """Describe how predict and segment would read it, or why they would refuse."""
    with_checkpoint: dict[str, Any] = {}
    at_mpp, channels, whole_px, chosen = config.at_mpp, 3, None, ""
    if checkpoint is not None:
        # late: it brings torch, and most files are looked at without a checkpoint
        from nucleipel.model.foreign_model import read_model

        description = read_model(checkpoint).description
        if description.chooses_scale and at_mpp is None:
            chosen = "; the scale is chosen when it is predicted"
        at_mpp = description.mpp if at_mpp is None else at_mpp
        channels = description.network.in_channels
        whole_px = description.grid.whole_image_px
        with_checkpoint = {"percentiles": description.percentiles}
    reader = build_slide_reader(
        config, at_mpp=at_mpp, channels=channels, whole_image_px=whole_px, **with_checkpoint
    )
    try:
        with reader.open(path, mpp=None, series=config.series) as slide:
            what = slide.resolution.describe()
            gray = f", gray repeated to {channels} channels" if slide.channels < channels else ""
            only = "" if slide.channel is None else f", channel {slide.channel} alone"
            whole = "" if whole_px is None else f", whole, resized to {whole_px} px"
            use = f"{what}{only}{gray}{whole}{chosen}"
            return {"use": use, "intensity": _describe_intensity(slide)}
    except ImageError as error:
        return {"use": f"refused: {str(error).removeprefix(f'{path}: ')}"}


def _describe_intensity(slide: Slide) -> str:
    """The range that becomes 0 to 1, and what it is taken from."""
    shown = slide.intensity_range()
    ranges = zip(shown.low, shown.high, strict=True)
    words = ", ".join(f"{low:.4g} to {high:.4g}" for low, high in ranges)
    taken_from = slide.range_rule.describe()
    if slide.range_rule.fixed is None:
        detected = slide.tissue()
        ground = "bright" if detected.ground.bright else "dark"
        taken_from += f": {100 * detected.tissue.share:.3g} % of the image, on {ground} ground"
    return f"{words} ({taken_from})"
