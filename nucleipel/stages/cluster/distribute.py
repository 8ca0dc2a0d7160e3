"""A stage's run shared out to workers; it ends here, with its record."""

import logging
from collections.abc import Collection, Sequence
from pathlib import Path

from nucleipel.core.run_options import RunOptions
from nucleipel.core.shard import CLOSE, Shard
from nucleipel.errors import StoreError
from nucleipel.stages.cluster.dask_workers import Cluster
from nucleipel.stages.pipeline.shared_run import SharedRun

log = logging.getLogger(__name__)


def distribute(cluster: Cluster, run: SharedRun) -> Path:
    """Do each part of a run on some worker, then complete the output.

    The folder is held until all parts are done: nobody else starts the same run.

    Raises
    ------
    StoreError
        If parts failed, unless `run.options.allow_missing`; the others are done.
    ClusterError
        If no workers can be had.
    """
    folder, allow_missing = run.output.folder, run.options.allow_missing
    if run.output.complete:
        log.info("%s: is finished", folder)
        return folder
    shards = _shard_of_each(run.parts, run.missing)
    try:
        faults = cluster.run(run.work, shards)
    finally:
        run.output.release()
    if faults and not allow_missing:
        raise StoreError(
            f"{folder}: {len(faults)} of {len(shards)} failed, the others are done:"
            f" {', '.join(faults)}; the same command tries them again"
        )
    return run.work(options=RunOptions(shard=CLOSE, allow_missing=allow_missing))


def _shard_of_each(parts: Sequence[str], missing: Collection[str]) -> dict[str, Shard]:
    """A shard for each part but those that are missing."""
    count = max(2, len(parts))  # the only task of one would close the output, which is held here
    shards = {name: Shard(number, count) for number, name in enumerate(parts, 1)}
    return {name: shard for name, shard in shards.items() if name not in set(missing)}
