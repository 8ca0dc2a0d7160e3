"""What the stages that several processes may share have in common: a claim, and named parts."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nucleipel.config.settings import Settings
from nucleipel.core.run_options import RunOptions
from nucleipel.io.records.output import Output, claim_output

Work = Callable[..., Path]
"""A stage without its last argument, `options`, which says whose shard is done."""


@dataclass(frozen=True)
class SharedRun:
    """A run whose parts, images or shards of a store, may be done by any process.

    Parameters
    ----------
    output : Output
        The folder, claimed by this process.
    work : Work
        Does the parts of a shard, here or in another process.
    parts : sequence of str
        Their names, in the order in which shards count them.
    options : RunOptions
        Those that the run was started with.
    missing : collection of str
        Parts that cannot be done, since the stage before left them out.
    """

    output: Output
    work: Work
    parts: Sequence[str]
    options: RunOptions
    missing: Collection[str] = ()


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
