"""What the stages that go image by image share: one that fails does not stop the others."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from nucleipel.core.run_options import RunOptions
from nucleipel.errors import NucleipelError, StoreError
from nucleipel.io.records.output import Output, holding

log = logging.getLogger(__name__)


def finish_images(
    output: Output,
    ids: Sequence[str],
    work: Callable[[str], None],
    *,
    done: Callable[[str], bool],
    options: RunOptions,
    without: Sequence[str] = (),
    then: Callable[[str], object] = lambda _: None,
    **results: Any,
) -> None:
    """Do the images of the shard that are not `done`; then, if it closes, complete the record.

    `then` is called with the id of each image that is there, whenever it was made.
    `results` go into the record; so do `images` and the ids of those that are
    `missing`: that the stage before was closed `without`, and, where
    `options.allow_missing`, others that failed.

    Raises
    ------
    NucleipelError
        The fault of the only image.
    StoreError
        With the faults of all images that failed, after the others were done.
    """
    shard, allow_missing = options.shard, options.allow_missing
    mine = [image_id for image_id in shard.of(ids) if image_id not in without]
    faults: dict[str, NucleipelError] = {}
    for image_id in mine:
        try:
            with holding(output.folder, image_id):
                if not done(image_id):
                    work(image_id)
        except NucleipelError as error:
            if len(mine) == 1 and not allow_missing:
                raise
            log.error("%s: set aside: %s", image_id, error)
            faults[image_id] = error
        else:
            then(image_id)
    if faults and not (shard.closes and allow_missing):
        told = "; ".join(f"{image_id}: {error}" for image_id, error in faults.items())
        raise StoreError(
            f"{output.folder}: {len(faults)} of {len(mine)} images failed, the others are done:"
            f" {told}"
        )
    if not shard.closes:
        output.release()
        log.info("%s: shard %s is done: %d images", output.folder, shard, len(mine))
        return
    missing = [image_id for image_id in ids if not done(image_id)]
    unexpected = [image_id for image_id in missing if image_id not in without]
    if unexpected and not allow_missing:
        raise StoreError(
            f"{output.folder}: {len(unexpected)} of {len(ids)} images are missing: "
            f"{', '.join(unexpected)}; run their shards, or pass --allow-missing"
        )
    if missing:
        log.warning("%s: closed without %s", output.folder, ", ".join(missing))
    present = [image_id for image_id in ids if image_id not in missing]
    output.commit(synced=present, images=present, missing=missing, **results)
