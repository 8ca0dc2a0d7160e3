"""Typed, frozen settings, one class a stage, filled from YAML files and `--set`."""

from nucleipel.config.cluster import ClusterConfig, JobConfig, SubmitConfig
from nucleipel.config.demo import DemoConfig
from nucleipel.config.experiments import AblateConfig, ArmConfig, DeviationConfig
from nucleipel.config.files import (
    CitationConfig,
    ExportConfig,
    ExportNucleiConfig,
    ImportConfig,
    InfoConfig,
)
from nucleipel.config.load import load_config, settings_from
from nucleipel.config.pipeline.calibrate import CalibrateConfig
from nucleipel.config.pipeline.evaluate import EvaluateConfig
from nucleipel.config.pipeline.finetune import FinetuneConfig
from nucleipel.config.pipeline.finetune_patches import FinetunePatchesConfig, PELConfig
from nucleipel.config.pipeline.instances import InstanceConfig
from nucleipel.config.pipeline.predict import PredictConfig
from nucleipel.config.pipeline.segment import SegmentConfig
from nucleipel.config.pipeline.stitch import StitchConfig
from nucleipel.config.pipeline.stitch_maps import StitchMapsConfig
from nucleipel.config.pipeline.stitch_model import StitchModelConfig
from nucleipel.config.pipeline.suggest import SuggestConfig
from nucleipel.config.pipeline.tile import TileConfig
from nucleipel.config.pipeline.train import AugmentConfig, NetworkConfig, TrainConfig
from nucleipel.config.plan import PlanConfig

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
    "ExportNucleiConfig",
    "FinetuneConfig",
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
    "StitchMapsConfig",
    "StitchModelConfig",
    "SubmitConfig",
    "SuggestConfig",
    "TileConfig",
    "TrainConfig",
    "load_config",
    "settings_from",
]
