"""How a batch system is asked for Dask's workers: the file of `--cluster-config`."""

from typing import Any, Self

from pydantic import Field, model_validator

from nucleipel.config.settings import Positive, Settings


class ClusterConfig(Settings):
    """Settings of `--cluster slurm|lsf|pbs|sge`."""

    jobs: Positive
    """Jobs that are kept waiting or running until all is done."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Keywords of dask-jobqueue's SLURMCluster (LSFCluster, ...): queue, memory, walltime."""

    @model_validator(mode="after")
    def _one_image_a_worker(self) -> Self:
        cores, processes = self.options.get("cores", 1), self.options.get("processes", 1)
        if cores != processes:
            raise ValueError(
                f"options.cores {cores}, options.processes {processes}: a worker has one image at a"
                " time; make them equal, and book further cores with job_cpu (Slurm), ncpus (LSF),"
                " resource_spec (PBS, SGE)"
            )
        return self
