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
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.instances.instance_rule import InstanceRule
from nucleipel.instances.measurements import MeasuredImage, measure_nuclei
from nucleipel.instances.output_frame import OutputMap
from nucleipel.instances.segment_map import segment_instances
from nucleipel.instances.watershed import solve_components


@contextmanager
def precompiling() -> Iterator[None]:
    """Compile in another process during the block; at its end all is compiled."""
    # without a cache there is nothing to share it by
    if _is_compiled() or not solve_components.dispatcher.stats.cache_path:
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
    """Compile all that segmentation and measuring call, or load it from the cache."""
    nucleus = np.zeros((4, 32, 32), np.uint8)
    nucleus[0] = 255
    nucleus[:, 8:24, 8:24] = np.array([0, 255, 0, 255])[:, None, None]
    instances = segment_instances(nucleus, rule=InstanceRule(min_probability_percent=0))
    drawn = OutputMap(instances.map, nuclei=len(instances.table), shape=(64, 64), ratio=2.0)

    def read(box: Box) -> npt.NDArray[np.uint8]:
        return np.full((*box.shape, 3), 99, np.uint8)

    stained = MeasuredImage(read, ("red", "green", "blue"), white=255)
    for rows in measure_nuclei(instances.table, drawn, mpp=None, image=stained):
        assert len(rows.outlines) == 1  # noqa: S101


def _is_compiled() -> bool:
    kernel = "watershed.solve_components-*.nbi"
    folder = solve_components.dispatcher.stats.cache_path  # None: nothing can be written anywhere
    return folder is not None and any(Path(folder).glob(kernel))


if __name__ == "__main__":
    compile_all()
