"""Cellpose on images, as one process; started by `bench_peers.py` in Cellpose's own environment.

    PEER_PYTHON scripts/benchmarks/peers/run_cellpose.py prepare MAPS NUCLEI.tif ...
    PEER_PYTHON scripts/benchmarks/peers/run_cellpose.py run OUT MAPS IMAGE ...

`run`: Cellpose-SAM with its own windows and post-processing, then the label map as TIFF. Prints the
number of nuclei as JSON.

Where its weights are not at hand and cannot be downloaded, `prepare` writes random ones by which no
pixel is in a nucleus. The post-processing then has nothing to do: the time is a lower bound.
"""

from pathlib import Path

from command import main, read_rgb, write_labels

WEIGHTS = "cellpose_random"
OUTSIDE = -9.0
"""The logit of every pixel with random weights."""


def prepare(maps: Path, _nuclei: list[Path]) -> None:
    """Write random weights where Cellpose's own cannot be had."""
    import torch
    from cellpose.models import CellposeModel
    from cellpose.vit import CPSAM

    try:
        CellposeModel(gpu=False)
    except OSError:
        network = CPSAM()
        with torch.no_grad():
            network.out.weight.zero_()
            network.out.bias.fill_(OUTSIDE)
        torch.save(network.state_dict(), maps / WEIGHTS)


def run(out: Path, maps: Path, images: list[Path]) -> tuple[int, str]:
    """Segment images; return the number of nuclei, and a remark."""
    from cellpose.models import CellposeModel

    random = (maps / WEIGHTS).is_file()
    known = {"pretrained_model": str(maps / WEIGHTS)} if random else {}
    model, found = CellposeModel(gpu=False, **known), 0
    for path in images:
        labels = model.eval(read_rgb(path))[0]
        write_labels(out, path, labels)
        found += int(labels.max())
    return found, "random weights, nothing found" if random else "its own weights"


if __name__ == "__main__":
    main(prepare, run)
