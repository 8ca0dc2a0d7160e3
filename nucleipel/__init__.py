"""nucleipel: train, tile, fine-tune with PEL, predict and stitch nuclei on whole slides.

    import nucleipel as npl
    labels = npl.segment(image)                                # (H, W[, C]) array to (H, W) uint32
    result = npl.segment_slide("slide.svs", out="OUT", at_mpp=0.5)

Each name is imported when it is first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nucleipel import errors, losses, metrics
    from nucleipel.api import datasets, guests
    from nucleipel.api.merge import stitch_instances
    from nucleipel.api.model import Model, load
    from nucleipel.api.pipeline import evaluate, finetune, finetune_patches, suggest, tile, train
    from nucleipel.api.results import ArrayResult, LabelsResult, Report, SlideResult
    from nucleipel.api.segment import segment, segment_slide
    from nucleipel.api.stitch import stitch_probabilities
    from nucleipel.losses import PELoss

__version__ = "0.1.0"

_HOMES = {
    "ArrayResult": "api.results",
    "LabelsResult": "api.results",
    "Model": "api.model",
    "PELoss": "losses",
    "Report": "api.results",
    "SlideResult": "api.results",
    "datasets": "api.datasets",
    "errors": "errors",
    "evaluate": "api.pipeline",
    "finetune": "api.pipeline",
    "finetune_patches": "api.pipeline",
    "guests": "api.guests",
    "load": "api.model",
    "losses": "losses",
    "metrics": "metrics",
    "segment": "api.segment",
    "segment_slide": "api.segment",
    "stitch_instances": "api.merge",
    "stitch_probabilities": "api.stitch",
    "suggest": "api.pipeline",
    "tile": "api.pipeline",
    "train": "api.pipeline",
}
"""The public names, and the module that each comes from."""
_MODULES = ("datasets", "errors", "guests", "losses", "metrics")
"""Names that are modules themselves."""

__all__ = [
    "ArrayResult",
    "LabelsResult",
    "Model",
    "PELoss",
    "Report",
    "SlideResult",
    "__version__",
    "datasets",
    "errors",
    "evaluate",
    "finetune",
    "finetune_patches",
    "guests",
    "load",
    "losses",
    "metrics",
    "segment",
    "segment_slide",
    "stitch_instances",
    "stitch_probabilities",
    "suggest",
    "tile",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: torch alone takes seconds (PEP 562)."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(f"{__name__}.{_HOMES[name]}")
    value = home if name in _MODULES else getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
