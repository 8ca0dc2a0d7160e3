"""Stitching in a second process: one image is stitched while the next ones are predicted.

A process of its own does it, for four reasons. It imports and compiles what stitching
needs while the other one imports torch, so that a single small image is done sooner. A
thread would hold Python's lock while it writes tables and reports, and the network
waits for that lock between any two of its layers: a forward pass of the packaged
one, a window of 256 px, took 75 ms alone, 115 beside such a thread, 90 beside such a
process (medians; two cores, one thread of the network, other work beside it). A thread
cannot be stopped in the middle of a slide; a process can, since whatever is
killed here is continued later. And what crashes in a process costs only time.

The parent names images on the process' stdin; on its stdout come what is to be
logged, and, for each image, where its time went: lines of JSON. It is done with
an image also if that failed: what is missing in the end is left to
`stitch_images`, which says why. The process needs no torch. It ends when its
stdin does, so with its parent, however that one ends.
"""

import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from subprocess import DEVNULL, PIPE, Popen
from typing import IO, Any

from nucleipel.config import StitchConfig
from nucleipel.core.garbage import collector_paused
from nucleipel.core.machine import core_count
from nucleipel.core.progress import track
from nucleipel.core.stopwatch import Stopwatch
from nucleipel.errors import NucleipelError
from nucleipel.io.nuclei.image_output import is_written
from nucleipel.io.records.output import Output, holding, is_finished, read_record
from nucleipel.io.stores.predictions import open_predictions
from nucleipel.stages.pipeline.image_by_image import ImageWork
from nucleipel.stages.pipeline.stitch import stitch_image

log = logging.getLogger(__name__)

# The modules that the parent would find, wherever it found them, and not its `__main__` again.
# A signal is for the parent, which ends the process, from the first import on.
_COMMAND = """
import sys
sys.path[:] = {path!r}
from nucleipel.core.stop_signals import ignore_in_worker
ignore_in_worker()
from nucleipel.core.garbage import collector_paused
with collector_paused():
    from {module} import serve
serve()
"""


def is_worth_it() -> bool:
    """Return whether images are stitched beside the network."""
    return core_count() > 1


@contextmanager
def second_process(*, shows_progress: bool) -> "Iterator[Popen[str] | None]":
    """Start the process; it prepares itself until there is something to do for it.

    Where it `shows_progress`, on stderr, the parent does not. Without a second core, or
    memory for it, there is none. At the end of the block it is ended.
    """
    process = _start(shows_progress=shows_progress) if is_worth_it() else None
    if process is None:
        yield None
        return
    try:
        yield process
    finally:  # whatever it is at can be done again
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with suppress(BrokenPipeError):
                _pipe(pipe).close()


@contextmanager
def stitching_in_process(
    process: "Popen[str] | None",
    maps: Path,
    ids: Sequence[str],
    output: Output,
    config: StitchConfig,
    *,
    block_px: int,
    clock: Stopwatch,
) -> Iterator[Callable[[str], None]]:
    """Give a function to call with those of `ids` that are predicted in the store `maps`.

    At the end of the block they are stitched into `output`, but for what
    failed. After an exception nothing is waited for. The process takes as much
    memory as `stitch` does.
    """
    left = [image_id for image_id in ids if not is_written(output.folder, image_id)]
    # where all is predicted, the network has nothing to do
    if process is None or not left or is_finished(maps, stage="predict"):
        from nucleipel.instances.precompile import precompiling

        with precompiling():
            yield lambda _: None
        return
    stitcher = _StitchProcess(process, clock)
    try:
        stitcher.send(
            {
                "maps": str(maps),
                "out": str(output.folder),
                "config": config.model_dump(mode="json"),
                "block_px": block_px,
                "level": logging.getLogger("nucleipel").getEffectiveLevel(),
            }
        )
        yield stitcher.give
        stitcher.wait()
    finally:
        stitcher.end()


# --- in the parent -------------------------------------------------------------------


