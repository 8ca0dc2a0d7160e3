"""The whole pipeline as Slurm jobs that wait for each other and go on where they were stopped."""

import logging
import shlex
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from nucleipel.config import PredictConfig, StitchConfig, TileConfig, TrainConfig, load_config
from nucleipel.config.cluster import JobConfig, Stage, SubmitConfig
from nucleipel.config.settings import Settings
from nucleipel.core.atomic import write_json, write_text
from nucleipel.errors import ImageError, OutputError, SubmitError
from nucleipel.io.manifest import Manifest, read_manifest
from nucleipel.io.sbatch import cancel_jobs, stage_function, submit_script
from nucleipel.io.slides.slide_reader import SlideReader
from nucleipel.io.stores.stored_map import most_parts
from nucleipel.model.foreign_model import read_model
from nucleipel.stages.pipeline.predict import slide_reader_for
from nucleipel.stages.pipeline.reader_settings import build_slide_reader
from nucleipel.stages.pipeline.stitch import choose_block_px, parts_of_shape
from nucleipel.stages.pipeline.tile import lay_tiles

log = logging.getLogger(__name__)

C = TypeVar("C", bound=Settings)


@dataclass(frozen=True)
class Job:
    """One batch script; `after` is how it waits, by the names of other jobs: (kind, names)."""

    name: str
    script: str
    after: tuple[str, tuple[str, ...]] | None


@dataclass(frozen=True)
class _Chain:
    """Everything that the commands of all jobs are made of."""

    config: SubmitConfig
    manifest: Path
    out: Path
    split: str
    data_root: Path | None
    most_tasks: int | None

    def command(self, stage: Stage, *arguments: object) -> str:
        job = self.config.job(stage)
        options = ["--config", str(Path(job.config).absolute())] if job.config else []
        options += [part for assignment in job.set for part in ("--set", assignment)]
        words = [stage, *arguments, *options]
        together = (job.processes or 1) * (job.nodes or 1) > 1
        launcher = "srun --kill-on-bad-exit=0 --wait=60 " if together else ""
        return f"stage {launcher}{self.config.command} " + " ".join(
            shlex.quote(str(word)) for word in words
        )

    def images(self, split: str | None) -> list[object]:
        rows: list[object] = ["--manifest", self.manifest.absolute()]
        rows += ["--split", split] if split else []
        return rows + (["--data-root", self.data_root.absolute()] if self.data_root else [])

    def path(self, name: str) -> Path:
        return self.out.absolute() / name

    def tasks(self, parts: int) -> int:
        """Number of tasks of an array that share so many parts."""
        return min(parts, self.config.shards or parts, self.most_tasks or parts)

    def settings(self, stage: Stage, kind: type[C]) -> C:
        """The settings that the commands of a stage will have."""
        job = self.config.job(stage)
        return load_config(kind, file=Path(job.config) if job.config else None, assignments=job.set)


