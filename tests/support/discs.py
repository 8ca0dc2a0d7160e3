"""Samples that are made and learned quickly, and a network for them."""

import torch

from nucleipel.data.sample import Sample
from nucleipel.model.network import NetworkSpec

SPEC = NetworkSpec("unet", (16, 32), residual_units=1, in_channels=1, classes=3, block_px=1)


class Discs(torch.utils.data.Dataset):
    """Numbered samples: one bright disc with a rim, somewhere."""

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, number: int) -> Sample:
        generator = torch.Generator().manual_seed(number)
        y, x = torch.randint(8, 24, (2,), generator=generator).tolist()
        rows, columns = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
        distance = ((rows - y) ** 2 + (columns - x) ** 2).float().sqrt()
        classes = torch.stack([distance > 7, distance <= 5, (distance > 5) & (distance <= 7)])
        image = (distance <= 7).float()[None] + 0.1 * torch.rand(1, 32, 32, generator=generator)
        central = (1 - distance / 7).clamp(min=0)[None]
        return Sample(image, classes.float(), central, (distance <= 7).int())
