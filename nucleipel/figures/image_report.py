"""The report of one image: number and size of nuclei, extreme ones, the certificate.

One HTML file with everything in it: no scripts, nothing from the network. The
template is `image_report.html` in this folder; the numbers are computed here.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import jinja2
import numpy as np
import numpy.typing as npt

from nucleipel.core.dotted_keys import flatten
from nucleipel.core.geometry import Box
from nucleipel.figures.crops import Crop, ReadPicture, common_side, cut, data_uri, square_around
from nucleipel.instances.outlines import outlines
from nucleipel.instances.statistics import CELL_PX, PROBABILITY_STEPS, ImageStatistics, Nucleus

EXAMPLES = 12
"""Nuclei of each extreme that are shown."""
OVERVIEW_PX = 1600
OVERVIEW_BYTES = 900_000
"""Limit of the data URI, so that the page stays under 2 MB."""
FIELDS = {"densest": 1.0, "typical": 0.5, "sparse": 0.1}
"""Squares that are shown large, by the share of all nuclei that lie in no denser ones."""
FIELDS_FROM_PX = 3 * CELL_PX
"""The overview of a smaller image shows enough."""
LEAST_CROP_PX = 48
BINS = 24


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a histogram: from `low` to `high`, `count` nuclei, `share` of the highest bar."""

    low: str
    high: str
    count: int
    share: float


@dataclass(frozen=True, slots=True)
class Group:
    """Crops at one scale, each with its caption; the scale bar is `bar_px` long."""

    title: str
    hint: str
    crops: list[tuple[Crop, str]]
    bar_px: float
    bar: str


def build_report(
    image_id: str,
    summary: ImageStatistics,
    *,
    instance_map: Any,
    read: ReadPicture | None,
    overlay: npt.NDArray[np.uint8],
    mpp: float | None,
    certificate: Mapping[str, Any],
    facts: Mapping[str, str],
    settings: Mapping[str, Any],
) -> str:
    """The HTML page of one image.

    Parameters
    ----------
    summary : ImageStatistics
        Of all nuclei, with `EXAMPLES` of each extreme, in pixels of the instance map.
    instance_map : (H, W) uint32
        NumPy or what is indexed like it; read by parts.
    read : callable, optional
        Gives the picture of a box; without it no pieces of the image are shown.
    overlay : (h, w, 3) uint8
        The whole image with contours.
    mpp : float, optional
        Um per pixel of the instance map.
    certificate : dict
        As it is written, plain JSON types.
    facts : dict of str
        About the image, shown as they are.
    settings : dict
        Of the run, plain JSON types, groups inside.
    """
    fields = _fields(summary, instance_map, read, mpp)
    field_bar_px, field_bar = _scale_bar(CELL_PX, mpp)
    groups = [] if read is None else _groups(summary, read, mpp)
    return page_template().render(
        id=image_id,
        numbers=_numbers(summary, mpp, certificate.get("tissue", {}).get("tissue_percent")),
        facts=facts,
        overview=overview(overlay),
        shape=summary.shape,
        fields=fields,
        field_bar_px=field_bar_px,
        field_bar=field_bar,
        groups=groups,
        sizes=_size_histogram(summary, mpp),
        size_unit="µm" if mpp else "px",
        certainties=_histogram(
            (np.arange(PROBABILITY_STEPS) + 0.5) / PROBABILITY_STEPS, summary.probabilities
        ),
        certificate=certificate,
        depends_on_windows=certificate.get("canonical_map") is False,
        vouched=_certificate_rows(certificate),
        settings=_rows(settings),
    )


