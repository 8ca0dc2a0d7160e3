"""Slides of any size of which only some regions hold anything: written and read in no time."""

import json
import resource
from pathlib import Path

import numpy as np
import zarr

from nucleipel.core.geometry import Box
from nucleipel.data.synthetic import build_scene

SIDE_PX = 700


def region_boxes(size_px: int, count: int) -> list[Box]:
    """Squares of `SIDE_PX`, evenly along the diagonal of a square slide."""
    starts = np.linspace(0, size_px - SIDE_PX, count).astype(int).tolist()
    return [Box(start, start, start + SIDE_PX, start + SIDE_PX) for start in starts]


def write_sparse_slide(folder: Path, size_px: int, *, regions: int) -> Path:
    """Write a slide, its region and its nuclei as polygons, what was found, and a manifest."""
    slide = write_image(folder / "slide.zarr", size_px, np.uint8, fill=240, channels=3)
    result = folder / "result" / "slide" / "instances.zarr"
    found = write_image(result, size_px, np.uint32, fill=0, channels=None)
    areas, nuclei, count = [], [], 0
    for seed, box in enumerate(region_boxes(size_px, regions)):
        scene = build_scene(box.shape, seed=seed, glass=False)
        slide[(slice(None), *box.slices)] = scene.image.transpose(2, 0, 1)
        ids = scene.instance_map
        found[box.slices] = np.where(ids > 0, ids + count, 0)
        areas.append(_rectangle(box))
        for index in np.unique(ids[ids > 0]):
            y, x = np.nonzero(ids == index)
            own = Box(int(y.min()), int(x.min()), int(y.max()) + 1, int(x.max()) + 1)
            nuclei.append(_rectangle(own.shift(box.y0, box.x0)))
        count += int(ids.max())
    for name, features in (("region", areas), ("label", nuclei)):
        (folder / f"{name}.geojson").write_text(json.dumps({"features": features}))
    manifest = folder / "manifest.csv"
    manifest.write_text(
        "image,label,split,source_id,mpp,region\n"
        "slide.zarr,label.geojson,train,slide,0.5,region.geojson\n"
    )
    return manifest


def write_image(path: Path, size_px: int, dtype: type, *, fill: int, channels: int | None):
    """An OME-Zarr image of which no chunk is there yet."""
    axes = "yx" if channels is None else "cyx"
    group = zarr.create_group(path, zarr_format=3)
    array = group.create_array(
        "0",
        shape=(size_px, size_px) if channels is None else (channels, size_px, size_px),
        chunks=(512, 512) if channels is None else (channels, 512, 512),
        dtype=dtype,
        fill_value=fill,
    )
    scale = {"type": "scale", "scale": [1.0] * len(axes)}
    datasets = [{"path": "0", "coordinateTransformations": [scale]}]
    kinds = {"c": "channel", "y": "space", "x": "space"}
    names = [{"name": axis, "type": kinds[axis]} for axis in axes]
    colors = [{"label": name, "color": color} for name, color in
              (("red", "FF0000"), ("green", "00FF00"), ("blue", "0000FF"))]  # fmt: skip
    ome: dict[str, object] = {
        "version": "0.5",
        "multiscales": [{"name": "slide", "axes": names, "datasets": datasets}],
    }
    group.attrs["ome"] = ome if channels is None else {**ome, "omero": {"channels": colors}}
    return array


def _rectangle(box: Box) -> dict[str, object]:
    y0, x0, y1, x1 = box.y0, box.x0, box.y1, box.x1
    ring = [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    return {"type": "Feature", "properties": {"objectType": "annotation"}, "geometry": geometry}


def use_sparse_slide(manifest: Path) -> dict[str, float]:
    """Draw windows of a slide, tile and score it; the peak of memory, in MB, and what was scored.

    The range of intensities is set: finding it reads a low level, which this slide lacks.
    """
    from nucleipel.config import EvaluateConfig, TileConfig
    from nucleipel.core.intensity import IntensityRange, RangeRule
    from nucleipel.data.augment import Augment
    from nucleipel.data.windows import TrainingWindows, annotated_images
    from nucleipel.io.manifest import read_manifest
    from nucleipel.io.slides.slide_reader import SlideReader
    from nucleipel.stages.pipeline.evaluate import evaluate
    from nucleipel.stages.pipeline.tile import tile

    folder = manifest.parent
    rule = RangeRule(fixed=IntensityRange((0.0,) * 3, (255.0,) * 3))
    reader = SlideReader(channels=3, range_rule=rule)
    images = annotated_images(read_manifest(manifest), reader)
    windows = TrainingWindows(
        images, count=99, window_px=256, scale_range=(0.7, 1.4), augment=Augment(0, 0, 0),
        channels=3, boundary_px=2, seed=0,
    )  # fmt: skip
    for number in range(20):
        assert windows[number].onehot.any()
    config = TileConfig(splits=("train",), intensity_range=((0, 255),))
    tile(manifest, folder / "patches.zarr", config)
    report = evaluate(manifest, folder / "result", folder / "report.json", EvaluateConfig())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"peak_mb": peak, "percent": report["scored_percent"],
            "nuclei": report["annotated_nuclei"]}  # fmt: skip
