"""Which nuclei of two instance maps overlap, and by how much; and who matches whom.

Where a region was annotated and not all of an image, what lies outside of it is
void, as in the panoptic quality of Kirillov et al. 2019 (section 4.2): pixels
outside belong to no nucleus, and

- an annotated nucleus counts if more than half of its area lies inside;
- a predicted one counts with the annotated nucleus that it matches (IoU >= 0.5,
  of the pixels inside), and if it matches none, by its own area likewise.

So a nucleus on the border is neither missed nor invented by those who stopped
drawing there, and of regions that share a border at most one counts it.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Overlap:
    """The overlapping pairs of an annotation and a prediction, sparse.

    Parameters
    ----------
    truth_area, found_area : (n,), (m,) int64
        Areas (px) of all nuclei that count, in order of their ids, inside the region.
    truth, found : (k,) int64
        Which of these each overlapping pair consists of.
    intersection, iou : (k,) int64 and float64
        Shared pixels of each pair, and those over the pixels of either.
    truth_px, found_px, shared_px : int
        Foreground inside the region, whether its nuclei count or not.
    """

    truth_area: Ids
    found_area: Ids
    truth: Ids
    found: Ids
    intersection: Ids
    iou: npt.NDArray[np.float64]
    truth_px: int
    found_px: int
    shared_px: int

    @classmethod
    def of(
        cls,
        annotation: npt.NDArray[np.integer],
        prediction: npt.NDArray[np.integer],
        counted: npt.NDArray[np.bool_] | None = None,
    ) -> "Overlap":
        """Overlaps of two (H, W) instance maps; ids may have gaps, 0 is background.

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
        """The matched pairs: one to one, IoU >= threshold, as many as can be.

        Above 0.5 no nucleus has two candidates. At or below, ties are settled as
        `stardist.matching` does: most pairs first, then the largest sum of IoU.
        """
        good = np.flatnonzero(self.iou >= threshold)
        truth, found = self.truth[good], self.found[good]
        if len(np.unique(truth)) == len(truth) and len(np.unique(found)) == len(found):
            return good
        # pairs that share no nucleus do not compete: one small matrix for each group that does
        group = _groups(truth, found)
        order = np.argsort(group, kind="stable")
        starts = np.flatnonzero(np.diff(group[order])) + 1
        return np.concatenate([self._settle(good[part]) for part in np.split(order, starts)])

    def matched_ious(self, threshold: float) -> npt.NDArray[np.float64]:
        """IoU of each matched pair."""
        return self.iou[self.matched(threshold)]

    def _settle(self, pairs: Ids) -> Ids:
        rows, row_of = np.unique(self.truth[pairs], return_inverse=True)
        columns, column_of = np.unique(self.found[pairs], return_inverse=True)
        iou, place = np.zeros((2, len(rows), len(columns)))
        iou[row_of, column_of], place[row_of, column_of] = self.iou[pairs], pairs
        # every pair is worth more than all IoUs together, so the count comes first
        value = (iou > 0) + iou / (2 * min(iou.shape))
        chosen = linear_sum_assignment(value, maximize=True)
        matched: Ids = place[chosen][iou[chosen] > 0].astype(np.int64)
        return matched

    def of_nuclei(self, truth: npt.NDArray[np.bool_], found: npt.NDArray[np.bool_]) -> "Overlap":
        """The same of some nuclei only: (n,) and (m,), whether each is among them."""
        kept = truth[self.truth] & found[self.found]
        return replace(
            self,
            truth_area=self.truth_area[truth],
            found_area=self.found_area[found],
            truth=(np.cumsum(truth) - 1)[self.truth[kept]],
            found=(np.cumsum(found) - 1)[self.found[kept]],
            intersection=self.intersection[kept],
            iou=self.iou[kept],
        )


class OverlapCounter:
    """Adds up what an annotation and a prediction share, window by window of one image.

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
        """Count a window of both maps (H, W), and of what was annotated.

        Raises
        ------
        ValueError
            If the shapes differ.
        """
        if annotation.shape != prediction.shape:
            raise ValueError(f"shapes differ: {annotation.shape} and {prediction.shape}")
        truth_ids, truth = np.unique(annotation, return_inverse=True)
        found_ids, found = np.unique(prediction, return_inverse=True)
        keys = truth.ravel() * np.int64(len(found_ids)) + found.ravel()
        inside = np.int64(1) if counted is None else counted.ravel().astype(np.int64)
        keys, counts = np.unique(2 * keys + inside, return_counts=True)
        pairs, inside = keys // 2, keys % 2
        truth, found = truth_ids[pairs // len(found_ids)], found_ids[pairs % len(found_ids)]
        self._counts.append(np.stack([truth, found, inside, counts]).astype(np.int64))

    def overlap(self) -> Overlap:
        """The overlaps of all windows together."""
        truth, found, inside, counts = np.concatenate([np.zeros((4, 0), int), *self._counts], 1)
        within = inside > 0
        truth_ids = np.unique(truth[within & (truth > 0)])
        found_ids = np.unique(found[within & (found > 0)])
        truth_area = _sums(truth, counts * inside, truth_ids)
        found_area = _sums(found, counts * inside, found_ids)
        both = within & (truth > 0) & (found > 0)
        key = np.searchsorted(truth_ids, truth[both]) * max(len(found_ids), 1)
        key += np.searchsorted(found_ids, found[both])
        pairs, place = np.unique(key, return_inverse=True)
        intersection = np.bincount(place, counts[both], len(pairs)).astype(np.int64)
        first, second = np.divmod(pairs, max(len(found_ids), 1))
        union = truth_area[first] + found_area[second] - intersection
        overlap = Overlap(
            truth_area, found_area, first, second, intersection, intersection / union,
            int(truth_area.sum()), int(found_area.sum()), int(intersection.sum()),
        )  # fmt: skip
        if within.all():
            return overlap
        truth_counts = 2 * truth_area > _sums(truth, counts, truth_ids)
        found_counts = 2 * found_area > _sums(found, counts, found_ids)
        matched = overlap.matched(0.5)
        found_counts[second[matched]] = truth_counts[first[matched]]
        return overlap.of_nuclei(truth_counts, found_counts)


def _sums(ids: Ids, counts: Ids, wanted: Ids) -> Ids:
    """Sum of the counts of each wanted id."""
    of_wanted = np.isin(ids, wanted)
    place = np.searchsorted(wanted, ids[of_wanted])
    return np.bincount(place, counts[of_wanted], len(wanted)).astype(np.int64)


def _groups(truth: Ids, found: Ids) -> npt.NDArray[np.int32]:
    """For each pair, which set of pairs it competes in, directly or through others."""
    shape = (int(truth.max()) + 1, int(found.max()) + 1)
    pairs = coo_array((np.ones(len(truth)), (truth, found + shape[0])), shape=(sum(shape),) * 2)
    group: npt.NDArray[np.int32] = connected_components(pairs, directed=False)[1][truth]
    return group