@cache
def page_template() -> jinja2.Template:
    """The page's template, compiled once a process: that takes longer than the rest of a page."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("nucleipel", "figures"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    ).get_template("image_report.html")


def data_uri_within(picture: npt.NDArray[np.uint8], limit: int) -> str:
    """A picture as JPEG in a data URI of at most `limit` characters: coarser, then smaller."""
    while True:
        for quality in (85, 75, 65, 55):
            uri = data_uri(picture, quality=quality)
            if len(uri) <= limit or max(picture.shape) < 64:
                return uri
        picture = cv2.resize(picture, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA)


def overview(overlay: npt.NDArray[np.uint8]) -> str:
    """The picture of the whole image as it stands in the page."""
    factor = OVERVIEW_PX / max(overlay.shape[:2])
    if factor < 1:
        size = [max(1, round(factor * length)) for length in overlay.shape[:2]]
        overlay = cv2.resize(overlay, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    return data_uri_within(overlay, OVERVIEW_BYTES)


def _numbers(
    summary: ImageStatistics, mpp: float | None, tissue_percent: float | None
) -> list[tuple[str, str, str]]:
    """The numbers at the top: (name, value, more), for the tissue if known, else the image."""
    share, whole = (tissue_percent / 100, "tissue") if tissue_percent else (1.0, "image")
    pixels = share * summary.shape[0] * summary.shape[1]
    numbers = [("nuclei", f"{summary.count:,}", "")]
    if mpp:
        area_mm2 = pixels * mpp**2 / 1e6
        density = summary.count / area_mm2
        numbers.append(("nuclei per mm²", _round(density), f"of {_round(area_mm2)} mm² of {whole}"))
    else:
        density = summary.count / pixels * 1e6
        numbers.append(("nuclei per megapixel", _round(density), "its pixel size is not known"))
    if summary.count:
        low, middle, high = (
            _diameter(summary.area_quantile(share), mpp) for share in (0.25, 0.5, 0.75)
        )
        unit = "µm" if mpp else "px"
        numbers.append(
            (
                "median diameter",
                f"{_round(middle)} {unit}",
                f"half of them {_round(low)} to {_round(high)} {unit}",
            )
        )
    covered = 100 * summary.area_px / pixels
    numbers.append(("nuclear area", f"{covered:.1f} %", f"of the {whole}"))
    if summary.count:
        numbers.append(
            (
                "median probability",
                f"{summary.probability_quantile(0.5):.2f}",
                f"a tenth of them under {summary.probability_quantile(0.1) + 0.01:.2f}",
            )
        )
    return numbers


def _diameter(area_px: float, mpp: float | None) -> float:
    """Diameter of the circle of this area, in um or without mpp in px."""
    return 2 * math.sqrt(area_px / math.pi) * (mpp or 1)


def _round(value: float) -> str:
    """Round to three digits, with a comma between thousands."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _size_histogram(summary: ImageStatistics, mpp: float | None) -> list[Bar]:
    areas = np.flatnonzero(summary.areas)
    diameters = 2 * np.sqrt(areas / math.pi) * (mpp or 1)
    return _histogram(diameters, summary.areas[areas])


def _histogram(values: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]) -> list[Bar]:
    """Bars between round numbers; the few values beyond the ends are counted there."""
    total = int(counts.sum())
    if not total:
        return []
    reached = np.cumsum(counts)
    low, high = (float(values[np.searchsorted(reached, share * total)]) for share in (0.002, 0.998))
    step = _nice(max(high - low, 1e-9 + abs(high) / 50) / BINS)
    first, last = math.floor(low / step), math.floor(high / step) + 1
    edges = np.arange(first, last + 1) * step
    inside = np.clip(values, edges[0], np.nextafter(edges[-1], -np.inf))
    sums, _ = np.histogram(inside, edges, weights=counts)
    highest = sums.max()
    return [
        Bar(f"{start:.4g}", f"{stop:.4g}", int(count), float(count / highest))
        for start, stop, count in zip(edges[:-1], edges[1:], sums, strict=True)
    ]


