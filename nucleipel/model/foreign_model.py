"""Models of other programs, ONNX files and bioimage.io packages, in place of a checkpoint.

Files that nucleipel exported hold all that has to be known. Of others it is
taken from the package, from options, or measured (`onnx_reach`).
"""

import dataclasses
import hashlib
import importlib.util
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from nucleipel.core.channel_names import OWN, name_channels
from nucleipel.core.choices import Activation
from nucleipel.core.intensity import HIGH_PERCENTILE, LOW_PERCENTILE
from nucleipel.errors import CheckpointError
from nucleipel.model.checkpoint import Checkpoint, Description, WindowGrid, read_checkpoint
from nucleipel.model.network import NetworkSpec, OwnNetwork
from nucleipel.model.onnx_network import OnnxNetwork, Ports, build_session, ports_of
from nucleipel.model.onnx_reach import measure_reach, require_reach

log = logging.getLogger(__name__)

ONNX, PACKAGE = ".onnx", ".zip"
CORE_PX, STRIDE_PX = 256, 32
"""The side of the cores, and the stride, where nothing else is said: five halvings."""


@dataclass(frozen=True, kw_only=True)
class ModelUse:
    """How a model is used; None where it is not known.

    Parameters
    ----------
    channels : mapping of str to int, optional
        Index of each output: see `nucleipel.instances.channel_maps`.
    output : str, optional
        Name of the output, of models with several; the first.
    activation : {"none", "sigmoid", "softmax"}, optional
        What makes probabilities of its values.
    mean, std : tuple of float, optional
        The model takes (image - `mean`) / `std`, the image being in 0..1.
    mpp : float, optional
        Um per pixel that it works at.
    stride_px : int, optional
        Sides of windows are multiples of it.
    core_px : int, optional
        Side of the cores of windows.
    receptive_radius_px : int, optional
        How far it sees.
    accept_seams : bool
        Whether a model that sees the whole window is taken.
    percentiles : (low, high), optional
        Percentiles of an image's intensities that become 0 and 1.
    intensity_range : (low, high), optional
        Stored values that become 0 and 1, instead.
    instances : mapping, optional
        Numbers of the `InstanceRule`.
    """

    channels: Mapping[str, int] | None = None
    output: str | None = None
    activation: Activation | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    mpp: float | None = None
    stride_px: int | None = None
    core_px: int | None = None
    receptive_radius_px: int | None = None
    accept_seams: bool = False
    percentiles: tuple[float, float] | None = None
    intensity_range: tuple[float, float] | None = None
    instances: Mapping[str, Any] | None = field(default=None)

    def over(self, other: "ModelUse") -> "ModelUse":
        """These facts, with those of `other` where this has none."""
        known = {
            name: value
            for name, value in vars(self).items()
            if value is not None and value is not False
        }
        return dataclasses.replace(other, **known)


def is_foreign(path: Path) -> bool:
    """Return whether a path names an ONNX file or a package, by its suffix."""
    return path.suffix.lower() in (ONNX, PACKAGE)


def read_model(path: Path | Checkpoint, use: ModelUse | None = None) -> Checkpoint:
    """Read a checkpoint, or a model of another program as one; `use` is for the latter.

    Raises
    ------
    CheckpointError
        If it cannot be read, does not give the maps of nuclei, or sees the whole window.
    """
    if isinstance(path, Checkpoint):
        return path
    if not is_foreign(path):
        return read_checkpoint(path)
    for package in ("onnx", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise CheckpointError(
                f"{path}: ONNX models need the package {package}: pip install 'nucleipel[onnx]'"
            )
    if not path.is_file():
        raise CheckpointError(f"{path}: no such model; check the path")
    try:
        return _read(path, use or ModelUse())
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _read(path: Path, use: ModelUse) -> Checkpoint:
    if path.suffix.lower() == PACKAGE:
        from nucleipel.model.bioimageio_package import read_package

        payload, stated = read_package(path, use)
    else:
        payload, stated = _load(path), ModelUse()
    session = build_session(payload)
    own = {
        key.removeprefix("nucleipel."): value
        for key, value in session.get_modelmeta().custom_metadata_map.items()
        if key.startswith("nucleipel.")
    }
    ports = ports_of(session, output=use.output or stated.output)
    if own:
        return _exported(payload, ports, own)
    return _described(payload, ports, use.over(stated))


def _load(path: Path) -> bytes:
    """The bytes of a model, with weights that lie in a file next to it."""
    import onnx

    try:
        payload: bytes = onnx.load(path).SerializeToString(deterministic=True)
        return payload
    except Exception as error:  # protobuf's own, or a file of weights that is missing
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"is no ONNX model: {reason}; export it again") from error


