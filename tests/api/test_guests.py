"""nucleipel in Sopa and LazySlide, the real packages; skipped where they are not installed."""

import numpy as np
import pytest

import nucleipel as npl
from nucleipel.errors import ArgumentError

SIDE = 256


def test_the_method_takes_what_sopa_gives():
    sample = npl.datasets.sample(96)
    method = npl.guests.sopa_method(stained_as="dye")
    planes = sample.image.transpose(2, 0, 1)
    ids = npl.segment(sample.image, stained_as="dye", tissue="off")
    assert ids.max() > 3
    assert (method(planes) == ids).all()
    assert (method(planes / 255) == ids).all()
    assert method(planes[:1]).shape == (96, 96)
    with pytest.raises(ArgumentError, match=r"shape \(2, 96, 96\); expected \(C, Y, X\)"):
        method(planes[:2])
    with pytest.raises(ArgumentError, match=r"floats in 0\.\.255; expected 0\.\.1"):
        method(np.linspace(0, 255, 96 * 96).reshape(1, 96, 96))
    with pytest.raises(ArgumentError, match="mpp: 0; expected micrometers"):
        npl.guests.sopa_method(mpp=0)
    with pytest.raises(ArgumentError, match="mpp: -1; expected micrometers"):
        npl.guests.LazySlideModel(mpp=-1)


@pytest.mark.filterwarnings("default")
def test_sopa_finds_the_nuclei(tmp_path):
    sopa = pytest.importorskip("sopa")
    from spatialdata import SpatialData
    from spatialdata.models import Image2DModel

    sample = npl.datasets.sample(SIDE)
    image = Image2DModel.parse(
        sample.image.transpose(2, 0, 1), dims=("c", "y", "x"), c_coords=["r", "g", "b"]
    )
    data = SpatialData(images={"he": image})
    sopa.make_image_patches(data, patch_width=160, patch_overlap=40)
    method = npl.guests.sopa_method(stained_as="dye")
    sopa.segmentation.custom_staining_based(
        data, method, None, clip_limit=0, gaussian_sigma=0, key_added="nuclei"
    )
    found = data["nuclei"]
    whole = npl.segment(sample.image, stained_as="dye")
    assert 0.8 < len(found) / whole.max() < 1.25
    drawn = found.union_all().area
    assert drawn == pytest.approx(np.count_nonzero(whole), rel=0.15)


@pytest.mark.filterwarnings("default")
def test_lazyslide_finds_the_nuclei(tmp_path):
    zs = pytest.importorskip("lazyslide")
    wsidata = pytest.importorskip("wsidata")
    from lazyslide_models import SegmentationModelProtocol

    from nucleipel.io.slides.write_slide import write_slide

    sample = npl.datasets.sample(SIDE)
    write_slide(tmp_path / "slide.ome.tif", sample.image, mpp=sample.mpp)
    slide = wsidata.open_wsi(str(tmp_path / "slide.ome.tif"), reader="tiffslide")
    model = npl.guests.LazySlideModel(stained_as="dye", device="cpu")
    assert isinstance(model, SegmentationModelProtocol)
    zs.pp.find_tissues(slide)
    zs.pp.tile_tissues(slide, 128, stride_px=64, background_fraction=1.0)
    zs.seg.cells(slide, model=model, batch_size=2, device="cpu", pbar=False)
    found = slide.shapes["cells"]
    side = int(slide.shapes["tiles"].total_bounds[2:].min())  # no tile reaches beyond the tissue
    nuclei = npl.load().segment(sample.image, stained_as="dye").nuclei
    inside = nuclei[(nuclei[["y0_px", "x0_px"]] > 2).all(axis=1)
                    & (nuclei[["y1_px", "x1_px"]] < side - 2).all(axis=1)]  # fmt: skip
    assert len(inside) > 10
    assert 0.8 < len(found) / len(inside) < 1.25
