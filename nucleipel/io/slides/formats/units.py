"""Units of length by every name that image formats use, in micrometers.

OME-XML (2016-06, UnitsLength), OME-Zarr (UDUNITS-2 names), ImageJ, Aperio and what
people type; one table for all.
"""

import unicodedata

UM_PER_METER = 1e6
PREFIXES = {
    "exa": ("E", 1e18), "peta": ("P", 1e15), "tera": ("T", 1e12), "giga": ("G", 1e9),
    "mega": ("M", 1e6), "kilo": ("k", 1e3), "hecto": ("h", 1e2), "deca": ("da", 1e1),
    "": ("", 1.0), "deci": ("d", 1e-1), "centi": ("c", 1e-2), "milli": ("m", 1e-3),
    "micro": ("u", 1e-6), "nano": ("n", 1e-9), "pico": ("p", 1e-12), "femto": ("f", 1e-15),
    "atto": ("a", 1e-18),
}  # fmt: skip
SYMBOLS = {f"{symbol}m": UM_PER_METER * size for symbol, size in PREFIXES.values()}
NAMES = {
    **{
        f"{prefix}{ending}": UM_PER_METER * size
        for prefix, (_, size) in PREFIXES.items()
        for ending in ("meter", "meters", "metre", "metres")
    },
    "micron": 1.0, "microns": 1.0,
    "angstrom": 1e-4, "angstroms": 1e-4, "\u00e5": 1e-4,
    "inch": 25400.0, "inches": 25400.0, "in": 25400.0, "thou": 25.4, "li": 25400.0 / 12,
    "foot": 304800.0, "feet": 304800.0, "ft": 304800.0, "yard": 914400.0, "yd": 914400.0,
    "pt": 25400.0 / 72,
}  # fmt: skip
GARBLED_MICRO = ("\\u00B5", "\\u00b5", "\u00c2\u00b5", "\u00ce\u00bc")
"""Escaped, as ImageJ has it, and both signs in UTF-8 that was read as Latin-1."""
COMMON = ("pm", "nm", "um", "mm", "cm", "dm", "m")
"""Symbols that are also known in capitals; of the others "Mm" is not "mm"."""


def um_per_unit(name: str) -> float | None:
    """Micrometers in a unit of length; None if its name is not known.

    Both signs of micro (U+00B5 and the Greek letter, also escaped as ImageJ has
    it) and both of angstrom are known, names in any case.
    """
    for garbled in GARBLED_MICRO:
        name = name.replace(garbled, "u")
    text = unicodedata.normalize("NFKC", name.strip())
    text = text.replace("\u03bc", "u").removesuffix(".")
    if text in SYMBOLS:
        return SYMBOLS[text]
    lower = text.casefold()
    return SYMBOLS[lower] if lower in COMMON else NAMES.get(lower)
