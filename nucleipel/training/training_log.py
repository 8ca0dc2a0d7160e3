"""The log of a training: a CSV, TensorBoard events, and the curves as a picture."""

import logging
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from nucleipel.core.atomic import replacing
from nucleipel.io.csv_table import read_table, write_table

log = logging.getLogger(__name__)

COLUMNS = ("epoch", "learning_rate", "loss", "val_loss", "val_dice", "val_pq")


def read_training_log(folder: Path) -> list[dict[str, float]]:
    """Read the rows of a run's `metrics.csv`, one an epoch; empty cells are left out."""
    return [
        {key: float(value) for key, value in row.items() if value}
        for row in read_table(folder / "metrics.csv")
    ]


class TrainingLog:
    """Rows of `metrics.csv`, mirrored to `tensorboard/` and drawn in `curves.png`."""

    def __init__(self, folder: Path, rows: list[dict[str, float]]) -> None:
        """Continue the `rows` of an earlier run; new ones are appended to that list."""
        self.folder = folder
        self.rows = rows
        self._events = SummaryWriter(folder / "tensorboard")

    def write(self, row: dict[str, float]) -> None:
        """Add the row of one epoch."""
        self.rows.append(row)
        epoch = int(row["epoch"])
        for name, value in row.items():
            if name != "epoch":
                self._events.add_scalar(name, value, epoch)
        values = ", ".join(f"{name} {row[name]:.4f}" for name in COLUMNS[2:] if name in row)
        log.info("epoch %d: %s", epoch, values)
        self._write_table()

    def _write_table(self) -> None:
        write_table(self.folder / "metrics.csv", self.rows, columns=COLUMNS)

    def __enter__(self) -> "TrainingLog":
        return self

    def __exit__(self, *_: object) -> None:
        """Flush the events and draw the curves, also if the training ended early."""
        self._events.close()
        self._write_table()
        with replacing(self.folder / "curves.png") as temporary:
            _draw_curves(self.rows, temporary)


def _draw_curves(rows: list[dict[str, float]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, names in ((left, ("loss", "val_loss")), (right, ("val_dice", "val_pq"))):
        for name in names:
            points = [(row["epoch"], row[name]) for row in rows if name in row]
            axes.plot(*zip(*points, strict=True) if points else ([], []), label=name, marker=".")
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, format="png", dpi=120)
