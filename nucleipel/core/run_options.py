"""Options of one run of a stage that change nothing in its result."""

from dataclasses import dataclass

from nucleipel.core.shard import WHOLE, Shard


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options for the output folder of a run and for its part of the work.

    Parameters
    ----------
    overwrite : bool
        Replace another run that is in the folder.
    shard : Shard
        The part of the work that this run does; by default all of it.
    allow_missing : bool
        Complete the output without the images that failed.
    """

    overwrite: bool = False
    shard: Shard = WHOLE
    allow_missing: bool = False


WHOLE_RUN = RunOptions()
"""All of the work, without images that may fail, into a folder that is free or its own."""
