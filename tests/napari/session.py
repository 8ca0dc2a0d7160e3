"""What a user does in napari with the plugin; `test_plugin.py` runs it in a real window."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
import tifffile
from npe2 import PluginManager, PluginManifest
from qtpy.QtWidgets import QApplication

import nucleipel.napari

SECONDS = 120


def wait_for(done: Callable[[], object], what: str) -> None:
    """Let the window live until something has come."""
    end = time.monotonic() + SECONDS
    while not done():
        assert time.monotonic() < end, f"{what} did not come"
        QApplication.processEvents()
        time.sleep(0.02)


def register() -> None:
    """Make the plugin known where the package is not installed, only on the path."""
    manager = PluginManager.instance()
    manager.discover()
    if "nucleipel" not in manager:
        (folder,) = nucleipel.napari.__path__
        manager.register(PluginManifest.from_file(Path(folder) / "napari.yaml"))


def main(out: Path, slide: Path, folder: Path) -> None:
    """Open an output and a slide, segment it, cancel, correct, save, and take a picture."""
    register()
    viewer = napari.Viewer()
    viewer.open(out, plugin="nucleipel")
    nuclei, outlines = viewer.layers
    assert nuclei.name == "sample nuclei", nuclei.name
    assert outlines.name == "sample outlines"
    ids = np.unique(nuclei.data)[1:]
    assert len(outlines.data) == len(ids) > 5
    assert [number for number in nuclei.features["index"] if number] == list(ids)
    for ring, number in zip(outlines.data[:5], ids, strict=False):  # the outline lies around it
        inside = np.argwhere(nuclei.data == number)
        assert np.allclose(ring.min(axis=0), inside.min(axis=0) - 0.5)
        assert np.allclose(ring.max(axis=0), inside.max(axis=0) + 0.5)

    viewer.open(slide, plugin="nucleipel")
    layer = viewer.layers[-1]
    pixels = tifffile.imread(slide)
    assert (np.asarray(layer.data[0]) == pixels).all()
    assert tuple(layer.scale) == tuple(nuclei.scale) == (0.5, 0.5)

    _, widget = viewer.window.add_plugin_dock_widget("nucleipel", "Segment nuclei")
    widget.image.value = layer
    assert widget.mpp.value == "0.5"
    widget.stained_as.value = "dye"
    before = len(viewer.layers)
    widget.start()
    assert not widget.run.enabled
    wait_for(lambda: widget.run.enabled, "the result")
    assert len(viewer.layers) == before + 1, widget.message.value
    mine = viewer.layers[-1]
    assert (mine.data == nuclei.data).all(), "not the nuclei of the command"
    assert mine.features["area_px"].tolist() == nuclei.features["area_px"].tolist()
    assert tuple(mine.scale) == (0.5, 0.5)

    widget.start()
    widget.cancel.native.click()
    wait_for(lambda: widget.run.enabled, "the end")
    assert widget.message.value == "canceled", widget.message.value
    assert len(viewer.layers) == before + 1

    mine.data[:8, :8] = ids.max() + 1
    region = viewer.add_shapes(
        [np.array([[0, 0], [0, 20], [20, 20], [20, 0]])],
        shape_type="rectangle",
        name="region",
        scale=(0.25, 0.25),  # in um; the image has half as many pixels of .5 um
        units=("um", "um"),
    )
    widget.reset_choices()
    widget.corrected.value, widget.region.value, widget.folder.value = mine, region, folder
    widget.image.value = layer
    widget.save.native.click()
    assert widget.message.value.startswith("saved"), widget.message.value

    widget.mpp.value = "half"
    widget.start()
    assert widget.message.value == "um per pixel: 'half' is no number"
    outlines.visible = True
    viewer.reset_view()
    QApplication.processEvents()
    viewer.screenshot(folder / "napari.png", canvas_only=False, flash=False)
    viewer.close()


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
    sys.stdout.write("all done\n")
