"""Several processes at work on one image, step by step, each part by one of them."""

import logging
import time
from collections.abc import Callable, Container, Iterable
from pathlib import Path

from nucleipel.core.listing import first_faults
from nucleipel.core.locks import HeldError
from nucleipel.errors import OutputError, StoreError
from nucleipel.io.records.output import holding, is_held_by_another
from nucleipel.stages.pipeline.image_by_image import killer
from nucleipel.stages.pipeline.stitch_steps import StitchStep

log = logging.getLogger(__name__)

KIND = "part"
MOST_DEATHS = 2
"""A part that so many processes in a row died of is set aside."""
LOOK_SECONDS = 0.5


def work_together(
    steps: Iterable[StitchStep],
    folder: Path,
    image_id: str,
    mine: Container[int],
    *,
    is_complete: Callable[[], bool],
) -> bool:
    """Do what can be done of an image now; returns whether all of it is done.

    Of the first step these are the parts `mine`, of later ones any that nobody
    else is at work on. While others are, it waits for them; where a part of the
    first step is left whose process has not begun, it leaves the rest to that one.

    Raises
    ------
    StoreError
        If a part killed its processes again and again; the others are done.
    """
    try:
        return all(
            _do_step(
                step, folder, f"{image_id}-{number}", mine if number == 0 else None, is_complete
            )
            for number, step in enumerate(steps)
        )
    except OSError:
        if is_complete():  # by another process, which removed what this one was to read
            return True
        raise


def _do_step(
    step: StitchStep,
    folder: Path,
    name: str,
    mine: Container[int] | None,
    is_complete: Callable[[], bool],
) -> bool:
    faults: dict[int, str] = {}
    while True:
        if is_complete():
            return True
        left = [part for part in range(step.parts) if not step.is_done(part)]
        if not left:
            return True
        own = [part for part in left if (mine is None or part in mine) and part not in faults]
        done = 0
        for part in own:
            try:
                with holding(folder, f"{name}-{part}", kind=KIND) as lock:
                    if lock.deaths >= MOST_DEATHS:
                        what = f"{name}, {step.name}, part {part + 1} of {step.parts}"
                        faults[part] = killer(what, lock.deaths)
                    elif not is_complete() and not step.is_done(part):
                        step.do([part])
                    done += 1
            except OutputError as error:
                if not isinstance(error.__cause__, HeldError):
                    raise
        if done:
            continue
        if any(is_held_by_another(folder, f"{name}-{part}", kind=KIND) for part in left):
            time.sleep(LOOK_SECONDS)
        elif faults:
            raise StoreError(first_faults(list(faults.values())))
        else:
            return False
