"""Open every output of `stitch` or `segment` with other libraries, and compare the nuclei.

    python scripts/checks/check_outputs.py OUT ...

Each OUT holds a folder for each image. The instance map as TIFF, the label
pyramid, the table and the outlines must hold the same ids; outlines must be
valid polygons. Needs NumPy, tifffile, zarr, pyarrow and Pillow, and not nucleipel,
so that it runs in any environment. If ome-zarr-py, napari-ome-zarr, geopandas or
shapely are installed, they read the outputs too. The last line names the libraries
that read. Exits with 1 if anything differs or cannot be read.
"""

import csv
import gzip
import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

say = print
Ids = Iterable[int]
Reader = Callable[[Path], Ids]


def main() -> int:
    """Check each folder of the command line; print a line for each image."""
    folders = [path for out in sys.argv[1:] for path in sorted(Path(out).glob("*/"))]
    images = [path for path in folders if (path / "instances.ome.tif").is_file()]
    if not images:
        say(f"error: {' '.join(sys.argv[1:])}: no folder with an instances.ome.tif below")
        return 1
    readers = {name: READERS[name] for name in READERS if importlib.util.find_spec(NEEDS[name])}
    failed = 0
    for image in images:
        faults, counts = check(image, readers)
        failed += bool(faults)
        verdict = "; ".join(faults) or "all ids equal"
        say(f"{image}: {', '.join(f'{name} {n}' for name, n in counts.items())}: {verdict}")
    missing = [name for name in READERS if name not in readers]
    say(f"read by: {', '.join(readers)}" + (f"; not here: {', '.join(missing)}" * bool(missing)))
    return min(failed, 1)


def check(image: Path, readers: dict[str, Reader]) -> tuple[list[str], dict[str, int]]:
    """List what is wrong with the outputs of one image, and the nuclei that each reader finds."""
    faults, counts, expected = [], {}, None
    for name, read in readers.items():
        try:
            found = sorted(map(int, read(image)))
        except FileNotFoundError:
            continue  # an output that was switched off
        except Exception as error:
            faults.append(f"{name}: {type(error).__name__}: {error}")
            continue
        counts[name] = len(found)
        expected = found if expected is None else expected
        if found != expected:
            faults.append(f"{name}: other ids than {next(iter(counts))}")
    return faults, counts


def read_tiff(image: Path) -> Ids:
    """tifffile: the full level of the pyramid."""
    import tifffile

    with tifffile.TiffFile(image / "instances.ome.tif") as tiff:
        levels = tiff.series[0].levels
        if max(levels[-1].shape) > 4096:  # QuPath wants a pyramid for larger images
            raise ValueError(f"its smallest level is {levels[-1].shape}")
        return _ids(levels[0].asarray())


def read_zarr(image: Path) -> Ids:
    """zarr: the first data set of the multiscale labels."""
    import zarr

    group = zarr.open_group(_there(image / "instances.zarr"), mode="r")
    first = group.attrs["ome"]["multiscales"][0]["datasets"][0]["path"]
    return _ids(group[first][:])


def read_ome_zarr(image: Path) -> Ids:
    """ome-zarr-py, which must recognize labels."""
    from ome_zarr import reader
    from ome_zarr.io import parse_url

    (node,) = list(reader.Reader(parse_url(_there(image / "instances.zarr")))())
    if not any(isinstance(spec, reader.Label) for spec in node.specs):
        raise ValueError("it does not see labels")
    return _ids(np.asarray(node.data[0]))


def read_napari(image: Path) -> Ids:
    """napari-ome-zarr: the layer that napari would show."""
    from napari_ome_zarr import napari_get_reader

    labels = _there(image / "instances.zarr").resolve()
    # it searches an image two folders up, and makes a zarr group there if there is none
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "image", "labels", labels.name)
        path.parent.mkdir(parents=True)
        path.symlink_to(labels, target_is_directory=True)
        ((data, *_),) = napari_get_reader(str(path))(str(path))
        return _ids(np.asarray(data[0] if isinstance(data, list) else data))


def read_parquet(image: Path) -> Ids:
    """pyarrow: the table as it is stored."""
    from pyarrow import parquet

    return parquet.read_table(image / "nuclei.parquet").column("id").to_pylist()


def read_geoparquet(image: Path) -> Ids:
    """geopandas, with valid polygons."""
    import geopandas

    table = geopandas.read_parquet(_there(image / "nuclei.parquet"))
    if not table.geometry.is_valid.all():
        raise ValueError(f"{(~table.geometry.is_valid).sum()} polygons are not valid")
    return table["id"]


def read_geojson(image: Path) -> Ids:
    """json: QuPath's detections, with closed rings."""
    features = _features(image)
    for feature in features:
        kind, rings = feature["geometry"]["type"], feature["geometry"]["coordinates"]
        for ring in rings if kind == "Polygon" else [ring for part in rings for ring in part]:
            if ring[0] != ring[-1] or len(ring) < 4:
                raise ValueError(f"an open ring of nucleus {feature['properties']['measurements']}")
        if feature["properties"]["objectType"] != "detection":
            raise ValueError(f"an object of type {feature['properties']['objectType']}")
    return [feature["properties"]["measurements"]["id"] for feature in features]


def read_geojson_shapes(image: Path) -> Ids:
    """shapely, with valid polygons."""
    from shapely.geometry import shape

    features = _features(image)
    wrong = sum(not shape(feature["geometry"]).is_valid for feature in features)
    if wrong:
        raise ValueError(f"{wrong} polygons are not valid")
    return [feature["properties"]["measurements"]["id"] for feature in features]


def read_csv(image: Path) -> Ids:
    """Python's csv."""
    with (image / "nuclei.csv").open(newline="") as stream:
        return [int(row["id"]) for row in csv.DictReader(stream)]


def read_certificate(image: Path) -> Ids:
    """The certificate, whose nuclei are 1..n; and the overlay, which must decode."""
    from PIL import Image

    with Image.open(image / "overlay.png") as overlay:
        overlay.load()
    return range(1, json.loads((image / "certificate.json").read_text())["nuclei"] + 1)


READERS: dict[str, Reader] = {
    "tifffile": read_tiff,
    "zarr": read_zarr,
    "ome-zarr-py": read_ome_zarr,
    "napari-ome-zarr": read_napari,
    "pyarrow": read_parquet,
    "geopandas": read_geoparquet,
    "json": read_geojson,
    "shapely": read_geojson_shapes,
    "csv": read_csv,
    "certificate": read_certificate,
}
NEEDS = {
    "tifffile": "tifffile", "zarr": "zarr", "ome-zarr-py": "ome_zarr",
    "napari-ome-zarr": "napari_ome_zarr", "pyarrow": "pyarrow", "geopandas": "geopandas",
    "json": "json", "shapely": "shapely", "csv": "csv", "certificate": "PIL",
}  # fmt: skip


def _there(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(path)
    return path


def _ids(values: np.ndarray) -> Ids:
    found = np.unique(values)
    return found[found > 0]


def _features(image: Path) -> list[dict]:
    plain, packed = image / "nuclei.geojson", image / "nuclei.geojson.gz"
    text = gzip.decompress(packed.read_bytes()) if packed.is_file() else plain.read_bytes()
    found = json.loads(text)
    return found["features"] if isinstance(found, dict) else found


if __name__ == "__main__":
    sys.exit(main())
