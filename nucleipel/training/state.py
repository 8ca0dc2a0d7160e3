"""Where a training stands, on disk: enough to continue and end with the same weights.

Samples are numbered and the schedule is a function of the step, so there is no
generator or sampler state to keep: weights, EMA, AdamW's moments, the best
weights, and four numbers. Safetensors and JSON; each save is a new file, and a
small JSON written last says which one counts.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from nucleipel.core.atomic import replacing, write_json
from nucleipel.errors import CheckpointError

POINTER = "state.json"


@dataclass
class TrainingState:
    """Progress of one training; `network`, `average` and `optimizer` are the live objects."""

    network: nn.Module
    average: AveragedModel
    optimizer: torch.optim.Optimizer
    epoch: int = 0
    best_pq: float = -1.0
    best_epoch: int = 0
    validations_without_gain: int = 0
    best_weights: dict[str, torch.Tensor] = field(default_factory=dict)

    @classmethod
    def continued(
        cls,
        folder: Path,
        network: nn.Module,
        average: AveragedModel,
        optimizer: torch.optim.Optimizer,
    ) -> "TrainingState":
        """The state last saved in `folder`, loaded into the live objects, or a new one.

        Raises
        ------
        CheckpointError
            If the saved state is damaged.
        """
        state = cls(network, average, optimizer)
        pointer = folder / POINTER
        if not pointer.is_file():
            return state
        try:
            saved = json.loads(pointer.read_text(encoding="utf-8"))
            tensors = safetensors.torch.load_file(folder / saved.pop("tensors"))
            state._load(tensors, saved.pop("optimizer_groups"))
        except (OSError, ValueError, KeyError, RuntimeError, safetensors.SafetensorError) as error:
            raise CheckpointError(
                f"{pointer}: the saved state cannot be read: {error};"
                " pass --overwrite to start anew"
            ) from error
        for name, value in saved.items():
            setattr(state, name, value)
        return state

    def step(self, schedule: Any) -> int:
        """Optimizer steps done at the start of the current epoch."""
        return int(self.epoch * schedule.steps_per_epoch)

    def note_validation(self, pq: float, network: nn.Module, *, whatever: bool = False) -> None:
        """Keep the weights if this PQ is the best, or `whatever` it is; else count it against."""
        if whatever or pq > self.best_pq:
            self.best_pq, self.best_epoch, self.validations_without_gain = pq, self.epoch, 0
            self.best_weights = {
                name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()
            }
        else:
            self.validations_without_gain += 1

    def save(self, folder: Path) -> None:
        """Write everything; until the pointer is renamed, the previous save counts."""
        name = f"state-{self.epoch:05d}.safetensors"
        with replacing(folder / name) as temporary:
            safetensors.torch.save_file(self._tensors(), temporary)
        numbers = {
            key: getattr(self, key)
            for key in ("epoch", "best_pq", "best_epoch", "validations_without_gain")
        }
        groups = self.optimizer.state_dict()["param_groups"]
        write_json(folder / POINTER, {"tensors": name, **numbers, "optimizer_groups": groups})
        for stale in folder.glob("state-*.safetensors"):
            if stale.name != name:
                stale.unlink()

    def _tensors(self) -> dict[str, torch.Tensor]:
        moments = self.optimizer.state_dict()["state"]
        named = {
            **{f"network.{key}": value for key, value in self.network.state_dict().items()},
            **{f"average.{key}": value for key, value in self.average.state_dict().items()},
            **{f"best.{key}": value for key, value in self.best_weights.items()},
            **{
                f"moments.{index}.{key}": value
                for index, entry in moments.items()
                for key, value in entry.items()
            },
        }
        return {key: value.detach().cpu().clone().contiguous() for key, value in named.items()}

    def _load(self, tensors: dict[str, torch.Tensor], groups: list[dict[str, Any]]) -> None:
        def under(prefix: str) -> dict[str, torch.Tensor]:
            return {
                key.removeprefix(prefix): value
                for key, value in tensors.items()
                if key.startswith(prefix)
            }

        self.network.load_state_dict(under("network."))
        self.average.load_state_dict(under("average."))
        self.best_weights = under("best.")
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in under("moments.").items():
            index, name = key.split(".", 1)
            moments.setdefault(int(index), {})[name] = value
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
