"""A generated map is the same however it is cut."""

import numpy as np
import pytest

from nucleipel.core.geometry import Box
from nucleipel.data.synthetic.generated_map import build_instance_map, build_probability_map


@pytest.mark.parametrize("cut", [Box(0, 0, 1, 1), Box(7, 65, 40, 127), Box(61, 3, 131, 190)])
def test_a_part_is_the_part_of_the_whole(cut: Box) -> None:
    whole = build_probability_map(Box(0, 0, 192, 200), seed=4, nuclei_per_cell=8)
    assert whole[3].max() > 200, "nuclei were drawn"
    assert np.array_equal(
        build_probability_map(cut, seed=4, nuclei_per_cell=8), whole[(slice(None), *cut.slices)]
    )


def test_the_nuclei_of_a_map_are_what_it_shows() -> None:
    box = Box(0, 0, 192, 200)
    background, interior, boundary, _ = build_probability_map(box, seed=4).astype(int)
    nuclei = build_instance_map(box, seed=4)
    shown = interior + boundary - background
    assert len(np.unique(nuclei)) > 20
    assert (nuclei[shown > 50] > 0).all()
    assert (nuclei[shown < -50] == 0).all()
    assert (nuclei[interior > 200] > 0).all()
