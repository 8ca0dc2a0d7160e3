"""Words that both a setting and its command-line option accept, each list once."""

from typing import Literal

Device = Literal["auto", "cpu", "cuda"]
GeoJson = Literal["plain", "gz", "none"]
"""How nuclei.geojson is written, if at all."""
MapFrame = Literal["level0", "working"]
"""Whose pixels nuclei are written in: those of level 0 of the image, or of the working mpp."""
Split = Literal["train", "val", "test"]
StainedAs = Literal["color", "dye"]
"""What a network sees of stained slides: their colors, or the gray of their nuclear dye."""

OLD_WORDS = {"stained_as": {"colour": "color"}}
"""Values that were renamed, by setting: files of settings and records may hold the old ones."""
