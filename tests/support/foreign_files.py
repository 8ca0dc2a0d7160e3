"""Images as other programs write them: several in a file, odd units, planes, color tables."""

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr

OME = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


def gray(seed: int = 0, shape: tuple[int, int] = (60, 80)) -> np.ndarray:
    """Noise of 12 bits."""
    return np.random.default_rng(seed).integers(0, 4096, shape, np.uint16)


def write_series(path: Path, images: dict[str, np.ndarray], **options: Any) -> Path:
    """An OME-TIFF of several images by name."""
    with tifffile.TiffWriter(path, ome=True) as tiff:
        for name, pixels in images.items():
            color = pixels.ndim == 3
            tiff.write(
                pixels,
                photometric="rgb" if color else "minisblack",
                metadata={"Name": name, "axes": "YXS" if color else "YX", **options},
            )
    return path


def write_positions(folder: Path, images: list[np.ndarray]) -> list[Path]:
    """Micro-Manager's way: a file a position, in each the OME-XML of all."""
    uuids = [f"urn:uuid:{index:08d}-1111-1111-1111-111111111111" for index in range(len(images))]
    paths = [folder / f"pos{index}.ome.tif" for index in range(len(images))]
    parts = "".join(
        f'<Image ID="Image:{i}" Name="Pos{i}">{_pixels(pixels.shape, i, "")}'
        f'<TiffData IFD="0" PlaneCount="1"><UUID FileName="{path.name}">{uuid}</UUID></TiffData>'
        "</Pixels></Image>"
        for i, (pixels, path, uuid) in enumerate(zip(images, paths, uuids, strict=True))
    )
    for pixels, path, uuid in zip(images, paths, uuids, strict=True):
        xml = (
            f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{OME}" UUID="{uuid}">{parts}</OME>'
        )
        tifffile.imwrite(path, pixels, description=xml.encode(), metadata=None)
    return paths


def write_ome_xml(path: Path, pixels: np.ndarray, said: str, *, quote: str = '"') -> Path:
    """An OME-TIFF whose `Pixels` has these further attributes, quoted so."""
    xml = (
        f'<?xml version="1.0"?><OME xmlns="{OME}"><Image ID="Image:0">'
        f"{_pixels(pixels.shape, 0, said)}<TiffData/></Pixels></Image></OME>"
    ).replace('"', quote)
    tifffile.imwrite(path, pixels, description=xml.encode(), metadata=None)
    return path


def _pixels(shape: tuple[int, ...], index: int, said: str) -> str:
    return (
        f'<Pixels ID="Pixels:{index}" DimensionOrder="XYCZT" Type="uint16" SizeX="{shape[1]}"'
        f' SizeY="{shape[0]}" SizeC="1" SizeZ="1" SizeT="1" {said}>'
        f'<Channel ID="Channel:{index}:0" SamplesPerPixel="1"/>'
    )


def write_ngff(
    group: Any,
    pixels: np.ndarray,
    axes: str,
    *,
    unit: str | None = "micrometer",
    transforms: list[dict[str, Any]] | None = None,
    dtype: str | None = None,
    labels: list[Any] | None = None,
    colors: list[str] | None = None,
) -> None:
    """Make a zarr group an OME-Zarr image of one level, in metadata of version 0.4."""
    array = group.create_array(
        "0", shape=pixels.shape, chunks=pixels.shape, dtype=dtype or pixels.dtype
    )
    array[...] = pixels
    spaces = {"type": "space", **({"unit": unit} if unit else {})}
    scale = [{"type": "scale", "scale": [0.5 if axis in "yx" else 1.0 for axis in axes]}]
    image = {
        "version": "0.4",
        "axes": [{"name": n, **({"type": "channel"} if n == "c" else spaces)} for n in axes],
        "datasets": [{"path": "0", "coordinateTransformations": transforms or scale}],
    }
    shown = {} if labels is None else {"omero": {"channels": [{"label": name} for name in labels]}}
    for channel, color in zip(
        shown.get("omero", {}).get("channels", []), colors or [], strict=False
    ):
        channel["color"] = color
    group.attrs.update({"multiscales": [image], **shown})


def open_group(path: Path, *, zarr_format: int = 2) -> Any:
    """A new zarr folder."""
    return zarr.open_group(path, mode="w", zarr_format=zarr_format)


def write_bioformats2raw(path: Path, images: dict[str, np.ndarray]) -> Path:
    """A zarr of series by bioformats2raw, their names in its OME-XML."""
    root = open_group(path)
    root.attrs["bioformats2raw.layout"] = 3
    (path / "OME").mkdir()
    parts = ""
    for index, (name, pixels) in enumerate(images.items()):
        write_ngff(root.create_group(str(index)), pixels, "yx")
        said = _pixels(pixels.shape, index, "")
        parts += f'<Image ID="Image:{index}" Name="{name}">{said}</Pixels></Image>'
    (path / "OME" / "METADATA.ome.xml").write_text(f'<OME xmlns="{OME}">{parts}</OME>')
    return path


