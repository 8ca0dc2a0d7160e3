"""Whole shards on the workers of Dask: processes here, a running scheduler, a batch system.

A task is one shard of a stage, as `--shard K/N` would do it, and returns a few
lines at most. It may be done again, by anyone, at any time: what is finished is
found on disk. A worker has one task at a time. When workers die, Dask gives
their task to another, up to its `allowed-failures`; who was near a deadly task
is then tried once more, alone, before anybody is blamed.

Dask comes with `nucleipel[cluster]` and is imported in here only.
"""

import contextlib
import logging
import shutil
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nucleipel.config import ClusterConfig
from nucleipel.core.locks import HeldError
from nucleipel.core.machine import core_count
from nucleipel.core.progress import track
from nucleipel.core.run_options import RunOptions
from nucleipel.core.shard import Shard
from nucleipel.errors import ClusterError, NucleipelError, OutputError
from nucleipel.stages.pipeline.run_parts import Work

if TYPE_CHECKING:
    from distributed import Client, Future

log = logging.getLogger(__name__)

BATCH_SYSTEMS = {
    "slurm": "SLURMCluster",
    "lsf": "LSFCluster",
    "pbs": "PBSCluster",
    "sge": "SGECluster",
}
PATIENCE_SECONDS = 600.0
"""Seconds without any worker before a run gives up, where no batch system has to start one."""
SUBMIT_SECONDS = 60.0
LOOK_SECONDS = 1.0
REPLACE_SECONDS = 30.0
HELD_SECONDS = 60.0
"""A worker that Dask has given up may still hold what it was at: so long its heir waits."""
TABLE_ROWS = 50
SCHEDULER_GONE = "the scheduler is gone; start one, then the same command continues"

_ALONE = threading.Lock()  # workers with several threads: locks, folders and logs are a process's


@dataclass(frozen=True)
class Cluster:
    """The source of workers: `workers` processes here, or a `scheduler`.

    `scheduler` is an address (tcp://host:port), or, with a `config`, one of
    `BATCH_SYSTEMS`.
    """

    workers: int = 0
    scheduler: str = ""
    config: ClusterConfig | None = None

    @contextlib.contextmanager
    def open(self) -> Iterator["Workers"]:
        """The workers, until the end of the block.

        Raises
        ------
        ClusterError
            If Dask is not installed, or no workers can be had.
        """
        with contextlib.ExitStack() as stack:
            try:
                client, keep_up = self._connect(stack)
            except ImportError as error:
                raise ClusterError(
                    f"--workers and --cluster need Dask ({error.name} is missing);"
                    " pip install 'nucleipel[cluster]'"
                ) from error
            except (OSError, ValueError, TypeError, RuntimeError) as error:
                where = self.scheduler or f"{self.workers} workers"
                reason = " ".join(str(error).split())
                raise ClusterError(f"{where}: no workers can be had: {reason}") from error
            yield Workers(client, keep_up, patient=self.config is not None)

    def _connect(self, stack: contextlib.ExitStack) -> tuple["Client", Callable[[], None]]:
        from distributed import Client

        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # one line here
        if self.config is not None:
            batch = _batch_cluster(self.scheduler, self.config)
            stack.callback(batch.close)
            client, jobs = stack.enter_context(Client(batch)), self.config.jobs
            batch.scale(jobs=jobs)
            _require_submitted(batch)
            return client, lambda: batch.scale(jobs=jobs)
        where = self.scheduler or stack.enter_context(_local_cluster(self.workers, stack))
        return stack.enter_context(Client(where)), lambda: None


class Workers:
    """Gives each worker one task, and the next one when it is done."""

    def __init__(self, client: "Client", keep_up: Callable[[], None], *, patient: bool) -> None:
        self._client, self._keep_up, self._patient = client, keep_up, patient
        self._kept_up = self._seen = time.monotonic()
        self._warned = False
        self._killed: list[str] = []
        keep_up()

    def run(self, work: Work, shards: Mapping[str, Shard], what: str) -> dict[str, str]:
        """Do `work(options=...)` for each of the named shards; returns what failed, and why."""
        self._killed = []
        nothing: list[str] = []
        with track(nothing, f"{what} on workers", total=len(shards)) as bar:
            faults = self._finish(work, shards, together=True, done=bar.update)
            # the deadly one among them is found when each is on its own
            again = {name: shards[name] for name in self._killed if len(self._killed) > 1}
            for name in again:
                del faults[name]
            return faults | self._finish(work, again, together=False, done=lambda: None)

    def _finish(
        self,
        work: Work,
        shards: Mapping[str, Shard],
        *,
        together: bool,
        done: Callable[[], object],
    ) -> dict[str, str]:
        """Do the shards, on all workers or one after another; returns faults by name."""
        from distributed import wait

        waiting, faults = list(shards.items()), {}
        running: dict[Future, str] = {}
        while waiting or running:
            places = self._workers() if together else min(1, self._workers())
            while waiting and len(running) < places:
                name, shard = waiting.pop(0)
                task = self._client.submit(
                    run_shard, work, shard, Path.cwd(), pure=False, key=_key(name, shard)
                )
                running[task] = name
            if not running:
                time.sleep(LOOK_SECONDS)
                continue
            try:
                wait(list(running), timeout=LOOK_SECONDS, return_when="FIRST_COMPLETED")
            except TimeoutError:
                pass
            except CancelledError as error:
                raise ClusterError(SCHEDULER_GONE) from error
            for task in [task for task in running if task.done()]:
                name = running.pop(task)
                fault = self._end(task, name)
                if fault is not None:
                    faults[name] = fault
                done()
        return faults

    def _end(self, task: "Future", name: str) -> str | None:
        """The fault of a task that is done, if it has one."""
        from distributed import KilledWorker

        error = task.exception()
        if isinstance(error, KilledWorker):
            self._killed.append(name)
            return (
                f"killed its worker again and again, the last one at {error.last_worker.address}:"
                " out of memory, mostly"
            )
        if error is not None:
            return f"{type(error).__name__}: {error}"
        record = task.result()
        for level, message in record["messages"]:
            log.log(level, "%s: %s", record["host"], message)
        if record["fault"] is None:
            log.info("%s: done on %s", name, record["host"])
        return record["fault"]

    def _workers(self) -> int:
        """Count the workers; request those that are gone, and give up where none comes."""
        now = time.monotonic()
        if now - self._kept_up > REPLACE_SECONDS:
            self._keep_up()
            self._kept_up = now
        if self._client.status in ("closing", "closed"):
            raise ClusterError(SCHEDULER_GONE)
        workers = len(self._client.scheduler_info(n_workers=-1).get("workers", ()))
        if workers:
            self._seen, self._warned = now, False
        elif now - self._seen > PATIENCE_SECONDS and not self._patient:
            raise ClusterError(
                f"no worker for {PATIENCE_SECONDS / 60:.0f} minutes; start some, then the same"
                " command continues"
            )
        elif now - self._seen > REPLACE_SECONDS and not self._warned:
            log.warning("no worker is there: jobs wait in their queue, or end at once (see logs)")
            self._warned = True
        return workers


