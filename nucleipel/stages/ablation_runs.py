"""The runs of an ablation: one arm with one seed each, several at a time, each finished once."""

import json
import logging
import multiprocessing
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import torch

from nucleipel.config import EvaluateConfig, FinetunePatchesConfig, SegmentConfig
from nucleipel.core.atomic import write_json
from nucleipel.core.progress import track
from nucleipel.core.stopping import listen
from nucleipel.errors import OutputError, TrainingError
from nucleipel.io.manifest import read_manifest
from nucleipel.io.output import read_record
from nucleipel.stages.evaluate import evaluate
from nucleipel.stages.finetune_patches import finetune_patches
from nucleipel.stages.segment import segment

log = logging.getLogger(__name__)

FINETUNE, FAILED = "finetune", "failed.json"


@dataclass(frozen=True)
class Run:
    """One arm with one seed, scored on one split; without `finetune` it is the base itself."""

    folder: Path
    arm: str
    seed: int
    split: str
    base: Path
    patches: Path
    manifest: Path
    data_root: Path | None
    finetune: FinetunePatchesConfig | None
    segment: SegmentConfig

    @property
    def report(self) -> Path:
        """The scores: written last, so that they say that the run is finished."""
        return self.folder / f"{self.split}.json"

    @property
    def failure(self) -> str | None:
        """Why its training could not go on, if so."""
        path = self.folder / FAILED
        return json.loads(path.read_text(encoding="utf-8"))["reason"] if path.is_file() else None

    @property
    def finished(self) -> bool:
        """Whether an earlier go ended it, one way or the other."""
        return self.report.is_file() or self.failure is not None

    def require_same(self) -> None:
        """Refuse the finished run of another arm that had this name.

        Raises
        ------
        OutputError
            If what was run here had other settings.
        """
        if self.finetune is None or not self.report.is_file():
            return
        record = read_record(self.folder / FINETUNE, stage="finetune-patches")
        if record["config"] != self.finetune.identity():
            raise OutputError(
                f"{self.folder}: holds a run of another arm '{self.arm}';"
                " rename the new arm or pass --overwrite"
            )


def finish(runs: Sequence[Run], *, jobs: int, threads: int, done: Callable[[], None]) -> None:
    """Run what is not finished, `jobs` at a time; `done` is called whenever one has ended."""
    for run in runs:
        run.require_same()
        if run.finished:
            _tidy(run)
    waiting = [run for run in runs if not run.finished]
    if jobs == 1 or len(waiting) < 2:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            for run in track(waiting, "runs"):
                _run(run)
                done()
        finally:
            torch.set_num_threads(before)
        return
    spawn = multiprocessing.get_context("spawn")  # a forked torch may hang
    with ProcessPoolExecutor(
        jobs, mp_context=spawn, initializer=_start_process, initargs=(threads,)
    ) as pool:
        futures: list[Future[None]] = [pool.submit(_run, run) for run in waiting]
        try:
            for future in track(as_completed(futures), "runs", total=len(futures)):
                future.result()
                done()
        except BaseException:
            for child in multiprocessing.active_children():
                child.terminate()  # SIGTERM: a training saves where it stands
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _run(run: Run) -> None:
    """Fine-tune, segment the split, score it. What an earlier go finished is not done again."""
    try:
        checkpoint = _checkpoint(run)
    except TrainingError as error:
        # it would fail again: the arm is told as failed, and the others go on
        write_json(run.folder / FAILED, {"reason": str(error)})
        log.warning("%s, seed %d: %s", run.arm, run.seed, error)
        return
    rows = read_manifest(run.manifest, data_root=run.data_root).of_split(run.split).annotated()
    instances = segment(checkpoint, rows, run.folder / run.split, run.segment)
    evaluate(
        run.manifest,
        instances,
        run.report,
        EvaluateConfig(),
        split=run.split,
        data_root=run.data_root,
    )
    _tidy(run)


def _tidy(run: Run) -> None:
    """Remove what a finished run needs no more: its instances, and its training's state."""
    shutil.rmtree(run.folder / run.split, ignore_errors=True)
    for state in (run.folder / FINETUNE).glob("state*"):
        state.unlink(missing_ok=True)


def _checkpoint(run: Run) -> Path:
    if run.finetune is None:
        return run.base
    return finetune_patches(run.base, run.patches, run.folder / FINETUNE, run.finetune)


def _start_process(threads: int) -> None:
    """Set up a process of the pool; it ends with its parent, whatever happens to that one."""
    torch.set_num_threads(threads)
    listen()
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        if parent is not None:
            parent.join()
        # at once: the same command may have started again, and would write the same files
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
