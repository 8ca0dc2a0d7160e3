"""Overlaps of the nuclei of two instance maps, and one-to-one matches among them.

Where a region was annotated and not all of an image, what lies outside of it is
void, as in the panoptic quality of Kirillov et al. 2019 (section 4.2): pixels
outside belong to no nucleus, and

- an annotated nucleus counts if more than half of its area lies inside;
- a predicted one counts with the annotated nucleus that it matches (IoU >= 0.5,
  of the pixels inside), and if it matches none, by its own area likewise.

So a nucleus on the border counts neither as missed nor as invented, and of regions
that share a border at most one counts it.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Ids = npt.NDArray[np.int64]
LOOKED_UP = 2**22
"""Up to this number ids and pairs of ids are counted in a table, beyond it they are sorted."""


@dataclass(frozen=True)
class Overlap:
    """The overlapping pairs of an annotation and a prediction, sparse.

    Parameters
    ----------
    annotated_area, predicted_area : (n,), (m,) int64
        Areas (px) of all nuclei that count, in order of their ids, inside the region.
    annotated, predicted : (k,) int64
        Indices into them, one entry for each pair that overlaps.
    intersection, iou : (k,) int64 and float64
        Shared pixels of each pair, and their share, in (0, 1], of the pixels of either.
    annotated_px, predicted_px, shared_px : int
        Foreground inside the region, whether its nuclei count or not.
    """

    annotated_area: Ids
    predicted_area: Ids
    annotated: Ids
    predicted: Ids
    intersection: Ids
    iou: npt.NDArray[np.float64]
    annotated_px: int
    predicted_px: int
    shared_px: int

    @classmethod
    def of(
        cls,
        annotation: npt.NDArray[np.integer],
        prediction: npt.NDArray[np.integer],
        counted: npt.NDArray[np.bool_] | None = None,
    ) -> "Overlap":
        """Compare two (H, W) instance maps; ids may have gaps, 0 is background.

        `counted` (H, W) is True inside the region that was annotated; everywhere if None.

        Raises
        ------
        ValueError
            If the shapes differ.
        """
        counter = OverlapCounter()
        counter.add(annotation, prediction, counted)
        return counter.overlap()

    def matched(self, threshold: float) -> Ids:
        """The matched pairs: one to one, IoU >= threshold, as many as possible.

        Above 0.5 no nucleus has two candidates. At or below, ties are settled as
        `stardist.matching` does: most pairs first, then the largest sum of IoU.
        """
        good = np.flatnonzero(self.iou >= threshold)
        annotated, predicted = self.annotated[good], self.predicted[good]
        if len(np.unique(annotated)) == len(annotated) and len(np.unique(predicted)) == len(
            predicted
        ):
            return good
        # pairs that share no nucleus do not compete: one small matrix for each group that does
        group = _groups(annotated, predicted)
        order = np.argsort(group, kind="stable")
        starts = np.flatnonzero(np.diff(group[order])) + 1
        return np.concatenate([self._match(good[part]) for part in np.split(order, starts)])

    def matched_ious(self, threshold: float) -> npt.NDArray[np.float64]:
        """IoU of each matched pair."""
        return self.iou[self.matched(threshold)]

    def _match(self, pairs: Ids) -> Ids:
        """Match pairs that compete: most pairs first, then the largest sum of IoU."""
        rows, row_of = np.unique(self.annotated[pairs], return_inverse=True)
        columns, column_of = np.unique(self.predicted[pairs], return_inverse=True)
        iou, place = np.zeros((2, len(rows), len(columns)))
        iou[row_of, column_of], place[row_of, column_of] = self.iou[pairs], pairs
        # every pair is worth more than all IoUs together, so the count comes first
        value = (iou > 0) + iou / (2 * min(iou.shape))
        chosen = linear_sum_assignment(value, maximize=True)
        matched: Ids = place[chosen][iou[chosen] > 0].astype(np.int64)
        return matched

    def of_nuclei(
        self, annotated: npt.NDArray[np.bool_], predicted: npt.NDArray[np.bool_]
    ) -> "Overlap":
        """Keep some nuclei only: (n,) and (m,) bool, whether each is among them."""
        kept = annotated[self.annotated] & predicted[self.predicted]
        return replace(
            self,
            annotated_area=self.annotated_area[annotated],
            predicted_area=self.predicted_area[predicted],
            annotated=(np.cumsum(annotated) - 1)[self.annotated[kept]],
            predicted=(np.cumsum(predicted) - 1)[self.predicted[kept]],
            intersection=self.intersection[kept],
            iou=self.iou[kept],
        )


class OverlapCounter:
    """Adds up the overlaps of an annotation and a prediction, window by window of one image.

    Memory grows with the nuclei, not with the pixels. Windows must not share
    pixels; a nucleus has one id in all of them.
    """

    def __init__(self) -> None:
        self._counts: list[Ids] = []

    def add(
        self,
        annotation: npt.NDArray[np.integer],
        prediction: npt.NDArray[np.integer],
        counted: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Count a window of both maps (H, W); `counted` (H, W) as in `Overlap.of`.

        Raises
        ------
        ValueError
            If the shapes differ.
        """
        if annotation.shape != prediction.shape:
            raise ValueError(f"shapes differ: {annotation.shape} and {prediction.shape}")
        annotated_ids, annotated = _places(annotation)
        predicted_ids, predicted = _places(prediction)
        keys = annotated.ravel() * np.int64(len(predicted_ids)) + predicted.ravel()
        inside = np.int64(1) if counted is None else counted.ravel().astype(np.int64)
        keys, counts = _counts(2 * keys + inside, 2 * len(annotated_ids) * len(predicted_ids))
        pairs, inside = keys // 2, keys % 2
        annotated, predicted = (
            annotated_ids[pairs // len(predicted_ids)],
            predicted_ids[pairs % len(predicted_ids)],
        )
        self._counts.append(np.stack([annotated, predicted, inside, counts]).astype(np.int64))

    def overlap(self) -> Overlap:
        """The overlaps of all windows together."""
        annotated, predicted, inside, counts = np.concatenate(
            [np.zeros((4, 0), int), *self._counts], 1
        )
        within = inside > 0
        annotated_ids = np.unique(annotated[within & (annotated > 0)])
        predicted_ids = np.unique(predicted[within & (predicted > 0)])
        annotated_area = _sums(annotated, counts * inside, annotated_ids)
        predicted_area = _sums(predicted, counts * inside, predicted_ids)
        both = within & (annotated > 0) & (predicted > 0)
        key = np.searchsorted(annotated_ids, annotated[both]) * max(len(predicted_ids), 1)
        key += np.searchsorted(predicted_ids, predicted[both])
        pairs, place = np.unique(key, return_inverse=True)
        intersection = np.bincount(place, counts[both], len(pairs)).astype(np.int64)
        first, second = np.divmod(pairs, max(len(predicted_ids), 1))
        union = annotated_area[first] + predicted_area[second] - intersection
        overlap = Overlap(
            annotated_area, predicted_area, first, second, intersection, intersection / union,
            int(annotated_area.sum()), int(predicted_area.sum()), int(intersection.sum()),
        )  # fmt: skip
        if within.all():
            return overlap
        annotated_counts = 2 * annotated_area > _sums(annotated, counts, annotated_ids)
        predicted_counts = 2 * predicted_area > _sums(predicted, counts, predicted_ids)
        matched = overlap.matched(0.5)
        predicted_counts[second[matched]] = annotated_counts[first[matched]]
        return overlap.of_nuclei(annotated_counts, predicted_counts)


def _places(ids: npt.NDArray[np.integer]) -> tuple[Ids, Ids]:
    """The ids of a map in order, each once, and the place among them of each pixel's id.

    As `np.unique` gives them, without a sort where ids are small numbers.
    """
    if not ids.size or ids.min() < 0 or ids.max() >= LOOKED_UP:
        unique, place = np.unique(ids, return_inverse=True)
        return unique.astype(np.int64), place.astype(np.int64)
    present = np.zeros(int(ids.max()) + 1, bool)
    present[ids] = True
    return np.flatnonzero(present), (np.cumsum(present, dtype=np.int64) - 1)[ids]


def _counts(keys: Ids, limit: int) -> tuple[Ids, Ids]:
    """The keys in order, each once, and how often each comes; all are below `limit`."""
    if limit > LOOKED_UP:
        keys, counts = np.unique(keys, return_counts=True)
        return keys, counts
    counts = np.bincount(keys, minlength=1)
    present = np.flatnonzero(counts)
    return present, counts[present]


def _sums(ids: Ids, counts: Ids, wanted: Ids) -> Ids:
    """Sum of the counts of each wanted id."""
    of_wanted = np.isin(ids, wanted)
    place = np.searchsorted(wanted, ids[of_wanted])
    return np.bincount(place, counts[of_wanted], len(wanted)).astype(np.int64)


def _groups(annotated: Ids, predicted: Ids) -> npt.NDArray[np.int32]:
    """Number the sets of pairs that compete, directly or through others: a number for each pair."""
    shape = (int(annotated.max()) + 1, int(predicted.max()) + 1)
    pairs = coo_array(
        (np.ones(len(annotated)), (annotated, predicted + shape[0])), shape=(sum(shape),) * 2
    )
    group: npt.NDArray[np.int32] = connected_components(pairs, directed=False)[1][annotated]
    return group
