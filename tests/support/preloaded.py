"""What the server of forked processes has ready: the imports of all commands, compiled code."""

import pandas  # noqa: F401  (pyarrow imports it late)

import nucleipel.cli.main
import nucleipel.stages.demo
import nucleipel.stages.pipeline.segment  # noqa: F401
from nucleipel.instances.precompile import compile_all

compile_all()
