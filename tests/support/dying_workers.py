"""A preload of Dask's workers: some images and files kill their worker, always or once.

Run as a program, it is the command `nucleipel` with the same images and files.
"""

import os
import signal
from pathlib import Path
from typing import Any

DEADLY = "deadly"
"""Stem of an image that kills whoever opens it."""
ONCE = "NUCLEIPEL_TEST_KILLED_ONCE"
"""Names a file that the first worker leaves when it dies after a shard of `train`, of its first
part if there are several."""
SHARD = "NUCLEIPEL_TEST_DEADLY_SHARD"
"""Names a file of an image, "slide/map/c/0/1/0" say, that kills who has written it."""
SMALL = "NUCLEIPEL_TEST_SMALL_SLIDES"
"""Set: slides are shared out as `two_islands` needs it."""


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dask_setup(_: Any) -> None:
    from nucleipel.io.records.checksums import Written
    from nucleipel.io.slides.slide_reader import SlideReader

    if os.environ.get(SMALL):
        from support.small_parts import share_small_slides

        share_small_slides()
    opened, added = SlideReader.open, Written.add

    def open_image(self: SlideReader, path: Path, **named: Any) -> Any:
        if path.name.startswith(DEADLY):
            _die()
        return opened(self, path, **named)

    def add(self: Written, names: Any) -> None:
        if os.environ.get(SHARD) in [f"{self.folder.name}/{name}" for name in names]:
            _die()
        added(self, names)
        left, later = os.environ.get(ONCE), self._path.name.startswith(".written-2")
        if left and self.folder.name == "train" and not later and not Path(left).exists():
            Path(left).touch()
            _die()

    SlideReader.open, Written.add = open_image, add


if __name__ == "__main__":
    from nucleipel.cli import cli

    dask_setup(None)
    cli()