def build_jobs(
    manifest: Path,
    out: Path,
    config: SubmitConfig,
    *,
    split: str = "test",
    checkpoint: Path | None = None,
    finetune: bool = True,
    data_root: Path | None = None,
    most_tasks: int | None = None,
) -> list[Job]:
    """The jobs of the pipeline, in an order in which they can be submitted.

    `train`, unless there is a `checkpoint`; `tile`, an array over the shards
    of the patch store with a job that closes it, and `finetune-patches`, if
    `finetune`; then `predict` and `stitch` as arrays over the parts of the images
    of `split`, the second after the first: a large slide has many parts, a small
    image is one; then a job that closes both, without the images that failed, and
    evaluates where all have labels. No array has more than `most_tasks`.

    Raises
    ------
    ManifestError
        If the manifest has faults, or no images of a split that is needed.
    ImageError
        With every image that is to be tiled and cannot be used.
    ConfigError
        If the settings of a stage whose parts are counted are wrong.
    CheckpointError
        If `checkpoint` is none.
    """
    learned = ("train", "val") if checkpoint is None or finetune else ()
    images = read_manifest(manifest, data_root=data_root, needed=learned)
    rows = images.of_split(split)
    for needed in learned:
        images.of_split(needed).annotated()
    chain = _Chain(config, manifest, out, split, data_root, most_tasks)
    jobs, model, ready = _training_jobs(chain, images, checkpoint, finetune=finetune)
    predict, stitch = _predict_command(chain, model), _stitch_command(chain)
    to_predict, to_stitch = _count_parts(chain, rows, checkpoint)
    jobs.append(_array(chain, "predict", predict, chain.tasks(to_predict), after=ready))
    waiting = ("afterany", ("predict",))
    jobs.append(_array(chain, "stitch", stitch, chain.tasks(to_stitch), after=waiting))
    # stitching needs no more than a CPU: what a task left undone because of a neighbor is done here
    last = [f"{predict} --shard close --allow-missing", f"{stitch} --allow-missing"]
    if all(row.label is not None for row in rows):
        scored = ["--instances", chain.path("instances"), "--out", chain.path("report.json")]
        last.append(chain.command("evaluate", *chain.images(split), *scored, "--allow-missing"))
    jobs.append(_job(chain, "evaluate", last, after=("afterany", ("stitch",))))
    return jobs


def submit(jobs: list[Job], out: Path) -> dict[str, str]:
    """Write the scripts to `out/jobs` and submit them; returns job ids by name.

    Raises
    ------
    SubmitError
        If Slurm refuses one; those that were submitted are canceled.
    OutputError
        If the scripts cannot be written.
    """
    folder = out / "jobs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for job in jobs:
            write_text(folder / f"{job.name}.sbatch", job.script)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror or error}") from error
    ids: dict[str, str] = {}
    for job in jobs:
        try:
            ids[job.name] = submit_script(
                folder / f"{job.name}.sbatch", dependency=_dependency(job, ids)
            )
        except SubmitError:
            cancel_jobs(list(ids.values()))
            raise
        log.info("%s: job %s", job.name, ids[job.name])
    write_json(folder / "jobs.json", ids)
    return ids


def _dependency(job: Job, ids: dict[str, str]) -> str | None:
    if job.after is None:
        return None
    kind, names = job.after
    return ":".join([kind, *(ids[name] for name in names)])


def _training_jobs(
    chain: _Chain, images: Manifest, checkpoint: Path | None, *, finetune: bool
) -> tuple[list[Job], str, tuple[str, tuple[str, ...]] | None]:
    """Jobs before `predict`, the checkpoint that comes out, and what to wait for."""
    jobs, ready = [], []
    model = _checkpoint_argument(checkpoint) if checkpoint else str(chain.path("train"))
    if checkpoint is None:
        train = chain.command("train", *chain.images(None), "--out", model)
        jobs.append(_job(chain, "train", [train]))
        ready.append("train")
    if finetune:
        patches, run = chain.path("patches.zarr"), chain.path("finetune")
        jobs += _tile_jobs(chain, images, patches)
        command = chain.command(
            "finetune-patches", "--checkpoint", model, "--patches", patches, "--out", run
        )
        waiting = ("afterok", (*ready, jobs[-1].name))
        jobs.append(_job(chain, "finetune-patches", [command], after=waiting))
        model, ready = str(run), ["finetune-patches"]
    return jobs, model, ("afterok", tuple(ready)) if ready else None


def _tile_jobs(chain: _Chain, images: Manifest, patches: Path) -> list[Job]:
    """An array over the shards of the patch store, then a job that closes it; or one for both."""
    config = chain.settings("tile", TileConfig)
    # only sizes are read; what `tile` would refuse at night is reported now
    plan = lay_tiles(images, config)
    tasks = chain.tasks(len(plan.layout(config).shards))
    tile = chain.command("tile", *chain.images(None), "--out", patches)
    if tasks == 1:
        return [_job(chain, "tile", [tile])]
    closing = _job(chain, "tile", [tile], name="tile-close", after=("afterany", ("tile",)))
    return [_array(chain, "tile", tile, tasks), closing]


