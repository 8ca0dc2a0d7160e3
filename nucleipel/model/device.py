"""Choose between the GPU and the CPU."""

import torch

from nucleipel.errors import NucleipelError


def uses_gpu(device: str, *, error: type[NucleipelError]) -> bool:
    """Return whether the device "auto", "cpu" or "cuda" is a GPU on this machine.

    Raises
    ------
    NucleipelError
        The `error`, if "cuda" is wanted and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise error("device cuda: no usable GPU was found; use --device cpu or auto")
    return device != "cpu" and torch.cuda.is_available()
