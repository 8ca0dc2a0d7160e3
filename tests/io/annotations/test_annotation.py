"""Labels of polygons and regions read like the map that import draws of them, in any window."""

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nucleipel.core.geometry import Box
from nucleipel.core.wkb import outline_of_wkb, to_wkb
from nucleipel.errors import ImageError
from nucleipel.io.annotations.annotation import load_annotation, read_nuclei
from nucleipel.io.annotations.geoparquet import write_polygons
from nucleipel.io.annotations.objects import draw_polygons
from nucleipel.io.annotations.polygons import Polygons
from nucleipel.io.annotations.region import piece_boxes, read_region
from nucleipel.io.slides.resolution import Resolution
from nucleipel.io.slides.slide import open_annotation, open_slide
from nucleipel.io.slides.write_slide import write_annotation, write_slide

SHAPE = (90, 120)


def box(y0: float, x0: float, y1: float, x1: float) -> np.ndarray:
    return np.array([(y0, x0), (y0, x1), (y1, x1), (y1, x0), (y0, x0)], float)


def disc(y: float, x: float, radius: float) -> np.ndarray:
    turn = np.linspace(0, 2 * np.pi, 25)
    turn[-1] = 0
    return np.stack([y + radius * np.sin(turn), x + radius * np.cos(turn)], axis=1)


NUCLEI = [[[disc(y, x, 7.3)]] for y in range(10, 90, 17) for x in range(9, 120, 13)]


def geometry(outline: list[list[np.ndarray]]) -> dict[str, object]:
    polygons = [[ring[:, ::-1].tolist() for ring in rings] for rings in outline]
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def feature(outline: list[list[np.ndarray]], kind: str = "detection") -> dict[str, object]:
    return {"type": "Feature", "geometry": geometry(outline), "properties": {"objectType": kind}}


def write_geojson(path: Path, *features: dict[str, object]) -> Path:
    text = json.dumps({"type": "FeatureCollection", "features": features})
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def write_label(path: Path) -> Path:
    if path.suffix == ".parquet":
        write_polygons(path, Polygons.of_outlines(NUCLEI))
        return path
    return write_geojson(path, *map(feature, NUCLEI))


def write_region(path: Path, *areas: list[list[np.ndarray]]) -> Path:
    return write_geojson(path, *(feature(area, "annotation") for area in areas))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["l.geojson", "l.json", "l.geojson.gz", "l.parquet"])
