"""Numbers chosen by a score: one after another, then in pairs, until none gains more."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, product
from typing import Any

Numbers = dict[str, Any]
Score = Callable[[Numbers], float]


def climb(
    start: Numbers, candidates: Mapping[str, Sequence[Any]], score: Score, *, rounds: int
) -> Iterator[tuple[Numbers, float]]:
    """Coordinate ascent from `start`; yields every set of numbers tried, with its score.

    In each round every number in turn is set to the candidate of best score,
    the others held; of equal scores the one found first stays. Where none
    gains, any two move together to the candidates next to them: a threshold on
    pixels and one on nuclei say, which make up for each other. No set is scored
    twice. The best one yielded is the result.
    """
    best, best_score = start, score(start)
    yield best, best_score
    tried = {_key(best)}
    for _ in range(rounds):
        before = best
        for moves in (_alone(candidates), _in_pairs(before, candidates)):
            for move in moves:
                trial = {**best, **move}
                if _key(trial) in tried:
                    continue
                tried.add(_key(trial))
                found = score(trial)
                yield trial, found
                if found > best_score:
                    best, best_score = trial, found
            if best != before:
                break
        else:
            return


def _alone(candidates: Mapping[str, Sequence[Any]]) -> Iterator[Numbers]:
    for name, values in candidates.items():
        for value in values:
            yield {name: value}


def _in_pairs(numbers: Numbers, candidates: Mapping[str, Sequence[Any]]) -> Iterator[Numbers]:
    """Both of two numbers set to the next smaller or the next greater candidate."""
    near = {
        name: [
            *sorted(value for value in values if value < numbers[name])[-1:],
            *sorted(value for value in values if value > numbers[name])[:1],
        ]
        for name, values in candidates.items()
        if name in numbers  # an older checkpoint may leave some to the rule's defaults
    }
    for one, other in combinations(near, 2):
        for value, beside in product(near[one], near[other]):
            yield {one: value, other: beside}


def _key(numbers: Numbers) -> tuple[Any, ...]:
    return tuple(sorted(numbers.items()))
