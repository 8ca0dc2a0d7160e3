"""A stage's run shared out to workers; it ends here, with its record."""

import logging
from pathlib import Path

from nucleipel.core.listing import first_names
from nucleipel.core.run_options import RunOptions
from nucleipel.core.shard import CLOSE, Shard
from nucleipel.errors import StoreError
from nucleipel.stages.cluster.dask_workers import Cluster, log_faults
from nucleipel.stages.pipeline.run_parts import SharedRun, Step

log = logging.getLogger(__name__)


def distribute(cluster: Cluster, run: SharedRun) -> Path:
    """Do each part of a run on some worker, step after step, then complete the output.

    The folder is held until all steps are done: nobody else starts the same
    run. Images of which a part failed are left out of the steps that follow.

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
    faults: dict[str, str] = {}
    failed: set[str] = set()
    images: set[str] = set()
    try:
        with cluster.open() as workers:
            for step in run.steps:
                images |= {part.image for part in step.parts}
                shards = _shard_of_each(step, failed)
                faults |= workers.run(step.work, shards, step.name)
                failed |= {part.image for part in step.parts if str(part) in faults}
    finally:
        run.output.release()
    log_faults(faults)
    if faults and not allow_missing:
        raise StoreError(
            f"{folder}: {len(failed)} of {len(images)} failed, the others are done:"
            f" {first_names(sorted(failed))}; the same command tries them again"
        )
    return run.close(options=RunOptions(shard=CLOSE, allow_missing=allow_missing))


def _shard_of_each(step: Step, failed: set[str]) -> dict[str, Shard]:
    """A shard for each part, but not of images that failed."""
    count = max(2, len(step.parts))  # the only task of one would close the output
    return {
        str(part): Shard(number, count)
        for number, part in enumerate(step.parts, 1)
        if part.image not in failed
    }
