"""A bioimage.io package of any program: its ONNX model, and what `rdf.yaml` says of its use.

Formats 0.4 and 0.5 differ in form: axes are letters or lists, steps have a `name` or an
`id`. Steps before the model that need a measure of the whole image which nucleipel does
not take are refused, as are steps that are not known.
"""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from nucleipel.core.channel_names import NAMES
from nucleipel.errors import CheckpointError
from nucleipel.model.foreign_model import ModelUse

DESCRIPTIONS = ("rdf.yaml", "bioimageio.yaml")
NO_EFFECT = ("ensure_dtype", "clip")
"""Steps that change no value here: an image is in 0..1, and so are maps."""
PER_IMAGE = "zero_mean_unit_variance"
SYNONYMS = {
    "boundaries": "boundary", "border": "boundary", "edges": "boundary", "nuclei": "foreground",
    "nucleus": "foreground", "mask": "foreground", "distances": "distance",
}  # fmt: skip
Step = tuple[str, Mapping[str, Any]]


def read_package(path: Path, use: ModelUse) -> tuple[bytes, ModelUse]:
    """Read the ONNX model of a package, and what the package says of its use.

    `use` is what the user says: what stands there need not be in the package.

    Raises
    ------
    CheckpointError
        If it is no package, has no ONNX model, or a step that is not known.
    """
    try:
        with zipfile.ZipFile(path) as files:
            names = {Path(name).name: name for name in reversed(files.namelist())}
            place = next((names[name] for name in DESCRIPTIONS if name in names), None)
            if place is None:
                raise CheckpointError(f"has no {DESCRIPTIONS[0]}; expected a bioimage.io package")
            rdf = yaml.safe_load(files.read(place))
            source = _onnx_source(rdf)
            if source not in names:
                raise CheckpointError(
                    f"has no file {source}, its ONNX weights; download the whole package"
                )
            payload = files.read(names[source])
    except (zipfile.BadZipFile, OSError, yaml.YAMLError) as error:
        raise CheckpointError(f"is no package: {' '.join(str(error).split())}") from error
    try:
        return payload, _stated(rdf, use)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{place} cannot be understood: {error!r}") from error


def _onnx_source(rdf: Any) -> str:
    weights = rdf.get("weights", {}) if isinstance(rdf, Mapping) else {}
    if "onnx" not in weights:
        raise CheckpointError(
            f"has weights as {', '.join(weights) or 'nothing'}; expected onnx: bioimageio.core"
            " converts (bioimageio add-weights)"
        )
    return Path(weights["onnx"]["source"]).name


def _stated(rdf: Mapping[str, Any], use: ModelUse) -> ModelUse:
    source, target = rdf["inputs"][0], rdf["outputs"][0]
    seen = _preprocessing(source, use)
    (sides, mpp), activation = _space(source), "none"
    for name, _ in _steps(target, "postprocessing"):
        if name in ("sigmoid", "softmax"):
            activation = name
        elif name not in NO_EFFECT:
            raise CheckpointError(f"its step '{name}' after the model is not known")
    return ModelUse(
        **seen,
        activation=activation,  # type: ignore[arg-type]
        channels=_channels(target),
        stride_px=max(sides) if max(sides, default=0) > 1 else None,
        mpp=mpp,
    )


def _steps(tensor: Mapping[str, Any], when: str) -> list[Step]:
    return [
        (step.get("id") or step["name"], step.get("kwargs") or {})
        for step in tensor.get(when) or ()
    ]


def _preprocessing(tensor: Mapping[str, Any], use: ModelUse) -> dict[str, Any]:
    """How stored values become what the model takes: a range that becomes 0..1, mean, std."""
    stored = str((tensor.get("data") or {}).get("type") or tensor.get("data_type") or "")
    most = 65535.0 if stored == "uint16" else 255.0
    seen: dict[str, Any] = {}
    for name, values in _steps(tensor, "preprocessing"):
        if name == "scale_range":
            low, high = values.get("min_percentile", 0), values.get("max_percentile", 100)
            seen["percentiles"] = (float(low), float(high))
            continue
        if name in NO_EFFECT:
            continue
        if name == PER_IMAGE and use.mean is not None and use.std is not None:
            continue
        scale = 1.0 if "percentiles" in seen else most
        if name == "scale_linear":
            gain, offset = _numbers(values.get("gain", 1)), _numbers(values.get("offset", 0))
            if "percentiles" not in seen and max(gain) < 1 / 256:
                scale = 65535.0
            std = tuple(1 / (number * scale) for number in gain)
            mean = tuple(-shift * std[i % len(std)] for i, shift in enumerate(offset))
        elif "mean" in values and name in (PER_IMAGE, f"fixed_{PER_IMAGE}"):
            mean = tuple(number / scale for number in _numbers(values["mean"]))
            std = tuple(number / scale for number in _numbers(values["std"]))
        else:
            raise CheckpointError(
                f"its step '{name}' before the model is measured on each image, or not known; set"
                " mean and std, of the image in 0..1"
            )
        seen |= {"mean": mean, "std": std}
        if "percentiles" not in seen:
            seen["intensity_range"] = (0.0, scale)
    return seen


def _numbers(values: float | Sequence[float]) -> tuple[float, ...]:
    many = values if isinstance(values, Sequence) else [values]
    return tuple(float(number) for number in many)


def _space(tensor: Mapping[str, Any]) -> tuple[list[int], float | None]:
    """The steps by which windows grow, and um per pixel where they are stated."""
    axes = tensor["axes"]
    if isinstance(axes, str):  # format 0.4
        shape = tensor["shape"]
        steps = shape["step"] if isinstance(shape, Mapping) else [0] * len(axes)
        return [int(steps[i]) for i, axis in enumerate(axes) if axis in "yx"], None
    space = [axis for axis in axes if axis["type"] == "space"]
    sizes = [axis.get("size") for axis in space]
    steps = [int(size["step"]) if isinstance(size, Mapping) else 0 for size in sizes]
    in_um = [axis.get("scale") for axis in space if axis.get("unit") == "micrometer"]
    return steps, float(in_um[0]) if len(set(in_um)) == 1 and in_um[0] else None


def _channels(tensor: Mapping[str, Any]) -> dict[str, int] | None:
    """The outputs by their names; None where they are not names of maps."""
    if isinstance(tensor["axes"], str):
        return None
    (axis,) = (axis for axis in tensor["axes"] if axis["type"] == "channel")
    words = [str(name).strip().lower() for name in axis.get("channel_names") or ()]
    named = [SYNONYMS.get(word, word) for word in words]
    known = {name: i for i, name in enumerate(named) if name in NAMES}
    if "interior" not in known and "foreground" not in known:
        return None
    if "foreground" in known:  # the rest of it
        known.pop("background", None)
    return known
