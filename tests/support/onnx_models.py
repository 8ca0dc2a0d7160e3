"""Small ONNX models as other programs export them."""

from pathlib import Path

import numpy as np


def write_model(
    path: Path,
    *,
    outputs: int = 2,
    last: str | None = "Sigmoid",
    whole_window: str | None = None,
    side: int | str = "side",
    channels_last: bool = False,
) -> Path:
    """A U-Net of two levels without training: `outputs` maps of an image of one channel."""
    import onnx  # late: each process reads every test
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    weights: dict[str, np.ndarray] = {
        "w1": random.normal(size=(4, 1, 3, 3)), "w2": random.normal(size=(4, 4, 3, 3)) / 3,
        "w3": random.normal(size=(4, 4, 2, 2)) / 2, "w4": random.normal(size=(outputs, 8, 1, 1)),
        "ones": np.ones(4), "zeros": np.zeros(4),
        "low": np.full(outputs, -2.0),
    }  # fmt: skip
    node = helper.make_node
    nodes = [
        *([node("Transpose", ["image"], ["x"], perm=[0, 3, 1, 2])] if channels_last
          else [node("Identity", ["image"], ["x"])]),
        node("Conv", ["x", "w1"], ["fine0"], pads=[1] * 4),
        node("Relu", ["fine0"], ["fine"]),
        node("MaxPool", ["fine"], ["half"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["half", "w2"], ["coarse0"], pads=[1] * 4),
        node("Relu", ["coarse0"], ["coarse1"]),
    ]  # fmt: skip
    coarse = "coarse1"
    if whole_window == "norm":
        nodes.append(node("InstanceNormalization", [coarse, "ones", "zeros"], ["coarse"]))
        coarse = "coarse"
    elif whole_window == "gate":  # squeeze and excite: hidden where the image is dark
        nodes += [
            node("GlobalAveragePool", [coarse], ["mean"]),
            node("Sigmoid", ["mean"], ["gate"]),
            node("Mul", [coarse, "gate"], ["coarse"]),
        ]
        coarse = "coarse"
    nodes += [
        node("ConvTranspose", [coarse, "w3"], ["up"], strides=[2, 2]),
        node("Concat", ["fine", "up"], ["both"], axis=1),
        node("Conv", ["both", "w4", "low"], ["logits"]),
        node(last or "Identity", ["logits"], ["made"]),
        *([node("Transpose", ["made"], ["maps"], perm=[0, 2, 3, 1])] if channels_last
          else [node("Identity", ["made"], ["maps"])]),
    ]  # fmt: skip
    sides = [side, side]
    shape, made = [1, 1, *sides], ["n", outputs, *(sides if side != "side" else ["h", "w"])]
    if channels_last:
        shape, made = [1, *sides, 1], ["n", "h", "w", outputs]
    graph = helper.make_graph(
        nodes,
        "theirs",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, made)],
        [
            numpy_helper.from_array(value.astype(np.float32), name)
            for name, value in weights.items()
        ],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )
    return path
