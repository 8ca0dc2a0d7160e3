"""The reader of a run's images: one value that train, tile, predict and segment share."""

from dataclasses import dataclass, replace
from pathlib import Path

from nucleipel.core.intensity import OF_TISSUE, RangeRule
from nucleipel.errors import ImageError
from nucleipel.io.slides.formats import StoredImage, open_image
from nucleipel.io.slides.slide import Slide, frame_image, require_channels

WHOLE_SHRINK = 8
"""A nucleus of 20 px across would have 2.5 left."""


@dataclass(frozen=True, slots=True)
class SlideReader:
    """From an image's path to a slide that fits a network.

    Parameters
    ----------
    channels : int
        Channels of the network's input: 1, or 3, for which gray is repeated.
    at_mpp : float, optional
        The working mpp; without it images are used pixel for pixel.
    scale : float
        Working pixels along a pixel of level 0, where there is no working mpp.
    source_mpp : float, optional
        The mpp of images for which the manifest has none.
    channel : int or str, optional
        Index (from 0) or name of the only channel that is used; "rgb" for three as color.
    enlarge : bool
        Whether images coarser than `at_mpp` may be enlarged, at most 2x.
    whole_image_px : int, optional
        Side of the square that whole images will be resized to; those that
        would shrink more than `WHOLE_SHRINK` times are refused.
    range_rule : RangeRule
        How the range of intensities of each image comes about.
    """

    channels: int
    at_mpp: float | None = None
    scale: float = 1.0
    source_mpp: float | None = None
    channel: int | str | None = None
    enlarge: bool = False
    whole_image_px: int | None = None
    range_rule: RangeRule = OF_TISSUE

    def open(self, image: Path, *, mpp: float | None, series: int | str | None = None) -> Slide:
        """Open an image, whose manifest row says `mpp` and `series`, in its working frame.

        Raises
        ------
        ImageError
            As `open_slide`, and if its channels or its size do not fit the network.
        """
        return self.frame(open_image(image, series=series), mpp=mpp)

    def frame(self, image: StoredImage, *, mpp: float | None) -> Slide:
        """An opened image as `open` gives it, with the same errors, which close it."""
        slide = frame_image(
            image,
            mpp=self.source_mpp if mpp is None else mpp,
            at_mpp=self.at_mpp,
            enlarge=self.enlarge,
            channel=self.channel,
        ).at_scale(self.scale)
        try:
            require_channels(slide, self.channels)
            if self.whole_image_px is not None:
                _require_small(slide, self.whole_image_px)
            slide.range_rule = _fitted(self.range_rule, slide)
        except ImageError:
            slide.close()
            raise
        return slide


def _fitted(rule: RangeRule, slide: Slide) -> RangeRule:
    """The rule, a fixed range of one channel standing for all."""
    if rule.fixed is None:
        return rule
    channels = len(rule.fixed.low)
    if channels not in (1, slide.channels):
        raise ImageError(
            f"{slide.path}: intensity_range holds {channels} channels, the image {slide.channels};"
            " give one pair [low, high] for all channels, or one for each"
        )
    return replace(rule, fixed=rule.fixed.repeated(slide.channels))


def _require_small(slide: Slide, side_px: int) -> None:
    height, width = slide.shape
    if max(height, width) > WHOLE_SHRINK * side_px:
        raise ImageError(
            f"{slide.path}: {height} x {width} px, too large to be resized whole to {side_px} px"
            f" (at most {WHOLE_SHRINK * side_px} px); train on windows, without whole_images"
        )
