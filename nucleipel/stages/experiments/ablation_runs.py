"""The runs of an ablation: each is one arm with one seed, finished once; several at a time."""

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
from typing import Any, TypedDict

import torch

from nucleipel.config import CalibrateConfig, FinetunePatchesConfig, PredictConfig
from nucleipel.config.pipeline.instances import InstanceOverrides
from nucleipel.core.atomic import write_json
from nucleipel.core.progress import track
from nucleipel.core.stop_signals import listen
from nucleipel.errors import OutputError, TrainingError
from nucleipel.io.evaluation_report import write_report
from nucleipel.io.manifest import Manifest, Row, read_manifest
from nucleipel.io.records.output import read_record
from nucleipel.io.stores.predictions import Prediction, open_predictions
from nucleipel.metrics.scores import ImageScore
from nucleipel.model.checkpoint import Checkpoint, read_checkpoint
from nucleipel.stages.pipeline.evaluate import image_rows, summarize
from nucleipel.stages.pipeline.finetune_patches import finetune_patches
from nucleipel.stages.pipeline.predict import predict
from nucleipel.stages.pipeline.rule_scores import RuleScores
from nucleipel.training.coordinate_ascent import coordinate_ascent

log = logging.getLogger(__name__)

FINETUNE, FAILED, NUMBERS, MAPS = "finetune", "failed.json", "numbers.json", "maps-{}.zarr"
CHOSEN_BY = ("pq", "dice")


class ChosenNumbers(TypedDict):
    """Numbers of an `InstanceRule`, and the pooled score on val that they reach."""

    instances: dict[str, Any]
    val: float


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
    instances: InstanceOverrides
    calibrate: CalibrateConfig
    """Settings of its predictions, and the numbers that are tried for it on val."""

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
    def numbers(self) -> dict[str, ChosenNumbers]:
        """Its own numbers, chosen on val by each measure of `CHOSEN_BY`; none before that."""
        path = self.folder / NUMBERS
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    @property
    def finished(self) -> bool:
        """Return whether it has ended, with scores or with a failure."""
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
    """Fine-tune, choose numbers on val, score the split. What is finished is not done again."""
    try:
        checkpoint = _checkpoint(run)
    except TrainingError as error:
        # it would fail again: the arm is reported as failed, and the others go on
        write_json(run.folder / FAILED, {"reason": str(error)})
        log.warning("%s, seed %d: %s", run.arm, run.seed, error)
        return
    model = read_checkpoint(checkpoint)
    if not run.numbers:
        write_json(run.folder / NUMBERS, _choose_numbers(run, checkpoint, model))
    _write_scores(run, checkpoint, model)
    _tidy(run)


def _choose_numbers(run: Run, checkpoint: Path, model: Checkpoint) -> dict[str, ChosenNumbers]:
    """The numbers of best pooled PQ on val, and those of best pooled Dice."""
    rule_scores = RuleScores(*_predicted(run, checkpoint, "val"))
    start = run.instances.over(model.description.instances)
    candidates, rounds = run.calibrate.candidates(), run.calibrate.rounds
    chosen: dict[str, ChosenNumbers] = {}
    for measure in CHOSEN_BY:
        trials = coordinate_ascent(start, candidates, rule_scores.pooled(measure), rounds=rounds)
        numbers, score = max(track(trials, f"calibrating by {measure}"), key=lambda trial: trial[1])
        chosen[measure] = {"instances": numbers, "val": score}
    return chosen


def _write_scores(run: Run, checkpoint: Path, model: Checkpoint) -> None:
    """Write the report of the split: Dice under the numbers chosen by Dice, all else by PQ."""
    predictions, rows = _predicted(run, checkpoint, run.split)
    numbers = run.numbers
    scores: dict[str, list[ImageScore]] = {measure: [] for measure in CHOSEN_BY}
    for prediction, row in zip(track(predictions, "scoring"), rows, strict=True):
        rule_scores = RuleScores([prediction], [row])
        for measure in CHOSEN_BY:
            scores[measure] += rule_scores.scores(numbers[measure]["instances"])
    of_split = Manifest(run.manifest, tuple(rows))
    report, table = summarize(scores["pq"]), image_rows(of_split, scores["pq"])
    by_dice = summarize(scores["dice"])
    for kind in ("mean_over_images", "pooled_over_nuclei"):
        report[kind]["dice"] = by_dice[kind]["dice"]
    for line, score in zip(table, scores["dice"], strict=True):
        line["dice"] = score.to_scores()["dice"]
    comparison = {"checkpoint": model.fingerprint, "split": run.split, "numbers": numbers}
    write_report(run.report, {"comparison": comparison, **report}, table, overwrite=False)


def _predicted(
    run: Run, checkpoint: Path, split: str
) -> tuple[Sequence[Prediction], Sequence[Row]]:
    """Predict a split, or take its maps of an earlier go; returns maps and rows."""
    rows = read_manifest(run.manifest, data_root=run.data_root, needed=(split,))
    rows = rows.of_split(split).annotated()
    config = run.calibrate.part(PredictConfig)
    maps = predict(checkpoint, rows, run.folder / MAPS.format(split), config)
    return open_predictions(maps).images, list(rows)


def _tidy(run: Run) -> None:
    """Remove the maps and the training state of a finished run."""
    for split in ("val", run.split):
        shutil.rmtree(run.folder / MAPS.format(split), ignore_errors=True)
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
