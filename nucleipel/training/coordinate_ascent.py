"""Coordinate ascent: numbers chosen by a score, one after another, then in pairs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, product
from typing import Any

Numbers = dict[str, Any]
Score = Callable[[Numbers], float]


def coordinate_ascent(
    start: Numbers, candidates: Mapping[str, Sequence[Any]], score: Score, *, rounds: int
) -> Iterator[tuple[Numbers, float]]:
    """Climb from `start` to a better score; yield every set of numbers tried, with its score.

    In each round every number in turn is set to the candidate of best score,
    the others held; of equal scores the first stays. Where none gains, any two
    move together to the candidates next to them: a threshold on pixels and one
    on nuclei say, which make up for each other. No set is scored twice. It ends
    after `rounds`, or with the first round that gains nothing. The best set
    yielded is the result.
    """
    best, best_score = start, score(start)
    yield best, best_score
    tried = {_key(best)}
    for _ in range(rounds):
        before = best
        for moves in (_single_moves(candidates), _pair_moves(before, candidates)):
            for move in moves:
                trial = {**best, **move}
                if _key(trial) in tried:
                    continue
                tried.add(_key(trial))
                trial_score = score(trial)
                yield trial, trial_score
                if trial_score > best_score:
                    best, best_score = trial, trial_score
            if best != before:
                break
        else:
            return


def _single_moves(candidates: Mapping[str, Sequence[Any]]) -> Iterator[Numbers]:
    for name, values in candidates.items():
        for value in values:
            yield {name: value}


def _pair_moves(numbers: Numbers, candidates: Mapping[str, Sequence[Any]]) -> Iterator[Numbers]:
    """Set both of two numbers to the next smaller or the next greater candidate."""
    near = {
        name: [
            *sorted(value for value in values if value < numbers[name])[-1:],
            *sorted(value for value in values if value > numbers[name])[:1],
        ]
        for name, values in candidates.items()
        if name in numbers  # an older checkpoint may leave some to the rule's defaults
    }
    for one, other in combinations(near, 2):
        for first, second in product(near[one], near[other]):
            yield {one: first, other: second}


def _key(numbers: Numbers) -> tuple[Any, ...]:
    return tuple(sorted(numbers.items()))
