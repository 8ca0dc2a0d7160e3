"""Results of undisturbed commands."""

from pathlib import Path

import pytest
from support.processes import finish, predict_command, stitch_command, tile_command, train_command


@pytest.fixture(scope="session")
def undisturbed(tiny_set, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `train`, `patches.zarr`, `maps.zarr` and `instances`."""
    folder = tmp_path_factory.mktemp("undisturbed")
    finish(*train_command(tiny_set.manifest, folder / "train"))
    finish(*tile_command(tiny_set.manifest, folder / "patches.zarr"))
    finish(*predict_command(tiny_set.manifest, folder / "train", folder / "maps.zarr"))
    finish(*stitch_command(folder / "maps.zarr", folder / "instances"))
    return folder
