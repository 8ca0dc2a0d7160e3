"""The training loop: steps, EMA of weights, validation, weights kept, early stopping, resume."""

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

from nucleipel.core.freed_memory import freed_memory_kept
from nucleipel.core.progress import track
from nucleipel.core.stop_signals import Stopped, begun, ignore_in_worker, step
from nucleipel.data.sample import Sample
from nucleipel.errors import TrainingError
from nucleipel.training.distributed import Ranks
from nucleipel.training.mean_teacher import mixed_targets
from nucleipel.training.muon import Muon
from nucleipel.training.training_log import TrainingLog
from nucleipel.training.training_state import TrainingState

log = logging.getLogger(__name__)

SAVE_SECONDS = 600.0
"""Longest time between two saves: what a training that is killed loses at most."""

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "muon": Muon,
}
Validate = Callable[[nn.Module], dict[str, float]]
"""Scores a network in eval mode; `pq` decides which weights are best."""


@dataclass(frozen=True, slots=True)
class FitOptions:
    """Options of a fit: length, optimizer, learning rate, validation, weights kept.

    Parameters
    ----------
    epochs, steps_per_epoch, batch_size : int
        Length of the training; a batch is shared by all processes.
    optimizer : {"adamw", "muon"}
        Which optimizer takes the steps.
    learning_rate, weight_decay : float
        The learning rate after warm-up; it then falls to 0 along half a cosine.
    warmup_steps : int
        Steps in which the learning rate rises from 0.
    ema_decay : float
        Decay of the running mean of the weights, in [0, 1).
    clip_norm : float
        Largest norm of the gradient of all weights.
    validate_every : int
        Epochs between validations.
    patience : int
        Validations without a better PQ after which the training stops.
    workers : int
        Processes that prepare samples; 0 for none.
    start_counts : bool
        Whether the weights that came in are validated as epoch 0, and may be kept.
    keep_last : bool
        Whether the weights of the last epoch are kept, whatever their PQ; the
        training then never stops early.
    teacher_share : float
        Share of the targets that the EMA weights predict (`mixed_targets`).
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
    workers: int = 0
    start_counts: bool = False
    keep_last: bool = False
    teacher_share: float = 0.0

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
class KeptWeights:
    """The weights that a training ends with, their validation PQ, and the epoch they come from.

    `start_pq` is that of the weights that came in, where these were validated.
    """

    weights: dict[str, torch.Tensor]
    pq: float
    epoch: int
    start_pq: float | None = None


def fit(
    fabric: Fabric,
    network: nn.Module,
    loss: nn.Module,
    samples: Dataset[Sample],
    validate: Validate,
    *,
    options: FitOptions,
    out: Path,
) -> KeptWeights:
    """Train a network; return its EMA weights that scored the best validation PQ, or the last.

    Several processes train together under `torchrun` and `srun` (`Ranks`).

    A run killed at any time continues from where it last saved and ends with
    the same weights (on the CPU, with the same libraries and thread count). It
    saves after each epoch, every ten minutes, and when a signal stops it.

    Parameters
    ----------
    fabric : Fabric
        Device, precision and processes (`build_fabric`).
    network : Module
        (B, C, H, W) images to (B, classes + 1, H, W) outputs; trained in place.
    loss : Module
        Takes outputs, (B, classes, H, W) one-hot annotation, (B, 1, H, W)
        distance. If it has a method `set_progress`, that is called before each
        step with the share, 0 to 1, of all steps that is done.
    samples : Dataset
        Numbered from 0 to `options.samples` - 1.
    validate : callable
        Scores of a network, `pq` among them.
    options : FitOptions
        Length, optimizer, learning rate, validation, weights kept.
    out : Path
        The folder of the state, `metrics.csv`, `curves.png` and `tensorboard/`.

    Raises
    ------
    TrainingError
        If the loss is no longer finite.
    Stopped
        If a signal stopped it; what was done is saved.
    """
    training = _Training.start(fabric, network, loss, options, out)
    ranks, state = training.ranks, training.state
    training_log = TrainingLog(out, state.rows) if ranks.first else None

    def score() -> dict[str, float]:
        return ranks.on_first(lambda: validate(state.average.module.eval()))

    with training_log or nullcontext(), ranks.together():
        if state.epoch or state.batches:
            log.info(
                "continuing after epoch %d of %d and %d batches",
                state.epoch, options.epochs, state.batches,
            )  # fmt: skip
            if options.start_counts and state.start_pq is None:
                log.warning(
                    "this run was begun by a version that did not score its start: the weights"
                    " that came in do not count; --overwrite begins anew"
                )
        elif options.start_counts and not state.rows:
            training.record(score(), {"epoch": 0}, training_log)
        try:
            while not training.finished:
                training.run_epoch(samples)
                row = training.row_of_epoch()
                scores = score() if training.validates(state.epoch + 1) else {}
                with step():
                    state.end_epoch()
                    training.record(scores, row, training_log)
                    if ranks.first:
                        state.save(out)
                ranks.stop_together()
        except Stopped:
            if not state.in_step:  # the others wait: what started them ends all if one ends
                ranks.on_first(lambda: state.save(out))
            raise
    return KeptWeights(state.best_weights, state.best_pq, state.best_epoch, state.start_pq)


@dataclass(frozen=True)
class _Training:
    """The live objects of one training; `network` and `optimizer` are those of Fabric."""

    fabric: Fabric
    ranks: Ranks
    network: Any
    optimizer: Any
    loss: nn.Module
    state: TrainingState
    options: FitOptions
    out: Path

    @classmethod
    def start(
        cls, fabric: Fabric, network: nn.Module, loss: nn.Module, options: FitOptions, out: Path
    ) -> "_Training":
        """Set up a new training, or one that continues from its last save in `out`."""
        average = AveragedModel(network, avg_fn=_ema(options.ema_decay), use_buffers=True)
        optimizer = OPTIMIZERS[options.optimizer](
            network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
        )
        network_, optimizer_ = fabric.setup(network, optimizer)
        average = average.to(fabric.device)
        state = TrainingState.continued(out, network, average, optimizer, fabric.strategy.precision)
        return cls(fabric, Ranks(fabric), network_, optimizer_, loss, state, options, out)

    @property
    def finished(self) -> bool:
        """Return whether all epochs are done, or patience has ended."""
        state, options = self.state, self.options
        return state.epoch >= options.epochs or state.validations_without_gain >= options.patience

    def validates(self, epoch: int) -> bool:
        """Return whether an epoch, counted from 1, ends with a validation."""
        return epoch % self.options.validate_every == 0 or epoch == self.options.epochs

    def row_of_epoch(self) -> dict[str, float]:
        """Row of the training log of the epoch whose steps are all done, without scores."""
        factor = self.options.factor(self.state.epoch * self.options.steps_per_epoch)
        return {
            "epoch": self.state.epoch + 1,
            "learning_rate": factor * self.options.learning_rate,
            "loss": self.state.loss_sum / self.options.steps_per_epoch,
        }

    def record(
        self, scores: dict[str, float], row: dict[str, float], training_log: TrainingLog | None
    ) -> None:
        """Record the epoch that has just ended, and its validation if it had one."""
        if scores:
            self.state.record_validation(scores["pq"], keep=self.options.keep_last)
        if training_log:
            training_log.write({**row, **{f"val_{name}": value for name, value in scores.items()}})

    def run_epoch(self, samples: Dataset[Sample]) -> None:
        """Do the steps that are left of the current epoch."""
        state, options = self.state, self.options
        self.network.train()
        saved = time.monotonic()
        label = f"epoch {state.epoch + 1}/{options.epochs}"
        batches = begun(self._rest_of_epoch(samples))
        with freed_memory_kept():
            for batch in track(batches, label, total=options.steps_per_epoch, done=state.batches):
                with step():
                    self._step(batch)
                    if self.ranks.first and time.monotonic() - saved > SAVE_SECONDS:
                        state.save(self.out)
                        saved = time.monotonic()
                self.ranks.stop_together()

    def _step(self, batch: Sample) -> None:
        """Take one optimizer step."""
        state, options, fabric = self.state, self.options, self.fabric
        state.in_step = True
        number = state.epoch * options.steps_per_epoch + state.batches
        for group in self.optimizer.param_groups:
            group["lr"] = options.learning_rate * options.factor(number)
        if set_progress := getattr(self.loss, "set_progress", None):
            set_progress(number / options.steps)
        image, onehot, distance = (tensor.to(fabric.device) for tensor in batch[:3])
        if options.teacher_share:
            with fabric.autocast():
                onehot, distance = mixed_targets(
                    state.average.module, image, onehot, distance, share=options.teacher_share
                )
        value = self.loss(self.network(image), onehot, distance)
        mean = self.ranks.mean(value.detach())
        if not math.isfinite(mean):
            raise TrainingError(
                f"the loss is {mean} at step {number + 1};"
                " lower learning_rate or check the annotations"
            )
        self.optimizer.zero_grad()
        fabric.backward(value)
        fabric.clip_gradients(self.network, self.optimizer, max_norm=options.clip_norm)
        self.optimizer.step()
        state.average.update_parameters(self.network.module)
        state.batches += 1
        state.loss_sum += mean
        state.in_step = False

    def _rest_of_epoch(self, samples: Dataset[Sample]) -> DataLoader[Sample]:
        count = self.options.steps_per_epoch * self.options.batch_size
        first = self.state.epoch * count
        done = self.state.batches * self.options.batch_size
        return DataLoader(
            samples,
            batch_size=self.ranks.share_size(self.options.batch_size),
            sampler=self.ranks.share(range(first + done, first + count)),
            num_workers=self.options.workers,
            collate_fn=_collate,
            worker_init_fn=ignore_in_worker,
        )


def _collate(samples: list[Sample]) -> Sample:
    return Sample(*(torch.stack(parts).contiguous() for parts in zip(*samples, strict=True)))


def _ema(decay: float) -> Callable[[torch.Tensor, torch.Tensor, Any], torch.Tensor]:
    """Average weights, with less decay in the first steps: a random start must not linger."""

    def average(kept: torch.Tensor, new: torch.Tensor, count: Any) -> torch.Tensor:
        if not kept.is_floating_point():
            return new
        steps = float(count)
        return torch.lerp(kept, new, 1 - min(decay, (1 + steps) / (10 + steps)))

    return average
