"""From the pixels that a slide stores to the pixels that a network sees."""

import math
from dataclasses import dataclass, field, replace

from nucleipel.errors import ImageError
from nucleipel.io.slides.formats.pixel_size import PixelSizes, StatedMpp, says
from nucleipel.io.slides.formats.stored_image import SourceFrame, StoredImage

MPP_TOLERANCE = 0.02
SMALLEST_MPP, LARGEST_MPP = 0.01, 100.0
"""No microscope's pixels are smaller or larger; a file that says so has its unit wrong."""
LARGEST_ENLARGEMENT = 2.0


@dataclass(frozen=True, slots=True)
class Resolution:
    """The level of a slide that is read, and how its pixels become those of the working mpp.

    Three frames are in play, all with their origin at the slide's upper left
    corner. A slide of 0.25 um per pixel, 10,000 px wide, with levels of
    downsample 1, 2 and 4, that is worked on at 0.8 um per pixel:

    - **level 0**: 10,000 px of 0.25 um. Annotations are drawn here.
    - **the level read**: the coarsest that is still no coarser than the
      working mpp, here downsample 2: 5,000 px of 0.5 um.
    - **the working frame**: `ratio` = 0.8 / 0.25 = 3.2 pixels of level 0 become
      one, so it is 10,000 / 3.2 = 3,125 px wide. `level_ratio` = 3.2 / 2 = 1.6
      pixels of the level read are averaged into one.

    Windows, tiles, halos and every length in `_px` up to the probability map are in the working
    frame; nuclei are segmented there, and written in pixels of level 0
    (`instances/output_frame.py`).

    A level within 2 % of the working mpp is used as it is: nothing is
    resampled, and `mpp` is then the level's own. Without a working mpp, level
    0 is used pixel for pixel, or at a scale (`at_scale`). Images coarser than the working mpp are
    refused, unless the caller asks to `enlarge`, and then up to 2x.

    Parameters
    ----------
    source_shape : (height, width) of level 0
    level : index of the level that is read
    level_shape : (height, width) of that level
    shape : (height, width) of the working frame
    ratio : pixels of level 0 per working pixel, along an axis
    level_ratio : pixels of the level read per working pixel; 1 for pixel for pixel
    source_mpp : um per pixel of level 0, None if nobody says it
    mpp : um per working pixel, None likewise
    source : which image of its file it is, and where level 0 lies
    """

    source_shape: tuple[int, int]
    level: int
    level_shape: tuple[int, int]
    shape: tuple[int, int]
    ratio: float
    level_ratio: float
    source_mpp: float | None
    mpp: float | None
    source: SourceFrame = field(default_factory=SourceFrame)

    @classmethod
    def pixel_for_pixel(cls, shape: tuple[int, int], mpp: float | None) -> "Resolution":
        """Level 0 of an image of shape (height, width), as it is."""
        return cls(shape, 0, shape, shape, 1.0, 1.0, mpp, mpp)

    def at_level_0(self) -> "Resolution":
        """Go back to level 0, pixel for pixel."""
        whole = self.pixel_for_pixel(self.source_shape, self.source_mpp)
        return replace(whole, source=self.source)

    def coarser(self, image: StoredImage, step: int, *, from_px: int = 1) -> "Resolution":
        """See the frame in pixels `step` times as wide, the last ones cut by the edge.

        Each is a mean of at least `from_px` x `from_px` stored pixels, where a level has them.
        """
        ratio = self.ratio * step
        level = _best_level(image, ratio / from_px)
        return Resolution(
            source_shape=self.source_shape,
            level=level,
            level_shape=image.levels[level].shape,
            shape=(math.ceil(self.shape[0] / step), math.ceil(self.shape[1] / step)),
            ratio=ratio,
            level_ratio=ratio / image.levels[level].downsample,
            source_mpp=self.source_mpp,
            mpp=self.mpp and self.mpp * step,
            source=self.source,
        )

    def world(self) -> "WorldFrame":
        """Map pixels of this frame to the world of the file.

        OME-Zarr places the centers of pixels: that of the first one here lies half
        of the difference of both sizes further in than that of level 0.
        """
        known = self.mpp is not None
        sides = (self.mpp / self.ratio,) * 2 if self.mpp is not None else self.source.scale
        return WorldFrame(
            scale=(sides[0] * self.ratio, sides[1] * self.ratio),
            translation=tuple(
                side * (start + (self.ratio - 1) / 2)
                for side, start in zip(sides, self.source.translation_px, strict=True)
            ),  # type: ignore[arg-type]
            unit="micrometer" if known else self.source.unit,
        )

    def describe(self) -> str:
        """Describe what is done, in words."""
        size = f"{self.shape[0]} x {self.shape[1]} px"
        if self.level_ratio == 1:
            at = f" at {self.mpp:.4g} um" if self.mpp else ""
            return f"level {self.level} read pixel for pixel{at}: {size}"
        change = "averaged down" if self.level_ratio > 1 else "enlarged"
        factor = self.level_ratio if self.level_ratio > 1 else 1 / self.level_ratio
        to = f" to {self.mpp:.4g} um" if self.mpp else ""
        return f"level {self.level} {change} {factor:.4g}x{to}: {size}"


