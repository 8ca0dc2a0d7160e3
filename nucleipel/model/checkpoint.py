"""Checkpoints: `checkpoint.safetensors` and `checkpoint.json`, all that prediction needs.

The JSON holds the network spec, the working mpp, the window grid, the targets'
boundary width, versions, the resolved config and the sha256 of the weights
(safetensors itself has no checksum: changed bytes load silently). No pickle is
ever loaded.
"""

import dataclasses
import hashlib
import importlib.metadata
import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from nucleipel import __version__
from nucleipel.core.atomic import SEAL, read_sealed_json, replacing, write_sealed_json
from nucleipel.core.geometry import Box, mirrored_frame
from nucleipel.core.intensity import HIGH_PERCENTILE, LOW_PERCENTILE
from nucleipel.errors import CheckpointError
from nucleipel.model.network import NetworkSpec, build_network
from nucleipel.model.receptive_field import receptive_radius

WEIGHTS, DESCRIPTION = "checkpoint.safetensors", "checkpoint.json"
NOTES = "README.md"
FORMAT = 5
DEFAULT = "default"
"""Names the weights that come with the package, wherever a checkpoint is expected."""
GIT_LFS = b"version https://git-lfs"
EDGE_PX = 64
"""Default of `WindowGrid.edge_px`, also of checkpoints older than the field. With the packaged
weights, on small images, 16 px changed nuclei at the edges (PQ .98 to those with all of
the halo mirrored), 64 px hardly any (PQ .999)."""


