"""The commands about files: info, import, verify, export."""

from pathlib import Path
from typing import Any, get_args

import click

from nucleipel.cli import options
from nucleipel.core.choices import Split

EXPORT_TARGETS = ("geojson", "xenium", "visium-hd", "bin2cell", "spatialdata")
"""Programs of `nucleipel.stages.files.export_nuclei`; a test compares them."""


class _ImportFormat(click.ParamType):  # type: ignore[type-arg]
    """One of the formats of `nucleipel.io.annotations`, which --help does not import."""

    name = "format"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name of the format; another one is refused, with the names there are."""
        from nucleipel.io.annotations import FORMATS

        return click.Choice(tuple(FORMATS)).convert(value, param, ctx)


@click.command()
@click.argument("files", nargs=-1, required=True, type=options.PATH, metavar="FILE...")
@click.option("--checkpoint", type=options.PATH, help="Also print what this checkpoint would do.")
@options.settings
@options.reading
@options.at_mpp
def info(files: tuple[Path, ...], checkpoint: Path | None, **values: Any) -> None:
    """Show what images and slides are and how they are read.

    Format, size, levels, mpp and its source, channels, pixels; and how
    predict and segment would read the file.
    """
    from nucleipel.config import InfoConfig

    config = options.load(InfoConfig, values)
    from nucleipel.core.listing import first_faults
    from nucleipel.errors import ImageError
    from nucleipel.stages.files.info import info as run

    faults = []
    for file in files:
        try:
            facts = run(file, config, checkpoint=checkpoint)
        except ImageError as error:
            faults.append(str(error))
            continue
        click.echo(f"{file}")
        for name, value in facts.items():
            click.echo(f"  {name:10}{value}")
    if faults:
        raise ImageError(first_faults(faults))


@click.command("import")
@click.argument("kind", type=_ImportFormat(), metavar="FORMAT")
@click.argument("source", type=options.PATH)
@options.out("Folder for the labels and manifest.csv.")
@options.settings
@click.option("--images", "image_folder", help="Folder of the images; --set images=...")
@click.option("--mpp", "label_mpp", type=float, metavar="UM", help="Pixel size; --set mpp=...")
@options.series
@click.option(
    "--split",
    "all_split",
    type=click.Choice(get_args(Split)),
    help="Split of images whose source has none; --set split=...",
)
@click.option(
    "--region-class",
    multiple=True,
    metavar="NAME",
    help="Class or name of regions that were annotated completely; more than one may be given.",
)
def import_annotations(kind: str, source: Path, out: Path, overwrite: bool, **values: Any) -> None:
    """Import annotations as labels and a manifest.

    FORMAT is dsb2018, monuseg (Aperio XML), qupath (GeoJSON), coco, pannuke
    (npy), hovernet (mat), labels (paired folders) or stardist; SOURCE its
    folder or file.
    """
    from nucleipel.config import ImportConfig

    config = options.load(ImportConfig, values)
    from nucleipel.stages.files.import_annotations import import_annotations as run

    click.echo(run(kind, source, out, config, overwrite=overwrite))


@click.command()
@click.argument("path", type=options.PATH)
@click.option("--repair", is_flag=True, help="Remove what is broken; its stage makes it again.")
def verify(path: Path, repair: bool) -> None:
    """Check that outputs are still what was written.

    Hashes all outputs at and below PATH, of every stage, and names what is
    broken. Exits with 1 if something is broken.
    """
    from nucleipel.stages.files.verify import verify as run

    run(path, repair=repair)


@click.command()
@click.argument("path", type=options.PATH, metavar="RUN|OUT")
@click.option("--onnx", type=options.PATH, help="ONNX file to write, of a checkpoint.")
@click.option("--bioimageio", type=options.PATH, help="bioimage.io package (.zip) to write of it.")
@click.option(
    "--to", type=click.Choice(EXPORT_TARGETS), help="Program that nuclei are written for."
)
@click.option("--out", type=options.PATH, help="Folder for --to, one folder an image.")
@options.outlines
@click.option("--overwrite", is_flag=True, help="Replace files that are there.")
@options.settings
def export(
    path: Path,
    onnx: Path | None,
    bioimageio: Path | None,
    to: str | None,
    out: Path | None,
    overwrite: bool,
    **values: Any,
) -> None:
    """Export a checkpoint, or nuclei, for other programs.

    RUN is a run folder, or 'default' for the weights that come with the
    package: --onnx, --bioimageio. OUT is a folder that segment or stitch
    wrote: --to xenium, visium-hd, bin2cell, spatialdata, geojson.
    """
    if to is not None:
        if onnx is not None or bioimageio is not None or out is None:
            raise click.UsageError("--to needs --out DIR; --onnx and --bioimageio are for a RUN")
        _export_nuclei(path, out, to, overwrite, values)
        return
    if onnx is None and bioimageio is None:
        raise click.UsageError("give --onnx FILE, --bioimageio FILE.zip or both; or --to PROGRAM")
    from nucleipel.config import ExportConfig

    config = options.load(ExportConfig, values)
    from nucleipel.stages.files.export import export as run

    for file in run(path, config, onnx=onnx, bioimageio=bioimageio, overwrite=overwrite):
        click.echo(file)


def _export_nuclei(
    instances: Path, out: Path, to: str, overwrite: bool, values: dict[str, Any]
) -> None:
    from nucleipel.config import ExportNucleiConfig

    config = options.load(ExportNucleiConfig, values)
    from nucleipel.stages.files.export_nuclei import export_nuclei as run

    for line in run(instances, out, config, to=to, overwrite=overwrite):
        click.echo(line)
