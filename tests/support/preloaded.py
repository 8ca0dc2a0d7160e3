"""What the server of forked processes has ready: what commands import late, and compiled code."""

import matplotlib.backends.backend_agg
import matplotlib.figure  # noqa: F401
import pyarrow.parquet  # noqa: F401
import scipy.ndimage  # noqa: F401
import tifffile  # noqa: F401

import nucleipel.cli.main
import nucleipel.stages.demo
import nucleipel.stages.pipeline.segment  # noqa: F401
from nucleipel.instances.precompile import compile_all

compile_all()
