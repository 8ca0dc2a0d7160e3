"""A checkpoint described as the BioImage Model Zoo wants it: the `rdf.yaml` of format 0.5.

The package holds the network as ONNX, one generated image with its probabilities
(so that any program can check that it runs the model rightly), a cover, and
documentation. The zoo's own steps `scale_range` and `clip` normalize images. The
format has no step that turns maps into nuclei: the documentation describes it,
its numbers are under `config.nucleipel`.
"""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from nucleipel.model.checkpoint import Checkpoint, Description
from nucleipel.model.onnx_export import INPUT, OUTPUT, describe_use

FORMAT = "0.5.4"
WEIGHTS, TEST_INPUT, TEST_OUTPUT = "weights.onnx", "test_input.npy", "test_output.npy"
COVER, DOCUMENTATION, RDF = "cover.png", "README.md", "rdf.yaml"
TAGS = ("nuclei", "segmentation", "instance-segmentation", "unet", "2d", "nucleipel")
PEL = {
    "text": "PointWise Exponential Loss",
    "url": "https://github.com/bluesky314/PointWise-Exponential-Loss",
}


@dataclass(frozen=True, slots=True)
class PackageText:
    """The texts of a package that are not in its checkpoint.

    `citations` have a text and a doi or url, `notes` are Markdown.
    """

    name: str
    description: str
    authors: Sequence[str]
    license: str
    citations: Sequence[Mapping[str, str]]
    tags: Sequence[str]
    notes: str | None


def least_side_px(description: Description) -> int:
    """Side of the smallest input of which a pixel is left inside the halo."""
    return 2 * description.grid.halo_px + description.network.stride


def build_package(
    checkpoint: Checkpoint,
    text: PackageText,
    *,
    onnx: bytes,
    image: npt.NDArray[np.float32],
    probabilities: npt.NDArray[np.float32],
    cover: bytes,
) -> dict[str, bytes]:
    """Build the files of a package by name, the description of them all first.

    `image` (1, C, H, W) is a test input as it is stored, not normalized;
    `probabilities` (1, 4, H, W) are those of the network; `cover` is a PNG.
    """
    files = {
        WEIGHTS: onnx,
        TEST_INPUT: _npy(image),
        TEST_OUTPUT: _npy(probabilities),
        COVER: cover,
        DOCUMENTATION: _documentation(checkpoint.description, text).encode(),
    }
    rdf = _rdf(checkpoint, text, files)
    content = yaml.safe_dump(rdf, sort_keys=False, allow_unicode=True, width=100)
    return {RDF: content.encode(), **files}


def _rdf(checkpoint: Checkpoint, text: PackageText, files: Mapping[str, bytes]) -> dict[str, Any]:
    description = checkpoint.description
    used = {key.removeprefix("nucleipel."): _parsed(value) for key, value in
            describe_use(checkpoint).items()}  # fmt: skip

    def named(name: str) -> dict[str, str]:
        return {"source": name, "sha256": hashlib.sha256(files[name]).hexdigest()}

    return {
        "format_version": FORMAT,
        "type": "model",
        "name": text.name,
        "description": text.description,
        "authors": [{"name": name} for name in text.authors],
        "license": text.license,
        "cite": [dict(citation) for citation in (*text.citations, PEL)],
        "tags": list(dict.fromkeys((*TAGS, *text.tags))),
        "covers": [COVER],
        "documentation": DOCUMENTATION,
        "inputs": [_input(description, named(TEST_INPUT))],
        "outputs": [_output(description, named(TEST_OUTPUT))],
        "weights": {
            "onnx": {
                **named(WEIGHTS),
                "opset_version": _opset(files[WEIGHTS]),
                "comment": "Written by nucleipel from its checkpoint; gives probabilities.",
            }
        },
        "config": {"nucleipel": used},
    }


