"""How the images of a run are read: one value that train, tile, predict and segment share."""

from dataclasses import dataclass
from pathlib import Path

from nucleipel.errors import ImageError
from nucleipel.io.slide import Slide, open_slide, require_channels


@dataclass(frozen=True, slots=True)
class Reading:
    """From an image's path to a slide that fits a network.

    Parameters
    ----------
    channels : int
        Channels of the network's input: 1, or 3, for which gray is repeated.
    at_mpp : float, optional
        The working mpp; without it images are used pixel for pixel.
    source_mpp : float, optional
        The mpp of images for which the manifest has none.
    channel : int or str, optional
        Index (from 0) or name of the only channel that is used.
    enlarge : bool
        Whether images coarser than `at_mpp` may be enlarged, at most 2x.
    """

    channels: int
    at_mpp: float | None = None
    source_mpp: float | None = None
    channel: int | str | None = None
    enlarge: bool = False

    def open(self, image: Path, *, mpp: float | None) -> Slide:
        """Open an image, whose manifest row says `mpp`, in its working frame.

        Raises
        ------
        ImageError
            As `open_slide`, and if its channels do not fit the network.
        """
        slide = open_slide(
            image,
            mpp=self.source_mpp if mpp is None else mpp,
            at_mpp=self.at_mpp,
            enlarge=self.enlarge,
            channel=self.channel,
        )
        try:
            require_channels(slide, self.channels)
        except ImageError:
            slide.close()
            raise
        return slide
