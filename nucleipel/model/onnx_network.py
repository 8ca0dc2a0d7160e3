"""An ONNX model as a network: ONNX Runtime computes, torch sees tensors in and tensors out.

Whatever the model's outputs are (foreground, boundary, distance, in any order,
channels first or last), what comes out are the logits of background, interior,
boundary and distance, of which `to_probabilities` makes the model's own values.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from nucleipel.core.choices import Activation
from nucleipel.errors import CheckpointError, PredictionError

LEAST = 1e-30
"""Stands for a probability of 0, whose logarithm is not finite."""
BEYOND = 0.01
"""So far outside of 0..1 a probability may be rounded."""
MOST_CHANNELS = 64
Values = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Ports:
    """Names, axes and sizes of a model's input and of the output that is used.

    `side_px` is the side of its windows, None if they may be of any size; `channels` and
    `outputs` are the numbers of channels; `channels_last` says where they stand.
    """

    input: str
    output: str
    channels: int
    outputs: int
    channels_last: bool
    side_px: int | None


def build_session(payload: bytes, *, on_gpu: bool = False) -> Any:
    """Build ONNX Runtime's session of a model.

    Raises
    ------
    CheckpointError
        If ONNX Runtime does not take it.
    """
    import onnxruntime

    wanted = ["CUDAExecutionProvider"] if on_gpu else []
    providers = [name for name in wanted if name in onnxruntime.get_available_providers()]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(
            payload, options, providers=[*providers, "CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's own, of many classes
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"ONNX Runtime refuses the model: {reason}") from error


def ports_of(session: Any, *, output: str | None = None) -> Ports:
    """Find the image among a model's inputs, and the output of maps.

    Raises
    ------
    CheckpointError
        If the model does not take one image, or there is no such output.
    """
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type != "tensor(float)":
        taken = ", ".join(f"{i.name} {i.shape} {i.type}" for i in inputs)
        raise CheckpointError(f"the model takes {taken}; expected one image of four axes, float32")
    shape = inputs[0].shape
    last = _is_count(shape[3]) and not _is_count(shape[1])
    channels, sides = (shape[3], shape[1:3]) if last else (shape[1], shape[2:4])
    if not _is_count(channels):
        raise CheckpointError(
            f"the model takes an image of shape {shape}; expected 1 or 3 channels"
        )
    fixed = {side for side in sides if isinstance(side, int)}
    if len(fixed) > 1:
        raise CheckpointError(f"the model takes windows of {sides} px; expected squares")
    named = [port for port in outputs if port.name == output or output is None]
    if not named:
        names = ", ".join(port.name for port in outputs)
        raise CheckpointError(f"the model has no output '{output}'; it has {names}")
    return Ports(
        inputs[0].name,
        named[0].name,
        int(channels),
        _count_outputs(session, inputs[0].name, named[0].name, shape, last),
        last,
        fixed.pop() if fixed else None,
    )


def _is_count(length: object) -> bool:
    return isinstance(length, int) and 1 <= length <= 4


def _count_outputs(session: Any, source: str, name: str, shape: list[Any], last: bool) -> int:
    """The number of maps that a model gives, from its own declaration, or by a run of it."""
    (port,) = (port for port in session.get_outputs() if port.name == name)
    declared = port.shape[3 if last else 1] if len(port.shape) == 4 else None
    if isinstance(declared, int):
        return declared
    sides = [side if isinstance(side, int) else 256 for side in shape]
    sides[0] = 1
    (made,) = session.run([name], {source: np.zeros(sides, np.float32)})
    count = made.shape[3 if last else 1] if made.ndim == 4 else 0
    if not 1 <= count <= MOST_CHANNELS:
        raise CheckpointError(
            f"the model's output {name} has shape {made.shape}; expected four axes: batch, maps,"
            " height, width"
        )
    return int(count)


class OnnxNetwork(nn.Module):
    """From (B, C, H, W) float32 in 0..1 to logits (B, 4, H, W), computed by ONNX Runtime.

    Parameters
    ----------
    payload : bytes
        The model.
    ports : Ports
    channels : mapping of str to int
        Index of each output: see `nucleipel.instances.channel_maps`. Without a distance the
        last logit is 0.
    activation : {"none", "sigmoid", "softmax"}
        What makes probabilities of the model's values.
    mean, std : tuple of float
        The model takes (image - `mean`) / `std`, one number for all channels or one for each.
    """

    def __init__(
        self,
        payload: bytes,
        ports: Ports,
        *,
        channels: Mapping[str, int],
        activation: Activation = "none",
        mean: tuple[float, ...] = (0.0,),
        std: tuple[float, ...] = (1.0,),
    ) -> None:
        super().__init__()
        self.payload, self.ports, self.channels = payload, ports, dict(channels)
        self.activation = activation
        self.mean, self.std = (np.array(v, np.float32).reshape(1, -1, 1, 1) for v in (mean, std))
        self._sessions: dict[bool, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave sessions out: they cannot be copied, and are built again."""
        return {**vars(self), "_sessions": {}}

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """See the class."""
        values = self.run(image.float().cpu().numpy(), on_gpu=image.is_cuda)
        return _logits(self._maps(values)).to(image.device)

    def run(self, image: Values, *, on_gpu: bool = False) -> Values:
        """Run the model as it is on (B, C, H, W): its own values, (B, outputs, H, W)."""
        if on_gpu not in self._sessions:
            self._sessions[on_gpu] = build_session(self.payload, on_gpu=on_gpu)
        seen = (image - self.mean) / self.std
        height, width = image.shape[2:]
        if self.ports.side_px is not None:  # smaller windows, of small images, are filled up
            more = [(0, self.ports.side_px - length) for length in (height, width)]
            seen = np.pad(seen, [(0, 0), (0, 0), *more], mode="edge")
        if self.ports.channels_last:
            seen = seen.transpose(0, 2, 3, 1)
        feed = {self.ports.input: np.ascontiguousarray(seen, np.float32)}
        try:
            (values,) = self._sessions[on_gpu].run([self.ports.output], feed)
        except Exception as error:  # ONNX Runtime's own, of many classes
            reason = " ".join(str(error).split())[:300]
            raise PredictionError(
                f"the model fails on windows of {seen.shape}: {reason}; set stride_px"
            ) from error
        if self.ports.channels_last:
            values = values.transpose(0, 3, 1, 2)
        values = values[:, :, :height, :width]
        if values.shape[2:] != (height, width):
            raise PredictionError(
                f"the model gives maps of {values.shape[2:]} px for {(height, width)} px; expected"
                " the same"
            )
        return np.asarray(values, np.float32)

    def _maps(self, values: Values) -> torch.Tensor:
        """Background, interior, boundary and perhaps distance, in 0..1."""
        seen = torch.from_numpy(np.ascontiguousarray(values))
        if self.activation == "sigmoid":
            seen = seen.sigmoid()
        elif self.activation == "softmax":
            classes = [i for i in range(seen.shape[1]) if i != self.channels.get("distance")]
            seen[:, classes] = seen[:, classes].softmax(dim=1)
        of = {name: seen[:, place] for name, place in self.channels.items()}
        for name, plane in of.items():
            low, high = float(plane.min()), float(plane.max())
            if not (low >= -BEYOND and high <= 1 + BEYOND):
                raise PredictionError(
                    f"the model's {name} holds {low:g}..{high:g}; expected probabilities in 0..1:"
                    " set activation=sigmoid or softmax, or other channels"
                )
            of[name] = plane.clamp(0, 1)
        boundary = of.get("boundary", torch.zeros_like(seen[:, 0]))
        interior = of["interior"] if "interior" in of else (of["foreground"] - boundary).clamp(0)
        background = of.get("background", (1 - interior - boundary).clamp(0))
        maps = [background, interior, boundary, *([of["distance"]] if "distance" in of else [])]
        return torch.stack(maps, dim=1)


def _logits(maps: torch.Tensor) -> torch.Tensor:
    """Logits of which `to_probabilities` makes these maps (B, 3 or 4, H, W)."""
    classes = maps[:, :3].clamp(min=LEAST).log()
    distance = maps[:, 3:4].logit() if maps.shape[1] == 4 else torch.zeros_like(classes[:, :1])
    return torch.cat([classes, distance], dim=1)
