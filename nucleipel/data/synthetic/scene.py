"""Generated H&E-like slides with their annotation: for the demo, tests and benchmarks.

Color is made as a microscope makes it: stains absorb (Beer-Lambert), so tissue
and nuclei are drawn as amounts of eosin and hematoxylin and become RGB at the
end. A third of the nuclei stands in touching clumps; debris and red blood
cells, which are not annotated, keep a color threshold from being enough.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from nucleipel.instances.table_of_map import in_raster_order

Plane = npt.NDArray[np.float32]

# optical density in R, G, B; near Ruifrok and Johnston 2001, the eosin less magenta
HEMATOXYLIN = np.array([0.65, 0.70, 0.29], np.float32)
EOSIN = np.array([0.10, 0.85, 0.35], np.float32)
CLUMPED_SHARE = 0.35
SMALLEST_NUCLEUS_PX = 40


@dataclass(frozen=True)
class Scene:
    """`image`: (H, W, 3) uint8; `instance_map`: (H, W) uint32, ids in raster order."""

    image: npt.NDArray[np.uint8]
    instance_map: npt.NDArray[np.uint32]


def build_scene(
    shape: tuple[int, int], *, seed: int, nuclei_per_mpx: float = 900.0, glass: bool = True
) -> Scene:
    """A slide of (height, width) px at about 0.5 mpp; the same seed gives the same bytes.

    `nuclei_per_mpx` is how many nuclei are tried on a million pixels of tissue;
    with `glass` about a fifth of a large slide is empty.
    """
    draw = np.random.default_rng([seed, *shape])
    tissue = _tissue(shape, draw) if glass else np.ones(shape, bool)
    eosin, hematoxylin = stroma(shape, draw)
    labels = np.zeros(shape, np.int32)
    count = max(4, round(nuclei_per_mpx * tissue.sum() / 1e6))
    centers = nucleus_centers(tissue, count, draw)
    for label, (y, x, radius) in enumerate(centers, start=1):
        draw_nucleus(labels, eosin, hematoxylin, tissue, label, (y, x), radius, draw)
    draw_distractors(labels, eosin, hematoxylin, tissue, count // 12, draw)
    image = _photograph(eosin, hematoxylin, tissue, draw)
    return Scene(image, in_raster_order(labels))


def smooth_noise(
    shape: tuple[int, int], scale_px: float, draw: np.random.Generator, *, stretch: float = 1
) -> Plane:
    """Smooth noise of about unit variance, features `scale_px` high and `stretch` times as wide."""
    cell = (scale_px, scale_px * stretch)
    small = [int(np.ceil(length / side)) + 3 for length, side in zip(shape, cell, strict=True)]
    coarse = draw.standard_normal(small).astype(np.float32)
    size = (int(small[1] * cell[1]), int(small[0] * cell[0]))
    return cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)[: shape[0], : shape[1]]


def _warped(plane: Plane, down_px: Plane) -> Plane:
    """The plane with its pixels moved down by `down_px`, so that what is straight gets waves."""
    rows, columns = np.indices(plane.shape, dtype=np.float32)
    return cv2.remap(plane, columns, rows + down_px, cv2.INTER_LINEAR, None, cv2.BORDER_REFLECT)


def _tissue(shape: tuple[int, int], draw: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Draw where tissue lies: smooth outlines, holes, about a fifth of glass."""
    field = (
        smooth_noise(shape, 300, draw)
        + 0.4 * smooth_noise(shape, 80, draw)
        + 0.1 * smooth_noise(shape, 15, draw)
    )
    return np.asarray(field > np.quantile(field[::4, ::4], 0.2))


def stroma(shape: tuple[int, int], draw: np.random.Generator) -> tuple[Plane, Plane]:
    """Eosin and hematoxylin of the tissue between nuclei: clouds, fibers, grain."""
    fibers = _warped(
        smooth_noise(shape, 3.5, draw, stretch=12), 40 * smooth_noise(shape, 250, draw)
    )
    clouds = 0.12 * smooth_noise(shape, 120, draw) + 0.06 * smooth_noise(shape, 20, draw)
    eosin = (
        0.45
        + clouds
        + 0.06 * fibers * (1 + smooth_noise(shape, 60, draw))
        + 0.04 * smooth_noise(shape, 3, draw)
    )
    hematoxylin = 0.10 + 0.04 * smooth_noise(shape, 150, draw) + 0.03 * smooth_noise(shape, 8, draw)
    return np.clip(eosin, 0.1, None), np.clip(hematoxylin, 0.02, None)


def nucleus_centers(
    tissue: npt.NDArray[np.bool_], count: int, draw: np.random.Generator
) -> list[tuple[float, float, float]]:
    """(y, x, radius) of each nucleus to try: some alone, some side by side in a clump."""
    places = np.argwhere(tissue[::2, ::2]) * 2
    centers: list[tuple[float, float, float]] = []
    while len(centers) < count:
        y, x = places[draw.integers(len(places))].astype(float)
        radius = float(np.clip(draw.lognormal(np.log(8.5), 0.3), 4, 20))
        centers.append((y, x, radius))
        # a clump has 4.5 members in the mean, so this share of seeds gives the share of nuclei
        if draw.random() < CLUMPED_SHARE / (4.5 - 3.5 * CLUMPED_SHARE):
            for _ in range(int(draw.integers(1, 8))):
                near_y, near_x, near_radius = centers[-1]
                other = float(np.clip(near_radius * draw.uniform(0.75, 1.3), 4, 20))
                turn = draw.uniform(0, 2 * np.pi)
                reach = (near_radius + other) * draw.uniform(0.8, 0.95)
                centers.append(
                    (near_y + reach * np.sin(turn), near_x + reach * np.cos(turn), other)
                )
    return centers


