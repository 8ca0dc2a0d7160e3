"""A checkpoint as one ONNX file that needs no nucleipel and no torch to run.

Input `image`: (batch, C, height, width) float32, normalized to [0, 1], height
and width multiples of the network's stride. Output `probabilities`: (batch, 4,
height, width) float32 in [0, 1]; the first three maps are classes and add up to
1, the last is the distance to the nucleus' edge. They are probabilities and
not logits because that is what everything after the network is made for:
times 255 and rounded, they are the map that `predict` stores.

The file's metadata holds the rest: the normalization of an image, the working
mpp, the receptive radius, and the numbers that turn maps into nuclei.
"""

import importlib.util
import json
import logging
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from nucleipel import __version__
from nucleipel.errors import CheckpointError
from nucleipel.model.checkpoint import Checkpoint, Description
from nucleipel.model.network import to_probabilities

INPUT, OUTPUT = "image", "probabilities"
LARGEST_BLOCKS = 2**20
TOLERANCE = 1e-3
"""Largest difference between a probability of the exported network and torch's."""
NEEDED = ("onnx", "onnxscript", "onnxruntime")


class _Probabilities(nn.Module):
    """A network whose outputs are probabilities."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return to_probabilities(self.network(image))


def require_exporters(*names: str) -> None:
    """Check that the packages of the extra `export` are there.

    Raises
    ------
    CheckpointError
        If one of `names` is not installed.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise CheckpointError(
                f"export needs the package {name}; install it: pip install 'nucleipel[export]'"
            )


def build_onnx(checkpoint: Checkpoint) -> bytes:
    """Build the ONNX file of a checkpoint, compared with torch before it is returned.

    Raises
    ------
    CheckpointError
        If the packages of the extra `export` are missing, if the network takes
        whole images that are resized, or if ONNX Runtime's probabilities differ
        from torch's by more than `TOLERANCE`.
    """
    require_exporters(*NEEDED)
    spec, whole_px = checkpoint.description.network, checkpoint.description.grid.whole_image_px
    if whole_px is not None:
        raise CheckpointError(
            f"the checkpoint takes whole images, resized to {whole_px} px, which the exported"
            " formats cannot say; fine-tune it on patches, and export that"
        )
    network = _Probabilities(checkpoint.network).eval()
    batch = torch.export.Dim("batch", min=1)
    height = torch.export.Dim("rows", min=1, max=LARGEST_BLOCKS)
    width = torch.export.Dim("columns", min=1, max=LARGEST_BLOCKS)
    example = torch.zeros(2, spec.in_channels, 4 * spec.stride, 6 * spec.stride)
    with warnings.catch_warnings(), _quiet_exporter():
        warnings.simplefilter("ignore")  # the exporter's own, about its insides
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={"image": {0: batch, 2: spec.stride * height, 3: spec.stride * width}},
            verbose=False,
        )
    if program is None:
        raise CheckpointError("torch exported no program; use torch 2.6 or newer")
    model = program.model_proto
    _clean(model)
    for key, value in describe_use(checkpoint).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    payload: bytes = model.SerializeToString(deterministic=True)
    _require_parity(payload, network, checkpoint.description)
    return payload


def predict_once(checkpoint: Checkpoint, image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Predict normalized (batch, C, H, W) images with torch: (batch, 4, H, W) probabilities."""
    with torch.inference_mode():
        return _Probabilities(checkpoint.network).eval()(torch.from_numpy(image)).numpy()


def describe_use(checkpoint: Checkpoint) -> dict[str, str]:
    """Describe all that a user of the bare network has to know, as the metadata of its file."""
    description = checkpoint.description
    spec, grid = description.network, description.grid
    low, high = (description.normalization[f"{end}_percentile"] for end in ("low", "high"))
    facts: dict[str, Any] = {
        "input": f"(batch, {spec.in_channels}, height, width) float32 in [0, 1];"
        f" height and width are multiples of {spec.stride}",
        "preprocessing": {
            "description": f"For each channel take its percentiles {low:g} and {high:g} over the"
            " WHOLE image or slide, never over a window; map them to 0 and 1, linearly; clip."
            " high is at least low + 1."
            + (" Gray images are repeated three times." if spec.in_channels == 3 else ""),
            "low_percentile": low,
            "high_percentile": high,
            "over": "whole image, each channel",
            "clip": [0, 1],
        },
        "output": f"(batch, {len(description.maps)}, height, width) float32 probabilities",
        "maps": list(description.maps),
        "mpp_um": description.mpp,
        "stride_px": spec.stride,
        "receptive_radius_px": description.receptive_radius_px,
        "canonical_map": description.canonical_map,
        "windows": {
            "core_px": grid.core_px,
            "halo_px": grid.halo_px,
            "edges": "mirrored",
            "edge_px": grid.edge_px,
        },
        "instances": description.instances,
        "stained_instances": description.stained_instances,
        "checkpoint_sha256": checkpoint.sha256,
        "nucleipel_version": __version__,
    }
    return {
        f"nucleipel.{key}": value if isinstance(value, str) else json.dumps(value)
        for key, value in facts.items()
    }


class _quiet_exporter:  # noqa: N801  (used as a function)
    """Silence the exporter, which logs its progress and packages that are missing."""

    NAMES = ("torch.onnx", "onnxscript", "onnx_ir")

    def __enter__(self) -> None:
        self.levels = {name: logging.getLogger(name).level for name in self.NAMES}
        for name in self.NAMES:
            logging.getLogger(name).setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        for name, level in self.levels.items():
            logging.getLogger(name).setLevel(level)


def _clean(model: Any) -> None:
    """Name the axes; drop the exporter's notes, which hold paths of the machine it ran on."""
    graph = model.graph
    for value in (*graph.input, *graph.output):
        for axis, name in ((0, "batch"), (2, "height"), (3, "width")):
            value.type.tensor_type.shape.dim[axis].dim_param = name
        del value.metadata_props[:]
    for node in graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del graph.value_info[:]  # spelled with the old axis names; ONNX Runtime infers them again
    del graph.metadata_props[:]
    for initializer in graph.initializer:
        del initializer.metadata_props[:]
    del model.metadata_props[:]
    graph.name, model.producer_name, model.producer_version = "nucleipel", "nucleipel", __version__
    model.doc_string = "Nuclei: class probabilities and distance; see the metadata."


def _require_parity(payload: bytes, network: nn.Module, description: Description) -> None:
    """Compare both on noise, in another shape and batch than the one that was traced."""
    import onnxruntime

    spec = description.network
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(payload, options, providers=["CPUExecutionProvider"])
    shape = (1, spec.in_channels, 5 * spec.stride, 3 * spec.stride)
    image = np.random.default_rng(0).random(shape, np.float32)
    with torch.inference_mode():
        wanted = network(torch.from_numpy(image)).numpy()
    (exported,) = session.run([OUTPUT], {INPUT: image})
    difference = (
        float(np.abs(exported - wanted).max()) if exported.shape == wanted.shape else np.inf
    )
    if not difference <= TOLERANCE:
        raise CheckpointError(
            f"the exported network differs from torch's by {difference:.2g} in a probability;"
            f" expected at most {TOLERANCE:g}; report this with the versions of torch and onnx"
        )