def write_plate(path: Path, fields: dict[str, np.ndarray]) -> Path:
    """An HCS plate; fields by their path, "A/1/0"."""
    root = open_group(path)
    wells: dict[str, Any] = {}
    for name, pixels in fields.items():
        well, _, field = name.rpartition("/")
        if well not in wells:
            wells[well] = root.create_group(well)
            wells[well].attrs["well"] = {"images": []}
        known = wells[well].attrs["well"]["images"]
        wells[well].attrs["well"] = {"images": [*known, {"path": field}]}
        write_ngff(wells[well].create_group(field), pixels, "yx")
    root.attrs["plate"] = {"wells": [{"path": well} for well in wells]}
    return path


def write_scn(path: Path, pixels: np.ndarray, *, offset: tuple[int, int], mpp: float) -> Path:
    """A Leica SCN: a small overview, and a scanned part of (H, W, 3) px `offset` px (y, x) in.

    Its scanner's frame, the collection, is 100 px larger all around than the part and its offset.
    """
    nm = round(mpp * 1000)
    height, width = pixels.shape[:2]
    frame = [(offset[1] + width + 100) * nm, (offset[0] + height + 100) * nm]
    levels = [pixels, pixels[::4, ::4]]

    def image(name: str, view: list[int], sizes: list[tuple[int, int]], first: int) -> str:
        dimensions = "".join(
            f'<dimension sizeX="{x}" sizeY="{y}" r="{r}" ifd="{first + r}"/>'
            for r, (y, x) in enumerate(sizes)
        )
        return (
            f'<image name="{name}" uuid="urn:uuid:{first}"><creationDate>2020</creationDate>'
            f'<device model="m" version="1"/><pixels sizeX="{sizes[0][1]}" sizeY="{sizes[0][0]}">'
            f'{dimensions}</pixels><view sizeX="{view[0]}" sizeY="{view[1]}" offsetX="{view[2]}"'
            f' offsetY="{view[3]}" spacingZ="0"/><scanSettings><objectiveSettings><objective>'
            f"{20 if first else 1}</objective></objectiveSettings><illuminationSettings>"
            "<illuminationSource>brightfield</illuminationSource></illuminationSettings>"
            "</scanSettings></image>"
        )

    small = np.full((frame[1] // nm // 16, frame[0] // nm // 16, 3), 255, np.uint8)
    part = [width * nm, height * nm, offset[1] * nm, offset[0] * nm]
    xml = (
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01">'
        f'<collection name="c" uuid="urn:uuid:c" sizeX="{frame[0]}" sizeY="{frame[1]}">'
        + image("overview", [*frame, 0, 0], [small.shape[:2]], 0)
        + image("part", part, [level.shape[:2] for level in levels], 1)
        + "</collection></scn>"
    )
    options: dict[str, Any] = {
        "photometric": "rgb", "tile": (256, 256), "compression": "jpeg",
        "compressionargs": {"level": 95}, "metadata": None,
    }  # fmt: skip
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        tiff.write(small, description=xml, **options)
        for level in levels:
            per_cm = 1e4 / mpp * level.shape[0] / height
            resolution = {"resolution": (per_cm, per_cm), "resolutionunit": "CENTIMETER"}
            tiff.write(np.ascontiguousarray(level), **options, **resolution)
    return path


def write_qptiff(path: Path, planes: np.ndarray, *, markers: tuple[str, ...], mpp: float) -> Path:
    """An Akoya QPTIFF of (C, H, W) planes: full size, thumbnail, one level more, macro, label."""
    per_cm = 1e4 / mpp
    kept: dict[str, Any] = {
        "software": "PerkinElmer-QPI", "metadata": None, "photometric": "minisblack",
        "tile": (64, 64), "resolutionunit": "CENTIMETER",
    }  # fmt: skip
    picture = np.full((40, 30, 3), 120, np.uint8)
    other = {"software": "PerkinElmer-QPI", "metadata": None, "photometric": "rgb"}
    with tifffile.TiffWriter(path) as tiff:
        for level in (0, 1):
            for plane, marker in zip(planes, markers, strict=True):
                text = (
                    '<?xml version="1.0" encoding="utf-16"?><PerkinElmer-QPI-ImageDescription>'
                    f"<Name>filter {marker}</Name><Biomarker>{marker}</Biomarker>"
                    "</PerkinElmer-QPI-ImageDescription>"
                )
                height, width = (side >> level for side in plane.shape)
                pixels = np.ascontiguousarray(plane[:: 2**level, :: 2**level][:height, :width])
                tiff.write(pixels, description=text.encode(), **kept,
                           resolution=(per_cm / 2**level, per_cm / 2**level))  # fmt: skip
            if level == 0:
                tiff.write(picture, **other)
        tiff.write(picture[:, :20], **other)
        tiff.write(picture[:20], **other)
    return path
