"""Dice, AJI, PQ (with DQ and SQ) and AP: of one image, mean over images, pooled over nuclei.

Definitions, for an annotation G and a prediction P:

- **dice**: 2 |G & P| / (|G| + |P|) of the foregrounds.
- **aji** (Kumar et al. 2017): for each annotated nucleus the predicted one of
  highest IoU; sum of intersections over sum of unions, unmatched predictions
  and missed nuclei adding their whole area to the unions.
- **pq** = dq * sq (Kirillov et al. 2019): matches at IoU >= 0.5;
  dq = TP / (TP + FP/2 + FN/2), sq = mean IoU of the matches.
- **ap@t** = TP / (TP + FP + FN) at IoU >= t, as in `stardist.matching`.

Empty maps: when neither has a nucleus every score is 1; when one alone is empty
every score is 0. `pool` adds up pixels, intersections and counts before dividing, so
an empty image then has no weight.

Where only a region of an image was annotated, scores are those of the nuclei that
count there (`nucleipel.metrics.matching`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nucleipel.metrics.matching import Overlap

AP_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))


@dataclass(frozen=True, slots=True)
class ImageScore:
    """The sums of one image from which every score follows; sums of images add up."""

    annotated_px: int
    predicted_px: int
    shared_px: int
    annotated_count: int
    predicted_count: int
    aji_intersection_px: int
    aji_union_px: int
    matched_count: int
    matched_iou: float
    """Pairs matched at IoU 0.5, and the sum of their IoU."""
    matches: dict[float, int]
    """Matched pairs at each AP threshold."""

    @classmethod
    def of(
        cls,
        annotation: npt.NDArray[np.integer],
        prediction: npt.NDArray[np.integer],
        counted: npt.NDArray[np.bool_] | None = None,
        *,
        ap_thresholds: Sequence[float] = AP_THRESHOLDS,
    ) -> "ImageScore":
        """Compare two (H, W) instance maps, inside the region `counted` (H, W) bool if any."""
        overlap = Overlap.of(annotation, prediction, counted)
        return cls.of_overlap(overlap, ap_thresholds=ap_thresholds)

    @classmethod
    def of_overlap(
        cls, overlap: Overlap, *, ap_thresholds: Sequence[float] = AP_THRESHOLDS
    ) -> "ImageScore":
        """Add up the sums of an overlap."""
        at_half = overlap.matched_ious(0.5)
        intersection, union = _aji_sums(overlap)
        return cls(
            annotated_px=overlap.annotated_px,
            predicted_px=overlap.predicted_px,
            shared_px=overlap.shared_px,
            annotated_count=len(overlap.annotated_area),
            predicted_count=len(overlap.predicted_area),
            aji_intersection_px=intersection,
            aji_union_px=union,
            matched_count=len(at_half),
            matched_iou=float(at_half.sum()),
            matches={
                threshold: len(overlap.matched_ious(threshold)) for threshold in ap_thresholds
            },
        )

    def to_scores(self) -> dict[str, float]:
        """dice, aji, pq, dq, sq and ap@0.50 .. ap@0.95."""
        both = self.annotated_count + self.predicted_count
        if both == 0:
            names = ["dice", "aji", "pq", "dq", "sq", *map(_ap_name, self.matches)]
            return dict.fromkeys(names, 1.0)
        dq = 2 * self.matched_count / both
        sq = self.matched_iou / self.matched_count if self.matched_count else 0.0
        return {
            "dice": 2 * self.shared_px / (self.annotated_px + self.predicted_px),
            "aji": self.aji_intersection_px / self.aji_union_px,
            "pq": dq * sq,
            "dq": dq,
            "sq": sq,
            **{
                _ap_name(threshold): count / (both - count)
                for threshold, count in self.matches.items()
            },
        }


def total(scores: Sequence[ImageScore]) -> ImageScore:
    """The sums of several parts or images together."""
    return ImageScore(
        annotated_px=sum(score.annotated_px for score in scores),
        predicted_px=sum(score.predicted_px for score in scores),
        shared_px=sum(score.shared_px for score in scores),
        annotated_count=sum(score.annotated_count for score in scores),
        predicted_count=sum(score.predicted_count for score in scores),
        aji_intersection_px=sum(score.aji_intersection_px for score in scores),
        aji_union_px=sum(score.aji_union_px for score in scores),
        matched_count=sum(score.matched_count for score in scores),
        matched_iou=sum(score.matched_iou for score in scores),
        matches={
            threshold: sum(score.matches[threshold] for score in scores)
            for threshold in scores[0].matches
        },
    )


def pool(scores: Sequence[ImageScore]) -> dict[str, float]:
    """Scores over all nuclei and pixels of several images together."""
    return total(scores).to_scores()


def mean(scores: Sequence[ImageScore]) -> dict[str, float]:
    """Mean over images of each score."""
    each = [score.to_scores() for score in scores]
    return {name: float(np.mean([values[name] for values in each])) for name in each[0]}


def _ap_name(threshold: float) -> str:
    return f"ap@{threshold:.2f}"


def _aji_sums(overlap: Overlap) -> tuple[int, int]:
    # of equal IoUs the smaller predicted id wins: lexsort's last key is the first criterion
    order = np.lexsort((overlap.predicted, -overlap.iou, overlap.annotated))
    first = order[np.unique(overlap.annotated[order], return_index=True)[1]]
    annotated, predicted = overlap.annotated[first], overlap.predicted[first]
    intersection = overlap.intersection[first]
    union = overlap.annotated_area[annotated] + overlap.predicted_area[predicted] - intersection
    missed = np.delete(overlap.annotated_area, annotated).sum()
    spurious = np.delete(overlap.predicted_area, np.unique(predicted)).sum()
    return int(intersection.sum()), int(union.sum() + missed + spurious)
