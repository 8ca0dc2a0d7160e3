"""The view of an image: where the network agrees with itself; never where it was sure at once."""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import nucleipel as npl
from nucleipel.core.geometry import Box
from nucleipel.data.synthetic import build_scene
from nucleipel.inference import choose_view as module
from nucleipel.inference.choose_view import SQUARES, ChosenView, View, choose_view
from nucleipel.inference.probability_map import place_network, predict_part
from nucleipel.instances.instance_rule import InstanceRule
from nucleipel.instances.segment_map import segment_instances
from nucleipel.io.slides.formats.array import image_of_array
from nucleipel.io.slides.resolution import Resolution
from nucleipel.io.slides.slide import Slide, open_slide
from nucleipel.model.checkpoint import DEFAULT, Checkpoint, read_checkpoint

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> Checkpoint:
    model = read_checkpoint(Path(DEFAULT))
    place_network(model.network, CPU)
    return model


def _slide(pixels: np.ndarray) -> Slide:
    return Slide(image_of_array(pixels), Resolution.pixel_for_pixel(pixels.shape[:2], None))


def _specks(radius_px: float, apart_px: int, side_px: int = 256) -> np.ndarray:
    """Bright blurred specks on a grid, on dark ground: (side, side) uint8."""
    rng, picture = np.random.default_rng(1), np.zeros((side_px, side_px), np.float32)
    y, x = np.mgrid[:side_px, :side_px]
    for row in range(apart_px // 2, side_px, apart_px):
        for column in range(apart_px // 2, side_px, apart_px):
            speck = np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * (radius_px / 1.6) ** 2))
            picture += rng.uniform(0.5, 1) * speck
    noise = rng.normal(0, 2, picture.shape)
    return np.clip(180 * picture + 10 + noise, 0, 255).astype(np.uint8)


def test_nuclei_of_three_pixels_are_enlarged(model: Checkpoint) -> None:
    slide = _slide(_specks(radius_px=3, apart_px=17))
    chosen = choose_view(model, slide, device=CPU)
    assert chosen.view.scale > 1
    assert set(chosen.disagreements) == {"1", "1.5", "2"}
    assert chosen.disagreements[str(chosen.view)] == min(
        filter(None, chosen.disagreements.values())
    )


def test_the_map_is_that_of_the_view(model: Checkpoint) -> None:
    """An image measured as a whole is not predicted once more."""
    slide = _slide(_specks(radius_px=3, apart_px=17))
    chosen = choose_view(model, slide, device=CPU)
    seen = slide.at_scale(chosen.view.scale)
    description = model.description
    anew = predict_part(
        model.network, seen, Box.of_shape(seen.shape),
        intensity=seen.intensity_range(), grid=description.grid, device=CPU,
        channels=description.network.in_channels, maps=len(description.maps),
    )  # fmt: skip
    assert np.array_equal(chosen.maps, anew)


@pytest.mark.parametrize("factor", [1, 2])
def test_what_the_network_is_sure_of_is_seen_as_it_is(model: Checkpoint, factor: int) -> None:
    pixels = build_scene((256, 256), seed=2, glass=False).image
    pixels = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    chosen = choose_view(model, _slide(pixels), device=CPU)
    assert chosen.view == View()
    assert chosen.certainty is not None
    assert chosen.certainty >= module.SURE_STAINED
    assert chosen.disagreements == {}


@pytest.mark.parametrize("value", [0, 255, None])
def test_an_empty_image_is_seen_as_it_is(model: Checkpoint, value: int | None) -> None:
    noise = np.random.default_rng(0).integers(0, 50, (200, 200), np.uint8)
    pixels = noise if value is None else np.full_like(noise, value)
    assert choose_view(model, _slide(pixels), device=CPU).view == View()


@pytest.mark.parametrize(
    ("across_px", "scale"), [(6, 2), (20, 1), (40, 1), (80, 0.5), (100, 0.25), (130, 0.25)]
)
def test_discs_of_many_widths_are_found(model: Checkpoint, across_px: int, scale: float) -> None:
    """The network finds no disc of 6 or 130 px at its own scale."""
    apart = round(2.4 * across_px)
    y, x = np.mgrid[: 3 * apart, : 3 * apart] % apart - apart // 2
    noise = np.random.default_rng(0).normal(0, 4, y.shape)
    pixels = np.clip(150 * (np.hypot(y, x) < across_px / 2) + 20 + noise, 0, 255).astype(np.uint8)
    chosen = choose_view(model, _slide(pixels), device=CPU)
    assert chosen.view == View(scale)
    assert chosen.maps is not None
    rule = InstanceRule(**model.description.instances)
    assert len(segment_instances(chosen.maps, rule=rule).table) == 9


SURE, UNSURE = 0.95, 0.8
NARROW, USUAL, WIDE = 9.9, 20.0, 49.1


