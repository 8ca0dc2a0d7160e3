"""All outputs open in other libraries, with the same nuclei; a lost nucleus is reported."""

import json
import runpy
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from support import ROOT

from nucleipel.cli.main import cli

SCRIPT = ROOT / "scripts" / "checks" / "check_outputs.py"


@pytest.fixture(scope="module")
def segmented(tiny_set, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("outputs") / "out"
    arguments = ["segment", tiny_set.image("test"), "--device", "cpu"]
    arguments += ["--out", out, "--csv", "--geojson", "plain"]
    done = CliRunner().invoke(cli, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    return out


def _check(out: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(out)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    return int(end.value.code or 0), capsys.readouterr().out


def test_all_readers_find_the_same_nuclei(segmented: Path, monkeypatch, capsys) -> None:
    code, message = _check(segmented, monkeypatch, capsys)
    assert code == 0, message
    line, last = message.splitlines()
    nuclei = json.loads((segmented / "test" / "certificate.json").read_text())["nuclei"]
    assert nuclei > 1
    for reader in ("tifffile", "zarr", "pyarrow", "json", "csv", "certificate"):
        assert f"{reader} {nuclei}" in line
    assert line.endswith("all ids equal")
    assert last.startswith("read by: tifffile, zarr")


@pytest.mark.parametrize("harm", ["lost", "open ring", "cut"])
def test_a_harmed_output_is_found(segmented, harm: str, tmp_path, monkeypatch, capsys) -> None:
    shutil.copytree(segmented, tmp_path / "out")
    path = tmp_path / "out" / "test" / "nuclei.geojson"
    found = json.loads(path.read_text())
    features = found["features"]
    if harm == "lost":
        del features[0]
    elif harm == "open ring":
        features[0]["geometry"]["coordinates"][0].pop()
    text = json.dumps(found)
    path.write_text(text[: len(text) // 2] if harm == "cut" else text)
    code, message = _check(tmp_path / "out", monkeypatch, capsys)
    assert code == 1
    expected = {"lost": "json: other ids than tifffile", "open ring": "open ring", "cut": "JSON"}
    assert expected[harm] in message


def test_a_folder_without_results_is_refused(tmp_path: Path, monkeypatch, capsys) -> None:
    code, message = _check(tmp_path, monkeypatch, capsys)
    assert code == 1
    assert message == f"error: {tmp_path}: no folder with an instances.ome.tif below\n"
