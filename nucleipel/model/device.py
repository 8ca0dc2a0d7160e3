"""Choose between the GPU and the CPU."""

import torch

from nucleipel.errors import NucleipelError


def uses_gpu(device: str, *, error: type[NucleipelError]) -> bool:
    """Return whether the device "auto", "cpu", "cuda" or "mps" is a GPU on this machine.

    Raises
    ------
    NucleipelError
        The `error`, if "cuda" or "mps" is wanted and there is none.
    """
    if device == "mps":
        if not torch.backends.mps.is_available():
            raise error("device mps: this torch has no Apple GPU; use --device cpu or auto")
        return True
    if device == "cuda" and not torch.cuda.is_available():
        raise error("device cuda: no usable GPU was found; use --device cpu or auto")
    return device != "cpu" and torch.cuda.is_available()
