"""Compiling in a process of its own leaves nothing to compile."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import numpy as np
from nucleipel.instances.precompile import _is_compiled, precompiling
from nucleipel.instances.watershed import solve_components
from nucleipel.instances.map_hash import foreground_and_digest
from nucleipel.instances.connected_components import connected_components
from nucleipel.instances.segment_map import segment_instances

assert not _is_compiled()
with precompiling():
    pass
assert _is_compiled()
generated = np.random.default_rng(0).integers(0, 256, (4, 40, 50), np.uint8)
assert len(segment_instances(generated).table) >= 0
for kernel in (solve_components, foreground_and_digest, connected_components):
    assert sum(kernel.dispatcher.stats.cache_hits.values()) == 1, kernel
    assert not kernel.dispatcher.stats.cache_misses, kernel
"""


@pytest.mark.slow
def test_later_processes_load_what_was_precompiled(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", SCRIPT], env=environment, check=True, timeout=600)
