"""What pooled scores gain from one set of maps to another, with intervals."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from nucleipel.metrics.bootstrap import Interval, source_bootstrap
from nucleipel.metrics.scores import ImageScore, pool

Values = dict[str, float]


def pooled_gains(
    before: Sequence[ImageScore],
    after: Sequence[ImageScore],
    sources: Sequence[str],
    values_of: Callable[[Mapping[str, float]], Values],
    *,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Gains of pooled scores over the same images, with intervals by draws of the sources.

    `values_of` takes pooled scores and returns those wanted, by name.
    """
    names = list(values_of(pool(before)))

    def gains(places: Sequence[int]) -> npt.NDArray[np.float64]:
        pooled = (pool([scores[at] for at in places]) for scores in (before, after))
        first, second = (values_of(scores) for scores in pooled)
        return np.array([second[name] - first[name] for name in names])

    whole = gains(range(len(sources)))
    low, high = source_bootstrap(sources, gains, level=level)
    values = zip(whole.tolist(), low.tolist(), high.tolist(), strict=True)
    return {name: Interval(*ends) for name, ends in zip(names, values, strict=True)}
