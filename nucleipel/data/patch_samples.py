"""Patches read from a store, for `finetune-patches`: numbered like training windows are."""

from collections.abc import Sequence

import numpy as np
from torch.utils.data import Dataset

from nucleipel.data.augment import Augment
from nucleipel.data.sample import AnnotatedPixels, Sample, build_sample
from nucleipel.data.sampling_order import drawn_item_of, item_of
from nucleipel.io.stores.patches import PatchRow, PatchStore


class TrainingPatches(Dataset[Sample]):
    """An endless, numbered stream of augmented patches.

    Every patch once, then again reshuffled; those that were annotated in part as
    often as their share says. With `weights` (one a row), each is drawn in
    proportion to its weight.
    """

    def __init__(
        self,
        store: PatchStore,
        rows: Sequence[PatchRow],
        *,
        count: int,
        augment: Augment,
        boundary_px: int,
        seed: int,
        weights: Sequence[float] | None = None,
    ) -> None:
        self.store = store
        self.rows = rows
        self.count = count
        self.augment = augment
        self.boundary_px = boundary_px
        self.seed = seed
        counted_px = [row.counted_px for row in rows]
        if weights is None and min(counted_px) < max(counted_px):
            weights = counted_px
        self.weights = None if weights is None else tuple(weights)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Sample:
        row = self.rows[self._item(number)]
        draw = np.random.default_rng([self.seed, number])
        shown = self.augment(*self.store.read(row), seed=int(draw.integers(2**31)))
        return build_sample(shown, channels=self.store.channels, boundary_px=self.boundary_px)

    def _item(self, number: int) -> int:
        if self.weights is None:
            return item_of(number, count=len(self.rows), seed=self.seed)
        return drawn_item_of(number, weights=self.weights, seed=self.seed)


class ValidationPatches(Dataset[Sample]):
    """Patches as they are, in the order of the store."""

    def __init__(self, store: PatchStore, rows: Sequence[PatchRow], *, boundary_px: int) -> None:
        self.store = store
        self.rows = rows
        self.boundary_px = boundary_px

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        shown = AnnotatedPixels(*self.store.read(self.rows[index]))
        return build_sample(shown, channels=self.store.channels, boundary_px=self.boundary_px)
