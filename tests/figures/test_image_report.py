"""The report of one image: its content, its size, and that a browser opens it without errors."""

import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.whole_outputs import collect

from nucleipel.core.geometry import Box
from nucleipel.core.measured_nuclei import MeasuredNuclei
from nucleipel.data.synthetic import Scene, build_scene
from nucleipel.figures.crops import common_side, square_around, svg_path
from nucleipel.figures.image_report import (
    EXAMPLES,
    _histogram,
    _nice,
    build_report,
    data_uri_within,
)
from nucleipel.instances.outlines import outlines
from nucleipel.instances.overlay import draw_overlay
from nucleipel.instances.statistics import ImageStatistics

CERTIFICATE = {
    "equal_to_uncut": True,
    "shape": [1700, 1600],
    "components": 900,
    "nuclei": 1000,
    "largest_component_px": 80,
    "max_component_px": 2048,
    "forced": [],
    "probabilities_digest": "0123456789abcdef",
    "instances_digest": "fedcba9876543210",
    "rule": {"foreground_percent": 50},
    "cut": {"block_px": 7777},
}


@pytest.fixture(scope="module")
def scene() -> Scene:
    return build_scene((1700, 1600), seed=3, nuclei_per_mpx=300)


def _rows(ids: np.ndarray) -> MeasuredNuclei:
    count = int(ids.max())
    y, x = np.nonzero(ids)
    at = ids[y, x] - 1
    boxes = np.full((count, 4), 10**6)
    boxes[:, 2:] = 0
    for axis, values in enumerate((y, x)):
        np.minimum.at(boxes[:, axis], at, values)
        np.maximum.at(boxes[:, axis + 2], at, values + 1)
    area = np.bincount(at, minlength=count)
    columns = {
        "id": np.arange(1, count + 1),
        "centroid_y_px": np.bincount(at, y, count) / area,
        "centroid_x_px": np.bincount(at, x, count) / area,
        **{f"{side}_px": boxes[:, i] for i, side in enumerate(("y0", "x0", "y1", "x1"))},
        "area_px": area,
        "mean_probability": 1 - 0.5 / (1 + np.arange(count) % 20),
    }
    return MeasuredNuclei(columns, outlines(ids, columns["id"], boxes))


def _page(scene: Scene, **arguments: Any) -> str:
    ids = scene.instance_map
    summary = ImageStatistics(ids.shape, examples=EXAMPLES)
    if ids.any():
        summary.add(_rows(ids))
    fields: dict[str, Any] = {
        "instance_map": ids,
        "read": lambda box: scene.image[box.slices],
        "overlay": draw_overlay(scene.image, ids),
        "mpp": 0.5,
        "certificate": CERTIFICATE,
        "facts": {"file": "a<b>.svs"},
        "settings": {"stage": "stitch", "config": {"instances": {"min_area_px": 12}}},
    } | arguments
    return build_report("slide & <1>", summary, **fields)


@pytest.fixture(scope="module")
def page(scene: Scene) -> str:
    return _page(scene)


