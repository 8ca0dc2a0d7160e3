"""Scores of a network on annotated windows, by the instances it would give."""

from collections.abc import Callable

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from nucleipel.core.progress import track
from nucleipel.data.sample import Sample
from nucleipel.instances.quantize import quantize
from nucleipel.instances.segment import InstanceRule, segment_instances
from nucleipel.metrics.scores import ImageScore, pool


def validator(
    samples: Dataset[Sample],
    loss: nn.Module,
    *,
    device: torch.device,
    rule: InstanceRule,
    workers: int,
    batch_size: int,
) -> Callable[[nn.Module], dict[str, float]]:
    """A function that scores a network: mean loss, and Dice and PQ pooled over all windows."""

    @torch.inference_mode()
    def validate(network: nn.Module) -> dict[str, float]:
        scores, losses = [], []
        # samples hold their ids as int32 tensors; sizes are equal, so the default collation serves
        loader = DataLoader(samples, batch_size=batch_size, num_workers=workers)
        for batch in track(loader, "validation"):
            logits = network(batch.image.to(device))
            losses.append(float(loss(logits, batch.onehot.to(device))) * len(logits))
            maps = quantize(logits.float().softmax(dim=1).cpu().numpy())
            for index, probabilities in enumerate(maps):
                found = segment_instances(probabilities, rule=rule).map
                scores.append(ImageScore.of(batch.instance_map[index].numpy(), found))
        pooled = pool(scores)
        return {
            "loss": sum(losses) / len(scores),
            "dice": pooled["dice"],
            "pq": pooled["pq"],
        }

    return validate