def _nice(least: float) -> float:
    """The next of 1, 2, 5, 10, 20, 50, ... and of their tenths."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * 0.999)


def _fields(
    summary: ImageStatistics, instance_map: Any, read: ReadPicture | None, mpp: float | None
) -> list[tuple[str, Crop, str]]:
    """Squares of large images at full resolution: (name, crop, caption)."""
    if read is None or max(summary.shape) < FIELDS_FROM_PX or not summary.count:
        return []
    counts = summary.cells.ravel()
    places = np.argsort(counts, kind="stable")
    reached = np.cumsum(counts[places])
    fields = []
    for name, share in FIELDS.items():
        place = places[np.searchsorted(reached, share * summary.count)]
        row, column = divmod(int(place), summary.cells.shape[1])
        cell = Box(row * CELL_PX, column * CELL_PX, (row + 1) * CELL_PX, (column + 1) * CELL_PX)
        box = square_around(cell.clip(summary.shape), CELL_PX, summary.shape)
        crop = cut(read, box, [], others=_outlines_in(instance_map, box), shown_px=None)
        fields.append((name, crop, f"{_length(CELL_PX, mpp)} wide, at {_place(box)}"))
    return fields


def _outlines_in(instance_map: Any, box: Box) -> list[Any]:
    """Outlines of what lies in a box, cut off at its edges."""
    ids = np.ascontiguousarray(instance_map[box.slices])
    wanted = np.unique(ids[ids > 0]).astype(np.int64)
    whole = np.tile([0, 0, *ids.shape], (len(wanted), 1))
    boxes = whole.astype(np.int64)
    rows, columns = np.nonzero(ids)
    place = np.searchsorted(wanted, ids[rows, columns])
    boxes[:, :2], boxes[:, 2:] = np.iinfo(np.int64).max, 0
    for axis, values in enumerate((rows, columns)):
        np.minimum.at(boxes[:, axis], place, values)
        np.maximum.at(boxes[:, axis + 2], place, values + 1)
    return outlines(ids, wanted, boxes, origin=(box.y0, box.x0))


def _groups(summary: ImageStatistics, read: ReadPicture, mpp: float | None) -> list[Group]:
    extremes = {
        "Largest": ("Look here for clumps that were not split.", summary.largest),
        "Smallest": ("Look here for debris and fragments.", summary.smallest),
        "Least certain": (
            "The lowest mean probability; look here for what is no nucleus.",
            summary.least_certain,
        ),
    }
    return [
        _group(title, hint, nuclei, summary.shape, read, mpp)
        for title, (hint, nuclei) in extremes.items()
    ]


def _group(
    title: str,
    hint: str,
    nuclei: Sequence[Nucleus],
    shape: tuple[int, int],
    read: ReadPicture,
    mpp: float | None,
) -> Group:
    side = common_side([nucleus.box for nucleus in nuclei], least_px=LEAST_CROP_PX)
    side = min(side, *shape)
    crops = [
        (
            cut(read, square_around(nucleus.box, side, shape), nucleus.outline),
            f"{_area(nucleus.area_px, mpp)} · p {nucleus.probability:.2f}"
            f"|nucleus {nucleus.id} at {_place(nucleus.box)}",
        )
        for nucleus in nuclei
    ]
    bar_px, bar = _scale_bar(side, mpp)
    return Group(
        title=title,
        hint=f"{hint} Each piece is {_length(side, mpp)} wide.",
        crops=crops,
        bar_px=bar_px,
        bar=bar,
    )


def _scale_bar(side_px: int, mpp: float | None) -> tuple[float, str]:
    """Length of the scale bar of a crop of this side, in pixels and as a text."""
    length = _nice(side_px * (mpp or 1) / 6)
    return length / (mpp or 1), f"{length:g} {'µm' if mpp else 'px'}"


def _area(area_px: int, mpp: float | None) -> str:
    return f"{_round(area_px * mpp**2)} µm²" if mpp else f"{area_px:,} px"


def _length(length_px: float, mpp: float | None) -> str:
    return f"{_round(length_px * mpp)} µm" if mpp else f"{length_px:.0f} px"


def _place(box: Box) -> str:
    return f"x {(box.x0 + box.x1) // 2:,}, y {(box.y0 + box.y1) // 2:,} px"


def _certificate_rows(certificate: Mapping[str, Any]) -> list[tuple[str, str]]:
    """All of the certificate but the cut into blocks, which shaped nothing."""
    shown = {key: value for key, value in certificate.items() if key not in ("cut", "forced")}
    return _rows(shown)


def _rows(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(key, _text(value)) for key, value in flatten(values).items()]


def _text(value: Any) -> str:
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " x ".join(map(_text, value)) if value else "none"
    return str(value)