@dataclass(frozen=True, slots=True)
class WindowGrid:
    """The grid on which images are predicted: fixed by the checkpoint, whatever the run.

    Cores of `core_px` on a grid anchored at (0, 0), a halo of `halo_px` around
    each, `batch` windows a forward pass (the last batch filled up with zeros).
    Beyond its edges the image is mirrored, at least `edge_px` of it
    (`frame_of`). There windows end, and the network's convolutions see zeros, as
    they did at the edges of each training window. With None all windows have the full
    size, as models of other programs may want it.

    With `whole_image_px` there are no windows: the whole image is resized to a
    square of that side, as the network was trained, and its map back.
    """

    core_px: int
    halo_px: int
    batch: int
    whole_image_px: int | None = None
    edge_px: int | None = EDGE_PX

    def fitted(self, shape: tuple[int, int], *, stride: int) -> "WindowGrid":
        """Fit the grid to an image of shape (height, width).

        An image is one core where a window around it has no more pixels than those of the
        grid. Still a function of checkpoint and image alone.
        """
        side = -(-max(shape) // stride) * stride
        if self.edge_px is None:
            return dataclasses.replace(self, core_px=min(self.core_px, side))
        edge_px = min(-(-self.edge_px // stride) * stride, self.halo_px)
        window = mirrored_frame(shape, edge_px=edge_px, multiple_px=stride).shape
        whole = side <= self.core_px or math.prod(window) <= (self.core_px + 2 * self.halo_px) ** 2
        return dataclasses.replace(self, core_px=side if whole else self.core_px, edge_px=edge_px)

    def frame_of(self, shape: tuple[int, int]) -> Box | None:
        """What windows end at, of an image of shape (height, width); None without `edge_px`.

        Cores, halo and edge are multiples of the network's stride, and so are its sides.
        """
        if self.edge_px is None:
            return None
        multiple_px = math.gcd(self.core_px, self.halo_px, self.edge_px)
        return mirrored_frame(shape, edge_px=self.edge_px, multiple_px=multiple_px)


@dataclass(frozen=True, slots=True)
class Description:
    """The description of a checkpoint: all but the weights.

    Parameters
    ----------
    network : NetworkSpec
        What builds the network; an `OwnNetwork` where it is a module of the user's own.
    mpp : float, optional
        Working resolution, um per pixel; None without pixel sizes.
    grid : WindowGrid
        Windows of a prediction.
    receptive_radius_px : int, optional
        None for a network whose output depends on the whole window, of any size.
    boundary_px : int
        Width of the class boundary in its targets.
    maps : tuple of str
        Names of the channels of its probability maps.
    instances : dict
        Numbers of the `InstanceRule` that suits its maps.
    normalization : dict
        `low_percentile` and `high_percentile`, which become 0 and 1; of another program's
        model perhaps an `intensity_range` of stored values instead.
    versions, config : dict
        Versions and settings that it was trained with.
    parent_sha256 : str, optional
        Hash of the weights that its training started from.
    chooses_scale : bool
        Whether images are predicted at the scale that suits each, for they may be of any pixel
        size; what is trained on from such a checkpoint knows the scale of its images.
    stained_instances : dict
        Those of `instances` that are other numbers for stained tissue.
    """

    network: NetworkSpec
    mpp: float | None
    grid: WindowGrid
    receptive_radius_px: int | None
    boundary_px: int
    maps: tuple[str, ...]
    instances: dict[str, Any]
    normalization: dict[str, Any]
    versions: dict[str, str]
    config: dict[str, Any]
    parent_sha256: str | None
    chooses_scale: bool = False
    stained_instances: dict[str, Any] = field(default_factory=dict)

    def instances_of(self, *, stained: bool) -> dict[str, Any]:
        """Numbers of the `InstanceRule` for stained tissue, or for all else."""
        return {**self.instances, **(self.stained_instances if stained else {})}

    @property
    def canonical_map(self) -> bool:
        """Return whether an image's map is the same for every cut of the image.

        It is if the halo covers the receptive radius, or if nothing is cut.
        """
        return self.receptive_radius_px is not None or self.grid.whole_image_px is not None

    @property
    def percentiles(self) -> tuple[float, float]:
        """Percentiles of an image's intensities that become 0 and 1."""
        return self.normalization["low_percentile"], self.normalization["high_percentile"]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        fields = {**asdict(self), "network": self.network.to_json()}
        for name in ("chooses_scale", "stained_instances"):  # older checkpoints have neither
            if not fields[name]:
                del fields[name]
        return fields


@dataclass(frozen=True)
class Checkpoint:
    """A description, a network in eval mode on the CPU, and the hash of its weights."""

    description: Description
    network: nn.Module
    sha256: str

    @property
    def fingerprint(self) -> str:
        """Hash of the weights and the description, on which results depend."""
        content = json.dumps({"sha256": self.sha256, **self.description.to_json()}, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


def build_description(
    network: nn.Module,
    spec: NetworkSpec,
    *,
    mpp: float | None,
    core_px: int,
    whole_image_px: int | None = None,
    boundary_px: int,
    maps: tuple[str, ...],
    instances: dict[str, Any],
    config: dict[str, Any],
    percentiles: tuple[float, float] = (LOW_PERCENTILE, HIGH_PERCENTILE),
) -> Description:
    """Describe a newly trained network; its receptive radius is measured here, once.

    The halo is the radius rounded up to the network's stride, so that windows
    lie on one grid with the network's own. With InstanceNorm the radius is not
    bounded; the halo is then that of the same network with BatchNorm, which
    covers all but the statistics of the window.
    """
    bounded = spec if spec.is_bounded else dataclasses.replace(spec, norm="batch")
    radius = receptive_radius(
        network if bounded == spec else build_network(bounded),
        in_channels=spec.in_channels,
        stride=spec.stride,
    )
    return Description(
        network=spec,
        mpp=mpp,
        grid=WindowGrid(
            core_px=core_px,
            halo_px=-(-radius // spec.stride) * spec.stride,
            batch=1,
            whole_image_px=whole_image_px,
        ),
        receptive_radius_px=radius if spec.is_bounded else None,
        boundary_px=boundary_px,
        maps=maps,
        instances=instances,
        normalization={"low_percentile": percentiles[0], "high_percentile": percentiles[1]},
        versions={
            "nucleipel": __version__,
            "torch": torch.__version__,
            "monai": importlib.metadata.version("monai"),
        },
        config=config,
        parent_sha256=None,
    )


def write_checkpoint(
    folder: Path, description: Description, weights: dict[str, torch.Tensor]
) -> str:
    """Write both files atomically, the JSON last; return the sha256 of the weights file.

    A kernel whose values are all float16 numbers is stored as such; it is read as float32.
    """
    tensors = {name: _stored(tensor.detach().cpu()) for name, tensor in weights.items()}
    payload = safetensors.torch.save(tensors)
    with replacing(folder / WEIGHTS) as temporary:
        temporary.write_bytes(payload)
    sha256 = hashlib.sha256(payload).hexdigest()
    fields = {"format": FORMAT, "sha256": sha256, **description.to_json()}
    write_sealed_json(folder / DESCRIPTION, fields)
    return sha256


def _stored(tensor: torch.Tensor) -> torch.Tensor:
    half = tensor.half()
    exact = tensor.ndim > 1 and tensor.dtype == torch.float32 and torch.equal(half.float(), tensor)
    return (half if exact else tensor).contiguous()


def read_checkpoint(path: Path | Checkpoint) -> Checkpoint:
    """Read a checkpoint by its folder or by either of its files, or the one named "default".

    One that is read already is taken as it is.

    Raises
    ------
    CheckpointError
        If a file is missing, is a pickle, is truncated or altered, comes from
        a newer version, or does not fit its own network spec.
    """
    if isinstance(path, Checkpoint):
        return path
    folder = _folder_of(path)
    description, sha256 = _read_description(folder / DESCRIPTION)
    payload = (folder / WEIGHTS).read_bytes()
    _require_fetched(folder / WEIGHTS, payload)
    if hashlib.sha256(payload).hexdigest() != sha256:
        raise CheckpointError(
            f"{folder / WEIGHTS}: does not match the sha256 in {DESCRIPTION}"
            " (truncated or altered); copy both files again"
        )
    network = build_network(description.network)
    try:
        network.load_state_dict(safetensors.torch.load(payload))
    except (RuntimeError, safetensors.SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"{folder / WEIGHTS}: does not fit the network in {DESCRIPTION}: {reason}"
        ) from error
    if not all(torch.isfinite(tensor).all() for tensor in network.state_dict().values()):
        raise CheckpointError(f"{folder / WEIGHTS}: holds weights that are not finite; train again")
    return Checkpoint(description, network.eval(), sha256)


def read_notes(path: Path) -> str | None:
    """Read the README.md in the folder of a checkpoint; `path` is as for `read_checkpoint`."""
    notes = _folder_of(path) / NOTES
    return notes.read_text(encoding="utf-8") if notes.is_file() else None


def _require_fetched(path: Path, head: bytes) -> None:
    if head.startswith(GIT_LFS):
        raise CheckpointError(f"{path}: is a Git LFS pointer, not the weights: run git lfs pull")


def _folder_of(path: Path) -> Path:
    if path == Path(DEFAULT):
        return Path(__file__).parent / "weights"
    if not path.exists():
        raise CheckpointError(f"{path}: no such checkpoint; check the path")
    if path.is_file() and path.name not in (WEIGHTS, DESCRIPTION):
        with path.open("rb") as stream:
            head = stream.read(len(GIT_LFS))
        _require_fetched(path, head)
        kind = (
            "a pickle, which is never loaded"
            if head[:2] == b"PK" or head[:1] == b"\x80"
            else "no checkpoint of nucleipel"
        )
        if path.suffix.lower() in (".onnx", ".zip"):
            kind = "a model that can predict and not be trained"
        raise CheckpointError(f"{path}: is {kind}; expected a run folder or its {WEIGHTS}")
    folder = path if path.is_dir() else path.parent
    for name in (DESCRIPTION, WEIGHTS):
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder}: has no {name}; expected the folder of a finished run")
    return folder


def _read_description(path: Path) -> tuple[Description, str]:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        if fields["format"] > FORMAT:
            raise CheckpointError(
                f"{path}: format {fields['format']}; this version reads up to {FORMAT};"
                " upgrade nucleipel"
            )
        if SEAL in fields:  # the first checkpoints have none
            fields = read_sealed_json(path)
        sha256 = fields["sha256"]
        fields = {key: value for key, value in fields.items() if key not in ("format", "sha256")}
        fields["network"] = NetworkSpec.from_json(fields["network"])
        fields["grid"] = WindowGrid(**fields["grid"])
        fields["maps"] = tuple(fields["maps"])
        return Description(**fields), sha256
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path}: cannot be understood: {error}; copy it again") from error