@pytest.mark.parametrize(
    ("certainty", "width", "stained", "as_dye", "disagreements", "view", "tried"),
    [
        (SURE, USUAL, False, None, {"1": 0.5}, "1", 0),
        (1.0, math.nan, False, None, {"1": None}, "1", 0),  # empty
        (0.92, USUAL, False, None, {"1": 0.5}, "1", 0),
        (0.92, USUAL, True, None, {"1": 0.099}, "1", 1),
        (UNSURE, USUAL, False, None, {"1": 0.129}, "1", 1),  # agrees well enough
        (UNSURE, USUAL, True, None, {"1": 0.099}, "1", 1),
        (UNSURE, USUAL, False, None, {"1": 0.2, "0.5": 0.1, "0.75": 0.15, "1.5": 0.3}, "0.5", 4),
        # the finest only where the finer one is better
        (
            UNSURE, USUAL, False, None,
            {"1": 0.2, "0.5": 0.3, "0.75": 0.3, "1.5": 0.1, "2": 0.05}, "2", 5,
        ),
        # nearly as good is not better
        (UNSURE, USUAL, False, None, {"1": 0.2, "0.5": 0.198, "0.75": 0.3, "1.5": 0.3}, "1", 4),
        (UNSURE, USUAL, False, None, {"1": 0.2, "0.5": None, "0.75": 0.1, "1.5": None}, "0.75", 4),
        # narrow nuclei only at finer scales, wide ones only at coarser, sure or not
        (SURE, NARROW, False, None, {"1": 0.09, "1.5": 0.08, "2": 0.07}, "2", 3),
        (SURE, NARROW, False, None, {"1": 0.09, "1.5": 0.1}, "1", 2),
        (UNSURE, 9.4, True, None, {"1": 0.2, "1.5": 0.1, "2": 0.11}, "1.5", 3),
        (SURE, 9.4, True, True, {"1 as dye": 0.2, "1.5 as dye": 0.3}, "1 as dye", 2),
        (SURE, 9.6, True, None, {"1": 0.2}, "1", 0),
        (SURE, WIDE, False, None, {"1": 0.06, "0.5": 0.05, "0.75": 0.07, "0.25": 0.08}, "0.5", 4),
        (UNSURE, WIDE, True, None, {"1": 0.2, "0.5": 0.1, "0.75": 0.1, "0.25": 0.05}, "0.25", 4),
        # where nothing is found, all scales are tried, and one must agree well
        (
            UNSURE, NARROW, False, None,
            {"1": None, "0.5": None, "0.75": None, "0.25": 0.129, "1.5": None, "2": None},
            "0.25", 6,
        ),
        (
            UNSURE, USUAL, True, False,
            {"1": None, "0.5": 0.101, "0.75": None, "0.25": None, "1.5": None, "2": 0.2}, "1", 6,
        ),
        # stained tissue of usual width in color, then as its dye, and not enlarged
        (
            UNSURE, USUAL, True, None,
            {"1": 0.2, "0.5": 0.15, "0.75": 0.15, "0.5 as dye": 0.1, "0.75 as dye": 0.2},
            "0.5 as dye", 5,
        ),
        (UNSURE, USUAL, True, False, {"1": 0.2, "0.5": 0.1, "0.75": 0.2}, "0.5", 3),
        (
            UNSURE, USUAL, True, True,
            {"1 as dye": 0.2, "0.5 as dye": 0.3, "0.75 as dye": 0.1}, "0.75 as dye", 3,
        ),
        (UNSURE, USUAL, False, True, {"1": 0.2, "0.5": 0.3, "0.75": 0.1, "1.5": 0.3}, "0.75", 4),
    ],
)  # fmt: skip
def test_the_rule(
    monkeypatch: pytest.MonkeyPatch,
    certainty: float,
    width: float,
    stained: bool,
    as_dye: bool | None,
    disagreements: dict[str, float | None],
    view: str,
    tried: int,
) -> None:
    class Trial:
        def __init__(self, *_: object) -> None:
            self.measured: dict[View, float | None] = {}

        def certainty(self, _: View) -> float:
            return certainty

        def width(self, _: View) -> float:
            return width

        def measure(self, view: View) -> float | None:
            self.measured[view] = disagreements[str(view)]
            return self.measured[view]

        def chosen(self, view: View, own_certainty: float, width: float) -> ChosenView:
            measured = {str(one): at for one, at in self.measured.items()}
            return ChosenView(view, own_certainty, width, measured)

    monkeypatch.setattr(module, "_Trial", Trial)
    monkeypatch.setattr(Slide, "is_stained", lambda _: stained)
    slide = _slide(np.zeros((8, 8), np.uint8))
    found = choose_view(None, slide, as_dye=as_dye, device=CPU)  # type: ignore[arg-type]
    assert (str(found.view), len(found.disagreements)) == (view, tried)


