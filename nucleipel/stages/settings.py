"""From a stage's config to the plain values that the floors below take: config stops here."""

from nucleipel.config import AugmentConfig, InstanceConfig
from nucleipel.config.stages import FitConfig
from nucleipel.data.augment import Augment
from nucleipel.instances.segment import InstanceRule
from nucleipel.training.fit import Schedule


def build_rule(config: InstanceConfig) -> InstanceRule:
    """How maps become nuclei."""
    return InstanceRule(**config.model_dump())


def build_augment(config: AugmentConfig) -> Augment:
    """How samples are varied; the scale is drawn where windows are."""
    return Augment(
        rotate_degrees=config.rotate_degrees, intensity=config.intensity, stain=config.stain
    )


def build_schedule(config: FitConfig, *, samples_per_epoch: int) -> Schedule:
    """How long and how fast to train; an epoch is filled up to whole batches."""
    return Schedule(
        epochs=config.epochs,
        steps_per_epoch=max(1, -(-samples_per_epoch // config.batch_size)),
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        warmup_steps=config.warmup_steps,
        ema_decay=config.ema_decay,
        clip_norm=config.clip_norm,
        validate_every=config.validate_every,
        patience=config.patience,
    )