class _Texts(HTMLParser):
    """All text of a page, and which tags it has."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


def test_it_states_the_numbers(page: str, scene: Scene) -> None:
    found = _Texts(page)
    count = int(scene.instance_map.max())
    assert f"{count:,}" in found.texts
    area_mm2 = 1700 * 1600 * 0.25e-6
    assert f"{count / area_mm2:,.0f}" in found.texts
    covered = 100 * np.count_nonzero(scene.instance_map) / scene.instance_map.size
    assert f"{covered:.1f} %" in found.texts
    areas = np.bincount(scene.instance_map.ravel())[1:]
    diameter = 2 * np.sqrt(np.quantile(areas, 0.5, method="inverted_cdf") / np.pi) * 0.5
    assert f"{diameter:.3g} µm" in found.texts
    titles = re.findall(r"<title>\S+ to \S+ µm: ([\d,]+) nuclei</title>", page)
    assert sum(int(title.replace(",", "")) for title in titles) == count


def test_density_is_that_of_the_tissue_where_it_is_known(scene: Scene) -> None:
    tissue = {"mask": "otsu", "tissue_percent": 40.0, "skipped_percent": 50.0}
    found = _Texts(_page(scene, certificate={**CERTIFICATE, "tissue": tissue})).texts
    tissue_mm2 = 0.4 * 1700 * 1600 * 0.25e-6
    assert f"{scene.instance_map.max() / tissue_mm2:,.0f}" in found
    assert f"of {tissue_mm2:.3g} mm² of tissue" in found
    covered = 100 * np.count_nonzero(scene.instance_map) / (0.4 * scene.instance_map.size)
    assert f"{covered:.1f} %" in found
    assert "tissue.skipped_percent" in found


def test_it_shows_the_extreme_nuclei_and_three_fields(page: str, scene: Scene) -> None:
    areas = np.bincount(scene.instance_map.ravel())
    areas[0] = 0
    order = np.lexsort((np.arange(len(areas)), -areas))[:EXAMPLES]
    shown = re.findall(r'<figure title="nucleus (\d+) at', page)
    assert [int(number) for number in shown[:EXAMPLES]] == order.tolist()
    assert len(shown) == 3 * EXAMPLES
    assert all(f"<b>{name}</b>" in page for name in ("densest", "typical", "sparse"))


def test_it_is_one_small_file_without_scripts_and_links(page: str) -> None:
    assert len(page.encode()) < 2e6
    assert "script" not in _Texts(page).tags
    assert not re.search(r"https?:|url\(|@import|src=\"(?!data:)|href=\"(?!data:)", page)


def test_names_are_text_and_never_markup(page: str) -> None:
    assert "slide & <1>" in _Texts(page).texts
    assert "<1>" not in page
    assert "file: a<b>.svs" in "".join(_Texts(page).texts)


def test_it_is_the_same_however_the_work_was_cut(page: str, scene: Scene) -> None:
    assert page == _page(scene, certificate={**CERTIFICATE, "cut": {"block_px": 5}})
    assert "7777" not in page
    assert "no seam shaped a nucleus" in page


def test_what_was_cut_by_force_is_said(scene: Scene) -> None:
    forced = {**CERTIFICATE, "equal_to_uncut": False, "forced": [[5, 6, 7777, 8888]]}
    page = _page(scene, certificate=forced)
    assert "1 clump was cut on a grid" in page
    assert "y 5 to 7777, x 6 to 8888" in page
    assert "no seam" not in page


def test_an_image_without_nuclei_or_mpp_has_a_page() -> None:
    empty = Scene(np.zeros((40, 60, 3), np.uint8), np.zeros((40, 60), np.uint32))
    page = _page(empty, mpp=None)
    assert "nuclei per megapixel" in page
    assert "µm" not in page
    assert "<figure" not in page


def test_without_the_image_there_are_no_pieces_of_it(scene: Scene) -> None:
    page = _page(scene, read=None)
    assert "<figure" not in page
    assert 'alt="The image' in page


def test_one_nucleus_that_fills_its_image() -> None:
    full = Scene(np.full((9, 30, 3), 80, np.uint8), np.ones((9, 30), np.uint32))
    assert _page(full).count("<figure") == 3


@pytest.mark.parametrize(
    ("least", "nice"), [(1.0, 1), (1.01, 2), (2.5, 5), (6, 10), (0.03, 0.05), (140, 200)]
)
def test_steps_are_round_numbers(least: float, nice: float) -> None:
    assert _nice(least) == pytest.approx(nice)


def test_a_histogram_keeps_every_value() -> None:
    values = np.array([1.0, 5.0, 5.1, 9.0, 1e6])
    counts = np.array([3, 500, 400, 97, 1])
    bars = _histogram(values, counts)
    assert sum(bar.count for bar in bars) == counts.sum()
    assert bars[-1].count == 98
    assert max(bar.share for bar in bars) == 1
    assert [bar.high for bar in bars[:-1]] == [bar.low for bar in bars[1:]]


def test_crops_stay_on_the_image_and_share_a_scale() -> None:
    assert square_around(Box(0, 0, 4, 4), 10, (100, 50)) == Box(0, 0, 10, 10)
    assert square_around(Box(96, 46, 100, 50), 10, (100, 50)) == Box(90, 40, 100, 50)
    assert square_around(Box(2, 2, 4, 4), 10, (6, 50)) == Box(0, 0, 6, 10)
    assert common_side([Box(0, 0, 4, 4), Box(0, 0, 10, 80)], least_px=48) == 120
    assert common_side([Box(0, 0, 4, 4)], least_px=48) == 48
    assert common_side([Box(0, 0, 9, 5000)], least_px=48) == 1024


def test_an_outline_is_drawn_in_pixels_of_the_image() -> None:
    ids = np.zeros((5, 6), np.uint32)
    ids[1:4, 2:5] = 1
    ids[2, 3] = 0
    lines = outlines(ids, np.array([1]), np.array([[1, 2, 4, 5]]))
    assert svg_path(lines).count("M") == 2
    numbers = [float(value) for value in re.findall(r"[\d.]+", svg_path(lines))]
    assert min(numbers[1::2]) == 1
    assert max(numbers[0::2]) == 5


def test_a_picture_is_made_to_fit() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (400, 300, 3), np.uint8)
    assert len(data_uri_within(noise, 20_000)) <= 20_000


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the browser."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        if os.environ.get("NUCLEIPEL_REQUIRE_CHROMIUM"):
            pytest.fail("NUCLEIPEL_REQUIRE_CHROMIUM is set, but there is no chromium")
        pytest.skip("needs chromium: apt-get install chromium")
    return found


def _open(chromium: str, page: Path, shot: Path, *options: str) -> list[str]:
    """Open a page in the browser, take a picture, return what the console said."""
    ran = subprocess.run(
        [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--enable-logging=stderr",
            f"--user-data-dir={shot.parent / 'profile'}",
            "--window-size=1280,2600",
            f"--screenshot={shot}",
            *options,
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return [line for line in ran.stderr.splitlines() if ":CONSOLE" in line]


def test_a_browser_opens_it_without_complaint(chromium: str, page: str, tmp_path: Path) -> None:
    path, shot = tmp_path / "report.html", tmp_path / "shot.png"
    path.write_text(page, encoding="utf-8")
    assert _open(chromium, path, shot) == []
    light = np.asarray(Image.open(shot).convert("RGB"))
    assert light.shape[:2] == (2600, 1280)
    colors = np.unique(light[::4, ::4].reshape(-1, 3), axis=0)
    assert len(colors) > 1000, "the pictures are not drawn"
    assert light[5, 5].min() > 200
    _open(chromium, path, shot, "--blink-settings=preferredColorScheme=0")
    dark = np.asarray(Image.open(shot).convert("RGB"))
    assert dark[5, 5].max() < 60


def test_a_complaint_of_the_browser_would_be_seen(chromium: str, page: str, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    for bad in ("<script>1</script>", '<img src="missing.png">'):
        path.write_text(page.replace("</main>", f"{bad}</main>"), encoding="utf-8")
        assert _open(chromium, path, tmp_path / "shot.png")


class _Huge:
    """A slide of 10 gigapixels that notes what is read of it: nuclei of 20 px on a grid of 40."""

    shape = (100_000, 100_000)

    def __init__(self) -> None:
        self.pixels_read = 0

    def __getitem__(self, slices: tuple[slice, slice]) -> np.ndarray:
        y, x = (np.arange(part.start, part.stop) for part in slices)
        self.pixels_read += len(y) * len(x)
        ids = 1 + (y[:, None] // 40) * 2500 + x[None] // 40
        return np.where((y[:, None] % 40 < 20) & (x[None] % 40 < 20), ids, 0).astype(np.uint32)

    def read(self, box: Box) -> np.ndarray:
        return np.repeat((self[box.slices] > 0)[..., None] * np.uint8(255), 3, axis=-1)

    def rows(self, start: int, stop: int) -> MeasuredNuclei:
        ids = np.arange(start, stop)
        y, x = np.divmod(ids - 1, 2500)
        box = {"y0": 40 * y, "x0": 40 * x, "y1": 40 * y + 20, "x1": 40 * x + 20}
        columns = {
            "id": ids,
            "centroid_y_px": 40 * y + 9.5,
            "centroid_x_px": 40 * x + 9.5,
            **{f"{side}_px": values for side, values in box.items()},
            "area_px": np.full(len(ids), 400),
            "mean_probability": np.full(len(ids), 0.9),
        }
        return MeasuredNuclei(columns, [[]] * len(ids))


def test_little_of_a_huge_slide_is_read() -> None:
    huge = _Huge()
    summary = ImageStatistics(huge.shape, examples=EXAMPLES)
    parts = (huge.rows(start, start + 50_000) for start in range(1, 6_250_000, 50_000))
    assert sum(len(rows.outlines) for rows in collect(summary, parts)) == 6_250_000
    page = build_report(
        "huge",
        summary,
        instance_map=huge,
        read=huge.read,
        overlay=np.random.default_rng(0).integers(0, 255, (2048, 2048, 3), np.uint8),
        mpp=0.25,
        certificate=CERTIFICATE,
        facts={},
        settings={},
    )
    assert "6,250,000" in _Texts(page).texts
    assert len(page.encode()) < 2e6
    assert huge.pixels_read < 4e6


def test_the_typical_field_is_that_of_the_median_nucleus() -> None:
    summary = ImageStatistics((512 * 4, 512 * 4), examples=0)
    for place, count in {(0, 1): 1, (1, 2): 10, (2, 0): 20, (3, 3): 25}.items():
        summary.cells[place] = count
    summary.count = 56
    blank = np.zeros(summary.shape, np.uint32)
    page = build_report(
        "fields",
        summary,
        instance_map=blank,
        read=lambda box: np.zeros((*box.shape, 3), np.uint8),
        overlay=np.zeros((64, 64, 3), np.uint8),
        mpp=None,
        certificate=CERTIFICATE,
        facts={},
        settings={},
    )
    places = re.findall(r"<b>(\w+)</b>, 512 px wide, at x ([\d,]+), y ([\d,]+) px", page)
    assert places == [
        ("densest", "1,792", "1,792"), ("typical", "256", "1,280"), ("sparse", "1,280", "768"),
    ]  # fmt: skip