def _start(*, shows_progress: bool = False) -> "Popen[str] | None":
    command = _COMMAND.format(path=sys.path, module=__name__)
    try:
        return Popen(  # noqa: S603
            [sys.executable, "-c", command],
            stdin=PIPE, stdout=PIPE, stderr=None if shows_progress else DEVNULL, text=True,
        )  # fmt: skip
    except OSError as error:  # no memory or no more processes for it
        log.debug("no process to stitch beside the network: %s", error)
        return None


class _StitchProcess:
    """The process, as its parent sees it."""

    def __init__(self, process: "Popen[str]", clock: Stopwatch) -> None:
        self._process, self._clock = process, clock
        self._given = 0
        self._done: SimpleQueue[str | None] = SimpleQueue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def give(self, image_id: str) -> None:
        """Have an image stitched, after those before it."""
        self._given += 1
        self.send(image_id)

    def send(self, message: Any) -> None:
        """Write a line; one that is gone does not read it."""
        with suppress(BrokenPipeError):
            _write(_pipe(self._process.stdin), message)

    def wait(self) -> None:
        """Until all that was given is done, or the process has ended."""
        done = islice(iter(self._done.get, None), self._given)
        # the process shows the progress of a single image
        bar = track(done, "stitching", total=self._given) if self._given > 1 else done
        count = sum(1 for _ in bar)
        if count < self._given:
            log.warning(
                "the process that stitched beside the network ended early (exit code %d):"
                " the images that it left are stitched now",
                self._process.wait(),
            )

    def end(self) -> None:
        """End it on the spot: whatever it is at can be done again."""
        self._process.kill()
        self._listener.join()

    def _listen(self) -> None:
        for line in _pipe(self._process.stdout):
            try:
                message = json.loads(line)
            except ValueError:  # the last line of one that was killed
                continue
            if "image" in message:
                self._clock.add(message["clock"])
                self._done.put(message["image"])
            else:
                logging.getLogger(message["logger"]).log(message["level"], "%s", message["message"])
        self._done.put(None)


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None  # noqa: S101
    return pipe


def _write(pipe: IO[str], message: Any) -> None:
    pipe.write(json.dumps(message) + "\n")
    pipe.flush()


# --- in the process ------------------------------------------------------------------


def serve() -> None:
    """Stitch what the lines of stdin name, one image after another, until stdin ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # nothing else may be printed among them
    lines: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    logger = logging.getLogger("nucleipel")
    logger.handlers, logger.propagate = [_ToParent(answers)], False
    with collector_paused():
        _prepare()
    job = lines.get()
    logger.setLevel(job["level"])
    config = StitchConfig.model_validate(job["config"])
    output = Output(
        Path(job["out"]), read_record(Path(job["out"]), stage="segment", unfinished=True)
    )
    while True:
        image_id = lines.get()
        clock = Stopwatch()
        with suppress(NucleipelError), holding(output.folder, image_id):
            if not is_written(output.folder, image_id):
                store = open_predictions(Path(job["maps"]), unfinished=True, only=[image_id])
                stitch_image(
                    store,
                    ImageWork(image_id),
                    output,
                    config,
                    block_px=job["block_px"],
                    clock=clock,
                )
        _write(answers, {"image": image_id, "clock": clock.to_json()})


def _prepare() -> None:
    """Import and compile what the first image would wait for."""
    import pyarrow.parquet  # noqa: F401
    import tifffile  # noqa: F401

    import nucleipel.stages.pipeline.stitch_steps  # noqa: F401
    from nucleipel.figures.image_report import page_template
    from nucleipel.instances.precompile import compile_all

    page_template()
    compile_all()


def _read(lines: "SimpleQueue[Any]") -> None:
    for line in sys.stdin:
        lines.put(json.loads(line))
    # at once: the same command may have started again, and would write the same files
    os._exit(1)


class _ToParent(logging.Handler):
    """Has the parent log what is logged here."""

    def __init__(self, answers: IO[str]) -> None:
        super().__init__()
        self._answers = answers

    def emit(self, record: logging.LogRecord) -> None:
        message = {"logger": record.name, "level": record.levelno, "message": record.getMessage()}
        _write(self._answers, message)
