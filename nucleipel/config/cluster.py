"""Settings of batch systems: the profile of `nucleipel submit`, the file of `--cluster-config`."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from nucleipel.config.settings import NotNegative, Positive, Settings

Stage = Literal["train", "tile", "finetune-patches", "predict", "stitch", "evaluate"]


class JobConfig(Settings):
    """Resources of the jobs of one stage, and its settings."""

    partition: str | None = None
    """Partition of the jobs."""
    time: str | None = None
    """Time limit as sbatch takes it, 12:00:00 or 2-00:00:00; a job that needs more is requeued."""
    cpus: Positive | None = None
    """Cores of a task."""
    memory: str | None = None
    """Memory as sbatch takes it, 16G say."""
    gpus: NotNegative | None = None
    """GPUs on each machine."""
    processes: Positive | None = None
    """Processes on each machine that train together, one for each GPU; for train and
    finetune-patches only."""
    nodes: Positive | None = None
    """Machines that train together."""
    sbatch: tuple[str, ...] = ()
    """Further options of sbatch, "--account=lab42" say."""
    config: str | None = None
    """YAML file of the stage's settings."""
    set: tuple[str, ...] = ()
    """Settings of the stage, each key=value."""


class SubmitConfig(Settings):
    """Settings of `nucleipel submit`."""

    command: str = "nucleipel"
    """The command on a node; may be several words."""
    setup: tuple[str, ...] = ()
    """Lines of shell that come first in every job: module load, source .venv/bin/activate."""
    shards: Positive | None = None
    """Tasks of an array, at most; without it one a part: a shard of patches, a small image, some
    4,096 x 4,096 px of a large one. Never more than the MaxArraySize of your Slurm allows."""
    at_a_time: Positive | None = None
    """Tasks of an array that run at a time, at most."""
    warn_seconds: Positive = 120
    """Time before the limit at which a job saves, stops and is requeued."""
    restarts: NotNegative = 20
    """Times that a job is requeued, at most."""
    retries: NotNegative = 2
    """Times that a job that failed or was killed is requeued, whatever its message; never after a
    mistake on the command line. Both kinds count together. The third go of a job names the part of
    a slide that killed the two before."""
    default: JobConfig = JobConfig()
    """For every stage whose own entry does not differ."""
    stages: dict[Stage, JobConfig] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.default.config or self.default.set:
            raise ValueError("default.config and default.set: settings belong to one stage each")
        for stage in ("tile", "predict", "stitch", "evaluate"):
            if self.job(stage).processes or self.job(stage).nodes:
                raise ValueError(
                    f"{stage}: processes and nodes are for train and finetune-patches;"
                    f" {stage} is shared out by shards"
                )
        return self

    def job(self, stage: Stage) -> JobConfig:
        """The resources and settings of a stage, the defaults filled in."""
        own = self.stages.get(stage, JobConfig())
        both = {**self.default.model_dump(), **own.model_dump(exclude_none=True)}
        both["sbatch"] = (*self.default.sbatch, *own.sbatch)
        return JobConfig.model_validate(both)


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
