"""Validation: scores of a network on annotated windows, by the instances of its maps."""

from collections.abc import Callable

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from nucleipel.core.progress import track
from nucleipel.core.stop_signals import begun, ignore_in_worker
from nucleipel.data.sample import Sample
from nucleipel.instances.instance_rule import InstanceRule
from nucleipel.instances.quantize import quantize
from nucleipel.instances.segment_map import segment_instances
from nucleipel.metrics.scores import ImageScore, pool
from nucleipel.model.network import to_probabilities


def validator(
    samples: Dataset[Sample],
    loss: nn.Module,
    *,
    device: torch.device,
    rule: InstanceRule,
    workers: int,
    batch_size: int,
) -> Callable[[nn.Module], dict[str, float]]:
    """A function that scores a network: mean loss, and Dice and PQ pooled over all windows.

    Pixels without a class are left out of all of them.
    """

    @torch.inference_mode()
    def validate(network: nn.Module) -> dict[str, float]:
        scores, losses = [], []
        # samples hold their ids as int32 tensors; sizes are equal, so the default collation serves
        loader = DataLoader(
            samples, batch_size=batch_size, num_workers=workers, worker_init_fn=ignore_in_worker
        )
        for batch in track(begun(loader), "validation", total=len(loader)):
            outputs = network(batch.image.to(device))
            targets = batch.onehot.to(device), batch.distance.to(device)
            losses.append(float(loss(outputs, *targets)) * len(outputs))
            counted = (batch.onehot.sum(dim=1) > 0).numpy()
            maps = quantize(to_probabilities(outputs).cpu().numpy())
            for index, probabilities in enumerate(maps):
                predicted = segment_instances(probabilities, rule=rule).map
                annotation = batch.instance_map[index].numpy()
                scores.append(ImageScore.of(annotation, predicted, counted[index]))
        pooled = pool(scores)
        return {
            "loss": sum(losses) / len(scores),
            "dice": pooled["dice"],
            "pq": pooled["pq"],
        }

    return validate
