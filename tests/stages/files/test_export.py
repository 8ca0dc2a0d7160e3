"""Other programs read what `export` writes; a file is replaced only with --overwrite."""

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from support.untrained import small_network, write_untrained

from nucleipel.config import CitationConfig, ExportConfig
from nucleipel.core.intensity import IntensityRange
from nucleipel.errors import CheckpointError, ConfigError, OutputError
from nucleipel.io.exported_files import require_free, write_package
from nucleipel.stages.files.export import export

pytestmark = pytest.mark.slow

WORDS = ExportConfig(
    name="my nuclei",
    license="CC-BY-4.0",
    authors=("Ada Lovelace", "Johannes Müller"),
    citations=(CitationConfig(text="A data set", doi="10.1000/182"),),
    tags=("liver",),
)


def _write_run(folder: Path, *, channels: int, mpp: float | None) -> Path:
    network = small_network(block_px=2, channels=channels)
    return write_untrained(
        folder, network, mpp=mpp, instances={"min_area_px": 12},
        stained_instances={"min_area_px": 30},
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = _write_run(tmp_path_factory.mktemp("runs") / "run", channels=3, mpp=0.5)
    (folder / "README.md").write_text("Trained on livers.")
    return folder


@pytest.fixture(scope="module")
def package(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    written = export(run, WORDS, onnx=folder / "m.onnx", bioimageio=folder / "m.zip")
    assert written == [folder / "m.onnx", folder / "m.zip"]
    assert sorted(path.name for path in folder.iterdir()) == ["m.onnx", "m.zip"]
    return folder / "m.zip"


def _read(package: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(package) as files:
        return {name: files.read(name) for name in files.namelist()}


def test_the_package_names_its_authors_and_its_use(package: Path) -> None:
    files = _read(package)
    rdf = yaml.safe_load(files["rdf.yaml"])
    assert rdf["name"] == "my nuclei"
    assert rdf["license"] == "CC-BY-4.0"
    assert rdf["authors"] == [{"name": "Ada Lovelace"}, {"name": "Johannes Müller"}]
    assert rdf["cite"][0] == {"text": "A data set", "doi": "10.1000/182"}
    assert {"nuclei", "liver"} <= set(rdf["tags"])
    space = [axis for axis in rdf["inputs"][0]["axes"] if axis["type"] == "space"]
    assert all(axis["scale"] == 0.5 and axis["unit"] == "micrometer" for axis in space)
    assert rdf["config"]["nucleipel"]["instances"] == {"min_area_px": 12}
    assert rdf["config"]["nucleipel"]["stained_instances"] == {"min_area_px": 30}
    documentation = files["README.md"].decode()
    assert "- `min_area_px`: 12 (30 for stained tissue)" in documentation
    assert "percentiles 1 and 99.8" in documentation
    assert documentation.endswith("Trained on livers.\n")
    assert Image.open(io.BytesIO(files["cover.png"])).width > 32
    assert files["weights.onnx"] == package.with_name("m.onnx").read_bytes()


def test_the_test_tensors_are_the_networks_own(package: Path) -> None:
    files = _read(package)
    stored, wanted = (
        np.load(io.BytesIO(files[name])) for name in ("test_input.npy", "test_output.npy")
    )
    pixels = stored[0].transpose(1, 2, 0)
    image = IntensityRange.of_pixels(pixels).normalize(pixels).transpose(2, 0, 1)[None]
    import onnxruntime  # late: every process reads this file

    session = onnxruntime.InferenceSession(
        files["weights.onnx"], providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"image": np.ascontiguousarray(image)})
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_the_same_run_gives_the_same_package(run: Path, package: Path, tmp_path: Path) -> None:
    export(run, WORDS, bioimageio=tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == package.read_bytes()


CHECK = """
import json, sys
from pathlib import Path
from bioimageio.core import test_description
reports = []
for path in map(Path, sys.argv[1:]):
    report = test_description(path, expected_type="model")
    steps = {part.name: [error.msg for error in part.errors] for part in report.details}
    reports.append({"status": report.status, "steps": steps})
print(json.dumps(reports))
"""


def test_the_model_zoos_own_checks_pass(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In color, and in gray without a pixel size."""
    gray = _write_run(tmp_path / "run", channels=1, mpp=None)
    export(gray, WORDS, bioimageio=tmp_path / "gray.zip")
    monkeypatch.setenv("BIOIMAGEIO_CACHE_PATH", str(tmp_path / "cache"))
    # in a process of its own: it leaves files open, which is an error here
    command = [sys.executable, "-c", CHECK, str(package), str(tmp_path / "gray.zip")]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    reports = json.loads(ran.stdout.splitlines()[-1])
    assert len(reports) == 2
    for report in reports:
        assert report["status"] == "passed", report
        assert any("Reproduce test outputs" in step for step in report["steps"])
        assert not any(report["steps"].values())


def test_packages_say_whose_the_weights_are(run: Path, tmp_path: Path) -> None:
    for config in (ExportConfig(), ExportConfig(license="MIT"), ExportConfig(authors=("A",))):
        with pytest.raises(ConfigError, match=r"--set license=.*--set 'authors="):
            export(run, config, bioimageio=tmp_path / "m.zip")
    assert list(tmp_path.iterdir()) == []


def test_a_citation_can_be_found() -> None:
    with pytest.raises(ValueError, match="give its doi or its url"):
        CitationConfig(text="a book")


def test_files_are_refused_before_the_work(run: Path, tmp_path: Path) -> None:
    taken = tmp_path / "a.onnx"
    taken.write_text("mine")
    for path, message in {
        taken: "is there already",
        tmp_path / "a.txt": r"ends in \.onnx",
        tmp_path / "no" / "a.onnx": "no such folder",
    }.items():
        with pytest.raises(OutputError, match=message):
            export(run, ExportConfig(), onnx=path)
    assert taken.read_text() == "mine"
    folder = tmp_path / "b.onnx"
    folder.mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        require_free(folder, suffix=".onnx", overwrite=True)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        export(tmp_path / "no", ExportConfig(), onnx=tmp_path / "c.onnx")


def test_a_package_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    write_package(path, {"a": b"1"})
    with pytest.raises(TypeError):
        write_package(path, {"a": b"2", "b": 3})  # type: ignore[dict-item]
    assert _read(path) == {"a": b"1"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.zip"]


def test_the_packaged_weights_are_known(tmp_path: Path) -> None:
    path = tmp_path / "default.zip"
    export(Path("default"), ExportConfig(tags=("mine",)), bioimageio=path)
    files = _read(path)
    rdf = yaml.safe_load(files["rdf.yaml"])
    assert rdf["license"] == "CC0-1.0"
    assert rdf["cite"][0]["doi"].startswith("10.1038/")
    assert "mine" in rdf["tags"]
    assert "BBBC038v1" in files["README.md"].decode()
    assert json.dumps(rdf).count("sha256") >= 3
