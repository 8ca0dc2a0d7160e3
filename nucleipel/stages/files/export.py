"""Write a checkpoint in the formats of other programs."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from nucleipel.config import CitationConfig, ExportConfig
from nucleipel.core.intensity import IntensityRange
from nucleipel.data.synthetic import build_scene
from nucleipel.errors import ConfigError
from nucleipel.io.exported_files import require_free, write_exported, write_package
from nucleipel.io.pictures import encode_png
from nucleipel.model.bioimageio import PackageText, build_package, least_side_px
from nucleipel.model.checkpoint import DEFAULT, Checkpoint, read_checkpoint, read_notes
from nucleipel.model.onnx_export import build_onnx, predict_once

PACKAGED = ExportConfig(
    name="nucleipel nuclei (DSB2018)",
    authors=("the nucleipel developers",),
    license="CC0-1.0",
    citations=(
        CitationConfig(
            text="Caicedo et al., Nucleus segmentation across imaging experiments: the 2018"
            " Data Science Bowl. Nature Methods 16, 1247-1253 (2019)",
            doi="10.1038/s41592-019-0612-7",
        ),
    ),
    tags=("fluorescence-light-microscopy", "histology", "bright-field"),
)
"""Authors, license and citations of the weights that come with the package."""


def export(
    checkpoint: Path,
    config: ExportConfig,
    *,
    onnx: Path | None = None,
    bioimageio: Path | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write the network as an ONNX file, a bioimage.io package or both; return what was written.

    Raises
    ------
    ConfigError
        If a package is wanted, and the license or the authors of the weights are not set.
    """
    text = _package_text(checkpoint, config) if bioimageio else None
    for path, suffix in ((onnx, ".onnx"), (bioimageio, ".zip")):
        if path:
            require_free(path, suffix=suffix, overwrite=overwrite)
    model = read_checkpoint(checkpoint)
    network = build_onnx(model)
    if onnx:
        write_exported(onnx, network)
    if bioimageio and text:
        image, probabilities, cover = _example(model)
        files = build_package(
            model, text, onnx=network, image=image, probabilities=probabilities, cover=cover
        )
        write_package(bioimageio, files)
    return [path for path in (onnx, bioimageio) if path]


def _package_text(checkpoint: Path, config: ExportConfig) -> PackageText:
    if checkpoint == Path(DEFAULT):
        changed = {name: getattr(config, name) for name in config.model_fields_set}
        config = PACKAGED.model_copy(update=changed)
    if config.license is None or not config.authors:
        raise ConfigError(
            "a package says whose the weights are: --set license=CC-BY-4.0"
            " --set 'authors=[Ada Lovelace]'"
        )
    return PackageText(
        name=config.name,
        description=config.description,
        authors=config.authors,
        license=config.license,
        citations=[citation.model_dump(exclude_none=True) for citation in config.citations],
        tags=config.tags,
        notes=read_notes(checkpoint),
    )


def _example(
    model: Checkpoint,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], bytes]:
    """A generated image (1, C, H, W) as it is stored, its probabilities, and a cover of both."""
    description = model.description
    side = least_side_px(description) + description.network.stride
    stored = build_scene((side, side), seed=0, glass=False).image
    picture = stored
    if description.network.in_channels == 1:
        stored = 255 - stored.min(axis=-1, keepdims=True)  # bright nuclei, as in fluorescence
    normalized = IntensityRange.of_pixels(stored).normalize(stored)
    image = np.ascontiguousarray(stored.transpose(2, 0, 1)[None], np.float32)
    inputs = np.ascontiguousarray(normalized.transpose(2, 0, 1)[None])
    probabilities = predict_once(model, inputs)
    shown = np.rint(255 * probabilities[0, 1:4]).astype(np.uint8).transpose(1, 2, 0)
    return image, probabilities, encode_png(np.concatenate([picture, shown], axis=1))