def _exported(payload: bytes, ports: Ports, own: Mapping[str, str]) -> Checkpoint:
    """A checkpoint that `nucleipel export` wrote."""
    try:
        facts = {key: json.loads(own[key]) for key in (
            "maps", "mpp_um", "stride_px", "receptive_radius_px", "windows", "instances",
            "preprocessing",
        )}  # fmt: skip
        stained = json.loads(own.get("stained_instances", "{}"))
        windows = facts["windows"]
        grid = WindowGrid(
            windows["core_px"], windows["halo_px"], batch=1, edge_px=windows.get("edge_px")
        )
        percentiles = {
            end: float(facts["preprocessing"][end]) for end in ("low_percentile", "high_percentile")
        }
    except (KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"its metadata are damaged: {error}; export it again") from error
    network = OnnxNetwork(
        payload, ports, channels={name: i for i, name in enumerate(facts["maps"])}
    )
    description = _description(
        ports, grid, facts["stride_px"], facts["receptive_radius_px"], facts["mpp_um"],
        facts["maps"], facts["instances"], percentiles, {},
    )  # fmt: skip
    description = dataclasses.replace(description, stained_instances=stained)
    return Checkpoint(description, network.eval(), hashlib.sha256(payload).hexdigest())


def _described(payload: bytes, ports: Ports, use: ModelUse) -> Checkpoint:
    """A model of another program, as it is described; how far it sees is measured or checked."""
    try:
        channels = name_channels(use.channels, ports.outputs)
    except ValueError as error:
        raise CheckpointError(f"its outputs: {error}") from error
    network = OnnxNetwork(
        payload, ports,
        channels=channels,
        activation=use.activation or "none",
        mean=_a_channel(use.mean, (0.0,), ports.channels, "mean"),
        std=_a_channel(use.std, (1.0,), ports.channels, "std"),
    ).eval()  # fmt: skip
    stride, radius = use.stride_px or STRIDE_PX, use.receptive_radius_px
    core = use.core_px or -(-CORE_PX // stride) * stride
    if core % stride:
        raise CheckpointError(f"core_px {core}: expected a multiple of stride_px, {stride}")
    if radius is None and not use.accept_seams:
        radius = measure_reach(payload, ports, stride=stride)
    halo = -(-(core // 4 if radius is None else radius) // stride) * stride
    if not use.accept_seams:
        require_reach(network, ports, stride=stride, halo_px=halo)
    if ports.side_px is not None:
        core = (ports.side_px - 2 * halo) // stride * stride
        if core < stride:
            raise CheckpointError(
                f"its windows have {ports.side_px} px, and it sees {halo} px far: no pixel is left;"
                " export it for windows of any size"
            )
    low, high = use.percentiles or (LOW_PERCENTILE, HIGH_PERCENTILE)
    shown: dict[str, Any] = {"low_percentile": low, "high_percentile": high}
    if use.intensity_range is not None:
        shown["intensity_range"] = use.intensity_range
    facts = {
        "channels": channels, "output": ports.output, "activation": network.activation,
        "mean": network.mean.ravel().tolist(), "std": network.std.ravel().tolist(),
    }  # fmt: skip
    log.info("outputs: %s; sees %s px", channels, "all" if use.accept_seams else radius)
    maps = OWN if "distance" in channels else OWN[:3]
    grid = WindowGrid(core, halo, batch=1, edge_px=None)
    description = _description(
        ports, grid, stride, None if use.accept_seams else radius,
        use.mpp, maps, use.instances or {}, shown, facts,
    )  # fmt: skip
    return Checkpoint(description, network, hashlib.sha256(payload).hexdigest())


def _description(
    ports: Ports,
    grid: WindowGrid,
    stride: int,
    radius: int | None,
    mpp: float | None,
    maps: Any,
    instances: Mapping[str, Any],
    normalization: dict[str, Any],
    config: dict[str, Any],
) -> Description:
    return Description(
        network=cast(NetworkSpec, OwnNetwork(ports.channels, stride)),
        mpp=mpp,
        grid=grid,
        receptive_radius_px=radius,
        boundary_px=0,
        maps=tuple(maps),
        instances=dict(instances),
        normalization=normalization,
        versions={"onnxruntime": importlib.import_module("onnxruntime").__version__},
        config=config,
        parent_sha256=None,
    )


def _a_channel(
    values: tuple[float, ...] | None, default: tuple[float, ...], channels: int, name: str
) -> tuple[float, ...]:
    values = values or default
    if len(values) not in (1, channels) or (name == "std" and 0 in values):
        raise CheckpointError(
            f"{name} {list(values)}: expected one number or {channels}"
            + (", none of them 0" if name == "std" else "")
        )
    return values