def _input(description: Description, test_tensor: dict[str, str]) -> dict[str, Any]:
    percentiles = description.normalization
    stride = description.network.stride
    names = ["red", "green", "blue"] if description.network.in_channels == 3 else ["intensity"]
    size = {"min": least_side_px(description), "step": stride}
    return {
        "id": INPUT,
        "description": "Stored intensities of the whole image; gray ones in all channels.",
        "axes": [
            {"type": "batch"},
            {"type": "channel", "channel_names": names},
            *({"type": "space", "id": axis, "size": dict(size), **_scale(description)}
              for axis in "yx"),
        ],
        "data": {"type": "float32"},
        "test_tensor": test_tensor,
        "preprocessing": [
            {
                "id": "scale_range",
                "kwargs": {
                    "axes": ["y", "x"],
                    "min_percentile": percentiles["low_percentile"],
                    "max_percentile": percentiles["high_percentile"],
                },
            },
            {"id": "clip", "kwargs": {"min": 0.0, "max": 1.0}},
        ],
    }  # fmt: skip


def _output(description: Description, test_tensor: dict[str, str]) -> dict[str, Any]:
    return {
        "id": OUTPUT,
        "description": "Probabilities of the classes, and the distance to the nucleus' edge.",
        "axes": [
            {"type": "batch"},
            {"type": "channel", "channel_names": list(description.maps)},
            *(
                {
                    "type": "space",
                    "id": axis,
                    "size": {"tensor_id": INPUT, "axis_id": axis},
                    "halo": description.grid.halo_px,
                    **_scale(description),
                }
                for axis in "yx"
            ),
        ],
        "data": {"type": "float32", "range": [0.0, 1.0]},
        "test_tensor": test_tensor,
    }


def _scale(description: Description) -> dict[str, Any]:
    """The working mpp, of a network that has one."""
    if description.mpp is None:
        return {}
    return {"unit": "micrometer", "scale": description.mpp}


def _documentation(description: Description, text: PackageText) -> str:
    low, high = (description.normalization[f"{end}_percentile"] for end in ("low", "high"))
    at = (
        f"Images are shown to it at {description.mpp:g} um per pixel."
        if description.mpp
        else "It was trained without pixel sizes: images are shown to it pixel for pixel."
    )
    stained = description.stained_instances
    rule = "\n".join(
        f"- `{key}`: {value}" + (f" ({stained[key]} for stained tissue)" if key in stained else "")
        for key, value in description.instances.items()
    )
    return (
        f"""# {text.name}

{text.description}

## Input

{at} Each channel is normalized by its percentiles {low:g} and {high:g} over the whole image,
never over a window, and clipped to 0..1. Sides are multiples of {description.network.stride} px.
{_needed_overlap(description)}

## Output

{len(description.maps)} maps in 0..1: {", ".join(description.maps)}. The first three add up to 1.
The distance is 0 at a nucleus' edge and 1 deep inside.

## From maps to nuclei

`nucleipel stitch` makes nuclei of any size of image without seams, with these numbers:

{rule}

In other programs: what is not background is nucleus, and peaks of interior and distance
separate touching nuclei (a watershed from them, say).

## Validation

Score the nuclei against annotations that were not used for training: `nucleipel evaluate` gives
Dice, AJI, PQ and AP, with `nucleipel segment` before it.

{text.notes or ""}""".rstrip()
        + "\n"
    )


def _needed_overlap(description: Description) -> str:
    """Text on the overlap that windows need, or that no overlap is enough."""
    halo, radius = description.grid.halo_px, description.receptive_radius_px
    if radius is None:
        return f"""A pixel of the output depends on the whole window (instance norm), so the map
depends on how an image is cut, and has seams. Windows overlap by at least {halo} px, cropped and
not blended."""
    return f"""A pixel of the output depends on at most {radius} px around it: windows that overlap
by that much, cropped and not blended, give the map of the whole image."""


def _npy(array: npt.NDArray[np.float32]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def _opset(onnx_file: bytes) -> int:
    import onnx

    model = onnx.load_from_string(onnx_file)
    return max(opset.version for opset in model.opset_import if not opset.domain)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