def test_a_large_slide_is_not_doubled(model: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_DOUBLED_PX", 256 * 256 - 1)
    chosen = choose_view(model, _slide(_specks(radius_px=3, apart_px=17)), device=CPU)
    assert "2" not in chosen.disagreements
    assert chosen.view.scale == 1.5


def test_a_slide_of_glass_is_measured_by_its_tissue() -> None:
    scene = build_scene((1200, 1400), seed=3, glass=False).image
    pixels = np.full((6000, 5000, 3), 243, np.uint8)
    pixels[4000:5200, 3000:4400] = scene
    squares = list(module._sample(_slide(pixels)))
    assert 1 < len(squares) <= SQUARES
    for square in squares:
        tissue = (square.read(Box.of_shape(square.shape)) < 235).any(axis=-1)
        assert tissue.mean() > 0.4


def _in_glass(tissue: np.ndarray, y: int, x: int, *, dust: bool = False) -> Slide:
    pixels = np.full((4000, 4400, 3), 243, np.uint8)
    pixels[y : y + tissue.shape[0], x : x + tissue.shape[1]] = tissue
    if dust:
        pixels[30:44, 4300:4310] = 90
    return _slide(pixels)


@pytest.mark.parametrize("shape", [(700, 900), (1200, 1400)], ids=["small", "large"])
@pytest.mark.parametrize(("y", "x", "dust"), [(2560, 2816, False), (1024, 768, True)])
def test_glass_around_tissue_changes_nothing_of_its_sample(
    shape: tuple[int, int], y: int, x: int, dust: bool
) -> None:
    tissue = build_scene(shape, seed=3, glass=False).image
    found = [
        [part.read(Box.of_shape(part.shape)) for part in module._sample(slide)]
        for slide in (_in_glass(tissue, 256, 512), _in_glass(tissue, y, x, dust=dust))
    ]
    parts = 1 if math.prod(shape) <= module.WHOLE_PX else SQUARES
    assert [len(of_slide) for of_slide in found] == [parts, parts]
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_glass_does_not_make_a_slide_large() -> None:
    tissue = build_scene((700, 900), seed=3, glass=False).image
    assert module._tissue_px(_in_glass(tissue, 256, 512)) == pytest.approx(700 * 900, rel=0.1)
    glass = _slide(np.full((700, 900, 3), 243, np.uint8))
    assert module._tissue_px(glass) == pytest.approx(700 * 900, rel=0.05)


def test_tissue_moved_by_256_px_is_seen_alike_at_every_scale(model: Checkpoint) -> None:
    scales = (module.COARSEST, *module.COARSER, 1.0, module.FINER, module.FINEST)
    stride = model.description.network.stride
    assert all(256 * scale % stride == 0 for scale in scales)


@pytest.mark.parametrize("shape", [(40, 9000), (9000, 40), (3000, 3000)])
def test_squares_lie_inside_whatever_the_shape(shape: tuple[int, int]) -> None:
    squares = list(module._sample(_slide(np.full((*shape, 3), 243, np.uint8))))
    assert squares
    assert all(
        0 < side <= limit for s in squares for side, limit in zip(s.shape, shape, strict=True)
    )


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(module, "WHOLE_PX", 1)
    monkeypatch.setattr(module, "SQUARE_PX", 96)
    yield


@pytest.mark.usefixtures("small_pieces")
def test_squares_choose_what_the_whole_image_does(model: Checkpoint) -> None:
    chosen = choose_view(model, _slide(_specks(radius_px=3, apart_px=17)), device=CPU)
    assert chosen.view.scale > 1
    assert chosen.maps is None


def test_the_view_needs_no_mpp_and_keeps_one(model: Checkpoint) -> None:
    slide = _slide(np.zeros((90, 120, 3), np.uint8))
    assert slide.at_scale(0.5).shape == (45, 60)
    assert slide.at_scale(0.5).mpp is None
    known = dataclasses.replace(slide.resolution, source_mpp=0.25, mpp=0.25)
    assert Slide(slide.image, known).at_scale(0.5).mpp == 0.5


def test_glass_around_a_slide_changes_no_view(model: Checkpoint, real_data: Path) -> None:
    """Real H&E that is best known as dye, at two scales nearly alike."""
    with open_slide(real_data / "slides" / "OS-2-vsi.ome.tif") as slide:
        tissue = slide.read(Box.of_shape(slide.shape))
    alone = choose_view(model, _slide(tissue), device=CPU)
    assert alone.view == View(0.75, as_dye=True)
    pixels = np.full((3000, 2800, 3), 243, np.uint8)
    pixels[1111 : 1111 + 1445, 517 : 517 + 1445] = tissue
    assert choose_view(model, _slide(pixels), device=CPU).view == alone.view


def test_glass_around_an_enlarged_piece_changes_hardly_a_nucleus(real_data: Path) -> None:
    """Real H&E of narrow nuclei, seen at 1.5, in a slide at a multiple of 256 px."""
    with open_slide(real_data / "slides" / "CMU-1-Small-Region.svs") as slide:
        piece = slide.read(Box(1000, 900, 1640, 1540))
    pixels = np.full((1536, 1600, 3), 243, np.uint8)
    pixels[768:1408, 256:896] = piece
    alone, in_glass = (npl.load().segment(image) for image in (piece, pixels))
    views = [result.certificate["view"] for result in (alone, in_glass)]
    assert [view["scale"] for view in views] == [1.5, 1.5]
    inside = np.s_[64:-64, 64:-64]
    found = in_glass.labels[768:1408, 256:896]
    assert npl.evaluate(alone.labels[inside].copy(), found[inside].copy())["pq"] > 0.98
