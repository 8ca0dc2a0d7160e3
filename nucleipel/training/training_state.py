"""The state of a training on disk: enough to continue and end with the same weights.

Samples are numbered and the schedule is a function of the step, so the place in
the stream is two numbers, epoch and batch, and there is no generator to keep. The
rest: weights, EMA, the optimizer's moments, the loss scaler of mixed precision, the
weights kept so far, and the rows of the training log. Safetensors and JSON; each save
is a new file, and a small JSON, written last, names the one that counts, with its hash.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from nucleipel.core.atomic import read_sealed_json, replacing, write_sealed_json
from nucleipel.errors import CheckpointError

POINTER = "state.json"
NUMBERS = (
    "epoch",
    "batches",
    "loss_sum",
    "best_pq",
    "best_epoch",
    "validations_without_gain",
    "rows",
)


@dataclass
class TrainingState:
    """Progress of one training; `network`, `average` and the others are the live objects.

    `epoch` epochs are finished; of the next one, `batches` steps are done, with
    losses of `loss_sum` together. `rows` are those of the training log. `in_step` is
    set while a step changes the live objects: they must not be saved then.
    """

    network: nn.Module
    average: AveragedModel
    optimizer: torch.optim.Optimizer
    precision: Any = None
    epoch: int = 0
    batches: int = 0
    loss_sum: float = 0.0
    rows: list[dict[str, float]] = field(default_factory=list)
    in_step: bool = False
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
        precision: Any = None,
    ) -> "TrainingState":
        """Load the state last saved in `folder` into the live objects, or begin a new one.

        `precision` is Fabric's plugin, whose loss scaler belongs to the state.

        Raises
        ------
        CheckpointError
            If the saved state is damaged.
        """
        state = cls(network, average, optimizer, precision)
        pointer = folder / POINTER
        if not pointer.is_file():
            return state
        try:
            saved = read_sealed_json(pointer)
            payload = (folder / saved["tensors"]).read_bytes()
            if hashlib.sha256(payload).hexdigest() != saved["sha256"]:
                raise ValueError(f"{saved['tensors']} does not match its sha256")
            state._load(safetensors.torch.load(payload), saved["optimizer_groups"])
            for name in NUMBERS:
                setattr(state, name, saved[name])
            if precision is not None and saved["precision"]:
                precision.load_state_dict(saved["precision"])
        except (OSError, ValueError, KeyError, RuntimeError, safetensors.SafetensorError) as error:
            raise CheckpointError(
                f"{pointer}: the saved state cannot be read: {error};"
                " pass --overwrite to start anew"
            ) from error
        return state

    @property
    def start_pq(self) -> float | None:
        """Validation PQ of the weights that came in, if they were validated."""
        first = self.rows[0] if self.rows else {}
        return first.get("val_pq") if first.get("epoch") == 0 else None

    def end_epoch(self) -> None:
        """Count the current epoch as finished."""
        self.epoch, self.batches, self.loss_sum = self.epoch + 1, 0, 0.0

    def record_validation(self, pq: float, *, keep: bool = False) -> None:
        """Keep the EMA weights if this PQ is the best, or with `keep`; else patience counts it."""
        if keep or pq > self.best_pq:
            self.best_pq, self.best_epoch, self.validations_without_gain = pq, self.epoch, 0
            self.best_weights = {
                name: tensor.detach().cpu().clone()
                for name, tensor in self.average.module.state_dict().items()
            }
        else:
            self.validations_without_gain += 1

    def save(self, folder: Path) -> None:
        """Write everything; until the pointer is renamed, the previous save counts."""
        name = f"state-{self.epoch:05d}{f'-{self.batches:06d}' if self.batches else ''}.safetensors"
        payload = safetensors.torch.save(self._tensors())
        with replacing(folder / name) as temporary:
            temporary.write_bytes(payload)
        saved = {
            "tensors": name,
            "sha256": hashlib.sha256(payload).hexdigest(),
            **{key: getattr(self, key) for key in NUMBERS},
            "optimizer_groups": self.optimizer.state_dict()["param_groups"],
            "precision": self.precision.state_dict() if self.precision is not None else {},
        }
        write_sealed_json(folder / POINTER, saved)
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
