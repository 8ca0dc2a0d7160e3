"""Views are scored as `segment` scores them; what is least in disagreement is named last."""

import runpy
from pathlib import Path

import pytest
from support import ROOT
from support.untrained import small_network, write_untrained

import nucleipel as npl
from nucleipel.core.geometry import Box
from nucleipel.io.csv_table import read_table
from nucleipel.io.manifest import read_manifest
from nucleipel.io.slides.slide import open_slide, read_annotation

pytestmark = pytest.mark.slow

SCRIPT = runpy.run_path(str(ROOT / "scripts" / "reproduce" / "view_scores.py"))


def test_each_scale_of_each_image(
    tiny_set, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_untrained(
        tmp_path / "run", small_network(block_px=2), core_px=64, mpp=None,
        instances={"foreground_percent": 30, "min_area_px": 1},
    )  # fmt: skip
    SCRIPT["main"]([
        "--manifest", str(tiny_set.manifest), "--split", "test", "--checkpoint", str(run),
        "--scale", "0.5", "1", "--out", str(tmp_path / "views.csv"),
    ])  # fmt: skip
    lines = read_table(tmp_path / "views.csv")
    views = {(float(line["scale"]), line["stained_as"]) for line in lines}
    assert views == {(0.5, "color"), (1.0, "color"), (0.5, "dye"), (1.0, "dye")}
    with open_slide(tiny_set.image("test")) as slide:
        pixels = slide.read(Box.of_shape(slide.shape))
    labels = npl.segment(pixels, model=run, scale=0.5, stained_as="color")
    wanted = npl.evaluate(read_annotation(tiny_set.folder / "test_label.tif"), labels)["aji"]
    half = next(line for line in lines if float(line["scale"]) == 0.5)
    assert float(half["aji"]) == pytest.approx(wanted)
    *_, of_least, of_chosen = capsys.readouterr().out.splitlines()
    least = min(lines, key=lambda line: float(line["disagreement"]))
    assert of_least.startswith("least disagreement")
    assert f"aji {float(least['aji']):.3f}" in of_least
    chosen = npl.segment(pixels, model=run, scale="auto")
    wanted = npl.evaluate(read_annotation(tiny_set.folder / "test_label.tif"), chosen)["aji"]
    assert of_chosen.startswith("chosen")
    assert f"aji {wanted:.3f}" in of_chosen


def test_a_zoomed_image_has_as_many_nuclei(tiny_set, tmp_path: Path) -> None:
    row = read_manifest(tiny_set.manifest).of_split("test").rows[0]
    run = write_untrained(tmp_path / "run", small_network(block_px=2), core_px=64, mpp=None)
    model = npl.load(run)
    pixels, ids = SCRIPT["_read"](model, row, 1.0)
    zoomed, larger = SCRIPT["_read"](model, row, 2.0)
    assert larger.shape == zoomed.shape[:2] == tuple(2 * length for length in ids.shape)
    assert set(larger.ravel().tolist()) == set(ids.ravel().tolist())
    assert abs(float(zoomed.mean()) - float(pixels.mean())) < 1
