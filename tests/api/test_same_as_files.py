"""An array has the nuclei of a file with the same pixels; a slide the bytes of the command."""

import numpy as np
import pytest
from support.command_line import accepted

import nucleipel as npl
from nucleipel.io.slides.write_slide import write_slide

pytestmark = pytest.mark.slow


def picture(channels: int | None, dtype: type, shape: tuple[int, int] = (90, 130)) -> np.ndarray:
    sample = npl.datasets.sample(max(shape)).image[: shape[0], : shape[1]]
    if channels is None:
        sample = sample[..., 0]
    return sample.astype(dtype) * (200 if dtype is np.uint16 else 1)


@pytest.mark.parametrize(
    ("channels", "dtype", "settings"),
    [
        (3, np.uint8, {"mpp": 0.5}),
        (3, np.uint8, {"mpp": 0.5, "at_mpp": 0.6, "stained_as": "dye"}),
        (None, np.uint16, {"mpp": 0.25, "instances": {"min_area_px": 4}}),
        (3, np.uint8, {"mpp": 0.5, "channel": 1, "map_frame": "working"}),
    ],
    ids=["color", "coarser dye", "16-bit gray", "one channel"],
)
def test_array_and_file_have_the_same_nuclei(tmp_path, channels, dtype, settings):
    """With the packaged weights, which find some nuclei."""
    image = picture(channels, dtype)
    write_slide(tmp_path / "image.ome.tif", image, mpp=settings["mpp"])
    model = npl.load()
    of_array = model.segment(image, **settings)
    of_file = npl.segment_slide(tmp_path / "image.ome.tif", out=tmp_path / "out", **settings)
    assert of_array.labels.max() > 1
    assert (of_array.labels == of_file.labels[:]).all()
    assert of_array.certificate == of_file.certificate
    assert of_array.nuclei.equals(of_file.nuclei)
    assert (model(image, **settings) == of_array.labels).all()


def test_slide_gives_the_bytes_of_the_command(tmp_path, tiny_set, random_checkpoint):
    image = tiny_set.image("test")
    result = npl.segment_slide(
        image, out=tmp_path / "python", model=random_checkpoint, mpp=0.5, threads=1
    )
    accepted(
        "segment", image, "--checkpoint", random_checkpoint, "--mpp", 0.5, "--threads", 1,
        "--out", tmp_path / "command",
    )  # fmt: skip
    names = sorted(path.name for path in result.folder.iterdir() if path.is_file())
    assert "instances.ome.tif" in names
    for name in [f"test/{name}" for name in names] + ["config.yaml", "SHA256SUMS"]:
        assert (tmp_path / "python" / name).read_bytes() == (
            tmp_path / "command" / name
        ).read_bytes(), name


def test_the_same_call_finds_its_work_done(tmp_path, tiny_set, random_checkpoint):
    image, out = tiny_set.image("test"), tmp_path / "out"
    first = npl.segment_slide(image, out=out, model=random_checkpoint)
    written = (first.folder / "nuclei.parquet").stat().st_mtime_ns
    again = npl.segment_slide(image, out=out, model=random_checkpoint)
    assert (again.folder / "nuclei.parquet").stat().st_mtime_ns == written
    with pytest.raises(npl.errors.OutputError, match="at_mpp"):
        npl.segment_slide(image, out=out, model=random_checkpoint, at_mpp=0.7)


def test_results_show_themselves(tmp_path, tiny_set, random_checkpoint):
    from nucleipel.io.slides.slide import open_slide

    with open_slide(tiny_set.image("test")) as slide:
        pixels = slide.read(slide_box(slide.shape))
    result = npl.load(random_checkpoint).segment(pixels, mpp=0.5)
    nuclei = len(result.nuclei)
    assert repr(result) == f"ArrayResult({nuclei} nuclei, 100 x 170 px)"
    assert result._repr_html_().startswith("<iframe srcdoc=")
    assert f"{nuclei}" in str(result.report)
    of_file = npl.segment_slide(tiny_set.image("test"), out=tmp_path, model=random_checkpoint)
    assert repr(of_file) == f"SlideResult({nuclei} nuclei, 100 x 170 px)"
    assert str(of_file.report) == (of_file.folder / "report.html").read_text("utf-8")


def slide_box(shape):
    from nucleipel.core.geometry import Box

    return Box.of_shape(shape)


def test_zarr_and_dask_are_arrays_too(random_checkpoint):
    import dask.array
    import zarr

    image, model = picture(3, np.uint8, (64, 80)), npl.load(random_checkpoint)
    labels = model(image, mpp=0.5)
    stored = zarr.create_array({}, data=image, chunks=(16, 16, 3))
    assert (model(stored, mpp=0.5) == labels).all()
    assert (model(dask.array.from_array(image, chunks=32), mpp=0.5) == labels).all()


def test_predict_and_instances_are_segment(random_checkpoint):
    image, model = picture(3, np.uint8), npl.load(random_checkpoint)
    maps = model.predict(image, mpp=0.5)
    assert maps.dtype == np.uint8
    assert maps.shape == (4, 90, 130)
    assert (model.instances(maps) == model(image, mpp=0.5)).all()
    whole = npl.stitch_probabilities(maps, instances=dict(model.checkpoint.description.instances))
    assert (whole.labels == model(image, mpp=0.5)).all()
