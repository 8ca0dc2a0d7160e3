"""Which cores are skipped, on masks drawn by hand."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleipel.core.geometry import Box, core_tiles
from nucleipel.core.glass_cores import (
    LARGEST_NUCLEUS_PX,
    Tissue,
    describe_skipped,
    glass_cores,
)


def _tissue(shape: tuple[int, int], step: int, *places: tuple[int, int]) -> Tissue:
    mask = np.zeros([-(-length // step) for length in shape], bool)
    for y, x in places:
        mask[y // step, x // step] = True
    return Tissue(mask, step, {"mask": "drawn"})


def test_a_box_holds_the_tissue_of_every_mask_pixel_it_touches() -> None:
    tissue = _tissue((100, 100), 10, (35, 47))  # rows 30 to 39, columns 40 to 49
    assert tissue.holds(Box(0, 0, 31, 41))
    assert tissue.holds(Box(39, 49, 40, 50))
    assert tissue.holds(Box(-500, -500, 500, 500))
    assert not tissue.holds(Box(0, 0, 30, 100))
    assert not tissue.holds(Box(0, 50, 100, 100))
    assert not tissue.holds(Box(-20, -20, -5, -5))


def test_a_core_is_skipped_only_with_its_ring() -> None:
    shape = (400, 1200)
    cores = [Box(0, x, 400, x + 400) for x in (0, 400, 800)]
    ring = LARGEST_NUCLEUS_PX
    for x, kept in ((600, [1]), (400 + ring - 1, [0, 1]), (400 + ring, [1]), (0, [0])):
        skipped = glass_cores(_tissue(shape, 8, (200, x)), shape, core_px=400, halo_px=96)
        assert skipped == {core for i, core in enumerate(cores) if i not in kept}, x
    skipped = glass_cores(_tissue(shape, 8, (200, 600)), shape, core_px=400, halo_px=201)
    assert not skipped, "a halo wider than any nucleus is the ring"


def test_nothing_is_skipped_without_a_mask_and_all_without_tissue() -> None:
    shape = (300, 500)
    assert glass_cores(None, shape, core_px=200, halo_px=16) == frozenset()
    empty = _tissue(shape, 16)
    skipped = glass_cores(empty, shape, core_px=200, halo_px=16)
    message = describe_skipped(empty, skipped, shape, core_px=200, halo_px=16, mpp=0.5)
    assert (message["cores"], message["skipped_cores"], message["skipped_px"]) == (6, 6, 150_000)
    assert (message["skipped_um2"], message["skipped_percent"]) == (37_500, 100)


@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(st.integers(1, 900), st.integers(1, 900)),
    step=st.integers(1, 40),
    core_px=st.integers(1, 12).map(lambda n: 32 * n),
    halo_px=st.integers(0, 200),
    seed=st.integers(0, 2**16),
)
def test_tissue_never_lies_within_the_ring_of_a_skipped_core(
    shape: tuple[int, int], step: int, core_px: int, halo_px: int, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    mask = draw.random([-(-length // step) for length in shape]) < 0.003
    tissue = Tissue(mask, step, {})
    fine = np.kron(mask, np.ones((step, step), bool))[: shape[0], : shape[1]]
    ring = max(halo_px, LARGEST_NUCLEUS_PX)
    cores = [tile.core for tile in core_tiles(shape, core_px=core_px, halo_px=halo_px)]
    skipped = glass_cores(tissue, shape, core_px=core_px, halo_px=halo_px)
    assert skipped <= set(cores)
    for core in cores:
        near = fine[core.grow(ring).clip(shape).slices].any()
        assert not (near and core in skipped)
        if core not in skipped:  # and no core is kept for tissue that is further than a mask pixel
            assert fine[core.grow(ring + step).clip(shape).slices].any()
