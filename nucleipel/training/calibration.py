"""Numbers chosen by a score: one after another, until none gains more."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Numbers = dict[str, Any]
Score = Callable[[Numbers], float]


def climb(
    start: Numbers, candidates: Mapping[str, Sequence[Any]], score: Score, *, rounds: int
) -> Iterator[tuple[Numbers, float]]:
    """Coordinate ascent from `start`; yields every set of numbers tried, with its score.

    In each round every number in turn is set to the candidate of best score,
    the others held; of equal scores the one found first stays. No set is
    scored twice. The best one yielded is the result.
    """
    best, best_score = start, score(start)
    yield best, best_score
    tried = {_key(best)}
    for _ in range(rounds):
        before = best
        for name, values in candidates.items():
            for value in values:
                trial = {**best, name: value}
                if _key(trial) in tried:
                    continue
                tried.add(_key(trial))
                found = score(trial)
                yield trial, found
                if found > best_score:
                    best, best_score = trial, found
        if best == before:
            return


def _key(numbers: Numbers) -> tuple[Any, ...]:
    return tuple(sorted(numbers.items()))
