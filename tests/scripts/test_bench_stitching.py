"""Which peer is installed, and how nuclei that tiles changed are counted."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from support import ROOT

SCRIPTS = ROOT / "scripts" / "benchmarks"


@pytest.mark.parametrize("peer", ["stardist", "cellpose"])
def test_the_peer_is_the_one_that_the_environment_has(
    peer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = runpy.run_path(str(SCRIPTS / "bench_stitching.py"))["peer_script"]
    (tmp_path / peer).mkdir()
    (tmp_path / peer / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = find(Path(sys.executable))
    assert found == SCRIPTS / f"bench_stitching_{peer}.py"
    assert found.is_file()
    (tmp_path / peer / "__init__.py").unlink()
    (tmp_path / peer).rmdir()
    with pytest.raises(SystemExit, match="has none of stardist, cellpose"):
        find(Path(sys.executable))


def test_nuclei_of_other_pixels_are_counted_and_other_ids_are_not() -> None:
    changed = runpy.run_path(str(SCRIPTS / "bench_stitching_peers.py"))["changed"]
    whole = np.zeros((4, 12), np.int64)
    whole[:2, :2], whole[:2, 4:6], whole[:2, 8:10], whole[3, :3] = 1, 2, 3, 5
    assert changed(whole, np.where(whole > 0, whole + 7, 0)) == 0
    tiled = whole.copy()
    tiled[0, 4:6] = 9  # cut in two
    tiled[2, 8] = 3  # grown
    tiled[3, :3] = 0  # lost
    assert changed(whole, tiled) == 3
