"""The memory picks the size of the blocks."""

import pytest

from nucleipel.instances.block_memory import BLOCK_SIDES_PX, block_px_within, needed_bytes


@pytest.mark.parametrize("workers", [1, 3, 16])
def test_the_largest_block_that_fits(workers: int) -> None:
    for side in BLOCK_SIDES_PX:
        assert block_px_within(needed_bytes(side, workers), workers) == side
    assert block_px_within(1e15, workers) == BLOCK_SIDES_PX[-1]


def test_too_little_is_reported() -> None:
    with pytest.raises(ValueError, match=r"0\.1 GB of memory; 2 threads need at least 0\.4 GB"):
        block_px_within(0.1 * 2**30, 2)
