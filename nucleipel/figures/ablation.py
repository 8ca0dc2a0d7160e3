"""Figures of an ablation: saturation of the base, the grid, gains of the arms."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from nucleipel.metrics.bootstrap import Interval


def draw_saturation(curves: Sequence[Sequence[tuple[float, float, float]]]) -> Figure:
    """Dice and PQ on the val patches while the control goes on; (epoch, Dice, PQ) a seed."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    for axes, index, name in zip(figure.subplots(1, 2), (1, 2), ("Dice", "PQ"), strict=True):
        for curve in curves:
            axes.plot([point[0] for point in curve], [point[index] for point in curve], marker=".")
        axes.set(xlabel="epoch of the control", ylabel=f"{name}, val patches")
        axes.grid(alpha=0.3)
    return figure


def draw_grid(
    points: Mapping[str, npt.NDArray[np.float64]],
    *,
    exponents: Sequence[float],
    alphas: Sequence[float],
    title: str,
) -> Figure:
    """One heat map a form: (exponents, alphas) differences in points, NaN where none is known."""
    figure = Figure(figsize=(1.5 + 3.1 * len(points), 1.4 + 0.55 * len(exponents)), layout="tight")
    known = np.concatenate([cells[np.isfinite(cells)] for cells in points.values()])
    limit = max(0.1, float(np.abs(known).max(initial=0)))
    for axes, (form, cells) in zip(
        np.ravel(figure.subplots(1, len(points))), points.items(), strict=True
    ):
        axes.imshow(cells, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
        for row, column in np.argwhere(np.isfinite(cells)):
            value = cells[row, column]
            color = "white" if abs(value) > 0.6 * limit else "black"
            axes.text(column, row, f"{value:+.2f}", ha="center", va="center", color=color)
        axes.set_xticks(range(len(alphas)), [f"{alpha:g}" for alpha in alphas])
        axes.set_yticks(range(len(exponents)), [f"{n:g}" for n in exponents])
        axes.set(xlabel="alpha", ylabel="n", title=form)
    figure.suptitle(title, fontsize=10)
    return figure


def draw_differences(
    differences: Mapping[str, Mapping[str, Interval]], *, reference: str, split: str
) -> Figure:
    """Arms against `reference`, one panel a measure: mean and 95 % interval in points."""
    measures = list(next(iter(differences.values())))
    figure = Figure(
        figsize=(2.2 + 3.2 * len(measures), 1.3 + 0.3 * len(differences)), layout="constrained"
    )
    panels = np.ravel(figure.subplots(1, len(measures), sharey=True))
    for axes, measure in zip(panels, measures, strict=True):
        for place, intervals in enumerate(differences.values()):
            interval = intervals[measure]
            clear = interval.low > 0 or interval.high < 0
            color = "tab:blue" if clear else "0.55"
            axes.plot([interval.low, interval.high], [place, place], color=color, lw=2)
            axes.plot(interval.mean, place, "o", color=color, ms=5)
        axes.axvline(0, color="black", lw=0.8)
        axes.set(xlabel=f"{measure} - {reference}, points ({split})")
        axes.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(differences)), list(differences))
    panels[0].invert_yaxis()
    return figure
