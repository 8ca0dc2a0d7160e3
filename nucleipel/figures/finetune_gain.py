"""The picture of a fine-tuning: each image's score before and after."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

MEASURES = ("pq", "aji", "dice")
MOST_ROWS = 30


def draw_gain(
    names: Sequence[str],
    start: Sequence[Mapping[str, float]],
    tuned: Sequence[Mapping[str, float]],
    *,
    title: str,
) -> Figure:
    """Draw a panel a measure: a line an image, from its score with the start to the new one.

    Of many images those at even distances in the order of their gain of PQ.
    """
    order = sorted(range(len(names)), key=lambda at: start[at]["pq"] - tuned[at]["pq"])
    shown = [order[at] for at in np.unique(np.linspace(0, len(order) - 1, MOST_ROWS).astype(int))]
    figure = Figure(figsize=(9, 1.6 + 0.25 * len(shown)), layout="constrained")
    panels = figure.subplots(1, len(MEASURES), sharey=True)
    for axes, measure in zip(panels, MEASURES, strict=True):
        for row, at in enumerate(shown):
            before, after = start[at][measure], tuned[at][measure]
            color = "tab:blue" if after > before else "tab:orange"
            axes.plot([before, after], [row, row], color=color, lw=2)
            axes.plot(before, row, "o", color="white", markeredgecolor=color, ms=5)
            axes.plot(after, row, "o", color=color, ms=5)
        axes.set(xlabel=f"{measure.upper()}: start (white), fine-tuned")
        axes.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(shown)), [_short(names[at]) for at in shown])
    panels[0].invert_yaxis()
    figure.suptitle(title, fontsize=9, wrap=True)
    return figure


def _short(name: str, most: int = 28) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}..."
