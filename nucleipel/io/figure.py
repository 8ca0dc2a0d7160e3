"""Pictures on disk."""

from pathlib import Path
from typing import TYPE_CHECKING

from nucleipel.core.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 110


def write_figure(path: Path, figure: "Figure") -> None:
    """Write a matplotlib figure as PNG, atomically; the same figure gives the same bytes."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, metadata={"Software": None})