@dataclass(frozen=True, slots=True)
class WorldFrame:
    """The coordinates of pixels in OME-Zarr's terms: `scale` * pixel + `translation`, (y, x).

    `unit` is a unit of UDUNITS-2, or "" where nobody says it.
    """

    scale: tuple[float, float] = (1.0, 1.0)
    translation: tuple[float, float] = (0.0, 0.0)
    unit: str = ""


def choose_resolution(
    image: StoredImage, *, source_mpp: float | None, working_mpp: float | None, enlarge: bool
) -> Resolution:
    """Choose how to read an image of `source_mpp` at `working_mpp` (None: as it is).

    Raises
    ------
    ImageError
        If `source_mpp` is not known though it is needed, or if the image is
        coarser than the working mpp and may not, or cannot, be enlarged so far.
    """
    if working_mpp is None:
        return _at_level(image, 0, source_mpp)
    if source_mpp is None:
        unread = image.pixel_sizes.unread
        why = "; ".join(unread) if unread else "its mpp is in neither file nor manifest"
        raise ImageError(
            f"{image.path}: {why}; the working mpp is {working_mpp:g} um per pixel: add the"
            " image's as the manifest's mpp or with --mpp"
        )
    ratio = working_mpp / source_mpp
    resolution = _at_ratio(image, ratio, source_mpp=source_mpp, mpp=working_mpp)
    if resolution.level_ratio < 1:
        _require_enlargeable(image, source_mpp, working_mpp, enlarge=enlarge)
    return resolution


def at_scale(image: StoredImage, scale: float, *, source_mpp: float | None) -> Resolution:
    """The frame of an image in which a pixel of level 0 is `scale` pixels wide, at most 2.

    Nothing needs an mpp here; where one is known, that of the frame follows.
    """
    mpp = None if source_mpp is None else source_mpp / scale
    return _at_ratio(image, 1 / scale, source_mpp=source_mpp, mpp=mpp)


def _at_ratio(
    image: StoredImage, ratio: float, *, source_mpp: float | None, mpp: float | None
) -> Resolution:
    """The frame of `ratio` pixels of level 0 to a pixel, or that of a level close to it."""
    for index, level in enumerate(image.levels):
        if abs(ratio / level.downsample - 1) <= MPP_TOLERANCE:
            return _at_level(image, index, source_mpp)
    level_index = _best_level(image, ratio)
    level = image.levels[level_index]
    height, width = (max(1, round(length / ratio)) for length in image.shape)
    return Resolution(
        source_shape=image.shape,
        level=level_index,
        level_shape=level.shape,
        shape=(height, width),
        ratio=ratio,
        level_ratio=ratio / level.downsample,
        source_mpp=source_mpp,
        mpp=mpp,
        source=image.source,
    )


