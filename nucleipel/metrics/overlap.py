"""Which nuclei of two instance maps overlap, and by how much; and who matches whom."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


@dataclass(frozen=True)
class Overlap:
    """The overlapping pairs of an annotation and a prediction, sparse.

    `truth_area` and `found_area` are the areas (px) of all nuclei, in order of
    their ids; `truth`, `found` index into them, one entry a pair that overlaps,
    with `iou` and `intersection` (px) of the pair.
    """

    truth_area: npt.NDArray[np.int64]
    found_area: npt.NDArray[np.int64]
    truth: npt.NDArray[np.int64]
    found: npt.NDArray[np.int64]
    intersection: npt.NDArray[np.int64]
    iou: npt.NDArray[np.float64]

    @classmethod
    def of(
        cls, annotation: npt.NDArray[np.integer], prediction: npt.NDArray[np.integer]
    ) -> "Overlap":
        """Overlaps of two (H, W) instance maps; ids may have gaps, 0 is background.

        Raises
        ------
        ValueError
            If the shapes differ.
        """
        if annotation.shape != prediction.shape:
            raise ValueError(f"shapes differ: {annotation.shape} and {prediction.shape}")
        truth_ids, truth_map = np.unique(annotation, return_inverse=True)
        found_ids, found_map = np.unique(prediction, return_inverse=True)
        pairs, counts = np.unique(
            truth_map.ravel() * np.int64(len(found_ids)) + found_map.ravel(), return_counts=True
        )
        truth, found = truth_ids[pairs // len(found_ids)], found_ids[pairs % len(found_ids)]
        truth_area = np.bincount(truth_map.ravel(), minlength=len(truth_ids))[truth_ids != 0]
        found_area = np.bincount(found_map.ravel(), minlength=len(found_ids))[found_ids != 0]
        both = (truth != 0) & (found != 0)
        truth = np.searchsorted(truth_ids[truth_ids != 0], truth[both])
        found = np.searchsorted(found_ids[found_ids != 0], found[both])
        intersection = counts[both]
        union = truth_area[truth] + found_area[found] - intersection
        return cls(truth_area, found_area, truth, found, intersection, intersection / union)

    def matched_ious(self, threshold: float) -> npt.NDArray[np.float64]:
        """IoU of each matched pair: one to one, IoU >= threshold, as many pairs as can be.

        Above 0.5 no nucleus has two candidates. At or below, ties are settled as
        `stardist.matching` does: most pairs first, then the largest sum of IoU.
        """
        good = self.iou >= threshold
        truth, found, iou = self.truth[good], self.found[good], self.iou[good]
        if len(np.unique(truth)) == len(truth) and len(np.unique(found)) == len(found):
            return iou
        # pairs that share no nucleus do not compete: one small matrix for each group that does
        group = _groups(truth, found)
        order = np.argsort(group, kind="stable")
        starts = np.flatnonzero(np.diff(group[order])) + 1
        return np.concatenate(
            [_settle(truth[pairs], found[pairs], iou[pairs]) for pairs in np.split(order, starts)]
        )


def _groups(truth: npt.NDArray[np.int64], found: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """For each pair, which set of pairs it competes in, directly or through others."""
    shape = (int(truth.max()) + 1, int(found.max()) + 1)
    pairs = coo_array((np.ones(len(truth)), (truth, found + shape[0])), shape=(sum(shape),) * 2)
    group: npt.NDArray[np.int32] = connected_components(pairs, directed=False)[1][truth]
    return group


def _settle(
    truth: npt.NDArray[np.int64], found: npt.NDArray[np.int64], iou: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    rows, row_of = np.unique(truth, return_inverse=True)
    columns, column_of = np.unique(found, return_inverse=True)
    matrix = np.zeros((len(rows), len(columns)))
    matrix[row_of, column_of] = iou
    # every pair is worth more than all IoUs together, so the count comes first
    value = (matrix > 0) + matrix / (2 * min(matrix.shape))
    matched: npt.NDArray[np.float64] = matrix[linear_sum_assignment(value, maximize=True)]
    return matched[matched > 0]
