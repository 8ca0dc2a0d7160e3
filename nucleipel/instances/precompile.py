"""Compile before the first use: after an installation numba needs some 15 s of CPU time.

A process of its own does it while torch is imported and the network predicts, so
that the first small image hardly waits. The result lies in numba's cache, from
where this process and all later ones load it.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from nucleipel.instances.segment_map import segment_instances
from nucleipel.instances.watershed import solve_components


@contextmanager
def precompiling() -> Iterator[None]:
    """Compile in another process during the block; at its end all is compiled."""
    if _is_compiled() or not solve_components.stats.cache_path:  # no folder to share it by
        yield
        return
    compiler = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", __name__],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
        compiler.wait()  # if it failed, the first call compiles and raises the error
    finally:
        compiler.kill()
        compiler.wait()


def compile_all() -> None:
    """Compile all that segmentation calls, or load it from the cache."""
    segment_instances(np.full((3, 8, 8), 85, np.uint8))


def _is_compiled() -> bool:
    kernel = f"watershed.{solve_components.__name__}-*.nbi"
    folder = solve_components.stats.cache_path  # None: nothing can be written anywhere
    return folder is not None and any(Path(folder).glob(kernel))


if __name__ == "__main__":
    compile_all()
