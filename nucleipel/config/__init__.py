"""Typed, frozen settings, one class a stage, and how YAML files and `--set` fill them."""

from nucleipel.config.ablation import AblateConfig, ArmConfig, DeviationConfig
from nucleipel.config.cluster import ClusterConfig
from nucleipel.config.demo import DemoConfig
from nucleipel.config.export import CitationConfig, ExportConfig
from nucleipel.config.finetuning import FinetunePatchesConfig, PELConfig
from nucleipel.config.fitting import AugmentConfig, NetworkConfig, TrainConfig
from nucleipel.config.jobs import JobConfig, SubmitConfig
from nucleipel.config.load import load_config
from nucleipel.config.nuclei import (
    CalibrateConfig,
    EvaluateConfig,
    InstanceConfig,
    PlanConfig,
    SegmentConfig,
    StitchConfig,
)
from nucleipel.config.reading import ImportConfig, InfoConfig, PredictConfig, TileConfig

__all__ = [
    "AblateConfig",
    "ArmConfig",
    "AugmentConfig",
    "CalibrateConfig",
    "CitationConfig",
    "ClusterConfig",
    "DemoConfig",
    "DeviationConfig",
    "EvaluateConfig",
    "ExportConfig",
    "FinetunePatchesConfig",
    "ImportConfig",
    "InfoConfig",
    "InstanceConfig",
    "JobConfig",
    "NetworkConfig",
    "PELConfig",
    "PlanConfig",
    "PredictConfig",
    "SegmentConfig",
    "StitchConfig",
    "SubmitConfig",
    "TileConfig",
    "TrainConfig",
    "load_config",
]
