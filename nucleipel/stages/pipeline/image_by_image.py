"""Work image by image: one that fails does not stop the others."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from nucleipel.core.listing import first_faults, first_names
from nucleipel.core.locks import HeldError
from nucleipel.core.run_options import RunOptions
from nucleipel.core.shard import CLOSE, WHOLE, Part
from nucleipel.errors import NucleipelError, OutputError, StoreError
from nucleipel.io.records.output import Output, holding

log = logging.getLogger(__name__)

MOST_DEATHS = 3
"""Processes in a row that may die of an image's parts before these are set aside."""


@dataclass(frozen=True, slots=True)
class ImageWork:
    """The work of a process on one image: numbers of `parts`, none to complete it only.

    `deaths` is how many processes in a row died while they were at work on these parts, 0 where
    nobody else shares the run: what was killed is then simply continued.
    """

    image: str
    parts: tuple[Part, ...] = ()
    deaths: int = 0

    @property
    def has_all_parts(self) -> bool:
        """Return whether no other process has parts of the image."""
        return bool(self.parts) and len(self.parts) == self.parts[0].count

    def __str__(self) -> str:
        return str(self.parts[0]) if len(self.parts) == 1 else self.image


def finish_images(
    output: Output,
    parts: Sequence[Part],
    work: Callable[[ImageWork], None],
    *,
    done: Callable[[str], bool],
    options: RunOptions,
    without: Sequence[str] = (),
    then: Callable[[str], object] = lambda _: None,
    **results: Any,
) -> None:
    """Do the parts of the shard whose images are not `done`; then, if it closes, close the record.

    `parts` are those of all images, image by image. `work` does some parts of an image, and
    completes the image once all its parts are done, by whomever. `then` is called with the id of
    each image of this shard that is there, whenever it was made. `results` go into the record; so
    do `images` and the ids of those that are `missing`: that the stage before was closed
    `without`, and, where `options.allow_missing`, others that failed.

    Raises
    ------
    NucleipelError
        The fault of the only image.
    StoreError
        With the faults of all images that failed, after the others were done.
    """
    shard, allow_missing = options.shard, options.allow_missing
    ids = list(dict.fromkeys(part.image for part in parts))
    mine = [part for part in shard.of(parts) if part.image not in without]
    by_image = {image: list(group) for image, group in groupby(mine, key=lambda part: part.image)}
    faults: dict[str, NucleipelError] = {}
    for image_id, own in by_image.items():
        try:
            _do_parts(output, own, work, done=done, shared=shard != WHOLE)
        except NucleipelError as error:
            if len(by_image) == 1 and not allow_missing:
                raise
            log.error("%s: set aside: %s", image_id, error)
            faults[image_id] = error
        else:
            if done(image_id):
                then(image_id)
    if faults and not (shard.closes and allow_missing):
        messages = first_faults([f"{name}: {error}" for name, error in faults.items()], logged=True)
        raise StoreError(
            f"{output.folder}: {len(faults)} of {len(by_image)} images failed, the others are done:"
            f" {messages}"
        )
    if not shard.closes:
        output.release()
        log.info(
            "%s: shard %s is done: %d of %d parts", output.folder, shard, len(mine), len(parts)
        )
        return
    if shard == CLOSE:
        _complete_images(parts, work, done=done, without=without)
    missing = [image_id for image_id in ids if not done(image_id)]
    unexpected = [image_id for image_id in missing if image_id not in without]
    if unexpected and not allow_missing:
        raise StoreError(
            f"{output.folder}: {len(unexpected)} of {len(ids)} images are missing: "
            f"{first_names(unexpected)}; run their shards, or pass --allow-missing"
        )
    if missing:
        log.warning("%s: closed without %s", output.folder, ", ".join(missing))
    present = [image_id for image_id in ids if image_id not in missing]
    output.commit(synced=present, images=present, missing=missing, **results)


def _do_parts(
    output: Output,
    parts: Sequence[Part],
    work: Callable[[ImageWork], None],
    *,
    done: Callable[[str], bool],
    shared: bool,
) -> None:
    """Do some parts of one image, which nobody else is at work on."""
    image_id = parts[0].image
    with ExitStack() as held:
        locks = [held.enter_context(holding(output.folder, str(part))) for part in parts]
        deaths = max(lock.deaths for lock in locks) if shared else 0
        if done(image_id):
            return
        if deaths >= MOST_DEATHS:
            raise StoreError(killer(image_id, deaths))
        work(ImageWork(image_id, tuple(parts), deaths))


def killer(what: str, deaths: int) -> str:
    """The message for what is set aside because the processes that did it died."""
    return (
        f"{what}: killed its process {deaths} times in a row: out of memory, mostly;"
        " the same command tries it again"
    )


@contextmanager
def alone_on(folder: Path, work: ImageWork) -> Iterator[bool]:
    """Return whether this process may complete an image: nobody else is doing so meanwhile."""
    if work.has_all_parts:
        yield True
        return
    with ExitStack() as stack:
        try:
            stack.enter_context(holding(folder, work.image))
        except OutputError as error:
            if not isinstance(error.__cause__, HeldError):
                raise
            yield False
        else:
            yield True


def _complete_images(
    parts: Sequence[Part],
    work: Callable[[ImageWork], None],
    *,
    done: Callable[[str], bool],
    without: Sequence[str],
) -> None:
    """Complete the images whose parts were all done, where nobody noticed that they were."""
    for image_id in dict.fromkeys(part.image for part in parts if part.count > 1):
        if not done(image_id) and image_id not in without:
            try:
                work(ImageWork(image_id))
            except NucleipelError as error:
                log.warning("%s: %s", image_id, error)
