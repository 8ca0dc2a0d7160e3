"""Confidence intervals of scores and of differences between them: a bootstrap over sources."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

DRAWS = 10_000
DRAWS_OF_IMAGES = 2_000
"""Fewer where each draw is scored anew."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean difference and its confidence interval."""

    mean: float
    low: float
    high: float


def paired_bootstrap(
    differences: npt.NDArray[np.float64],
    sources: Sequence[str],
    *,
    level: float = 0.95,
    draws: int = DRAWS,
) -> Interval:
    """Percentile interval of the mean of (seeds, images) differences.

    Images of one source (patient, slide, field of view) are alike, and so are
    the images of one seed's network: whole sources and whole seeds are drawn
    with replacement (Efron and Tibshirani 1993, for clusters). A source
    weighs as many images as it has. The same input gives the same interval.

    Raises
    ------
    ValueError
        If there is nothing to draw from, or `sources` do not name each image.
    """
    if differences.ndim != 2 or not differences.size or differences.shape[1] != len(sources):
        raise ValueError(
            f"differences {differences.shape} and {len(sources)} sources; expected (seeds, images)"
            " and a source for each image"
        )
    names, source_of = np.unique(np.asarray(sources), return_inverse=True)
    member = np.zeros((len(sources), len(names)))
    member[np.arange(len(sources)), source_of] = 1
    sums, counts = differences @ member, member.sum(axis=0)
    random = np.random.default_rng(0)
    of_seeds = random.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=draws)
    of_sources = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    totals = np.einsum("ds,sn,dn->d", of_seeds, sums, of_sources, optimize=True)
    means = totals / (len(sums) * (of_sources @ counts))
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(differences.mean()), float(low), float(high))


def source_bootstrap(
    sources: Sequence[str],
    scores_of: Callable[[Sequence[int]], npt.NDArray[np.float64]],
    *,
    level: float = 0.95,
    draws: int = DRAWS_OF_IMAGES,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Lower and upper end of the percentile interval of each score of a set of images.

    For scores that are no mean over images, as those pooled over nuclei are:
    `scores_of` takes the places of the images that were drawn, some of them
    twice or more, and returns their scores together, an array of any one shape.
    Whole sources are drawn, as `paired_bootstrap` does. The same input gives
    the same intervals.

    Raises
    ------
    ValueError
        If there is nothing to draw from.
    """
    if not sources:
        raise ValueError("no images to draw from")
    names, source_of = np.unique(np.asarray(sources), return_inverse=True)
    members = [np.flatnonzero(source_of == place) for place in range(len(names))]
    random = np.random.default_rng(0)
    drawn = [
        scores_of(np.concatenate([members[place] for place in places]).tolist())
        for places in random.integers(len(names), size=(draws, len(names)))
    ]
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high
