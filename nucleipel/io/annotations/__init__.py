"""The field's annotation formats, one file each: from a source to `AnnotatedSource`s.

Conventions, the same for all of them, are those of `nucleipel.io.annotations.objects`.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from nucleipel.io.annotations.coco import read_coco
from nucleipel.io.annotations.dsb2018 import read_dsb2018
from nucleipel.io.annotations.hovernet import read_hovernet
from nucleipel.io.annotations.monuseg import read_monuseg
from nucleipel.io.annotations.paired import read_labels, read_stardist
from nucleipel.io.annotations.pannuke import read_pannuke
from nucleipel.io.annotations.qupath import read_qupath
from nucleipel.io.annotations.source import AnnotatedSource, ImportOptions

Reader = Callable[[Path, ImportOptions], Iterator[AnnotatedSource]]

FORMATS: dict[str, Reader] = {
    "dsb2018": read_dsb2018,
    "monuseg": read_monuseg,
    "qupath": read_qupath,
    "coco": read_coco,
    "pannuke": read_pannuke,
    "hovernet": read_hovernet,
    "labels": read_labels,
    "stardist": read_stardist,
}

__all__ = ["FORMATS", "AnnotatedSource", "ImportOptions", "Reader"]
