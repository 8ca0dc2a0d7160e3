"""What the stages that go image by image share: one that fails does not stop the others."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from nucleipel.core.shard import Shard
from nucleipel.errors import NucleipelError, StoreError
from nucleipel.io.output import Output, holding

log = logging.getLogger(__name__)


def finish_images(
    output: Output,
    ids: Sequence[str],
    work: Callable[[str], None],
    *,
    done: Callable[[str], bool],
    shard: Shard,
    allow_missing: bool,
    **results: Any,
) -> None:
    """Do the images of a shard that are not `done`; then, if it closes, complete the record.

    `results` go into the record; so do `images` and, with `allow_missing`, the
    ids of those that are `missing`.

    Raises
    ------
    NucleipelError
        The fault of the only image.
    StoreError
        With the faults of all images that failed, after the others were done.
    """
    mine = shard.of(ids)
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
    if missing and not allow_missing:
        raise StoreError(
            f"{output.folder}: {len(missing)} of {len(ids)} images are missing: "
            f"{', '.join(missing)}; run their shards, or pass --allow-missing"
        )
    if missing:
        log.warning("%s: closed without %s", output.folder, ", ".join(missing))
    present = [image_id for image_id in ids if image_id not in missing]
    output.commit(images=present, missing=missing, **results)