def agreed_mpp(image: StoredImage, *, stated: float | None) -> float | None:
    """The mpp of level 0: the user's word, or the file's; None if neither says it.

    Raises
    ------
    ImageError
        If two sources differ by more than 2 %, if the pixels are not square, or
        if no microscope has such pixels and the user does not say better.
    """
    plausible = [mpp for mpp in image.pixel_sizes.known if _is_plausible(mpp)]
    absurd = [mpp for mpp in image.pixel_sizes.known if not _is_plausible(mpp)]
    if absurd and stated is None:
        raise ImageError(
            f"{image.path}: {says(absurd[0].where)} {absurd[0]} um per pixel; expected"
            f" {SMALLEST_MPP:g} to {LARGEST_MPP:g}; correct the file, or give the mpp with --mpp or"
            " in the manifest"
        )
    for mpp in plausible:
        if abs(mpp.y - mpp.x) > MPP_TOLERANCE * mpp.x:
            raise ImageError(
                f"{image.path}: pixels of {mpp} um (height x width, from {mpp.where}) are not"
                " square; resample the image, or correct its file"
            )
    statements = [(mpp.x, str(mpp), mpp.where) for mpp in plausible]
    if stated is not None:
        statements.insert(0, (stated, f"{stated:g}", "the manifest or --mpp"))
    for value, text, where in statements[1:]:
        first, first_text, first_where = statements[0]
        if abs(value - first) > MPP_TOLERANCE * min(value, first):
            raise ImageError(
                f"{image.path}: {says(first_where)} {first_text} um per pixel,"
                f" {says(where)} {text}; correct the one that is wrong"
            )
    return statements[0][0] if statements else None


def _is_plausible(mpp: StatedMpp) -> bool:
    return all(SMALLEST_MPP <= size <= LARGEST_MPP for size in (mpp.y, mpp.x))


def describe_mpp(sizes: PixelSizes, *, stated: float | None) -> str:
    """Every word on an image's mpp and where it stands."""
    words = [] if stated is None else [f"{stated:g} (given)"]
    for mpp in sizes.known:
        doubt = "" if _is_plausible(mpp) else ", which no microscope has"
        words.append(f"{mpp} ({mpp.where}{doubt})")
    words += [f"unknown: {sentence}" for sentence in sizes.unread]
    return ", ".join(words) or "not in the file; give it with --mpp or in a manifest"


def _at_level(image: StoredImage, index: int, source_mpp: float | None) -> Resolution:
    level = image.levels[index]
    return Resolution(
        source_shape=image.shape,
        level=index,
        level_shape=level.shape,
        shape=level.shape,
        ratio=level.downsample,
        level_ratio=1.0,
        source_mpp=source_mpp,
        mpp=source_mpp and source_mpp * level.downsample,
        source=image.source,
    )


def _best_level(image: StoredImage, ratio: float) -> int:
    """The coarsest level that is no coarser than `ratio` pixels of level 0."""
    fits = [i for i, level in enumerate(image.levels) if level.downsample <= max(ratio, 1) * 1.001]
    return max(fits, key=lambda index: image.levels[index].downsample)


def _require_enlargeable(
    image: StoredImage, source_mpp: float, working_mpp: float, *, enlarge: bool
) -> None:
    has = f"{image.path}: has {source_mpp:g} um per pixel, the working mpp is {working_mpp:g}"
    if source_mpp / working_mpp > LARGEST_ENLARGEMENT * (1 + MPP_TOLERANCE):
        raise ImageError(
            f"{has}: more than {LARGEST_ENLARGEMENT:g}x too coarse; use a checkpoint of its mpp"
        )
    if not enlarge:
        raise ImageError(f"{has}: it would have to be enlarged; ask for that with --enlarge")