def draw_nucleus(
    labels: npt.NDArray[np.int32],
    eosin: Plane,
    hematoxylin: Plane,
    tissue: npt.NDArray[np.bool_],
    label: int,
    center: tuple[float, float],
    radius: float,
    draw: np.random.Generator,
) -> None:
    """Add one nucleus where nothing else lies; leave all as it is when too little room is left."""
    reach = int(radius * 1.6) + 3
    y0, x0 = max(int(center[0]) - reach, 0), max(int(center[1]) - reach, 0)
    here = np.s_[y0 : int(center[0]) + reach, x0 : int(center[1]) + reach]
    if labels[here].size == 0:
        return
    inside = _outline(labels[here].shape, (center[0] - y0, center[1] - x0), radius, draw)
    wanted = int((inside <= 1).sum())
    body = (inside <= 1) & (labels[here] == 0) & tissue[here]
    pieces, _ = cv2.connectedComponents(body.astype(np.uint8), connectivity=4)
    if body.sum() < max(SMALLEST_NUCLEUS_PX, 0.6 * wanted) or pieces != 2:
        return
    labels[here][body] = label
    pale = draw.random() < 0.2
    amount = draw.uniform(0.3, 0.45) if pale else draw.uniform(0.5, 0.85)
    rim = np.clip((inside - 0.6) / 0.4, 0, 1) * (0.35 if pale else 0.15)
    chromatin = 0.18 * smooth_noise(body.shape, max(2.5, radius / 3), draw)
    edge = 1 / (1 + np.exp((inside - 1) * radius / 0.8))  # about a pixel of optical softness
    stain = np.where(labels[here] == label, np.maximum(edge, 0.6), 0)
    hematoxylin[here] += (amount * (1 + chromatin) + rim) * stain
    eosin[here] *= 1 - 0.35 * stain


def _outline(
    shape: tuple[int, int],
    center: tuple[float, float],
    radius: float,
    draw: np.random.Generator,
) -> Plane:
    """Distance from the center in units of the outline's radius: an ellipse with low bumps."""
    rows, columns = np.indices(shape, dtype=np.float32)
    turn, stretch = draw.uniform(0, np.pi), draw.uniform(1.0, 1.45) ** 0.5
    y, x = rows - center[0], columns - center[1]
    along = (x * np.cos(turn) + y * np.sin(turn)) / stretch
    aside = (y * np.cos(turn) - x * np.sin(turn)) * stretch
    angle = np.arctan2(aside, along)
    bumps = sum(
        draw.uniform(0, 0.06) * np.cos(waves * angle + draw.uniform(0, 2 * np.pi))
        for waves in (2, 3, 4, 5)
    )
    return np.asarray(np.hypot(along, aside) / (radius * (1 + bumps)), np.float32)


def draw_distractors(
    labels: npt.NDArray[np.int32],
    eosin: Plane,
    hematoxylin: Plane,
    tissue: npt.NDArray[np.bool_],
    count: int,
    draw: np.random.Generator,
) -> None:
    """Specks of dark debris, and red blood cells: near to nuclei in color or shape, but none."""
    places = np.argwhere(tissue[::2, ::2]) * 2
    for index in range(count):
        y, x = places[draw.integers(len(places))]
        radius = draw.uniform(1.0, 2.2) if index % 2 else draw.uniform(5, 7)
        reach = int(radius) + 3
        y0, x0 = max(y - reach, 0), max(x - reach, 0)
        here = np.s_[y0 : y + reach, x0 : x + reach]
        if (labels[here] > 0).any():
            continue
        inside = _outline(labels[here].shape, (y - y0, x - x0), radius, draw)
        soft = 1 / (1 + np.exp((inside - 1) * radius / 0.7))
        if index % 2:
            hematoxylin[here] += 1.2 * soft
        else:
            eosin[here] += 0.7 * soft * (0.6 + 0.4 * inside.clip(0, 1))


def _photograph(
    eosin: Plane,
    hematoxylin: Plane,
    tissue: npt.NDArray[np.bool_],
    draw: np.random.Generator,
) -> npt.NDArray[np.uint8]:
    """RGB of the stains: uneven stain and light, a slight blur, sensor noise."""
    shape = tissue.shape
    present = cv2.GaussianBlur(tissue.astype(np.float32), None, 1.5)
    eosin = eosin * present * (1 + 0.12 * smooth_noise(shape, 500, draw))
    hematoxylin = hematoxylin * present * (1 + 0.12 * smooth_noise(shape, 450, draw))
    light = 0.96 + 0.02 * smooth_noise(shape, 700, draw)
    image = np.empty((*shape, 3), np.uint8)
    for channel in range(3):  # one at a time: a third of the memory
        density = hematoxylin * HEMATOXYLIN[channel] + eosin * EOSIN[channel]
        seen = cv2.GaussianBlur(light * np.exp(-np.log(10) * 0.75 * density), None, 0.8)
        grain = draw.standard_normal(shape, dtype=np.float32)
        image[..., channel] = np.rint(np.clip(seen + 0.012 * grain, 0, 1) * 255)
    return image
