"""Names of the channels of probability maps, and what nuclei can be made from."""

from collections.abc import Mapping

NAMES = ("foreground", "background", "interior", "boundary", "distance")
OWN = ("background", "interior", "boundary", "distance")
"""The channels of this package's own maps, in their order."""
SUMS = [
    {"foreground"}, {"foreground", "boundary"}, {"interior", "boundary"},
    {"background", "interior", "boundary"},
]  # fmt: skip
"""Channels that a map follows from; a distance may come with each."""


def name_channels(channels: Mapping[str, int] | None, count: int) -> dict[str, int]:
    """Check the index of each of `count` channels; where None is given, take the usual ones.

    One channel is then `foreground`, three or four are `OWN`.

    >>> name_channels(None, 3)
    {'background': 0, 'interior': 1, 'boundary': 2}

    Raises
    ------
    ValueError
        If a name is not known, an index is not there, or nuclei do not follow from them.
    """
    if channels is None:
        if count == 2 or count > len(OWN):
            raise ValueError(f"{count} channels; name them: channels={{'interior': 0, ...}}")
        return {"foreground": 0} if count == 1 else dict(zip(OWN, range(count), strict=False))
    for name, place in channels.items():
        if name not in NAMES:
            raise ValueError(f"channel '{name}'; expected {', '.join(NAMES)}")
        if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < count:
            raise ValueError(f"{name}={place}; expected the index of one of {count} channels")
    if {*channels} - {"distance"} not in SUMS:
        raise ValueError(
            f"channels {', '.join(channels) or 'none'}; expected foreground alone, interior and"
            " boundary, or foreground and boundary; and with any of these the distance"
        )
    return dict(channels)
