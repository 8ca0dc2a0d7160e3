"""The `submit` command: the whole pipeline as Slurm jobs."""

from pathlib import Path

import click

from nucleipel.cli import options


@click.command()
@click.option(
    "--profile", type=options.PATH, required=True, help="YAML file; see configs/stages/slurm.yaml."
)
@options.manifest
@click.option("--split", default="test", show_default=True, help="Images to predict and score.")
@options.data_root
@click.option("--checkpoint", type=options.PATH, help="Start from it, and do not train.")
@click.option("--no-finetune", is_flag=True, help="Leave out tile and finetune-patches.")
@click.option("--out", type=options.PATH, required=True, help="Folder for all outputs and logs.")
@click.option("--dry-run", is_flag=True, help="Print the scripts and submit nothing.")
def submit(
    profile: Path,
    manifest: Path,
    split: str,
    data_root: Path | None,
    checkpoint: Path | None,
    no_finetune: bool,
    out: Path,
    dry_run: bool,
) -> None:
    """Run the whole pipeline as Slurm jobs.

    train, tile and finetune-patches, then predict and stitch as arrays over the
    images of the split, large ones in parts, then evaluate. Jobs that are preempted
    or run out of time go on; a bad image stops no other. The same command continues.
    """
    from nucleipel.config import SubmitConfig, load_config
    from nucleipel.io.sbatch import most_array_tasks
    from nucleipel.stages.cluster.submit import build_jobs
    from nucleipel.stages.cluster.submit import submit as run

    jobs = build_jobs(
        manifest, out, load_config(SubmitConfig, file=profile),
        split=split, checkpoint=checkpoint, finetune=not no_finetune, data_root=data_root,
        most_tasks=most_array_tasks(),
    )  # fmt: skip
    if dry_run:
        for job in jobs:
            after = f", after {' and '.join(job.after[1])} ({job.after[0]})" if job.after else ""
            click.echo(f"### {job.name}.sbatch{after}\n{job.script}")
        return
    for name, number in run(jobs, out).items():
        click.echo(f"{number} {name}")
