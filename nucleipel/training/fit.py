"""fit(): epochs of steps, EMA of weights, validation, best weights, early stopping, resume."""

import logging
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset

from nucleipel.core.progress import track
from nucleipel.core.stopping import Stopped, begun, ignore_in_worker, step
from nucleipel.data.sample import Sample
from nucleipel.errors import TrainingError
from nucleipel.training.distributed import Ranks
from nucleipel.training.mean_teacher import mixed_targets
from nucleipel.training.muon import Muon
from nucleipel.training.training_log import Journal
from nucleipel.training.training_state import TrainingState

log = logging.getLogger(__name__)

SAVE_SECONDS = 600.0
"""A training that dies without a warning loses at most so much, however long its epochs are."""

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "muon": Muon,
}
Validate = Callable[[nn.Module], dict[str, float]]
"""Scores of a network in eval mode; `pq` decides which weights are best."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long, how fast, by which optimizer: warm-up, cosine decay, EMA, clipping, patience.

    `patience` counts validations without a better PQ before training stops.
    """

    epochs: int
    steps_per_epoch: int
    batch_size: int
    optimizer: Literal["adamw", "muon"]
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    ema_decay: float
    clip_norm: float
    validate_every: int
    patience: int

    @property
    def samples(self) -> int:
        """Samples that a whole training draws."""
        return self.steps * self.batch_size

    @property
    def steps(self) -> int:
        """Optimizer steps of a whole training."""
        return self.epochs * self.steps_per_epoch

    def factor(self, step: int) -> float:
        """Learning rate at a step, as a fraction of `learning_rate`."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        total = self.steps - self.warmup_steps
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - self.warmup_steps) / max(1, total))))


@dataclass(frozen=True)
class Best:
    """The weights that a training keeps, their validation PQ, and the epoch they come from."""

    weights: dict[str, torch.Tensor]
    pq: float
    epoch: int


def fit(
    fabric: Fabric,
    network: nn.Module,
    loss: nn.Module,
    samples: Dataset[Sample],
    validate: Validate,
    *,
    schedule: Schedule,
    workers: int,
    out: Path,
    start_counts: bool = False,
    keep_last: bool = False,
    teacher_share: float = 0.0,
    set_progress: Callable[[float], None] | None = None,
) -> Best:
    """Train `network` and return the EMA weights that scored the best validation PQ.

    Under `torchrun` and `srun` several processes do it together (`Ranks`).

    `samples` is numbered from 0 to epochs x steps x batch; a run killed at any
    time continues from where it last saved and ends with the same weights (on
    the CPU, with the same libraries and thread count). It saves after each
    epoch, every ten minutes, and when it is asked to stop. With `start_counts`
    the weights that came in are validated first, as epoch 0, and may stay best.
    With `keep_last` the weights of the last epoch are returned, whatever they
    score, and nothing ends the training early. `teacher_share` of the targets are
    what the EMA weights predict (`mixed_targets`). `set_progress` is told before
    each step which share of all steps lies behind: for a loss with a schedule.

    Raises
    ------
    TrainingError
        If the loss is no longer finite.
    Stopped
        If a signal asked to stop; what was done is saved.
    """
    ranks = Ranks(fabric)
    average = AveragedModel(network, avg_fn=_ema(schedule.ema_decay), use_buffers=True)
    optimizer = OPTIMIZERS[schedule.optimizer](
        network.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay
    )
    network_, optimizer_ = fabric.setup(network, optimizer)
    average = average.to(fabric.device)
    state = TrainingState.continued(out, network, average, optimizer, fabric.strategy.precision)
    journal = Journal(out, state.rows) if ranks.first else None

    def judge() -> dict[str, float]:
        return ranks.on_first(lambda: validate(average.module.eval()))

    with journal or nullcontext(), ranks.together():
        if state.epoch or state.batches:
            log.info(
                "continuing after epoch %d of %d and %d batches",
                state.epoch, schedule.epochs, state.batches,
            )  # fmt: skip
        elif start_counts and not state.rows:
            _note(judge(), {"epoch": 0}, state, journal, whatever=keep_last)
        try:
            while not _finished(state, schedule):
                _run_epoch(
                    fabric, ranks, network_, average, optimizer_, loss,
                    _rest_of_epoch(samples, ranks, state, schedule, workers),
                    state=state, schedule=schedule, teacher_share=teacher_share,
                    set_progress=set_progress, out=out,
                )  # fmt: skip
                row = _row_of_epoch(state, schedule)
                ends = row["epoch"] % schedule.validate_every == 0 or (
                    row["epoch"] == schedule.epochs
                )
                scores = judge() if ends else {}
                with step():
                    state.end_epoch()
                    _note(scores, row, state, journal, whatever=keep_last)
                    if ranks.first:
                        state.save(out)
                ranks.stop_together()
        except Stopped:
            if not state.torn:  # the others wait: what started them takes the end of one for all
                ranks.on_first(lambda: state.save(out))
            raise
    return Best(state.best_weights, state.best_pq, state.best_epoch)


def _finished(state: TrainingState, schedule: Schedule) -> bool:
    return state.epoch >= schedule.epochs or state.validations_without_gain >= schedule.patience


def _row_of_epoch(state: TrainingState, schedule: Schedule) -> dict[str, float]:
    factor = schedule.factor(state.epoch * schedule.steps_per_epoch)
    return {
        "epoch": state.epoch + 1,
        "learning_rate": factor * schedule.learning_rate,
        "loss": state.loss_sum / schedule.steps_per_epoch,
    }


def _note(
    scores: dict[str, float],
    row: dict[str, float],
    state: TrainingState,
    journal: Journal | None,
    *,
    whatever: bool,
) -> None:
    """Judge the epoch that has just ended by its validation, if it had one, and tell it."""
    if scores:
        state.note_validation(scores["pq"], state.average.module, whatever=whatever)
    if journal:
        journal.write({**row, **{f"val_{name}": value for name, value in scores.items()}})


def _run_epoch(
    fabric: Fabric,
    ranks: Ranks,
    network: Any,
    average: AveragedModel,
    optimizer: Any,
    loss: nn.Module,
    loader: DataLoader[Sample],
    *,
    state: TrainingState,
    schedule: Schedule,
    teacher_share: float,
    set_progress: Callable[[float], None] | None,
    out: Path,
) -> None:
    """Do the steps that are left of the current epoch."""
    network.train()
    saved = time.monotonic()
    label = f"epoch {state.epoch + 1}/{schedule.epochs}"
    batches = track(begun(loader), label, total=schedule.steps_per_epoch, done=state.batches)
    for batch in batches:
        with step():
            state.torn = True
            number = state.epoch * schedule.steps_per_epoch + state.batches
            for group in optimizer.param_groups:
                group["lr"] = schedule.learning_rate * schedule.factor(number)
            if set_progress:
                set_progress(number / schedule.steps)
            image, onehot, distance = (tensor.to(fabric.device) for tensor in batch[:3])
            if teacher_share:
                with fabric.autocast():
                    onehot, distance = mixed_targets(
                        average.module, image, onehot, distance, share=teacher_share
                    )
            value = loss(network(image), onehot, distance)
            mean = ranks.mean(value.detach())
            if not math.isfinite(mean):
                raise TrainingError(
                    f"the loss is {mean} at step {number + 1};"
                    " lower learning_rate or check the annotations"
                )
            optimizer.zero_grad()
            fabric.backward(value)
            fabric.clip_gradients(network, optimizer, max_norm=schedule.clip_norm)
            optimizer.step()
            average.update_parameters(network.module)
            state.batches += 1
            state.loss_sum += mean
            state.torn = False
            if ranks.first and time.monotonic() - saved > SAVE_SECONDS:
                state.save(out)
                saved = time.monotonic()
        ranks.stop_together()


def _rest_of_epoch(
    samples: Dataset[Sample],
    ranks: Ranks,
    state: TrainingState,
    schedule: Schedule,
    workers: int,
) -> DataLoader[Sample]:
    count = schedule.steps_per_epoch * schedule.batch_size
    first = state.epoch * count
    return DataLoader(
        samples,
        batch_size=ranks.share_size(schedule.batch_size),
        sampler=ranks.share(range(first + state.batches * schedule.batch_size, first + count)),
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=ignore_in_worker,
    )


def _collate(samples: list[Sample]) -> Sample:
    return Sample(*(torch.stack(parts).contiguous() for parts in zip(*samples, strict=True)))


def _ema(decay: float) -> Callable[[torch.Tensor, torch.Tensor, Any], torch.Tensor]:
    """Averaging that follows closely at first: a random start must not linger."""

    def average(kept: torch.Tensor, new: torch.Tensor, count: Any) -> torch.Tensor:
        if not kept.is_floating_point():
            return new
        steps = float(count)
        return torch.lerp(kept, new, 1 - min(decay, (1 + steps) / (10 + steps)))

    return average
