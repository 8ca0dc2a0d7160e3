"""All commands, by the rooms of the package, each in the order in which they are needed.

Each is one shell: read the settings, call the stage, name the result. Imports
inside the commands are late on purpose: torch takes seconds, `--help` must not.
"""

import click

from nucleipel.cli.cluster import submit
from nucleipel.cli.demo import demo
from nucleipel.cli.experiments import ablate, deviation
from nucleipel.cli.files import export, import_annotations, info, verify
from nucleipel.cli.pipeline import (
    average,
    calibrate,
    evaluate,
    finetune,
    finetune_patches,
    predict,
    segment,
    stitch,
    suggest,
    tile,
    train,
)
from nucleipel.cli.plan import plan

COMMANDS: dict[str, tuple[click.Command, ...]] = {
    "Pipeline, in this order": (
        train,
        tile,
        finetune_patches,
        average,
        calibrate,
        predict,
        stitch,
        segment,
        evaluate,
    ),
    "On your own images": (suggest, finetune),
    "Before a run": (plan,),
    "On a cluster": (submit,),
    "Files": (info, import_annotations, verify, export),
    "Experiments with losses": (deviation, ablate),
    "A first try": (demo,),
}
"""The commands under the headings of `--help`."""
