"""Deviation of a network from the annotation, sample by sample."""

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from nucleipel.core.progress import track
from nucleipel.data.sample import Sample
from nucleipel.model.network import to_probabilities

BATCH = 8


@torch.inference_mode()
def summed_deviations(
    network: nn.Module, samples: Dataset[Sample], *, device: torch.device
) -> list[float]:
    """Sum, for each sample, 1 - p of the annotated class over its pixels, in pixels.

    Half the sum over classes of |p - g|, over the pixels that count. The network
    is left on `device` and in eval mode. Batches have one size, so that a sum
    does not depend on settings.
    """
    network = network.to(device).eval()
    sums: list[float] = []
    for batch in track(DataLoader(samples, batch_size=BATCH), "summing deviations"):
        onehot = batch.onehot.to(device)
        p = to_probabilities(network(batch.image.to(device)))[:, : onehot.shape[1]]
        p = p * (onehot.sum(dim=1, keepdim=True) > 0)
        sums += ((p - onehot).abs().double().sum(dim=(1, 2, 3)) / 2).tolist()
    return sums
