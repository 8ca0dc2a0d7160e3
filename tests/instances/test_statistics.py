"""Statistics depend on the nuclei only, not on the order and parts of their rows."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.whole_outputs import collect

from nucleipel.core.geometry import Box
from nucleipel.core.measured_nuclei import MeasuredNuclei
from nucleipel.instances.statistics import CELL_PX, LARGEST_AREA_PX, ImageStatistics

SHAPE = (1000, 2000)


def _rows(
    areas: list[int], probabilities: list[float], *, first_id: int = 1, at: float = 0.5
) -> MeasuredNuclei:
    count = len(areas)
    box = {f"{side}_px": np.full(count, i) for i, side in enumerate(("y0", "x0", "y1", "x1"))}
    return MeasuredNuclei(
        {
            "id": np.arange(first_id, first_id + count),
            "centroid_y_px": np.full(count, at),
            "centroid_x_px": np.full(count, 2 * at),
            **box,
            "area_px": np.asarray(areas, np.int64),
            "mean_probability": np.asarray(probabilities, np.float64),
        },
        [[[np.full((3, 2), float(first_id + place))]] for place in range(count)],
    )


NUCLEI = st.lists(
    st.tuples(st.integers(1, 9), st.sampled_from([0.3, 0.5, 0.999, 1.0])), max_size=30
)


@given(NUCLEI, st.lists(st.integers(0, 30), max_size=3))
def test_rows_may_come_in_any_parts(nuclei: list[tuple[int, float]], cuts: list[int]) -> None:
    areas, probabilities = [area for area, _ in nuclei], [p for _, p in nuclei]
    edges = sorted({0, len(nuclei), *(min(cut, len(nuclei)) for cut in cuts)})
    summary = ImageStatistics(SHAPE, examples=4)
    for start, stop in pairwise(edges):
        summary.add(_rows(areas[start:stop], probabilities[start:stop], first_id=start + 1))
    assert summary.count == len(nuclei) == summary.areas.sum() == summary.probabilities.sum()
    assert summary.area_px == sum(areas)
    ids = range(1, len(nuclei) + 1)
    by_area = sorted(ids, key=lambda i: (areas[i - 1], i))
    assert [nucleus.id for nucleus in summary.smallest] == by_area[:4]
    by_area = sorted(ids, key=lambda i: (-areas[i - 1], i))
    assert [nucleus.id for nucleus in summary.largest] == by_area[:4]
    by_probability = sorted(ids, key=lambda i: (probabilities[i - 1], i))
    assert [nucleus.id for nucleus in summary.least_certain] == by_probability[:4]
    for nucleus in summary.largest:
        assert nucleus.area_px == areas[nucleus.id - 1]
        assert nucleus.outline[0][0][0, 0] == nucleus.id


def test_rows_are_passed_on_as_they_are() -> None:
    parts = [_rows([4, 5], [0.5, 0.6]), _rows([], [], first_id=3)]
    summary = ImageStatistics(SHAPE, examples=1)
    assert list(collect(summary, parts)) == parts
    assert summary.count == 2
    assert summary.largest[0].box == Box(0, 1, 2, 3)


def test_quantiles_are_values_that_occur() -> None:
    summary = ImageStatistics(SHAPE, examples=0)
    summary.add(_rows([7, 7, 9, 40], [0.305, 0.5, 0.905, 1.0]))
    assert [summary.area_quantile(share) for share in (0.0, 0.5, 0.75, 1.0)] == [7, 7, 9, 40]
    assert summary.probability_quantile(0.25) == pytest.approx(0.30)
    assert summary.probability_quantile(1.0) == pytest.approx(0.99)
    assert summary.largest == []


def test_what_is_larger_than_the_table_of_areas_is_counted_at_its_end() -> None:
    summary = ImageStatistics(SHAPE, examples=1)
    summary.add(_rows([LARGEST_AREA_PX + 5], [1.0]))
    assert summary.areas[-1] == 1
    assert summary.area_px == LARGEST_AREA_PX + 5


def test_nuclei_are_counted_where_their_centroids_lie() -> None:
    summary = ImageStatistics(SHAPE, examples=1)
    summary.add(_rows([1], [0.5], at=CELL_PX - 0.5))
    summary.add(_rows([1, 1], [0.5, 0.5], at=CELL_PX + 0.5))
    assert summary.cells.tolist() == [[0, 1, 0, 0], [0, 0, 2, 0]]
