"""Calibration finds the best of the values, tries none twice, and returns all that it tried."""

from nucleipel.training.coordinate_ascent import coordinate_ascent

GRID = {"a": (0, 1, 2, 3), "b": (0, 1, 2)}


def test_the_climb_follows_a_ridge_in_several_rounds() -> None:
    # along one number alone the top is out of reach: a = 3 pays only where b = 2
    def score(numbers: dict) -> float:
        return {(0, 0): 0, (1, 0): 1, (1, 1): 2, (2, 1): 3, (2, 2): 4, (3, 2): 5}.get(
            (numbers["a"], numbers["b"]), -1
        )

    trials = list(coordinate_ascent({"a": 0, "b": 0}, GRID, score, rounds=9))
    best, top = max(trials, key=lambda trial: trial[1])
    assert (best, top) == ({"a": 3, "b": 2}, 5)
    seen = [tuple(numbers.items()) for numbers, _ in trials]
    assert len(seen) == len(set(seen))


def test_rounds_end_the_climb() -> None:
    trials = list(coordinate_ascent({"a": 0, "b": 0}, GRID, lambda n: n["a"] + n["b"], rounds=1))
    assert max(score for _, score in trials) == 5
    assert len(trials) == 1 + 3 + 2


def test_two_that_make_up_for_each_other_move_together() -> None:
    """A narrow ridge along the diagonal: from any point on it, one number alone only loses."""
    grid = {"a": (1, 2, 3, 5, 8), "b": (50, 40, 30, 20, 10), "c": (0, 1)}

    def score(numbers: dict) -> float:
        off_the_ridge = abs(grid["a"].index(numbers["a"]) - grid["b"].index(numbers["b"]))
        return numbers["a"] - 10 * off_the_ridge - numbers["c"]

    trials = list(coordinate_ascent({"a": 1, "b": 50, "c": 0}, grid, score, rounds=9))
    assert max(trials, key=lambda trial: trial[1]) == ({"a": 8, "b": 10, "c": 0}, 8)
    seen = [tuple(numbers.items()) for numbers, _ in trials]
    assert len(seen) == len(set(seen))


def test_values_next_to_one_that_is_no_candidate() -> None:
    grid = {"a": (0, 2, 4), "b": (0, 2, 4)}

    def score(numbers: dict) -> float:
        return {(3, 1): 1, (4, 2): 2}.get((numbers["a"], numbers["b"]), 0)

    trials = list(coordinate_ascent({"a": 3, "b": 1}, grid, score, rounds=9))
    assert max(trials, key=lambda trial: trial[1]) == ({"a": 4, "b": 2}, 2)


def test_the_start_stays_when_nothing_is_better_and_other_numbers_are_kept() -> None:
    trials = list(
        coordinate_ascent({"a": 7, "b": 1, "c": 5}, GRID, lambda n: n["a"] == 7, rounds=3)
    )
    assert max(trials, key=lambda trial: trial[1])[0] == {"a": 7, "b": 1, "c": 5}
    assert all(numbers["c"] == 5 for numbers, _ in trials)


def test_a_number_that_the_start_does_not_have_may_be_tried() -> None:
    trials = list(
        coordinate_ascent({"a": 1}, GRID, lambda n: -abs(n["a"] - 1) - n.get("b", 0), rounds=3)
    )
    assert max(trials, key=lambda trial: trial[1])[0] == {"a": 1}
    assert {"a": 1, "b": 2} in [numbers for numbers, _ in trials]
