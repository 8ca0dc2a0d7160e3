"""Processes that train one network together: their samples, and what they do in common.

`torchrun` and `srun` start them, on one machine or several; DistributedDataParallel
keeps their weights equal (gloo on CPUs, NCCL on GPUs). They read and write one
output folder, so it must lie on a file system that all of them see. The first
of them claims it, validates, saves and writes; the others wait for its results.

Each takes a share of every batch, so that a step has the same samples for any
number of processes; only the statistics of BatchNorm are those of a share.
"""

import atexit
import datetime
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeVar, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy

from nucleipel.core.stop_signals import Stopped, requested_signal, step
from nucleipel.errors import NucleipelError, TrainingError
from nucleipel.model.device import uses_gpu

T = TypeVar("T")

WAIT = datetime.timedelta(hours=6)
"""Longest time that the others wait for the first, which may have much to validate."""


def build_fabric(device: str, seed: int, precision: str = "auto") -> Fabric:
    """Set up device, precision, determinism and processes.

    `precision` is "float32"; "bfloat16", for what is multiplied (weights, sums
    and losses stay float32); or "auto", float32 on CPUs and float16, likewise
    mixed, on GPUs.

    Raises
    ------
    TrainingError
        If `device` is "cuda" and there is none, or "mps", on which nothing is trained.
    """
    if device == "mps":
        raise TrainingError("device mps: for prediction alone; train with --device cpu or cuda")
    on_gpu = uses_gpu(device, error=TrainingError)
    environment, processes, nodes = _environment()
    together = processes * nodes > 1
    fabric = Fabric(
        accelerator="cuda" if on_gpu else "cpu",
        devices=processes,
        num_nodes=nodes,
        strategy=DDPStrategy(timeout=WAIT) if together else "auto",
        precision=precision_of(precision, on_gpu=on_gpu),
        plugins=[environment],
    )
    if together:
        fabric.launch()
        # gloo's threads abort a process that ends before them
        atexit.register(torch.distributed.destroy_process_group)
        if not fabric.is_global_zero:  # the first process logs for all
            logging.getLogger("nucleipel").setLevel(logging.WARNING)
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    return fabric


def precision_of(precision: str, *, on_gpu: bool) -> Literal["32-true", "16-mixed", "bf16-mixed"]:
    """Name in Fabric of the precision "auto", "float32" or "bfloat16" (`build_fabric`)."""
    if precision == "bfloat16":
        return "bf16-mixed"
    return "16-mixed" if on_gpu and precision == "auto" else "32-true"


def _environment() -> tuple[ClusterEnvironment, int, int]:
    """Find what started this process, the processes on each machine, and the machines."""
    if TorchElasticEnvironment.detect():
        processes = int(os.environ["LOCAL_WORLD_SIZE"])
        return TorchElasticEnvironment(), processes, int(os.environ["WORLD_SIZE"]) // processes
    # set by srun only: a batch script that calls no srun is one process
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
    if tasks > 1:
        nodes = int(os.environ["SLURM_STEP_NUM_NODES"])
        return SLURMEnvironment(auto_requeue=False), tasks // nodes, nodes
    return LightningEnvironment(), 1, 1


class Ranks:
    """The processes of one training, in one of them; mostly there is no other."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self.count = fabric.world_size
        self.first = fabric.is_global_zero

    def share_size(self, batch_size: int) -> int:
        """Number of this process's samples of a batch.

        Raises
        ------
        TrainingError
            If they cannot be shared out evenly.
        """
        if batch_size % self.count:
            raise TrainingError(
                f"batch_size {batch_size} cannot be shared by {self.count} processes;"
                f" set batch_size to a multiple of {self.count}"
            )
        return batch_size // self.count

    def share(self, numbers: range) -> range:
        """Numbers of this process's samples among `numbers`, which are whole batches."""
        return numbers[self._fabric.global_rank :: self.count]

    def mean(self, value: torch.Tensor) -> float:
        """Mean of a scalar over all processes."""
        return float(self._all(value, "mean") if self.count > 1 else value)

    def on_first(self, work: Callable[[], T]) -> T:
        """Call `work` in the first process; all get what it returns, or end with its error."""
        if self.count == 1:
            return work()
        result, error = None, None
        if self.first:
            try:
                result = work()
            except NucleipelError as raised:
                error = raised
        result, failed = self._fabric.broadcast((result, error is not None))
        if error is not None:
            raise error
        if failed:
            raise SystemExit(1)  # the first one reports the error
        return result  # type: ignore[return-value]

    @contextmanager
    def together(self) -> Iterator[None]:
        """Let a signal to one process wait for `stop_together`, so that all stop at one place."""
        if self.count == 1:
            yield
            return
        try:
            with step():
                yield
        except RuntimeError as error:  # another one is gone already
            if number := requested_signal():
                raise Stopped(number) from error
            raise

    def stop_together(self) -> None:
        """Raise `Stopped` in all processes if one of them got a signal."""
        if self.count > 1:
            number = torch.tensor(requested_signal() or 0, device=self._fabric.device)
            if latest := int(self._all(number, "max")):
                raise Stopped(latest)

    def _all(self, value: torch.Tensor, operation: str) -> torch.Tensor:
        return cast(torch.Tensor, self._fabric.all_reduce(value, reduce_op=operation))
