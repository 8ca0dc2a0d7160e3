"""Maps of other networks, from files: the nuclei of the same map in memory."""

import json

import numpy as np
import pytest
import tifffile
import zarr
from click.testing import CliRunner
from support.command_line import accepted, refusal

import nucleipel as npl
from nucleipel.cli import cli
from nucleipel.core.geometry import Box
from nucleipel.data.synthetic.generated_map import build_probability_map
from nucleipel.io.slides.write_slide import write_slide


@pytest.fixture(scope="module")
def maps() -> np.ndarray:
    """A generated map (4, H, W) uint8."""
    return build_probability_map(Box(0, 0, 150, 210), seed=3)


def foreign(maps: np.ndarray, dtype: type) -> np.ndarray:
    """Interior, boundary and distance as another network may give them."""
    values = maps[1:] / np.float32(255)
    if dtype is np.uint16:
        return np.rint(values * 65535).astype(np.uint16)
    return values.astype(dtype)


CHANNELS = {"interior": 0, "boundary": 1, "distance": 2}


@pytest.mark.parametrize(
    ("suffix", "dtype"), [("zarr", np.float32), ("tif", np.uint16), ("npy", np.float16)]
)
def test_a_file_has_the_nuclei_of_its_array(tmp_path, maps, suffix, dtype):
    values, path = foreign(maps, dtype), tmp_path / f"theirs.{suffix}"
    if suffix == "zarr":
        zarr.create_array(path, data=values, chunks=(1, 64, 64))
    elif suffix == "tif":
        tifffile.imwrite(path, values, photometric="minisblack")
    else:
        np.save(path, values)
    channels = ",".join(f"{name}={index}" for name, index in CHANNELS.items())
    out = tmp_path / "out"
    accepted("stitch", "--maps", path, "--channels", channels, "--mpp", 0.5, "--out", out)
    of_array = npl.stitch_probabilities(values, channels=CHANNELS, mpp=0.5)
    of_file = npl.SlideResult(out, "theirs")
    assert len(of_array.nuclei) > 5
    assert (of_file.labels[:] == of_array.labels).all()
    certificate = of_file.certificate
    assert certificate["map_of"] == "another program"
    assert certificate["equal_to_uncut"] is True
    assert "canonical_map" not in certificate
    assert {**certificate, "tissue": 0, "intensity": 0} == {
        **of_array.certificate, "tissue": 0, "intensity": 0,
    }  # fmt: skip
    assert of_file.nuclei.equals(of_array.nuclei)


def test_array_with_out_is_written_and_found_again(tmp_path, maps):
    rule = {"min_area_px": 12}
    first = npl.stitch_probabilities(maps, out=tmp_path / "out", instances=rule)
    assert (first.labels[:] == npl.stitch_probabilities(maps, instances=rule).labels).all()
    written = (first.folder / "nuclei.parquet").stat().st_mtime_ns
    again = npl.stitch_probabilities(maps, out=tmp_path / "out", instances=rule)
    assert (again.folder / "nuclei.parquet").stat().st_mtime_ns == written
    with pytest.raises(npl.errors.OutputError, match="maps"):
        npl.stitch_probabilities(maps[:3], out=tmp_path / "out", instances=rule)


def test_intensities_come_from_the_image(tmp_path, maps):
    image = np.arange(150 * 210, dtype=np.uint16).reshape(150, 210)
    write_slide(tmp_path / "image.ome.tif", image, mpp=0.5)
    np.save(tmp_path / "maps.npy", maps)
    result = npl.stitch_probabilities(
        tmp_path / "maps.npy", out=tmp_path / "out", image=tmp_path / "image.ome.tif"
    )
    assert result.image_id == "image"
    nuclei, labels = result.nuclei, result.labels[:]
    assert nuclei["gray_mean"].tolist() == pytest.approx(
        [image[labels == nucleus].mean() for nucleus in nuclei["id"]]
    )
    assert nuclei["area_um2"].tolist() == pytest.approx((nuclei["area_px"] / 4).tolist())


def test_what_is_refused(tmp_path, maps):
    np.save(tmp_path / "maps.npy", maps[:2])
    np.save(tmp_path / "bright.npy", np.full((40, 40), 7.0))
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    write_slide(tmp_path / "small.ome.tif", np.zeros((20, 20), np.uint8), mpp=None)
    out = ("--out", tmp_path / "out")
    for arguments, message in {
        ("gone.zarr",): "gone.zarr: no such file",
        ("maps.npy",): "2 channels; name them",
        ("maps.npy", "--channels", "interior=0,boundary=5"): "boundary=5; expected the index",
        ("bright.npy",): "channel 0 holds 7..7; expected probabilities",
        ("objects.npy",): "cannot be read as .npy",
        ("maps.npy", "--channels", "interior=0,boundary=1", "--image", tmp_path / "small.ome.tif"):
            "a map of 150 x 210 px",
    }.items():  # fmt: skip
        assert message in refusal("stitch", "--maps", tmp_path / arguments[0], *arguments[1:], *out)
    for arguments, message in {
        ("stitch",): "give --predictions, --maps or --checkpoint",
        ("stitch", "--predictions", "p.zarr", "--mpp", "1"): "go with --maps",
        ("stitch", "--maps", "m.npy", "--channels", "interior:0"): "expected interior=0,boundary=1",
    }.items():
        result = CliRunner().invoke(cli, [*arguments, "--out", str(tmp_path / "out")])
        assert result.exit_code == 2
        assert message in result.output


def test_foreground_with_its_boundary_is_interior_and_boundary(maps):
    interior, boundary = maps[1].astype(int), maps[2].astype(int)
    whole = np.minimum(interior + boundary, 255).astype(np.uint8)
    of_both = npl.stitch_probabilities(
        np.stack([whole, maps[2]]), channels={"foreground": 0, "boundary": 1}
    )
    of_parts = npl.stitch_probabilities(
        np.stack([whole - np.minimum(whole, maps[2]), maps[2]]),
        channels={"interior": 0, "boundary": 1},
    )
    assert json.dumps(of_both.certificate["rule"]) == json.dumps(of_parts.certificate["rule"])
    assert (of_both.labels == of_parts.labels).all()
