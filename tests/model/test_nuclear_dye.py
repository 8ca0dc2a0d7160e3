"""The nuclear dye of a stained picture shows the nuclei, for any stain and surroundings."""

import numpy as np
import pytest
import torch

from nucleipel.data.artificial_staining import EOSIN, HEMATOXYLIN
from nucleipel.model.nuclear_dye import NuclearDyeLayer

ROWS, COLUMNS = np.mgrid[:96, :96]
NUCLEUS = (ROWS - 44) ** 2 + (COLUMNS - 50) ** 2 <= 8**2
RING = ((ROWS - 44) ** 2 + (COLUMNS - 50) ** 2 <= 20**2) & (
    (ROWS - 44) ** 2 + (COLUMNS - 50) ** 2 >= 12**2
)


def stained(hematoxylin: np.ndarray | float, eosin: np.ndarray | float) -> torch.Tensor:
    """(1, 3, 96, 96) light through so much of each dye."""
    amounts = [np.broadcast_to(dye, NUCLEUS.shape)[None] for dye in (hematoxylin, eosin)]
    absorbed = sum(
        amount * np.reshape(vector, (3, 1, 1))
        for amount, vector in zip(amounts, (HEMATOXYLIN, EOSIN), strict=True)
    )
    return torch.from_numpy(np.exp(-absorbed)[None].astype(np.float32))


def dye_of(rgb: torch.Tensor) -> np.ndarray:
    shown = NuclearDyeLayer()(rgb)
    assert shown.shape == (1, 3, 96, 96)
    assert torch.equal(shown, shown[:, :1].expand_as(rgb))
    return shown[0, 0].numpy()


@pytest.mark.parametrize("eosin", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("tissue", [0.0, 0.4])
@pytest.mark.parametrize("amount", [0.5, 1.0])
def test_a_nucleus_is_bright_on_dark(amount: float, tissue: float, eosin: float) -> None:
    shown = dye_of(stained(tissue + amount * NUCLEUS, eosin))
    assert np.median(shown[NUCLEUS]) > 0.8
    assert shown[RING].max() < 0.05


def test_eosin_is_not_taken_for_a_nucleus() -> None:
    assert dye_of(stained(0.05, 0.8 * NUCLEUS)).max() < 0.15


@pytest.mark.parametrize("light", [0.0, 0.4, 1.0])
def test_nothing_stands_out_of_a_plain_picture(light: float) -> None:
    assert dye_of(torch.full((1, 3, 96, 96), light)).max() < 0.02


def test_faint_noise_stays_faint() -> None:
    noise = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    assert np.percentile(dye_of(0.95 + 0.02 * noise), 99) < 0.2


def test_in_half_precision_it_is_the_same() -> None:
    rgb = stained(NUCLEUS * 1.0, 0.3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        shown = NuclearDyeLayer()(rgb)
    assert torch.equal(shown, NuclearDyeLayer()(rgb))
