"""Typed, frozen settings, one class a stage, and how YAML files and `--set` fill them."""

from nucleipel.config.load import load_config
from nucleipel.config.stages import (
    AugmentConfig,
    CalibrateConfig,
    DemoConfig,
    EvaluateConfig,
    FinetunePatchesConfig,
    ImportConfig,
    InfoConfig,
    InstanceConfig,
    NetworkConfig,
    PredictConfig,
    SegmentConfig,
    StitchConfig,
    TileConfig,
    TrainConfig,
)

__all__ = [
    "AugmentConfig",
    "CalibrateConfig",
    "DemoConfig",
    "EvaluateConfig",
    "FinetunePatchesConfig",
    "ImportConfig",
    "InfoConfig",
    "InstanceConfig",
    "NetworkConfig",
    "PredictConfig",
    "SegmentConfig",
    "StitchConfig",
    "TileConfig",
    "TrainConfig",
    "load_config",
]