def _count_parts(chain: _Chain, rows: Manifest, checkpoint: Path | None) -> tuple[int, int]:
    """Count the parts that `predict` and `stitch` will share out; only sizes are read.

    An image that cannot be opened is one part: whose it is, says why.
    """
    reader = _reader(chain, checkpoint)
    block_px = choose_block_px(chain.settings("stitch", StitchConfig))
    to_predict = to_stitch = 0
    for row in rows:
        shape = (1, 1)
        with suppress(ImageError), row.open(reader) as slide:
            shape = slide.shape
        to_predict += most_parts(shape) if reader.whole_image_px is None else 1
        to_stitch += parts_of_shape(shape, block_px)
    return to_predict, to_stitch


def _reader(chain: _Chain, checkpoint: Path | None) -> SlideReader:
    """Build the reader of `predict`, with a checkpoint that is there or one that is trained."""
    config = chain.settings("predict", PredictConfig)
    if checkpoint is not None:
        return slide_reader_for(read_model(checkpoint), config)
    trained = chain.settings("train", TrainConfig)
    return build_slide_reader(
        config,
        at_mpp=trained.mpp if config.at_mpp is None else config.at_mpp,
        channels=trained.channels,
        whole_image_px=trained.window_px if trained.whole_images else None,
    )


def _checkpoint_argument(checkpoint: Path) -> str:
    # "default" names the packaged weights and no path
    return str(checkpoint.absolute()) if checkpoint.exists() else str(checkpoint)


def _predict_command(chain: _Chain, model: str) -> str:
    out = ["--out", chain.path("predictions.zarr")]
    return chain.command("predict", "--checkpoint", model, *chain.images(chain.split), *out)


def _stitch_command(chain: _Chain) -> str:
    maps = ["--predictions", chain.path("predictions.zarr")]
    return chain.command("stitch", *maps, "--out", chain.path("instances"))


def _array(
    chain: _Chain,
    stage: Stage,
    command: str,
    tasks: int,
    *,
    after: tuple[str, tuple[str, ...]] | None = None,
) -> Job:
    shard = f'--shard "$SLURM_ARRAY_TASK_ID/{tasks}"'
    return _job(chain, stage, [f"{command} {shard}"], after=after, tasks=tasks)


def _job(
    chain: _Chain,
    stage: Stage,
    commands: list[str],
    *,
    name: str | None = None,
    after: tuple[str, tuple[str, ...]] | None = None,
    tasks: int = 0,
) -> Job:
    config, name = chain.config, name or stage
    log_name = "%x-%a.log" if tasks else "%x.log"
    directives = [
        f"--job-name=nucleipel-{name}",
        f'--output="{chain.path("jobs")}/{log_name}"',
        "--open-mode=append",
        "--requeue",
        f"--signal=B:USR1@{config.warn_seconds}",
        *_resources(config.job(stage)),
    ]
    if tasks:
        limit = f"%{config.at_a_time}" if config.at_a_time else ""
        directives.append(f"--array=1-{tasks}{limit}")
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH {directive}" for directive in directives),
        "",
        f"RESTARTS={config.restarts}",
        f"RETRIES={config.retries}",
        stage_function(),
        *config.setup,
        *(f"{command} || exit" for command in commands),
    ]
    return Job(name, "\n".join(lines) + "\n", after)


def _resources(job: JobConfig) -> list[str]:
    options = {
        "--partition": job.partition,
        "--time": job.time,
        "--nodes": job.nodes,
        "--ntasks-per-node": job.processes,
        "--cpus-per-task": job.cpus,
        "--mem": job.memory,
        "--gres": f"gpu:{job.gpus}" if job.gpus else None,
    }
    return [f"{name}={value}" for name, value in options.items() if value is not None] + list(
        job.sbatch
    )
