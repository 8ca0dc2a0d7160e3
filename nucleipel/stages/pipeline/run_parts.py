"""A run that several processes may share: a claim of the output, and steps of parts."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nucleipel.config.settings import Settings
from nucleipel.core.run_options import RunOptions
from nucleipel.core.shard import Part
from nucleipel.io.records.output import Output, claim_output

Work = Callable[..., Path]
"""A stage without its last argument, `options`, which says whose shard is done."""


@dataclass(frozen=True)
class Step:
    """Parts that may be done by any process, in any order.

    Parameters
    ----------
    name : str
        What is done.
    work : Work
        Does the parts of a shard, here or in another process.
    parts : sequence of Part
        In the order in which shards count them.
    """

    name: str
    work: Work
    parts: Sequence[Part]


@dataclass(frozen=True)
class SharedRun:
    """A run of steps, each of which needs the one before.

    Parameters
    ----------
    output : Output
        The folder, claimed by this process.
    steps : iterable of Step
        Each is asked for when the one before is done.
    close : Work
        Completes the output.
    options : RunOptions
        Those that the run was started with.
    """

    output: Output
    steps: Iterable[Step]
    close: Work
    options: RunOptions


def claim(
    stage: str,
    out: Path,
    config: Settings,
    inputs: Mapping[str, str],
    options: RunOptions,
    *,
    plan: dict[str, Any] | None = None,
) -> Output:
    """Take the folder `out` for a run of `stage`; see `claim_output`."""
    return claim_output(
        out,
        stage=stage,
        config=config.identity(),
        inputs=dict(inputs),
        overwrite=options.overwrite,
        shard=options.shard,
        plan=plan,
    )
