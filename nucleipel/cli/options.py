"""The options that several commands share, defined once."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from nucleipel.core.choices import OLD_WORDS, Device, GeoJson, GeoJsonKind, MapFrame, StainedAs
from nucleipel.core.run_options import RunOptions
from nucleipel.core.shard import WHOLE, Shard
from nucleipel.errors import ManifestError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from nucleipel.io.manifest import Manifest
    from nucleipel.stages.cluster.dask_workers import Cluster

C = TypeVar("C", bound="BaseModel")

Command = Callable[..., Any]

SHORT_FOR = {
    "device": "device",
    "threads": "threads",
    "max_ram": "max_ram_gb",
    "mpp": "source_mpp",
    "at_mpp": "at_mpp",
    "channel": "channel",
    "series": "series",
    "enlarge": "enlarge",
    "tissue": "tissue",
    "scale": "scale",
    "stained_as": "stained_as",
    "image_folder": "images",
    "map_frame": "map_frame",
    "csv": "csv",
    "geojson": "geojson",
    "geojson_kind": "geojson_kind",
    "simplify_px": "simplify_px",
    "expand_um": "expand_um",
    "label_mpp": "mpp",
    "all_split": "split",
    "region_class": "region_class",
}
"""Options that are short for a `--set`, and the setting."""

INDEX_OR_NAME = ("channel", "series")

PATH = click.Path(path_type=Path)  # existence is checked by the stage, with a better message


def _stack(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


manifest = click.option(
    "--manifest", type=PATH, required=True, help="CSV of images; see data_manifests/README.md."
)
split = click.option("--split", help="Only the rows of this split: train, val or test.")
data_root = click.option(
    "--data-root", type=PATH, help="Folder that the manifest's paths start from (default: its own)."
)
rows = _stack(
    click.argument("images", nargs=-1, type=PATH, metavar="[IMAGE]..."),
    click.option("--manifest", type=PATH, help="CSV of images, instead of naming them."),
    split,
    data_root,
)
CHECKPOINT_HELP = "A run folder, or the checkpoint file in it; 'default' comes with the package."
MODEL_HELP = f"{CHECKPOINT_HELP} Or an ONNX model, or a bioimage.io package."
checkpoint = click.option("--checkpoint", type=PATH, required=True, help=CHECKPOINT_HELP)
checkpoint_or_default = click.option(
    "--checkpoint", type=PATH, default="default", show_default=True, help=MODEL_HELP
)
device = click.option(
    "--device", type=click.Choice(get_args(Device)), help="Short for --set device=..."
)
resources = _stack(
    click.option("--threads", type=int, help="Short for --set threads=..."),
    click.option("--max-ram", type=float, metavar="GB", help="Short for --set max_ram_gb=..."),
)


outlines = _stack(
    click.option(
        "--geojson-kind",
        type=click.Choice(get_args(GeoJsonKind)),
        help="Kind of QuPath's objects; --set geojson_kind=...",
    ),
    click.option(
        "--simplify-px",
        type=float,
        metavar="PX",
        help="Leave out corners of outlines in GeoJSON, moved by at most this.",
    ),
    click.option("--expand-um", type=float, metavar="UM", help="Write cells of this width, too."),
)
outputs = _stack(
    click.option(
        "--map-frame",
        type=click.Choice(get_args(MapFrame)),
        help="Pixels of the result: the image's own, or the working mpp's; --set map_frame=...",
    ),
    click.option("--csv", is_flag=True, default=None, help="Write nuclei.csv too; --set csv=true."),
    click.option(
        "--geojson",
        type=click.Choice(get_args(GeoJson)),
        help="Write nuclei.geojson for QuPath plain, gzipped or not; --set geojson=...",
    ),
    outlines,
)
series = click.option(
    "--series",
    help="Which image of files that hold several, by index or name; --set series=...",
)
reading = _stack(
    click.option(
        "--mpp", type=float, metavar="UM", help="Pixel size of the images; --set source_mpp=..."
    ),
    click.option(
        "--channel", help="The channel to use, by index or name, or rgb; --set channel=..."
    ),
    series,
    click.option(
        "--enlarge",
        is_flag=True,
        default=None,
        help="Enlarge images coarser than the working mpp, up to 2x; --set enlarge=true.",
    ),
)
at_mpp = click.option(
    "--at-mpp", type=float, metavar="UM", help="Work at this mpp, not the checkpoint's."
)


class _Scale(click.ParamType):  # type: ignore[type-arg]
    name = "scale"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | str:
        if value == "auto":
            return "auto"
        return click.FLOAT.convert(value, param, ctx)


scale = click.option(
    "--scale",
    type=_Scale(),
    metavar="auto|N",
    help="Without mpp: N working pixels along each pixel, up to 2, or what suits each image.",
)


class _StainedAs(click.Choice[str]):
    """Takes the words of older commands, too."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return super().convert(OLD_WORDS["stained_as"].get(value, value), param, ctx)


stained_as = click.option(
    "--stained-as",
    type=_StainedAs(get_args(StainedAs)),
    help="Stained slides in color, as the gray of their nuclear dye, or what suits each.",
)
tissue = click.option(
    "--tissue",
    metavar="auto|off|FILE",
    help="Skip empty glass: detect it, or take a GeoJSON or TIFF mask or a folder of them.",
)

prediction = _stack(reading, at_mpp, scale, stained_as, tissue, device)
"""Options of reading and predicting images."""


def out(what: str) -> Callable[[Command], Command]:
    """Make `--out` and `--overwrite`."""
    return _stack(
        click.option("--out", type=PATH, required=True, help=what),
        click.option("--overwrite", is_flag=True, help="Replace another run that is there."),
    )


