"""Time training steps of the networks on this machine, by optimizer and precision.

    python scripts/benchmarks/bench_training.py
    python scripts/benchmarks/bench_training.py --threads 2 --batch 4 --rounds 5

Steps of training as in `train` (forward, cross-entropy plus soft Dice and the distance, backward, a
step of AdamW or Muon) on random windows, in turns, so that other work on the machine slows all. A
figure is the best round of each, in windows a second, without the preparation of windows.
"""

import argparse
import itertools
import time
from collections.abc import Callable, Sequence

import click
import torch
from torch import nn

from nucleipel.config import TrainConfig
from nucleipel.instances.training_targets import CLASSES
from nucleipel.losses import ClassesAndDistance, CrossEntropyDice
from nucleipel.model.network import build_network
from nucleipel.stages.pipeline.train import network_spec
from nucleipel.training.distributed import build_fabric
from nucleipel.training.fit import OPTIMIZERS

NETWORKS = {
    "the default": {},
    "BasicUNet 16..256": {
        "family": "basic_unet",
        "features": (16, 32, 64, 128, 256, 16),
        "block_px": 1,
    },
}
PRECISIONS = ("float32", "bfloat16")
Way = tuple[str, str]
"""Optimizer and precision."""
WAYS: list[Way] = list(itertools.product(OPTIMIZERS, PRECISIONS))
Step = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], None]


def main() -> None:
    """Read the command line, measure, print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--window-px", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    click.echo(f"{torch.backends.cpu.get_cpu_capability()}, {options.threads} threads")
    click.echo("| network | optimizer | float32, windows/s | bfloat16, windows/s | ratio |")
    click.echo("|---|---|---|---|---|")
    for name, fields in NETWORKS.items():
        speeds = measure(
            fields, batch=options.batch, window_px=options.window_px, rounds=options.rounds,
            device=options.device,
        )  # fmt: skip
        for optimizer in OPTIMIZERS:
            slow, fast = (speeds[optimizer, precision] for precision in PRECISIONS)
            click.echo(f"| {name} | {optimizer} | {slow:.2f} | {fast:.2f} | {fast / slow:.2f} |")


def measure(
    fields: dict[str, object],
    *,
    batch: int,
    window_px: int,
    rounds: int,
    device: str = "cpu",
    ways: Sequence[Way] = WAYS,
) -> dict[Way, float]:
    """Windows a second of each optimizer in each precision, the best round of each."""
    trainings = {way: training(fields, *way, device=device) for way in ways}
    windows = torch.rand(batch, 3, window_px, window_px, device=device)
    onehot = torch.zeros(batch, len(CLASSES), window_px, window_px, device=device)
    onehot[:, 0] = 1
    distance = torch.zeros(batch, 1, window_px, window_px, device=device)
    best = dict.fromkeys(ways, float("inf"))
    for number in range(rounds + 1):
        for way, step in trainings.items():
            begun = time.perf_counter()
            step(windows, onehot, distance)
            if device == "cuda":
                torch.cuda.synchronize()
            if number:  # the first round is a warm-up
                best[way] = min(best[way], time.perf_counter() - begun)
    return {way: batch / seconds for way, seconds in best.items()}


def training(
    fields: dict[str, object], optimizer_name: str, precision: str, *, device: str
) -> Step:
    """A function that does one step of a new training."""
    fabric = build_fabric(device, 0, precision)
    config = TrainConfig.model_validate({"network": fields})
    network: nn.Module = build_network(network_spec(config))
    optimizer = OPTIMIZERS[optimizer_name](network.parameters(), lr=1e-4, weight_decay=1e-4)
    network, optimizer = fabric.setup(network.train(), optimizer)
    loss = ClassesAndDistance(CrossEntropyDice(1, 1), distance_weight=1)

    def step(windows: torch.Tensor, onehot: torch.Tensor, distance: torch.Tensor) -> None:
        value = loss(network(windows), onehot, distance)
        optimizer.zero_grad()
        fabric.backward(value)
        optimizer.step()

    return step


if __name__ == "__main__":
    main()
