"""The dock widget: segment a layer, and save labels that were corrected as training data."""

from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

import numpy as np
from magicgui.widgets import (
    CheckBox,
    ComboBox,
    Container,
    FileEdit,
    Label,
    LineEdit,
    ProgressBar,
    PushButton,
    create_widget,
)
from napari import Viewer
from napari.layers import Image, Labels, Shapes
from napari.qt.threading import thread_worker
from napari.utils.notifications import show_info

from nucleipel.errors import NucleipelError

LARGEST_PX = 2**27
TOO_LARGE = (
    "{name}: {height} x {width} px are too many to segment here; run `nucleipel segment` on the"
    " file and open its output"
)
NOT_KNOWN = ""
AUTO, COLOR, DYE = "auto", "color", "dye"


class CanceledError(Exception):
    """The user canceled."""


class SegmentNuclei(Container):  # type: ignore[misc]
    """Run a network on an image layer; save corrected labels.

    Parameters
    ----------
    viewer : napari.Viewer
        Where layers come from and go to.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._cancel = Event()
        self._worker: Any = None
        self.image = create_widget(annotation=Image, label="image")
        self.weights = LineEdit(value="default", label="weights")
        self.mpp = LineEdit(value=NOT_KNOWN, label="um per pixel")
        self.stained_as = ComboBox(choices=[AUTO, COLOR, DYE], label="stained as")
        self.measure = CheckBox(value=True, label="measurements")
        self.run = PushButton(text="Run")
        self.cancel = PushButton(text="Cancel", enabled=False)
        self.progress = ProgressBar(min=0, max=0, value=0, visible=False)
        self.corrected = create_widget(annotation=Labels, label="labels")
        self.region = create_widget(annotation=Shapes | None, label="region")
        self.folder = FileEdit(mode="d", label="folder")
        self.save = PushButton(text="Save as training data")
        self.message = Label(value="")
        super().__init__(
            widgets=[
                self.image, self.weights, self.mpp, self.stained_as, self.measure,
                self.run, self.cancel, self.progress,
                self.corrected, self.region, self.folder, self.save, self.message,
            ]
        )  # fmt: skip
        self.image.changed.connect(self._show_mpp)
        self.run.changed.connect(self.start)
        self.cancel.changed.connect(self._cancel.set)
        self.save.changed.connect(self.save_training_data)
        self._show_mpp()

    def start(self) -> None:
        """Segment the image layer in a thread; its labels become a layer."""
        layer = self.image.value
        if layer is None:
            self._say("open an image first")
            return
        try:
            image, mpp = _pixels(layer), self._mpp()
        except ValueError as error:
            self._say(str(error))
            return
        settings = {"mpp": mpp, "stained_as": self.stained_as.value}
        self._cancel.clear()
        self._set_running(True)
        self._worker = _segment(
            image, self.weights.value, settings, cancel=self._cancel, table=self.measure.value
        )
        self._worker.yielded.connect(self._show_progress)
        self._worker.returned.connect(lambda result: self._show(layer, result))
        self._worker.errored.connect(self._show_error)
        self._worker.finished.connect(lambda: self._set_running(False))
        self._worker.start()

    def save_training_data(self) -> None:
        """Write the image, its labels and the region as one row of a manifest."""
        from nucleipel.stages.files.training_data import save_training_data

        image, labels, region = self.image.value, self.corrected.value, self.region.value
        if image is None or labels is None or not str(self.folder.value).strip():
            self._say("choose an image, its labels and a folder")
            return
        try:
            manifest = save_training_data(
                Path(self.folder.value),
                image.name,
                _pixels(image),
                np.asarray(labels.data),
                mpp=self._mpp(),
                regions=_rings(region, image),
            )
        except (NucleipelError, ValueError) as error:
            self._say(str(error))
            return
        self._say(f"saved; `nucleipel train --manifest {manifest}` uses it")

    def _show_mpp(self) -> None:
        layer = self.image.value
        known = layer is not None and str(layer.units[-1]) in ("micrometer", "micron", "um")
        self.mpp.value = f"{layer.scale[-1]:g}" if known else NOT_KNOWN

    def _mpp(self) -> float | None:
        text = self.mpp.value.strip()
        try:
            return float(text) if text else None
        except ValueError:
            raise ValueError(f"um per pixel: '{text}' is no number") from None

    def _show(self, layer: Any, result: Any) -> None:
        if result is None:
            self._say("canceled")
            return
        features = None
        if result.table is not None:
            features = result.table.drop(columns="geometry").rename(columns={"id": "index"})
        shown = self._viewer.add_labels(
            result.labels,
            name=f"{layer.name} nuclei",
            features=features,
            scale=layer.scale[-2:],
            translate=layer.translate[-2:],
            units=layer.units[-2:],
        )
        self.corrected.reset_choices()
        self.corrected.value = shown
        self._say(f"{int(result.labels.max()):,} nuclei")

    def _show_progress(self, step: tuple[int, int]) -> None:
        self.progress.max, self.progress.value = step[1], step[0]

    def _show_error(self, error: Exception) -> None:
        self._say(str(error) if isinstance(error, NucleipelError) else repr(error))

    def _set_running(self, running: bool) -> None:
        self.run.enabled, self.cancel.enabled = not running, running
        self.progress.visible = running
        if running:
            self.progress.max = 0  # moves back and forth until the first step is done

    def _say(self, text: str) -> None:
        self.message.value = text
        show_info(text)


class _Result:
    def __init__(self, labels: Any, table: Any) -> None:
        self.labels, self.table = labels, table


@thread_worker  # type: ignore[untyped-decorator]
def _segment(
    image: Any, weights: str, settings: dict[str, Any], *, cancel: Event, table: bool
) -> Any:
    """Yield (done, total) steps; return the result, or None when it was canceled."""
    heard: SimpleQueue[Any] = SimpleQueue()

    def report(what: str, done: int, total: int | None) -> None:
        if cancel.is_set():
            raise CanceledError
        if total:
            heard.put((done, total))

    def work() -> None:
        from nucleipel.api.model import load
        from nucleipel.core.progress import progress_to

        try:
            with progress_to(report):
                result = load(weights).segment(image, **settings)
                heard.put(_Result(result.labels, result.nuclei if table else None))
        except Exception as error:
            heard.put(error)

    Thread(target=work, daemon=True).start()
    while isinstance(step := heard.get(), tuple):
        yield step
    if isinstance(step, CanceledError):
        return None
    if isinstance(step, Exception):
        raise step
    return step


def _pixels(layer: Any) -> Any:
    """The pixels of an image layer, (H, W) or (H, W, 3).

    Raises
    ------
    ValueError
        If it has other axes, or is too large to be held.
    """
    data = layer.data[0] if layer.multiscale else layer.data
    expected = 3 if layer.rgb else 2
    if data.ndim != expected:
        raise ValueError(f"{layer.name}: {data.ndim} axes; choose a layer of one plane")
    if data.shape[0] * data.shape[1] > LARGEST_PX:
        height, width = data.shape[:2]
        raise ValueError(TOO_LARGE.format(name=layer.name, height=height, width=width))
    return np.asarray(data)[..., :3] if layer.rgb else np.asarray(data)


def _rings(region: Any, image: Any) -> list[Any] | None:
    """The corners (y, x) of drawn shapes in pixels of an image; its edges are whole numbers.

    Raises
    ------
    ValueError
        If a shape has no corners.
    """
    if region is None or not len(region.data):
        return None
    others = sorted(set(region.shape_type) - {"rectangle", "polygon"})
    if others:
        raise ValueError(f"{region.name}: {', '.join(others)}; draw rectangles and polygons")
    return [
        np.array([image.world_to_data(region.data_to_world(corner))[-2:] for corner in shape]) + 0.5
        for shape in region.data
    ]