def run_shard(work: Work, shard: Shard, folder: Path) -> dict[str, Any]:
    """The task: one shard, as if called in `folder`; faults come back as text."""
    with _ALONE, _keeping_warnings() as messages:
        fault = None
        try:
            with contextlib.chdir(folder):
                _wait_for_predecessor(work, shard)
        except NucleipelError as error:
            fault = str(error)
        except Exception as error:
            messages.append((logging.ERROR, traceback.format_exc()))
            fault = f"{type(error).__name__}: {error}"
    return {"fault": fault, "messages": messages[-20:], "host": socket.gethostname()}


def _wait_for_predecessor(work: Work, shard: Shard) -> None:
    deadline = time.monotonic() + HELD_SECONDS
    while True:
        try:
            work(options=RunOptions(shard=shard))
            return
        except OutputError as error:
            if not isinstance(error.__cause__, HeldError) or time.monotonic() > deadline:
                raise
        time.sleep(LOOK_SECONDS)


@contextlib.contextmanager
def _keeping_warnings() -> Iterator[list[tuple[int, str]]]:
    """Collect the warnings of a task, to be logged where the command runs."""
    messages: list[tuple[int, str]] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append((record.levelno, record.getMessage()))

    logger, handler = logging.getLogger("nucleipel"), Keeping(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)


def _key(name: str, shard: Shard) -> str:
    # anew each time: Dask would answer a known key with what it knows
    return f"nucleipel-{name}-{shard.number}-{time.monotonic_ns()}"


def _local_cluster(workers: int, stack: contextlib.ExitStack) -> Any:
    import dask
    from distributed import LocalCluster

    # Dask gives each process one thread; here they share the cores, and no other limits
    threads = max(1, core_count() // workers)
    spawned = {"distributed.nanny.pre-spawn-environ.OMP_NUM_THREADS": threads}
    stack.enter_context(dask.config.set(spawned))
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        memory_limit=0,
        dashboard_address=None,
        silence_logs=logging.CRITICAL,
    )


def _batch_cluster(system: str, config: ClusterConfig) -> Any:
    import dask_jobqueue

    kind = getattr(dask_jobqueue, BATCH_SYSTEMS[system])
    command = kind.job_cls.submit_command.split()[0]
    if shutil.which(command) is None:
        raise ClusterError(f"{command}: no such command; run on a login node of the cluster")
    options = {"cores": 1, "processes": 1, **config.options}
    # a worker that Dask halts because of its memory would never go on: nothing is kept in it
    unhalted = [
        f"export DASK_DISTRIBUTED__WORKER__MEMORY__{what}=False"
        for what in ("TARGET", "SPILL", "PAUSE")
    ]
    options["job_script_prologue"] = [*unhalted, *options.get("job_script_prologue", ())]
    options["scheduler_options"] = {
        "dashboard_address": ":0",
        **options.get("scheduler_options", {}),
    }
    return kind(job_cls=_closing(kind.job_cls), **options)


def _closing(job_cls: Any) -> Any:
    """A job that knows when it is closed; dask-jobqueue's do not, and Dask insists at the end."""
    from distributed.core import Status

    class ClosingJob(job_cls):  # type: ignore[misc]
        async def close(self) -> None:
            try:
                await super().close()
            finally:
                self.status = Status.closed

    return ClosingJob


def _require_submitted(batch: Any) -> None:
    """Dask logs that a job was refused, and would wait for it for good."""
    deadline = time.monotonic() + SUBMIT_SECONDS
    while not any(job.job_id for job in batch.workers.values()):
        if time.monotonic() > deadline:
            raise ClusterError("it took no job; it says why above")
        time.sleep(LOOK_SECONDS)


def log_faults(faults: Mapping[str, str]) -> None:
    """Log a table of what failed."""
    if not faults:
        return
    width = max(map(len, faults))
    lines = [f"{name:{width}}  {' '.join(fault.split())}" for name, fault in faults.items()]
    if len(lines) > TABLE_ROWS:
        lines[TABLE_ROWS:] = [f"... and {len(lines) - TABLE_ROWS} more"]
    log.error("%s\n%s", f"{'failed':{width}}  why", "\n".join(lines))
