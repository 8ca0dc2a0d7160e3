"""One training sample: from (H, W, C) pixels and ids to the tensors a network takes.

This is the one place where YXC becomes CYX.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from nucleipel.core.intensity import to_channels
from nucleipel.instances.training_targets import class_targets, distance_target, one_hot


class AnnotatedPixels(NamedTuple):
    """A part of an image, normalized, with what is known of it.

    `pixels` (H, W, C) float32 in [0, 1], `instance_map` (H, W) of any integers,
    `counted` (H, W) bool, whether a pixel was annotated: all were if it is None.
    """

    pixels: npt.NDArray[np.float32]
    instance_map: npt.NDArray[np.integer[Any]]
    counted: npt.NDArray[np.bool_] | None = None


class Sample(NamedTuple):
    """Input and targets of a network, and the annotation that they come from.

    `image` (C, H, W), `onehot` (classes, H, W) and `distance` (1, H, W)
    float32, `instance_map` (H, W) int32. A pixel that was not annotated has no
    class: its `onehot` is 0. Losses and scores leave it out.
    """

    image: torch.Tensor
    onehot: torch.Tensor
    distance: torch.Tensor
    instance_map: torch.Tensor


def build_sample(shown: AnnotatedPixels, *, channels: int, boundary_px: int) -> Sample:
    """Make the tensors that a network takes and is trained on."""
    counted = None if shown.counted is None or shown.counted.all() else shown.counted
    targets = class_targets(shown.instance_map, boundary_px=boundary_px, counted=counted)
    onehot = one_hot(targets)
    if counted is not None:
        onehot *= counted
    return Sample(
        to_network_input(shown.pixels, channels=channels),
        torch.from_numpy(onehot),
        torch.from_numpy(distance_target(shown.instance_map, counted=counted)[None]),
        torch.from_numpy(_small_ids(shown.instance_map)),
    )


def _small_ids(instance_map: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int32]:
    """The map as int32; ids beyond its range become 1..n, in the order of the old ones."""
    if instance_map.max(initial=0) <= np.iinfo(np.int32).max:
        return instance_map.astype(np.int32)
    _, renumbered = np.unique(np.append(instance_map, 0), return_inverse=True)
    return renumbered[:-1].reshape(instance_map.shape).astype(np.int32)


def to_network_input(image: npt.NDArray[np.float32], *, channels: int) -> torch.Tensor:
    """(C, H, W) float32 tensor of a normalized (H, W, C) image."""
    pixels = to_channels(image, channels)
    # contiguous: channels_last tensors corrupt torch 2.13's heap with narrow stages on the CPU
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32))
