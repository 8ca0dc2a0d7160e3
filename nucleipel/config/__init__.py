"""Typed, frozen settings, one class a stage, filled from YAML files and `--set`.

Each class is imported when it is first used: all of them take .2 s.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_HOMES = {
    "AblateConfig": "experiments",
    "ArmConfig": "experiments",
    "AugmentConfig": "pipeline.train",
    "CalibrateConfig": "pipeline.calibrate",
    "CitationConfig": "files",
    "ClusterConfig": "cluster",
    "DemoConfig": "demo",
    "DeviationConfig": "experiments",
    "EvaluateConfig": "pipeline.evaluate",
    "ExportConfig": "files",
    "ExportNucleiConfig": "files",
    "FinetuneConfig": "pipeline.finetune",
    "FinetunePatchesConfig": "pipeline.finetune_patches",
    "ImportConfig": "files",
    "InfoConfig": "files",
    "InstanceConfig": "pipeline.instances",
    "JobConfig": "cluster",
    "NetworkConfig": "pipeline.train",
    "PELConfig": "pipeline.finetune_patches",
    "PlanConfig": "plan",
    "PredictConfig": "pipeline.predict",
    "SegmentConfig": "pipeline.segment",
    "StitchConfig": "pipeline.stitch",
    "StitchMapsConfig": "pipeline.stitch_maps",
    "StitchModelConfig": "pipeline.stitch_model",
    "SubmitConfig": "cluster",
    "SuggestConfig": "pipeline.suggest",
    "TileConfig": "pipeline.tile",
    "TrainConfig": "pipeline.train",
    "load_config": "load",
    "settings_from": "load",
}
"""The public names, and the module that each comes from."""

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


def __getattr__(name: str) -> Any:
    """Import a name when it is first used (PEP 562)."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