@pytest.mark.parametrize("at_mpp", [None, 0.5, 0.6, 1.9, 0.2])
def test_polygons_read_like_the_map_of_them(tmp_path: Path, name: str, at_mpp: float) -> None:
    drawn = draw_polygons(Polygons.of_outlines(NUCLEI), SHAPE)
    write_annotation(tmp_path / "map.tif", drawn.instance_map)
    write_slide(tmp_path / "image.tif", np.zeros((*SHAPE, 3), np.uint8), mpp=0.25)
    with open_slide(tmp_path / "image.tif", mpp=0.25, at_mpp=at_mpp, enlarge=True) as slide:
        frame = slide.resolution
    window = Box(-3, frame.shape[1] // 3, frame.shape[0] // 2, frame.shape[1] + 5)
    with open_annotation(tmp_path / "map.tif", resolution=frame) as annotation:
        expected = annotation.read(window)
    known = load_annotation(write_label(tmp_path / name), None, SHAPE)
    assert known.counted(window, frame) is None
    with known.open(frame) as read_ids:
        ids = read_ids(window)
    assert len(np.unique(ids)) == len(np.unique(expected))
    pairs = np.unique(np.stack([ids.ravel(), expected.ravel()]), axis=1)
    assert pairs.shape[1] == len(np.unique(ids)), "the same nuclei under other names"


def test_nuclei_parquet_of_a_result_is_a_label(tmp_path: Path) -> None:
    about = {"image": "a", "shape_px": list(SHAPE), "mpp": 0.25}
    shapes = pa.array([to_wkb([[ring[:-1] for ring in part] for part in n]) for n in NUCLEI])
    table = pa.table({"id": range(len(NUCLEI)), "geometry": shapes})
    for shape, stored in ((SHAPE, about), ((180, 240), about)):
        keyed = table.replace_schema_metadata({"nucleipel": json.dumps(stored)})
        pq.write_table(keyed, tmp_path / "nuclei.parquet")
        if shape == SHAPE:
            assert len(read_nuclei(tmp_path / "nuclei.parquet", shape)) == len(NUCLEI)
        else:
            with pytest.raises(ImageError, match=r"pixels of a map of 90 x 120 px.*level0"):
                read_nuclei(tmp_path / "nuclei.parquet", shape)


def test_well_known_binary_of_others() -> None:
    """Big-endian, with heights, in collections beside points and lines."""
    ring = np.array([(0.0, 0.0), (0.0, 4.0), (3.0, 0.0), (0.0, 0.0)])
    with_height = np.column_stack([ring, np.full(4, 7.0)])
    tail = (1).to_bytes(4, "big") + (4).to_bytes(4, "big") + with_height.astype(">f8").tobytes()
    for code in (1003, 0x80000003):
        (rings,) = outline_of_wkb(b"\0" + code.to_bytes(4, "big") + tail)
        assert np.array_equal(rings[0], ring[:, ::-1])
    point = b"\x01" + (1).to_bytes(4, "little") + bytes(16)
    line = b"\x01" + (2).to_bytes(4, "little") + (2).to_bytes(4, "little") + bytes(32)
    polygon = to_wkb([[ring[:-1, ::-1]]])
    collection = b"\x01" + (7).to_bytes(4, "little") + (3).to_bytes(4, "little")
    (rings,) = outline_of_wkb(collection + point + line + polygon)
    assert np.array_equal(rings[0], ring[:, ::-1])
    for broken in (polygon[:-3], b"", b"\x09", polygon + b"x", b"\x01" + bytes(9)):
        with pytest.raises(ValueError, match="no well-known binary"):
            outline_of_wkb(broken)


def _counted(region: Path, frame: Resolution, part: Box) -> np.ndarray:
    label = region.parent / "label.geojson"
    write_geojson(label)
    counted = load_annotation(label, region, frame.source_shape).counted(part, frame)
    assert counted is not None
    return counted


def test_a_region_as_polygons_or_as_pictures_is_one_region(tmp_path: Path) -> None:
    """At level 0, and at a ratio that regions do not fit: the pixel under each center decides."""
    expected = np.zeros(SHAPE, bool)
    expected[8:40, 16:60] = expected[56:80, 80:120] = True
    expected[16:24, 24:32] = False
    parts = [[box(8, 16, 40, 60), box(16, 24, 24, 32)]], [[box(56, 80, 80, 120)]]
    files = [
        write_geojson(tmp_path / "r.geojson", *(feature(part, "annotation") for part in parts))
    ]
    write_polygons(tmp_path / "r.parquet", Polygons.of_outlines(parts))
    Image.fromarray(expected.astype(np.uint8) * 255).save(tmp_path / "r.png")
    Image.fromarray(np.repeat(expected[::2, ::2, None], 3, 2).astype(np.uint8)).save(
        tmp_path / "half.png"
    )
    tifffile.imwrite(tmp_path / "r.tif", expected.astype(np.uint16), tile=(16, 16))
    files += [tmp_path / name for name in ("r.parquet", "r.png", "half.png", "r.tif")]
    whole = Resolution.pixel_for_pixel(SHAPE, None)
    coarse = Resolution(SHAPE, 0, SHAPE, (31, 41), 2.9, 2.9, 0.25, 0.725)
    rows, columns = (np.minimum((np.arange(n) + 0.5) * 2.9, size - 1).astype(int)
                     for n, size in zip((31, 41), SHAPE, strict=True))  # fmt: skip
    for file in files:
        assert np.array_equal(_counted(file, whole, Box.of_shape(SHAPE)), expected), file
        shown = _counted(file, coarse, Box.of_shape((31, 41)))
        assert np.array_equal(shown, expected[np.ix_(rows, columns)]), file
        boxes = piece_boxes(read_region(file, SHAPE), SHAPE)
        assert boxes == [Box(8, 16, 40, 60), Box(56, 80, 80, 120)], file


def test_what_overhangs_the_image_is_mirrored_like_its_pixels(tmp_path: Path) -> None:
    region = write_region(tmp_path / "r.geojson", [[box(0, 0, 10, 120)]])
    counted = _counted(region, Resolution.pixel_for_pixel(SHAPE, None), Box(-12, 0, 12, 5))
    assert counted[:, 0].tolist() == [False] * 3 + [True] * 19 + [False] * 2


def test_pieces_that_overlap_are_one_and_keep_the_order_of_the_file() -> None:
    chain = [box(0, 40, 10, 60), box(60, 0, 90, 30), box(5, 55, 30, 70), box(28, 10, 35, 56),
             box(35, 10, 50, 50)]  # fmt: skip
    boxes = piece_boxes(Polygons.of_outlines([[[ring]] for ring in chain]), SHAPE)
    # the fifth only touches the fourth
    assert boxes == [Box(0, 10, 35, 70), Box(60, 0, 90, 30), Box(35, 10, 50, 50)]


def test_the_pieces_of_a_frame_hold_every_annotated_pixel(tmp_path: Path) -> None:
    parts = [[box(0, 0, 90, 7)]], [[box(33, 50, 90, 120)]]
    region = write_region(tmp_path / "r.geojson", *parts)
    write_geojson(tmp_path / "l.geojson")
    known = load_annotation(tmp_path / "l.geojson", region, SHAPE)
    for shape, ratio in (((90, 120), 1.0), ((31, 41), 2.9), ((23, 31), 3.9), ((180, 240), 0.5)):
        frame = Resolution(SHAPE, 0, SHAPE, shape, ratio, ratio, None, None)
        counted = known.counted(Box.of_shape(shape), frame)
        in_pieces = np.zeros(shape, bool)
        for piece in known.pieces(frame):
            assert counted[piece.slices].any(axis=1).all()
            in_pieces[piece.slices] = True
        assert not (counted & ~in_pieces).any()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=9, max_size=9), min_size=1, max_size=9))
def test_any_picture_comes_back(tmp_path_factory, rows) -> None:
    mask = np.array(rows, bool)
    path = tmp_path_factory.mktemp("mask") / "m.png"
    Image.fromarray(mask.astype(np.uint8)).save(path)
    if not mask.any():
        with pytest.raises(ImageError, match="holds no region: all of it is 0"):
            read_region(path, mask.shape)
        return
    frame = Resolution.pixel_for_pixel(mask.shape, None)
    assert np.array_equal(_counted(path, frame, Box.of_shape(mask.shape)), mask)
