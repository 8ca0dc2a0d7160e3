"""The measurements of a nucleus are those of scikit-image on the drawn map."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import rgb2hed
from skimage.measure import regionprops

from nucleipel.core.geometry import Box
from nucleipel.core.measured_nuclei import MeasuredNuclei
from nucleipel.data.synthetic.generated_map import build_probability_map
from nucleipel.instances.measurements import MeasuredImage, measure_nuclei
from nucleipel.instances.nucleus_table import NucleusTable
from nucleipel.instances.output_frame import OutputMap
from nucleipel.instances.segment_map import Instances, segment_instances
from nucleipel.instances.watershed import ROW


@pytest.fixture(scope="module")
def found() -> Instances:
    return segment_instances(build_probability_map(Box.of_shape((256, 256)), seed=3))


def _framed(found: Instances, ratio: float) -> OutputMap:
    shape = tuple(round(length * ratio) for length in found.map.shape)
    return OutputMap(found.map, nuclei=len(found.table), shape=shape, ratio=ratio)


def _image(
    shape: tuple[int, int], channels: int, dtype: type = np.uint8
) -> tuple[np.ndarray, MeasuredImage]:
    top = np.iinfo(dtype).max
    pixels = np.random.default_rng(1).integers(0, top, (*shape, channels), dtype, endpoint=True)
    names = ("red", "green", "blue") if channels == 3 else tuple(map(str, range(channels)))
    return pixels, MeasuredImage(
        lambda box: pixels[box.slices], names, white=255 if channels == 3 else None
    )


def _whole(parts: list[MeasuredNuclei]) -> dict[str, np.ndarray]:
    return {
        name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns
    }


@pytest.mark.parametrize("ratio", [1.0, 2.5, 0.6])
def test_every_column_is_that_of_regionprops(found: Instances, ratio: float) -> None:
    drawn = _framed(found, ratio)
    pixels, image = _image(drawn.shape, 3)
    parts = list(measure_nuclei(found.table, drawn, mpp=0.25, image=image))
    table = _whole(parts)
    whole = drawn[:, :]
    stains = 6 * rgb2hed(pixels)
    regions = regionprops(whole.astype(np.int32), intensity_image=np.dstack([pixels, stains]))
    assert len(regions) == len(table["id"]) > 50
    for row, region in enumerate(regions):
        values = {
            "id": region.label,
            "centroid_y_px": region.centroid[0],
            "centroid_x_px": region.centroid[1],
            **dict(zip(("y0_px", "x0_px", "y1_px", "x1_px"), region.bbox, strict=True)),
            "area_px": region.area,
            "perimeter_px": region.perimeter,
            "major_axis_px": region.axis_major_length,
            "minor_axis_px": region.axis_minor_length,
            "eccentricity": region.eccentricity,
            "solidity": region.area / region.area_convex,
        }
        values |= {
            name.replace("_px", "_um"): value * 0.25
            for name, value in values.items()
            if name.endswith("_px") and name != "area_px"
        }
        values["area_um2"] = region.area * 0.0625
        for index, name in enumerate(("red", "green", "blue")):
            values[f"{name}_mean"] = region.intensity_mean[index]
            values[f"{name}_std"] = region.intensity_std[index]
        values["hematoxylin_od_mean"] = region.intensity_mean[3]
        values["eosin_od_mean"] = region.intensity_mean[4]
        measured = {name: column[row] for name, column in table.items()}
        probability = measured.pop("mean_probability")
        assert 0.5 <= probability <= 1
        assert measured == pytest.approx(values, rel=1e-9, abs=1e-6)


@settings(deadline=None, max_examples=10)
@given(cell_px=st.integers(5, 300), ratio=st.sampled_from([1.0, 1.7]))
def test_cells_change_nothing(found: Instances, cell_px: int, ratio: float) -> None:
    drawn = _framed(found, ratio)
    _, image = _image(drawn.shape, 3)
    whole = list(measure_nuclei(found.table, drawn, mpp=0.5, image=image))
    cut = list(measure_nuclei(found.table, drawn, mpp=0.5, image=image, cell_px=cell_px))
    for name, values in _whole(whole).items():
        assert np.array_equal(values, _whole(cut)[name]), name
    for one, other in zip(
        (line for part in whole for line in part.outlines),
        (line for part in cut for line in part.outlines),
        strict=True,
    ):
        assert all(np.array_equal(a, b) for a, b in zip(one[0], other[0], strict=True))


def test_sixteen_bits_and_channels_of_one_name(found: Instances) -> None:
    drawn = _framed(found, 1.0)
    pixels, image = _image(drawn.shape, 2, np.uint16)
    image = MeasuredImage(image.read, ("DAPI", "DAPI"))
    table = _whole(list(measure_nuclei(found.table, drawn, mpp=None, image=image)))
    inside = found.map == 7
    for index in range(2):
        values = pixels[inside, index].astype(float)
        assert table[f"DAPI_{index}_mean"][6] == pytest.approx(values.mean())
        assert table[f"DAPI_{index}_std"][6] == pytest.approx(values.std())
    assert not any("_od_" in name for name in table)
    for name, values in table.items():
        assert np.isnan(values).all() == name.endswith(("_um", "_um2")), name


def test_what_the_frame_lost_has_no_row() -> None:
    working = np.zeros((12, 12), np.uint32)
    working[0:4, 0:4], working[6, :], working[8:12, 8:12] = 1, 2, 3
    rows = np.zeros((3, len(ROW)), np.int64)
    rows[:] = [[16, 0, 0, 24, 24, 0, 0, 4, 4, 16 * 255], [12, 6, 0, 72, 66, 6, 0, 7, 12, 12 * 204],
               [16, 8, 8, 152, 152, 8, 8, 12, 12, 16 * 153]]  # fmt: skip
    drawn = OutputMap(working, nuclei=3, shape=(6, 6), ratio=0.5)
    (part,) = measure_nuclei(NucleusTable(rows), drawn, mpp=1.0)
    assert part.columns["id"].tolist() == [1, 2]
    assert part.columns["area_px"].tolist() == [4, 4]
    assert part.columns["mean_probability"].tolist() == [1.0, 0.6]
    assert len(part.outlines) == 2


def test_no_nuclei_are_a_table_of_no_rows() -> None:
    empty = NucleusTable(np.zeros((0, len(ROW)), np.int64))
    _, image = _image((9, 9), 3)
    working = np.zeros((9, 9), np.uint32)
    (part,) = measure_nuclei(empty, OutputMap(working, nuclei=0), mpp=None, image=image)
    assert part.outlines == []
    assert {len(values) for values in part.columns.values()} == {0}
    assert "eosin_od_mean" in part.columns
