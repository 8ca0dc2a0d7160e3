"""Seconds that a run spends in its phases, in all threads.

`read`: pixels of images are read and normalized. `predict`: the network is at
work. `stitch`: nuclei are segmented and measured. `write`: results are compressed
and written to the disk. Phases of different threads overlap, and those of a
second process, so that their sum may exceed the wall time.
"""

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

T = TypeVar("T")

Phase = Literal["read", "predict", "stitch", "write"]
PHASES: tuple[Phase, ...] = ("read", "predict", "stitch", "write")


class Stopwatch:
    """Starts when it is made. One phase within another of the same thread interrupts it."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._seconds: dict[Phase, float] = {}
        self._areas: dict[str, tuple[int, float | None]] = {}
        self._second_process = 0.0
        self._network: tuple[float, float] | None = None
        self._lock = threading.Lock()
        self._thread = threading.local()

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Count the time of a block, also if it fails, to a phase."""
        outer = getattr(self._thread, "inner_seconds", 0.0)
        self._thread.inner_seconds = 0.0
        start = time.perf_counter()
        try:
            yield
        finally:
            end = time.perf_counter()
            spent = end - start
            own = spent - self._thread.inner_seconds
            self._thread.inner_seconds = outer + spent
            with self._lock:
                self._seconds[name] = self._seconds.get(name, 0.0) + own
                if name == "predict":
                    first = start if self._network is None else self._network[0]
                    self._network = first, end

    def making(self, name: Phase, items: Iterable[T]) -> Iterator[T]:
        """Iterate; the time that making each item takes counts to a phase, its use does not."""
        source = iter(items)
        while True:
            with self.phase(name):
                try:
                    item = next(source)
                except StopIteration:
                    return
            yield item

    def note_image(self, image_id: str, *, pixels: int, mpp: float | None) -> None:
        """Count the pixels, `mpp` um wide, of an image; of several counts the largest holds."""
        with self._lock:
            known = self._areas.get(image_id, (0, mpp))[0]
            self._areas[image_id] = max(known, pixels), mpp

    def to_json(self) -> dict[str, Any]:
        """Seconds and images as plain JSON types, for `add` in another process."""
        areas = {name: {"pixels": area[0], "mpp": area[1]} for name, area in self._areas.items()}
        return {"seconds": self.seconds, "images": areas}

    def add(self, other: Mapping[str, Any]) -> None:
        """Add the phases of a second process, from `to_json` of its clock."""
        with self._lock:
            for name, seconds in other["seconds"].items():
                self._seconds[name] = self._seconds.get(name, 0.0) + seconds
                self._second_process += seconds
        for image_id, area in other["images"].items():
            self.note_image(image_id, **area)

    @property
    def elapsed(self) -> float:
        """Seconds of wall time since the start."""
        return time.perf_counter() - self._started

    @property
    def seconds(self) -> dict[Phase, float]:
        """Seconds of each phase that occurred, in the order of `PHASES`."""
        return {name: self._seconds[name] for name in PHASES if name in self._seconds}

    @property
    def mpx(self) -> float:
        """Megapixels of all images."""
        return sum(pixels for pixels, _ in self._areas.values()) / 1e6

    @property
    def mm2(self) -> float | None:
        """Area of all images; None if the mpp of one is not known."""
        if any(mpp is None for _, mpp in self._areas.values()):
            return None
        return sum(pixels * (mpp or 0) ** 2 for pixels, mpp in self._areas.values()) / 1e6

    @property
    def second_process_seconds(self) -> float:
        """Seconds of all phases of a second process."""
        return self._second_process

    @property
    def network_seconds(self) -> float:
        """Seconds from the network's first window to its last; 0 without one."""
        return 0.0 if self._network is None else self._network[1] - self._network[0]

    @property
    def idle_share(self) -> float:
        """The share of `network_seconds` in which the network had nothing to do."""
        if not self.network_seconds:
            return 0.0
        return max(0.0, 1 - self._seconds["predict"] / self.network_seconds)

    def describe(self) -> str:
        """Describe the run until now in one line."""
        elapsed = self.elapsed
        split = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.seconds.items())
        text = f"{split} in {elapsed:.1f} s"
        if self.second_process_seconds:
            text += f", {self.second_process_seconds:.1f} s of them in a second process"
        if "predict" in self._seconds:
            text += f"; network idle {100 * self.idle_share:.0f} % of {self.network_seconds:.1f} s"
        text += f"; {self.mpx:.3g} Mpx, {self.mpx / elapsed:.3g} Mpx/s"
        return text if self.mm2 is None else f"{text}, {self.mm2 / elapsed:.3g} mm2/s"

    def log_summary(self, log: logging.Logger) -> None:
        """Log the line of `describe`, unless no image was worked on."""
        if self._areas:
            log.info(self.describe())
