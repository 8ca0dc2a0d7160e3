"""How far an ONNX model sees: measured, since an ONNX file says nothing of it.

The weights of a copy are replaced by positive ones, and what saturates is left out,
so that no path cancels another: then one bright line in a dark image lights
every output that depends on it. The model as it is is checked afterwards: what
lies beyond the radius is painted over, and no output may change.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.errors import CheckpointError
from nucleipel.model.onnx_network import Ports, build_session
from nucleipel.model.receptive_field import LIMIT_PX

SATURATING = ("Sigmoid", "HardSigmoid", "Softmax", "LogSoftmax", "Tanh", "Clip", "Softplus", "Erf")
SUMS, PRODUCTS = ("Add", "Sub"), ("Mul", "Div")
WEIGHTED = ("Conv", "ConvTranspose", "MatMul", "Gemm")
SHRINK = 3.0
"""A weight is about 1 / (`SHRINK` x input channels): with kernels of 3 x 3 neither the sum of all
paths nor a single one leaves float32 within 80 layers."""
UNCHANGED = 1e-4
"""Differences of a probability below this are rounding: a fortieth of a stored value."""
TO_FIX = "pass receptive_radius_px, or accept_seams"


def measure_reach(payload: bytes, ports: Ports, *, stride: int) -> int:
    """Measure the largest distance (px) from an input pixel to an output pixel that it changes.

    Raises
    ------
    CheckpointError
        If the model sees further than any halo reaches, or cannot be measured.
    """
    session = build_session(_with_positive_weights(payload))
    length = ports.side_px or 256
    try:
        while True:
            # a line that lights the end of the strip may have lit what lies beyond
            radius = _reach(session, ports, length, stride, axis=0, phase=0)
            if radius < length // 2 - 2 * stride:
                break
            length *= 2
            if ports.side_px is not None or length > 2 * LIMIT_PX:
                raise CheckpointError(
                    f"the model sees {radius} px or farther: no halo makes tiles exact; {TO_FIX}"
                )
        phases = [(axis, phase) for axis in (0, 1) for phase in range(stride)]
        return max(_reach(session, ports, length, stride, *phase) for phase in phases)
    except CheckpointError:
        raise
    except Exception as error:  # ONNX Runtime's own, of many classes
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"how far the model sees cannot be measured: {reason}; {TO_FIX}"
        ) from error


def require_reach(network: Any, ports: Ports, *, stride: int, halo_px: int) -> None:
    """Check that what lies more than `halo_px` from an output does not change it.

    `network` has `run`, from (1, C, H, W) to the model's own values.

    Raises
    ------
    CheckpointError
        If it does.
    """
    core, beyond = 2 * stride, 2 * stride
    if ports.side_px is not None:
        beyond = (ports.side_px - core - 2 * halo_px) // 2
        if beyond < 1:
            return
    side = core + 2 * (halo_px + beyond)
    image = np.random.default_rng(0).random((1, ports.channels, side, side), np.float32)
    inside = slice(beyond, side - beyond)
    middle = (slice(None), slice(None), *[slice(beyond + halo_px, beyond + halo_px + core)] * 2)
    seen = []
    for value in (None, 0.0, 1.0):
        painted = image.copy() if value is None else np.full_like(image, value)
        painted[:, :, inside, inside] = image[:, :, inside, inside]
        seen.append(network.run(painted)[middle])
    change = max(float(np.abs(other - seen[0]).max()) for other in seen[1:])
    if not change <= UNCHANGED:
        raise CheckpointError(
            f"pixels more than {halo_px} px away change the model's output (by {change:.2g}): it"
            " sees the whole window, or farther than measured; accept_seams takes it, and the"
            " certificate says so"
        )


def _reach(session: Any, ports: Ports, length: int, stride: int, axis: int, phase: int) -> int:
    """The farthest row or column that a bright line in a dark image lights."""
    width = ports.side_px or stride
    shape = (length, width) if axis == 0 else (width, length)
    at = length // 2 + phase
    dark = np.zeros((1, ports.channels, *shape), np.float32)
    lit = dark.copy()
    np.moveaxis(lit, 2 + axis, 0)[at] = 1
    changed = _run(session, ports, lit) != _run(session, ports, dark)
    lines = np.flatnonzero(np.moveaxis(changed[0], 1 + axis, 0).any(axis=(1, 2)))
    return int(np.abs(lines - at).max()) if len(lines) else 0


def _run(session: Any, ports: Ports, image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    last = ports.channels_last
    seen = np.ascontiguousarray(image.transpose(0, 2, 3, 1) if last else image)
    (values,) = session.run([ports.output], {ports.input: seen})
    return values.transpose(0, 3, 1, 2) if last else values


def _with_positive_weights(payload: bytes) -> bytes:
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(payload)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    random = np.random.default_rng(0)
    for index, node in enumerate(model.graph.node):
        if node.op_type in SATURATING:
            plain = onnx.helper.make_node("Identity", node.input[:1], node.output[:1])
            model.graph.node[index].CopyFrom(plain)
            continue
        for place, name in enumerate(node.input):
            tensor = weights.get(name)
            if tensor is None or tensor.data_type != onnx.TensorProto.FLOAT:
                continue
            old = numpy_helper.to_array(tensor)
            new = _positive(node.op_type, place, old, random)
            if new is not None:
                tensor.CopyFrom(numpy_helper.from_array(new.astype(np.float32), name))
    result: bytes = model.SerializeToString()
    return result


def _positive(
    kind: str, place: int, old: npt.NDArray[Any], random: np.random.Generator
) -> npt.NDArray[Any] | None:
    """What takes the place of a weight; None if it stays."""
    if kind in WEIGHTED:
        if place > 1:
            return np.zeros_like(old)
        inputs = old.shape[0] if kind in ("ConvTranspose", "MatMul") else old.shape[1]
        return random.uniform(0.5, 1.5, old.shape) / (SHRINK * inputs)
    if kind == "BatchNormalization":
        return np.full_like(old, 1 if place in (1, 4) else 0)
    if kind in SUMS:
        return np.zeros_like(old)
    return np.abs(old) + (old == 0) if kind in PRODUCTS else None
