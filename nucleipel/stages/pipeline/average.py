"""Average the weights of several runs into one checkpoint."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

from nucleipel.errors import CheckpointError
from nucleipel.io.records.output import claim_output
from nucleipel.model.average_weights import RELATED, average_weights, similarity
from nucleipel.model.checkpoint import Checkpoint, read_checkpoint, write_checkpoint

log = logging.getLogger(__name__)

SHARED = ("network", "mpp", "grid", "boundary_px", "maps", "normalization")
"""Fields of a `Description` that must be equal for a mean to make sense."""


def average(checkpoints: Sequence[Path], out: Path, *, overwrite: bool = False) -> Path:
    """Write the mean of some checkpoints into `out`; one that is named twice counts twice.

    All else that a checkpoint holds is as in the first, also the numbers that turn
    maps into nuclei: `calibrate` chooses better ones.

    Raises
    ------
    CheckpointError
        If there are fewer than two, or they differ in what they predict, or
        were not trained from one ancestor, so that their mean is of no use.
    """
    models = [read_checkpoint(path) for path in checkpoints]
    _require_related(checkpoints, models)
    first = models[0]
    output = claim_output(
        out,
        stage="average",
        config={},
        inputs={f"checkpoint {place}": model.fingerprint for place, model in enumerate(models, 1)},
        overwrite=overwrite,
    )
    if output.complete:
        log.info("%s: this average is finished", out)
        return out
    description = dataclasses.replace(
        first.description,
        config={**first.description.config, "average_of": [model.sha256 for model in models]},
        parent_sha256=first.sha256,
        chooses_scale=all(model.description.chooses_scale for model in models),
    )
    weights = average_weights([model.network for model in models])
    output.commit(checkpoint=write_checkpoint(out, description, weights))
    log.info("%s: the mean of %d checkpoints; calibrate it", out, len(models))
    return out


def _require_related(paths: Sequence[Path], models: Sequence[Checkpoint]) -> None:
    if len(models) < 2:
        raise CheckpointError(f"{len(models)} checkpoint to average; name two or more")
    first = models[0]
    for path, model in zip(paths[1:], models[1:], strict=True):
        for name in SHARED:
            theirs, ours = getattr(model.description, name), getattr(first.description, name)
            if theirs != ours:
                raise CheckpointError(
                    f"{path}: its {name} is {theirs}, that of {paths[0]} {ours}; average what was"
                    " trained on from one checkpoint"
                )
        if similarity(first.network, model.network) < RELATED:
            raise CheckpointError(
                f"{path}: was not trained on from the same weights as {paths[0]}; their mean would"
                " know nothing: average what was trained on from one checkpoint"
            )
