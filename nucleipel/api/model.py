"""A model: weights, what is known of them, and what they make of an image."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from nucleipel.api.arguments import own_scale, require_image, require_mpp, settings_of
from nucleipel.api.results import ArrayResult
from nucleipel.config import PredictConfig, SegmentConfig, StitchConfig, StitchModelConfig
from nucleipel.config.pipeline.instances import InstanceOverrides
from nucleipel.errors import ArgumentError, CheckpointError
from nucleipel.instances.channel_maps import ChannelMaps
from nucleipel.instances.instance_rule import InstanceRule
from nucleipel.io.slides.resolution import Resolution
from nucleipel.io.slides.slide import Slide
from nucleipel.model.checkpoint import Checkpoint, read_checkpoint
from nucleipel.model.foreign_model import ModelUse, is_foreign, read_model
from nucleipel.model.own_network import checkpoint_of_module
from nucleipel.stages.arrays.predict_array import open_array, predict_array
from nucleipel.stages.arrays.stitch_array import stitch_array
from nucleipel.stages.pipeline.stitch_model import MODEL_USE

CORE_PX = 256


class Model:
    """A network with its weights; `load` makes it.

    Attributes
    ----------
    checkpoint : Checkpoint
        The description, the network and the hash of its weights.
    source : str
        Where it comes from.
    """

    def __init__(self, checkpoint: Checkpoint, source: str) -> None:
        self.checkpoint, self.source = checkpoint, source

    @property
    def mpp(self) -> float | None:
        """Um per pixel that it works at; None if images are used pixel for pixel."""
        return self.checkpoint.description.mpp

    @property
    def channels(self) -> int:
        """Channels that the network takes; gray is repeated."""
        return self.checkpoint.description.network.in_channels

    @property
    def maps(self) -> tuple[str, ...]:
        """Names of the channels of its probability maps."""
        return self.checkpoint.description.maps

    @property
    def receptive_radius_px(self) -> int | None:
        """Distance that the network sees; None if the whole window."""
        return self.checkpoint.description.receptive_radius_px

    def predict(
        self, image: Any, *, mpp: float | None = None, **settings: Any
    ) -> npt.NDArray[np.uint8]:
        """Predict the probability map of an image.

        Parameters
        ----------
        image : (H, W) or (H, W, C) uint8 or uint16
            NumPy, or a zarr or Dask array, which is read region by region.
        mpp : float, optional
            Um per pixel of the image; needed where the model has an `mpp`.
        **settings
            Any other setting of `nucleipel predict`: `at_mpp`, `channel`, `device`,
            `stained_as`, `tissue`, `tta`, ...

        Returns
        -------
        (C, h, w) uint8
            One channel for each of `maps`, 255 for 1, in pixels of the working mpp, or of the
            image itself: it is not resampled, unless `at_mpp` or `scale` says so.

        Raises
        ------
        ArgumentError, ConfigError, ImageError
            If an argument is wrong, or the image does not fit the network.
        """
        values = {"mpp": mpp, **own_scale(self.mpp, settings), **settings}
        config = settings_of(PredictConfig, values, function="predict")
        with self._open(image, config) as slide:
            return predict_array(self.checkpoint, slide, config).maps

    def instances(
        self,
        maps: Any,
        *,
        stained: bool = False,
        instances: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> npt.NDArray[np.uint32]:
        """Turn a probability map into nuclei, exactly and whatever its size.

        Parameters
        ----------
        maps : (3, H, W) or (4, H, W) uint8
            As `predict` gives it; NumPy, zarr or Dask.
        stained : bool
            Whether it is the map of stained tissue, for which a model may have other numbers.
        instances : dict, optional
            Numbers of the rule that replace the model's: {"min_area_px": 30}, say.
        **settings
            `threads`, `max_ram`.

        Returns
        -------
        (H, W) uint32
            Ids 1..n, 0 for background, in raster order of first pixels at the working resolution.

        Raises
        ------
        ArgumentError, ConfigError
            If an argument is wrong.
        """
        if tuple(getattr(maps, "shape", ()))[:1] not in [(3,), (4,)] or maps.dtype != np.uint8:
            raise ArgumentError(
                f"maps: {getattr(maps, 'dtype', type(maps).__name__)} of shape"
                f" {tuple(getattr(maps, 'shape', ()))}; expected (3 or 4, H, W) uint8, as predict"
                " gives it; others: nucleipel.stitch_probabilities"
            )
        values = {"instances": instances, **settings}
        config = settings_of(StitchConfig, values, function="instances")
        shape = (int(maps.shape[1]), int(maps.shape[2]))
        frame = Resolution.pixel_for_pixel(shape, None)
        return stitch_array(ChannelMaps(maps), frame, self._rule(config, stained), config).labels

    def segment(self, image: Any, *, mpp: float | None = None, **settings: Any) -> ArrayResult:
        """Predict and stitch an image in memory.

        The ids are those that `nucleipel segment` writes for a file with the same pixels.

        Parameters
        ----------
        image, mpp
            As of `predict`.
        **settings
            Any other setting of `nucleipel segment`.

        Returns
        -------
        ArrayResult
            `.labels`, `.nuclei`, `.certificate`, `.report`.

        Raises
        ------
        ArgumentError, ConfigError, ImageError
            If an argument is wrong, or the image does not fit the network.
        """
        values = {"mpp": mpp, **settings}
        config = settings_of(SegmentConfig, values, function="segment")
        slide = self._open(image, config)
        predicted = predict_array(self.checkpoint, slide, config)
        stitched = stitch_array(
            predicted.maps,
            predicted.resolution,
            InstanceRule(**config.instances.over(predicted.instances)),
            config,
            canonical_map=predicted.canonical_map,
            facts={
                "tissue": predicted.tissue,
                "intensity": predicted.intensity,
                "view": predicted.view,
            },
        )
        return ArrayResult(
            stitched, slide, intensities=config.intensities, expand_um=config.expand_um
        )

    def __call__(
        self, image: Any, *, mpp: float | None = None, **settings: Any
    ) -> npt.NDArray[np.uint32]:
        """Give the labels of `segment`."""
        return self.segment(image, mpp=mpp, **settings).labels

    def __repr__(self) -> str:
        sees = self.receptive_radius_px
        return (
            f"Model({self.source!r}, mpp={self.mpp}, channels={self.channels},"
            f" receptive_radius_px={sees})"
        )

    def _open(self, image: Any, config: PredictConfig) -> Slide:
        image = require_image(image, channel=config.channel)
        working = self.mpp if config.at_mpp is None else config.at_mpp
        if working is not None and config.source_mpp is None:
            raise ArgumentError(
                f"mpp: not given; the model works at {working:g} um per pixel: pass the mpp of the"
                " image"
            )
        return open_array(self.checkpoint, image, config)

    def _rule(self, config: StitchConfig, stained: bool) -> InstanceRule:
        numbers = self.checkpoint.description.instances_of(stained=stained)
        return InstanceRule(**config.instances.over(numbers))


def load(
    model: "Model | nn.Module | Path | str" = "default",
    *,
    channels: int | Mapping[str, int] | None = None,
    stride: int | None = None,
    mpp: float | None = None,
    core_px: int | None = None,
    receptive_radius_px: int | None = None,
    accept_seams: bool = False,
    instances: Mapping[str, Any] | None = None,
    **use: Any,
) -> Model:
    """Load a model: packaged weights, a run folder, a torch module, ONNX, a bioimage.io package.

    Parameters
    ----------
    model : str, Path, torch.nn.Module or Model
        "default" for the packaged weights; the folder of a run, or a file in it; a
        network from (B, `channels`, H, W) float32 in 0..1 to the logits (B, 3 or 4, H, W) of
        background, interior, boundary and perhaps distance, of which a copy is made; an ONNX
        model (.onnx) or a bioimage.io package (.zip) of any program, which needs
        `nucleipel[onnx]`. What follows is for modules and for models of other programs.
    channels : int, or dict of str to int
        Of a module, and needed there: channels of its input. Of an ONNX model: the index of
        each output, {"foreground": 0, "boundary": 1}, as in `stitch_probabilities`.
    stride : int
        Sides of windows are multiples of it (16 for a U-Net that halves its grid four times);
        needed for a module; of an ONNX model 32, or as the package says.
    mpp : float, optional
        Um per pixel that it works at; without it images are used pixel for pixel.
    core_px : int, optional
        The side of its windows without their halo; 256.
    receptive_radius_px : int, optional
        How far it sees, and so the halo; measured if None.
    accept_seams : bool
        Whether one that sees the whole window is taken (InstanceNorm, attention).
        Certificates then say that the map depends on the cut.
    instances : dict, optional
        Numbers of the `InstanceRule` that suits its maps.
    **use
        Of an ONNX model: `output` (a name), `activation` ("none", "sigmoid", "softmax"),
        `mean` and `std`: the model takes (image - mean) / std, the image in 0..1.

    Returns
    -------
    Model

    Raises
    ------
    CheckpointError
        If a file is missing, damaged or no checkpoint, or a module does not fit.
    ArgumentError
        If arguments of a module are missing, or given for something else.
    ConfigError
        If one for an ONNX model is not known or does not fit.

    Examples
    --------
    >>> import nucleipel as npl
    >>> npl.load("default").maps
    ('background', 'interior', 'boundary', 'distance')
    """
    values = {
        "channels": channels, "stride": stride, "mpp": mpp, "core_px": core_px,
        "receptive_radius_px": receptive_radius_px, "accept_seams": accept_seams or None,
        "instances": instances, **use,
    }  # fmt: skip
    if isinstance(model, nn.Module):
        if not isinstance(channels, int) or stride is None:
            raise ArgumentError("load: a torch module needs channels= and stride=")
        if use:
            raise ArgumentError(f"load: {next(iter(use))} is for ONNX models")
        for name, value in (("channels", channels), ("stride", stride), ("core_px", core_px or 1)):
            if not isinstance(value, int) or value < 1:
                raise ArgumentError(f"load: {name} {value}; expected a whole number, at least 1")
        instances = settings_of(InstanceOverrides, instances or {}, function="load").over({})
        require_mpp(mpp)
        checkpoint = checkpoint_of_module(
            model,
            channels=channels,
            stride=stride,
            mpp=mpp,
            core_px=CORE_PX if core_px is None else core_px,
            receptive_radius_px=receptive_radius_px,
            accept_seams=accept_seams,
            instances=dict(instances),
        )
        return Model(checkpoint, type(model).__name__)
    if isinstance(model, str | Path) and is_foreign(Path(model)):
        return Model(read_model(Path(model), _use_of(values)), str(model))
    for name, value in values.items():
        if value is not None:
            raise ArgumentError(
                f"load: {name} is for a torch module or an ONNX model; a checkpoint has its own"
            )
    if isinstance(model, Model):
        return model
    if not isinstance(model, str | Path):
        raise CheckpointError(
            f"load: {type(model).__name__}; expected 'default', a run folder or a torch module"
        )
    return Model(read_checkpoint(Path(model)), str(model))


def _use_of(values: Mapping[str, Any]) -> ModelUse:
    """What is said of a model of another program, checked as the settings of `stitch`."""
    renamed = {"stride": "stride_px", "mpp": "at_mpp"}
    config = settings_of(StitchModelConfig, values, function="load", shorts=renamed)
    use = {name: getattr(config, name) for name in MODEL_USE}
    return ModelUse(**use, mpp=config.at_mpp, instances=config.instances.over({}) or None)
