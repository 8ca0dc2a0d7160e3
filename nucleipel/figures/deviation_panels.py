"""Figures of where a network deviates from the annotation, and of the pull of each loss."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

Plane = npt.NDArray[np.float32]

CLASS_COLORS = ListedColormap(["black", "tab:blue", "gold"])
BINS = 50
MISS = 0.5
"""Deviation from which the annotated class is no longer the likeliest of two."""


@dataclass(frozen=True)
class Moment:
    """One network on one patch, all (H, W): likeliest classes, deviations, each loss's pull."""

    name: str
    classes: npt.NDArray[np.integer]
    deviation: Plane
    pulls: Mapping[str, Plane]

    def numbers(self) -> dict[str, float]:
        """Numbers of the picture: shares in 0..1."""
        missed = self.deviation > MISS
        shares = {
            "mean_deviation": float(self.deviation.mean()),
            "share_missed": float(missed.mean()),
        }
        for name, pull in self.pulls.items():
            strength = np.abs(pull)
            total = float(strength.sum()) or 1.0
            shares[f"{name}_pull_on_missed"] = float(strength[missed].sum()) / total
            shares[f"{name}_pull_away"] = float(strength[pull < 0].sum()) / total
        return shares

    def histogram(self) -> list[int]:
        """Pixels a bin of `BINS` equal bins of 0..1."""
        return np.histogram(self.deviation, BINS, (0, 1))[0].tolist()


def draw_deviation(
    image: npt.NDArray[np.uint8],
    annotation: npt.NDArray[np.uint8],
    moments: Sequence[Moment],
    *,
    title: str,
) -> Figure:
    """A panel of one patch: the image with contours, (h, w, 3), and for each moment its maps.

    `annotation` is (H, W), the class of each pixel.
    """
    columns = len(moments[0].pulls)
    height, width = annotation.shape
    figure = Figure(
        figsize=(2.9 * columns, (1 + len(moments)) * (2.9 * height / width + 0.45) + 0.5),
        layout="constrained",
    )
    axes = figure.subplots(1 + len(moments), columns)
    axes[0, 0].imshow(image)
    _bare(axes[0, 0], "image, annotated contours")
    for place, moment in enumerate(moments, start=1):
        _show(axes[0, place], moment.deviation, cmap="magma", low=0, high=1)
        mean = moment.deviation.mean()
        _bare(axes[0, place], f"|p - g| {moment.name}, mean {mean:.4f}\nblack 0, yellow 1")
    if len(moments) == 2:
        _show(axes[0, 3], moments[1].deviation - moments[0].deviation, low=-0.5, high=0.5)
        _bare(axes[0, 3], "change of |p - g|\nblue -.5 (nearer), red +.5")
    else:
        _show(axes[0, 2], annotation, cmap=CLASS_COLORS, low=0, high=2)
        _bare(axes[0, 2], "annotation g\nblue interior, yellow boundary")
        _show(axes[0, 3], moments[0].classes, cmap=CLASS_COLORS, low=0, high=2)
        _bare(axes[0, 3], "likeliest class of p")
    draw_histogram(axes[0, -1], {moment.name: moment.histogram() for moment in moments})
    axes[0, -1].set_box_aspect(height / width)
    for row, moment in zip(axes[1:], moments, strict=True):
        numbers = moment.numbers()
        for place, (name, pull) in zip(row, moment.pulls.items(), strict=True):
            limit = max(float(np.quantile(np.abs(pull), 0.999)), 1e-30)
            _show(place, pull, low=-limit, high=limit)
            on, away = numbers[f"{name}_pull_on_missed"], numbers[f"{name}_pull_away"]
            _bare(
                place, f"pull of {name}, {moment.name}\n{on:.0%} on |p - g| > .5, {away:.0%} away"
            )
    figure.suptitle(title, fontsize=10)
    return figure


def draw_histograms(counts: Mapping[str, Sequence[int]], *, title: str) -> Figure:
    """The deviations of many patches together."""
    figure = Figure(figsize=(5.5, 3.6), layout="constrained")
    draw_histogram(figure.subplots(), counts)
    figure.suptitle(title, fontsize=10)
    return figure


def draw_histogram(axes: Any, counts: Mapping[str, Sequence[int]]) -> None:
    """Histograms of deviations over one another, on a logarithmic scale."""
    edges = np.linspace(0, 1, BINS + 1)
    for name, values in counts.items():
        axes.stairs(np.asarray(values) / max(1, sum(values)), edges, label=name, lw=1.5)
    axes.set_yscale("log")
    axes.set_xlabel("|p - g|", fontsize=8)
    axes.set_title("share of pixels", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)


def _show(axes: Any, plane: Any, *, low: float, high: float, cmap: Any = "RdBu_r") -> None:
    axes.imshow(plane, cmap=cmap, vmin=low, vmax=high, interpolation="nearest")


def _bare(axes: Any, title: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, fontsize=8)
