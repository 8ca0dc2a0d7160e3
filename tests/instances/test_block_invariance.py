"""Instances do not depend on blocks, their order, the number of workers, or restarts."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import scipy.ndimage
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from skimage.measure import label as connected_components

import nucleipel.instances.segment_steps as engine
from nucleipel.core.geometry import Box
from nucleipel.data.synthetic.generated_map import build_probability_map
from nucleipel.instances import InstanceRule, Instances, segment_instances
from nucleipel.instances.instance_rule import IntegerRule
from nucleipel.instances.map_hash import digest

PATIENT = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
RULE = InstanceRule(fill_holes_px=64, distance_percent=50, persistence=0.03, min_area_px=1)
# splits at the least excuse, so that wrong ties would show
EAGER = replace(RULE, distance_px=4, smooth_px=0.6, persistence=0.002, fill_holes_px=6)
BY_SHAPE = replace(EAGER, persistence=0.3, concave_persistence=0.0, solidity_gain_percent=3)
RULES = st.sampled_from([RULE, EAGER, replace(EAGER, persistence=0.0, min_area_px=4), BY_SHAPE])
WHOLE = 4096


def certain(nucleus: np.ndarray, distance: bool = False) -> np.ndarray:
    interior = np.where(nucleus, 255, 0).astype(np.uint8)
    planes = [255 - interior, interior, np.zeros_like(interior)]
    return np.stack([*planes, interior] if distance else planes)


def disc(shape: tuple[int, int], y: float, x: float, radius: float) -> np.ndarray:
    rows, columns = np.indices(shape)
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


# --- nasty maps ----------------------------------------------------------------------


def _noise(draw: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Smoothed noise in a few gray levels: plateaus, ties, labyrinths larger than a block."""
    smooth = draw.choice([0.0, 0.8, 1.5, 3.0])
    planes = np.stack(
        [cv2.blur(draw.normal(size=shape), (1 + int(2 * smooth),) * 2) for _ in "abc"]
    )
    planes /= max(planes.std(), 1e-9)
    levels = draw.choice([1, 2, 3, 6])
    steps = np.clip(np.rint((planes + 1) / 2 * levels), 0, levels) * (255 // levels)
    nucleus, inner = steps[0], steps[1] / 255
    stack = [255 - nucleus, nucleus * inner, nucleus * (1 - inner), steps[2]]
    return np.stack(stack).astype(np.uint8)


def _rings(draw: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Rings in rings, and what lies in their holes."""
    rows, columns = np.indices(shape)
    around = np.hypot(rows - draw.uniform(0, shape[0]), columns - draw.uniform(0, shape[1]))
    nucleus = around % draw.integers(5, 23) < draw.integers(2, 6)
    return certain(nucleus & (draw.random(shape) > 0.02), distance=True)


def _on_every_seam(draw: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Small nuclei on all multiples of 8: on every seam, and where four blocks meet."""
    nucleus = np.zeros(shape, bool)
    radius = draw.choice([1.0, 1.5, 2.9])
    for y in range(0, shape[0] + 8, 8):
        for x in range(0, shape[1] + 8, 8):
            nucleus |= disc(
                shape, y - draw.choice([0, 0.5, 1]), x - draw.choice([0, 0.5, 1]), radius
            )
    return certain(nucleus, distance=True)


def _bridges(draw: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Blobs held together by bridges of one pixel, straight and diagonal, corners included."""
    nucleus = np.zeros(shape, np.uint8)
    for _ in range(12):
        y, x, v, u = (int(draw.integers(0, shape[axis % 2])) for axis in range(4))
        cv2.line(nucleus, (x, y), (u, v), 1, 1, cv2.LINE_8)
        cv2.circle(nucleus, (x, y), int(draw.integers(1, 7)), 1, -1)
    return certain(nucleus > 0, distance=True)


def _clump(draw: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """One clump of touching discs, larger than the blocks."""
    nucleus = np.zeros(shape, bool)
    for y in range(6, shape[0], 11):
        for x in range(6, shape[1], 11):
            nucleus |= disc(shape, y + draw.uniform(-1, 1), x + draw.uniform(-1, 1), 6)
    return certain(nucleus, distance=True)


def _constant(draw: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return np.broadcast_to(draw.choice([0, 128, 255], (4, 1, 1)), (4, *shape)).astype(np.uint8)


KINDS = (_noise, _noise, _rings, _on_every_seam, _bridges, _clump, _constant)


@st.composite
def nasty_maps(draw: st.DrawFn) -> np.ndarray:
    """(3 or 4, H, W) maps of up to about 100 x 100 px, single rows and columns among them."""
    lengths = st.sampled_from([1, 2, 16, 17, 33, 64, 97])
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(KINDS))
    made = kind(generator, (draw(lengths), draw(lengths)))
    return np.ascontiguousarray(made[: draw(st.sampled_from([3, 4]))])


# --- cuts ----------------------------------------------------------------------------


def facts(found: Instances) -> dict[str, Any]:
    """Everything that must not depend on the cut."""
    message = found.certificate.to_json()
    del message["cut"]
    shape = found.map.shape
    assert (
        message["instances_digest"] == f"{digest(found.map[:], origin=(0, 0), width=shape[1]):016x}"
    )
    return {**message, "map": found.map[:].tobytes(), "rows": found.table.rows.tolist()}


@contextmanager
def shuffled(seed: int) -> Iterator[None]:
    """All parallel work in random order; what is returned keeps its own."""
    real = engine._parallel

    @contextmanager
    def threads(workers: int) -> Iterator[Any]:
        with real(workers) as parallel_map:

            def out_of_order(work: Callable[[Any], Any], items: list[Any]) -> Iterator[Any]:
                order = list(range(len(items)))
                random.Random(seed).shuffle(order)  # noqa: S311
                results = dict(
                    zip(order, parallel_map(work, [items[at] for at in order]), strict=True)
                )
                yield from (results[at] for at in range(len(items)))

            yield out_of_order

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(engine, "_parallel", threads)
        yield


@PATIENT
@given(
    nasty_maps(), RULES, st.sampled_from([1, 5, 16, 23, 32, 50, 64]), st.integers(1, 4), st.data()
)
def test_one_result_for_every_cut_order_and_number_of_workers(
    probabilities: np.ndarray, rule: InstanceRule, block_px: int, workers: int, data: st.DataObject
) -> None:
    block_px = max(block_px, max(probabilities.shape) // 8)  # blocks of 1 px on small maps only
    whole = facts(segment_instances(probabilities, rule=rule, block_px=WHOLE))
    assert whole["equal_to_uncut"]
    with shuffled(data.draw(st.integers(0, 99))):
        cut = segment_instances(probabilities, rule=rule, block_px=block_px, workers=workers)
    assert facts(cut) == whole
    assert cut.certificate.cut["block_px"] == block_px


@PATIENT
@given(nasty_maps(), RULES, st.sampled_from([16, 23, 64]), st.sampled_from([7, 16, 30]))
def test_forced_components_are_cut_alike_by_every_block_size(
    probabilities: np.ndarray, rule: InstanceRule, block_px: int, budget_px: int
) -> None:
    found = [
        facts(
            segment_instances(
                probabilities, rule=rule, block_px=side, max_component_px=budget_px, workers=workers
            )
        )
        for side, workers in ((WHOLE, 1), (block_px, 3))
    ]
    assert found[0] == found[1]
    components = connected_components(
        probabilities[1].astype(int) + probabilities[2] > probabilities[0], connectivity=2
    )
    boxes = scipy.ndimage.find_objects(components)
    over = [
        (ys.start, xs.start, ys.stop, xs.stop)
        for ys, xs in boxes
        if max(ys.stop - ys.start, xs.stop - xs.start) > budget_px
    ]
    assert found[0]["forced"] == sorted(over)
    assert found[0]["components"] == len(boxes)


class _KilledError(Exception):
    pass


@settings(PATIENT, max_examples=25)
@given(nasty_maps(), st.sampled_from([16, 23]), st.integers(0, 60), st.integers(1, 2))
def test_a_restart_in_the_middle_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    probabilities: np.ndarray,
    block_px: int,
    puts: int,
    workers: int,
) -> None:
    scratch = tmp_path_factory.mktemp("scratch") / "work"
    plan = {"rule": EAGER, "block_px": block_px, "scratch": scratch, "source": "it"}
    real, stored = engine.Scratch.put, []

    def killed(self: Any, name: str, arrays: Any) -> None:
        if len(stored) == puts:
            raise _KilledError
        stored.append(name)
        real(self, name, arrays)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(engine.Scratch, "put", killed)
        try:
            segment_instances(probabilities, **plan, workers=workers)
        except _KilledError:
            assert len(stored) >= puts
    again: list[str] = []

    def counted(self: Any, name: str, arrays: Any) -> None:
        again.append(name)
        real(self, name, arrays)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(engine.Scratch, "put", counted)
        found = segment_instances(probabilities, **plan)
    assert not set(again) & set(stored), "what was done is not done again"
    assert facts(found) == facts(segment_instances(probabilities, rule=EAGER, block_px=WHOLE))


def test_scratch_of_another_map_or_rule_is_not_used(tmp_path: Path) -> None:
    one, other = (certain(disc((40, 40), 20, 20, radius)) for radius in (5, 9))
    plan = {"block_px": 16, "scratch": tmp_path / "work"}
    segment_instances(one, source="one", **plan)
    assert facts(segment_instances(other, source="other", **plan)) == facts(
        segment_instances(other)
    )
    strict = replace(RULE, min_area_px=1000)
    assert len(segment_instances(other, source="other", rule=strict, **plan).table) == 0


def test_a_zarr_map_is_read_and_written_by_blocks(tmp_path: Path) -> None:
    probabilities = build_probability_map(Box(0, 0, 300, 420), seed=5)
    stored = zarr.create_array(tmp_path / "map", data=probabilities, chunks=(4, 64, 64))
    for chunks in ((64, 64), (100, 100)):  # blocks that are chunks, and blocks that share them
        out = zarr.create_array(
            tmp_path / f"out-{chunks[0]}", shape=(300, 420), chunks=chunks, dtype=np.uint32
        )
        found = segment_instances(stored, block_px=64, workers=2, out=out)
        assert found.map is out
        assert facts(found) == facts(segment_instances(probabilities))


# --- what the author of a picture expects ---------------------------------------------


@pytest.mark.parametrize("block_px", [16, 23, 32, WHOLE])
def test_touching_discs_on_a_corner_of_four_blocks_come_apart(block_px: int) -> None:
    discs = [disc((64, 64), y, x, 8.4) for y, x in ((24, 24), (24, 40), (40, 24), (40, 40))]
    together = np.any(discs, axis=0)
    assert connected_components(together, connectivity=2).max() == 1, "one component"
    found = segment_instances(certain(together), rule=RULE, block_px=block_px).map
    assert found.max() == 4
    for number, own in enumerate(discs, start=1):
        alone = own & (np.sum(discs, axis=0) == 1)
        assert (found[alone] == number).mean() > 0.97


def test_a_nucleus_that_meets_itself_at_a_corner_only_is_one() -> None:
    # two squares in opposite blocks that touch by one corner of a pixel, on the corner of four
    nucleus = np.zeros((32, 32), bool)
    nucleus[10:16, 10:16] = nucleus[16:22, 16:22] = True
    other = nucleus[:, ::-1]
    for picture in (nucleus, other):
        found = segment_instances(certain(picture), block_px=16, rule=replace(RULE, persistence=1))
        assert found.map.max() == 1
        assert found.certificate.components == 1
        assert found.certificate.cut["seam_components"] == 1


def test_a_clump_larger_than_a_block_comes_apart() -> None:
    centers = [(y, x) for y in range(8, 97, 12) for x in range(8, 97, 12)]
    discs = [disc((97, 97), y, x, 6.4) for y, x in centers]
    rule = replace(RULE, distance_px=7, fill_holes_px=0)
    found = segment_instances(certain(np.any(discs, axis=0)), rule=rule, block_px=16)
    assert found.certificate.components == 1
    assert len(found.table) == len(discs) == 64
    assert np.abs(found.table.centroid_px - centers).max() < 0.5


def test_ids_above_16_bits() -> None:
    nucleus = np.zeros((530, 1100), bool)
    nucleus[::2, ::2] = True
    for block_px in (WHOLE, 300):
        found = segment_instances(certain(nucleus), rule=RULE, block_px=block_px)
        assert len(found.table) == nucleus.sum() > 2**17
        assert np.array_equal(found.map[nucleus], np.arange(1, nucleus.sum() + 1))
        assert not found.map[~nucleus].any()


class _Far:
    """A map of 60,000 x 60,000 px of which only the last pixels are stored."""

    dtype = np.dtype(np.uint8)

    def __init__(self, corner: np.ndarray, length: int) -> None:
        self.corner, self.shape = corner, (3, length, length)
        self.start = length - corner.shape[1]

    def __getitem__(self, index: tuple[slice, slice, slice]) -> np.ndarray:
        _, ys, xs = index
        part = np.zeros((3, ys.stop - ys.start, xs.stop - xs.start), np.uint8)
        part[0] = 255
        y0, x0 = max(ys.start, self.start), max(xs.start, self.start)
        if y0 < ys.stop and x0 < xs.stop:
            held = slice(y0 - self.start, ys.stop - self.start)
            part[:, y0 - ys.start :, x0 - xs.start :] = self.corner[
                :, held, x0 - self.start : xs.stop - self.start
            ]
        return part


def test_positions_beyond_32_bits() -> None:
    """3.6 billion pixels, most of them never looked at: only the last blocks are worked on."""
    length, kept = 60_000, 300
    corner = build_probability_map(Box(0, 0, kept, kept), seed=3)[:3]
    there = segment_instances(np.ascontiguousarray(corner), block_px=128)
    plan = engine.BlockPlan((length, length), IntegerRule.of(InstanceRule()), 1000, 2048)
    box = plan.box(59, 59)
    far = engine.solve_block(_Far(corner, length)[(slice(None), *box.slices)], box, plan)
    near = there.table
    shift = length - kept
    inside = [row for row in near.rows.tolist() if min(row[5:7]) > 0]
    found = [row for row in far["rows"].tolist() if min(row[5:7]) > shift]
    key = (1, 2)
    inside.sort(key=lambda row: [row[at] for at in key])
    found.sort(key=lambda row: [row[at] for at in key])
    assert len(found) == len(inside) > 20
    for one, other in zip(found, inside, strict=True):
        area = other[0]
        moved = [area, *(v + shift for v in other[1:3]), *(v + shift * area for v in other[3:5])]
        assert one == [*moved, *(v + shift for v in other[5:9]), other[9]]
    assert shift * length + shift > 2**31
    values = np.array([[7, 0], [0, 9]], np.uint32)
    parts = [
        digest(values[y : y + 1, x : x + 1], origin=(length - 2 + y, length - 2 + x), width=length)
        for y in (0, 1)
        for x in (0, 1)
    ]
    assert sum(parts) % 2**64 == digest(values, origin=(length - 2,) * 2, width=length)
    near_origin = digest(values, origin=(0, 0), width=length)
    assert near_origin != sum(parts) % 2**64
    # positions 2**32 apart differ too, as they would not in 32 bits
    one = digest(values, origin=(0, 0), width=2**16)
    assert one != digest(values, origin=(2**16, 0), width=2**16)


@pytest.mark.parametrize("name", ["map", "distance"])
def test_digests_change_with_one_pixel(name: str) -> None:
    probabilities = build_probability_map(Box(0, 0, 80, 90), seed=1)
    changed = probabilities.copy()
    changed[1 if name == "map" else 3, 40, 41] ^= 1
    one, other = (segment_instances(values, block_px=32) for values in (probabilities, changed))
    assert one.certificate.probabilities_digest != other.certificate.probabilities_digest


def test_no_distance_is_not_a_distance_of_zero() -> None:
    probabilities = build_probability_map(Box(0, 0, 80, 90), seed=1)
    probabilities[3] = 0
    one, other = (segment_instances(values) for values in (probabilities, probabilities[:3].copy()))
    assert one.certificate.probabilities_digest != other.certificate.probabilities_digest


def test_the_distance_channel_decides() -> None:
    """One bar of even interior; only the distance says that it is two nuclei."""
    bar = np.pad(np.ones((12, 40), bool), 3)
    probabilities = certain(bar, distance=True)
    assert segment_instances(probabilities, rule=RULE).map.max() == 1
    probabilities[3, :, 21:25] = 40
    assert segment_instances(probabilities, rule=RULE).map.max() == 2
    assert segment_instances(probabilities[:3].copy(), rule=RULE).map.max() == 1


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("foreground_percent", 0),
        ("fill_holes_px", -1),
        ("distance_px", 256),
        ("distance_percent", 101),
        ("smooth_px", 33),
        ("persistence", 1.1),
        ("concave_persistence", -0.1),
        ("solidity_gain_percent", 101),
        ("min_area_px", -1),
    ],
)
def test_a_rule_out_of_range_is_refused(setting: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{setting} {value}; expected"):
        InstanceRule(**{setting: value})


@pytest.mark.parametrize("smooth_px", [0, 0.3, 1, 2.5, 9, 20, 32])
@pytest.mark.parametrize("share", [0, 33, 100])
def test_heights_fit_32_bits(smooth_px: float, share: int) -> None:
    rule = IntegerRule.of(InstanceRule(smooth_px=smooth_px, distance_percent=share))
    assert rule.weights.min() >= 0
    assert rule.weights[0] + 2 * rule.weights[1:].sum() == 1024
    for central in (rule.distance_height, rule.channel_height):
        top = int(central.max()) + int(rule.interior_height.max())
        assert (top * 1024 >> 6) * 1024 < 2**31
        assert top * 1024 < 2**31


@pytest.mark.parametrize("side", [0, 2**15])
def test_blocks_out_of_range_are_refused(side: int) -> None:
    probabilities = certain(np.ones((4, 4), bool))
    with pytest.raises(ValueError, match=f"block_px {side}"):
        segment_instances(probabilities, block_px=side)
    with pytest.raises(ValueError, match=f"max_component_px {side}"):
        segment_instances(probabilities, max_component_px=side)
    with pytest.raises(ValueError, match="out: uint16"):
        segment_instances(probabilities, out=np.zeros((4, 4), np.uint16))


# --- whole slides --------------------------------------------------------------------


@pytest.mark.slow
def test_nuclei_are_as_dense_at_seams_as_elsewhere() -> None:
    """Chi-square over the distance from a nucleus' center to the nearest seam, on 17 Mpx."""
    length, block_px = 4096, 512
    probabilities = build_probability_map(Box(0, 0, length, length), seed=9)
    found = segment_instances(probabilities, block_px=block_px, workers=2)
    assert len(found.table) > 10_000
    assert min(_flatness(found.table.centroid_px, block_px, length)) > 1e-3
    # what cuts nuclei at seams does not pass
    centers = []
    for y in range(0, length, block_px):
        for x in range(0, length, block_px):
            part = probabilities[:, y : y + block_px, x : x + block_px]
            alone = segment_instances(np.ascontiguousarray(part))
            centers.append(alone.table.centroid_px + np.array([y, x]))
    assert max(_flatness(np.concatenate(centers), block_px, length)) < 1e-6


def _flatness(centers: np.ndarray, block_px: int, length: int) -> list[float]:
    """p of an even density over the distance to the nearest seam, along y and along x."""
    from scipy.stats import chisquare  # late: only this test needs it, and it takes a second

    inner = ((centers > block_px / 2) & (centers < length - block_px / 2)).all(axis=1)
    distance = np.abs((centers[inner] + 0.5 + block_px / 2) % block_px - block_px / 2)
    counts = [np.histogram(along, 16, (0, block_px / 2))[0] for along in distance.T]
    return [chisquare(count).pvalue for count in counts]


def _derived_map(image: np.ndarray) -> np.ndarray:
    """A map from an image's own intensity: dark or bright blobs, no network needed."""
    gray = cv2.GaussianBlur(image, (0, 0), 1.5).astype(np.float32)
    level, _ = cv2.threshold(gray.astype(np.uint8), 0, 255, cv2.THRESH_OTSU)
    bright = gray > level
    sign = -1 if bright.mean() > 0.5 else 1
    nucleus = 255 / (1 + np.exp(-sign * (gray - level) / 8))
    distance = cv2.distanceTransform((nucleus > 127).astype(np.uint8), cv2.DIST_L2, 5)
    interior = nucleus * np.clip(distance / 4, 0, 1)
    planes = [255 - nucleus, interior, nucleus - interior]
    return np.stack([np.rint(plane) for plane in planes]).astype(np.uint8)


def test_real_images_have_one_hash(real_data: Path) -> None:
    from nucleipel.io.slides.slide import open_slide

    images = [real_data / "slides" / "CMU-1-Small-Region.svs"]
    for line in (real_data / "dsb2018" / "manifest.csv").read_text().splitlines()[1:]:
        images += [real_data / "dsb2018" / cell for cell in line.split(",")[:1] if "test" in line]
    seen = 0
    for path in images:
        with open_slide(path) as slide:
            if max(slide.shape) < 512:
                continue
            image = slide.read(Box.of_shape(slide.shape))
        if image.dtype != np.uint8:
            image = (image // 257).astype(np.uint8)
        probabilities = _derived_map(image[..., : min(3, image.shape[2])].min(axis=-1))
        whole = facts(segment_instances(probabilities, block_px=WHOLE))
        assert whole["nuclei"] > 0 or path != images[0]
        for block_px in (128, 256, 512):
            assert facts(segment_instances(probabilities, block_px=block_px, workers=2)) == whole
        seen += 1
    assert seen > 5
