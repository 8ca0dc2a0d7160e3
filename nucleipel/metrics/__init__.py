"""Scores of an instance map against its annotation: Dice, AJI, PQ, AP.

`ImageScore.of` compares two maps; `pool` and `mean` give the scores of several images.
"""

from nucleipel.metrics.scores import ImageScore, mean, pool

__all__ = ["ImageScore", "mean", "pool"]
