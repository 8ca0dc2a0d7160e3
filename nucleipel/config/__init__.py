"""Typed, frozen settings, one class a stage, and how YAML files and `--set` fill them."""

from nucleipel.config.jobs import JobConfig, SubmitConfig
from nucleipel.config.load import load_config
from nucleipel.config.stages import (
    AblateConfig,
    ArmConfig,
    AugmentConfig,
    CalibrateConfig,
    DemoConfig,
    DeviationConfig,
    EvaluateConfig,
    FinetunePatchesConfig,
    ImportConfig,
    InfoConfig,
    InstanceConfig,
    NetworkConfig,
    PELConfig,
    PredictConfig,
    SegmentConfig,
    StitchConfig,
    TileConfig,
    TrainConfig,
)

__all__ = [
    "AblateConfig",
    "ArmConfig",
    "AugmentConfig",
    "CalibrateConfig",
    "DemoConfig",
    "DeviationConfig",
    "EvaluateConfig",
    "FinetunePatchesConfig",
    "ImportConfig",
    "InfoConfig",
    "InstanceConfig",
    "JobConfig",
    "NetworkConfig",
    "PELConfig",
    "PredictConfig",
    "SegmentConfig",
    "StitchConfig",
    "SubmitConfig",
    "TileConfig",
    "TrainConfig",
    "load_config",
]
