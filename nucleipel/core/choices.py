"""Words that both a setting and its command-line option accept, each list once."""

from typing import Literal

Activation = Literal["none", "sigmoid", "softmax"]
"""What makes probabilities of the values of another program's model."""
Device = Literal["auto", "cpu", "cuda", "mps"]
"""Where networks compute. "auto": an NVIDIA GPU, or the CPU. "mps": Apple's GPU, for prediction
alone, which was never tried."""
GeoJson = Literal["plain", "gz", "none"]
"""Formats of nuclei.geojson: plain, gzipped, or no such file."""
GeoJsonKind = Literal["detection", "annotation", "cell"]
"""Kinds of QuPath's objects."""
MapFrame = Literal["level0", "working"]
"""Pixels that nuclei are written in: those of level 0 of the image, or of the working mpp."""
Split = Literal["train", "val", "test"]
StainedAs = Literal["auto", "color", "dye"]
"""Input of a network for stained slides: their colors, or the gray of their nuclear dye. "auto":
colors, or where the scale is chosen, too, what suits the image."""

OLD_WORDS = {"stained_as": {"colour": "color"}}
"""Values that were renamed, by setting: files of settings and records may hold the old ones."""