class _ShardType(click.ParamType):  # type: ignore[type-arg]
    name = "shard"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Shard:
        if isinstance(value, Shard):
            return value
        try:
            return Shard.parse(value)
        except ValueError as error:
            return self.fail(str(error), param, ctx)


def shard(of_what: str) -> Callable[[Command], Command]:
    """Make `--shard`."""
    return click.option(
        "--shard",
        type=_ShardType(),
        default=WHOLE,
        show_default=False,
        metavar="K/N",
        help=f"Only every N-th {of_what} from the K-th on, as task K of a job array;"
        " 'close' ends it.",
    )


complete_anyway = click.option(
    "--allow-missing", is_flag=True, help="Complete the output without the images that failed."
)
cluster = _stack(
    click.option(
        "--workers",
        type=click.IntRange(min=1),
        metavar="N",
        help="Share the work among N processes.",
    ),
    click.option(
        "--cluster",
        metavar="tcp://HOST:PORT|slurm|lsf|pbs|sge",
        help="Share it among the workers of a Dask scheduler, or of a batch system's jobs.",
    ),
    click.option(
        "--cluster-config",
        type=PATH,
        help="YAML file of the jobs: configs/stages/cluster_slurm.yaml.",
    ),
)
allow_missing = click.option(
    "--allow-missing",
    is_flag=True,
    help="Score what is there; the report names what is missing.",
)


settings = _stack(
    click.option("--config", "config_file", type=PATH, help="YAML file of settings."),
    click.option(
        "--set",
        "assignments",
        multiple=True,
        metavar="KEY=VALUE",
        help="Change one setting; may be repeated. Groups by dots: network.features=[16,32].",
    ),
)


def load(kind: type[C], values: Mapping[str, Any], *, shorts: Mapping[str, str] = {}) -> C:
    """Load the settings of a command from the values of `settings` and of the short options.

    `shorts` names further options that stand for a setting: {option: setting}.
    """
    from nucleipel.config import load_config

    assignments = list(values["assignments"])
    for option, key in {**SHORT_FOR, **shorts}.items():
        value = values.get(option)
        if value not in (None, ()):
            # quoted, a path or a channel named "a: b" is still text
            plain = int(value) if option in INDEX_OR_NAME and value.isdecimal() else value
            assignments.append(f"{key}={json.dumps(plain, default=str)}")
    return load_config(kind, file=values["config_file"], assignments=assignments)


def read_rows(values: Mapping[str, Any], *, series: int | str | None = None) -> "Manifest":
    """Read the images of a command from the values of `rows`; `series` where a row names none.

    Raises
    ------
    ManifestError
        If there are neither images nor a manifest, or both.
    """
    from nucleipel.io.manifest import manifest_of_images, read_manifest

    images, manifest, split = values["images"], values["manifest"], values["split"]
    if bool(images) == (manifest is not None):
        raise ManifestError("name images, or give a --manifest: one of the two")
    if manifest is None:
        if split or values["data_root"]:
            raise ManifestError("--split and --data-root go with a --manifest")
        return manifest_of_images(images, series=series)
    # what cannot be read is reported by its own shard
    shared = values.get("workers") or values.get("cluster") or values.get("shard", WHOLE) != WHOLE
    apart = bool(values.get("allow_missing", False) or shared)
    needed = () if apart else (split,) if split else None
    rows = read_manifest(manifest, data_root=values["data_root"], needed=needed, series=series)
    return rows.of_split(split) if split else rows


def read_channels(text: str | None) -> dict[str, int] | None:
    """Read `NAME=I,NAME=I`.

    Raises
    ------
    UsageError
        If it is something else.
    """
    if text is None:
        return None
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(name and index.strip().isdecimal() for name, _, index in pairs):
        raise click.UsageError(f"--channels {text}: expected interior=0,boundary=1, say")
    return {name.strip(): int(index) for name, _, index in pairs}


def read_run_options(values: Mapping[str, Any]) -> RunOptions:
    """Read the options of a run from the values of `out`, `shard` and `complete_anyway`."""
    return RunOptions(
        overwrite=values["overwrite"],
        shard=values.get("shard", WHOLE),
        allow_missing=values.get("allow_missing", False),
    )


def read_cluster(values: Mapping[str, Any]) -> "Cluster | None":
    """Read where the work is done from the values of `cluster`; None for this process.

    Raises
    ------
    UsageError
        If the options do not go together.
    """
    workers, scheduler, file = values["workers"], values["cluster"], values["cluster_config"]
    if file and not scheduler:
        raise click.UsageError("--cluster-config goes with --cluster slurm, lsf, pbs or sge")
    if not workers and not scheduler:
        return None
    if values.get("shard", WHOLE) != WHOLE:
        raise click.UsageError("--shard is for tasks that share the work without Dask")
    from nucleipel.config import ClusterConfig, load_config
    from nucleipel.stages.cluster.dask_workers import BATCH_SYSTEMS, Cluster

    if workers and scheduler:
        raise click.UsageError(
            "--workers is for processes here; a batch system takes jobs from --cluster-config"
        )
    if workers:
        return Cluster(workers)
    if scheduler in BATCH_SYSTEMS:
        if not file:
            raise click.UsageError(f"--cluster {scheduler} needs a --cluster-config")
        return Cluster(scheduler=scheduler, config=load_config(ClusterConfig, file=file))
    if file or "://" not in scheduler:
        raise click.UsageError(
            f"--cluster {scheduler}: expected tcp://host:port, or {', '.join(BATCH_SYSTEMS)}"
            " with a --cluster-config"
        )
    return Cluster(scheduler=scheduler)
