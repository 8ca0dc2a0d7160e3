"""InstanSeg on images, as one process; started by `bench_peers.py` in InstanSeg's own environment.

    PEER_PYTHON scripts/benchmarks/peers/run_instanseg.py prepare MAPS NUCLEI.tif ...
    PEER_PYTHON scripts/benchmarks/peers/run_instanseg.py run OUT MAPS IMAGE ...

`run`: InstanSeg's model `brightfield_nuclei` with its own tiles of 512 px, post-processing and
merging, without rescaling; then the label map as TIFF. Prints the number of nuclei as JSON.

Where the model is not at hand and cannot be downloaded, one of its architecture (UNet of 32 to 256
channels; two coordinates, two sigmas, one seed map) takes its place, compiled as InstanSeg compiles
its models. Its weights are random, and nothing can be found in what such a network predicts. So
its output is added with weight 0 to maps of known nuclei, which `prepare` makes, one a file:
offsets to the center, a constant sigma, the distance to the edge as seeds. The pixel classifier, a
perceptron of three layers, has weights by which pixels that point at a center belong to it.
"""

from pathlib import Path

import numpy as np
import torch
from command import main, read_rgb, write_labels
from torch import nn

TILE_PX, OVERLAP_PX = 512, 200
"""InstanSeg's own tiles, and twice its overlap and largest cell."""
PER_PX = 64 / 256
"""InstanSeg's coordinates per pixel."""
MAPS, CLASSIFIER_WIDTH = 5, 10
NAME, MODEL = "brightfield_nuclei", "instanseg.pt"


def prepare(maps: Path, nuclei: list[Path]) -> None:
    """Without InstanSeg's model: write one, and (5, H, W) maps by the names of the files."""
    from instanseg import InstanSeg
    from scipy.ndimage import distance_transform_edt, find_objects
    from tifffile import imread

    try:
        InstanSeg(NAME, device="cpu", verbosity=0)
    except OSError:
        torch.jit.save(build(), maps / MODEL)
    else:
        return
    for path in nuclei:
        known = imread(path).astype(np.int32)
        found = np.zeros((MAPS, *known.shape), np.float32)
        found[:2], found[4] = _to_network(np.float32(3.0)), -15.0  # points far away, no seed
        for number, box in enumerate(find_objects(known), start=1):
            inside = known[box] == number
            depth = distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
            y, x = np.unravel_index(depth.argmax(), depth.shape)
            ys, xs = np.nonzero(inside)
            offsets = np.clip(np.stack([x - xs, y - ys]) * PER_PX, -3.9, 3.9)
            place = ys + box[0].start, xs + box[1].start
            found[:2, *place] = _to_network(offsets)
            found[4, *place] = 15 * (0.3 + 0.7 * depth[ys, xs] / depth.max() - 0.5 + 0.01)
        np.save(maps / f"{path.parent.name}.npy", found)


def run(out: Path, maps: Path, images: list[Path]) -> tuple[int, str]:
    """Segment images; return the number of nuclei, and a remark."""
    from instanseg import InstanSeg

    random = (maps / MODEL).is_file()
    model = InstanSeg(torch.jit.load(maps / MODEL) if random else NAME, device="cpu", verbosity=0)
    found = 0
    for path in images:
        pixels = read_rgb(path)
        large = max(pixels.shape) > 2 * TILE_PX
        if random:
            known = torch.from_numpy(np.load(maps / f"{path.stem}.npy"))
            model.instanseg.fcn.known = _tiles(known) if large else [known]
        segment = model.eval_medium_image if large else model.eval_small_image
        labels = np.asarray(segment(pixels, None, return_image_tensor=False)).squeeze()
        write_labels(out, path, labels)
        found += len(np.unique(labels)) - 1
    return found, "random weights, known maps" if random else "its own weights"


class WithKnownMaps(nn.Module):
    """A network whose output is added with weight 0 to maps of known nuclei, window by window."""

    known: list[torch.Tensor]

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.known = []

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Run the network; return the known maps of the next window."""
        known = self.known.pop(0)[None]
        missing = [0, windows.size(3) - known.size(3), 0, windows.size(2) - known.size(2)]
        known = nn.functional.pad(known, missing, mode="replicate")
        return known + 0.0 * self.network(windows)


def build() -> torch.jit.ScriptModule:
    """The model of InstanSeg with random weights and a classifier that knows what to do."""
    from instanseg.utils.loss.instanseg_loss import InstanSeg_Torchscript, ProbabilityNet
    from instanseg.utils.models.InstanSeg_UNet import InstanSeg_UNet

    network = InstanSeg_UNet(3, [2, 2, 1])
    network.pixel_classifier = _classifier(ProbabilityNet(4, width=CLASSIFIER_WIDTH))
    model = InstanSeg_Torchscript(network, n_sigma=2)
    model.fcn = WithKnownMaps(model.fcn)
    return torch.jit.script(model)


def _classifier(net: nn.Module) -> nn.Module:
    """Its logit is 2 - 8 (|dx| + |dy|): a pixel that points at a center belongs to it."""
    with torch.no_grad():
        for values in net.parameters():
            values.zero_()
        for row, (axis, sign) in enumerate([(0, 1.0), (0, -1.0), (1, 1.0), (1, -1.0)]):
            net.fc1.weight[row, axis] = sign
            net.fc2.weight[row, row] = 1.0
            net.fc3.weight[0, row] = -8.0
        net.fc3.bias[0] = 2.0
    return net


def _tiles(known: torch.Tensor) -> list[torch.Tensor]:
    """The maps of InstanSeg's tiles, in its order."""
    from instanseg.utils.tiling import _chops, _tiles_from_chops

    shape = tuple(min(TILE_PX, length) for length in known.shape[1:])
    return _tiles_from_chops(known, shape, _chops(known.shape, shape, overlap=OVERLAP_PX))


def _to_network(offsets: np.ndarray) -> np.ndarray:
    """What the network predicts for offsets: InstanSeg takes 8 (sigmoid - 1/2) of it."""
    return -np.log(1 / (offsets / 8 + 0.5) - 1)


if __name__ == "__main__":
    main(prepare, run)
