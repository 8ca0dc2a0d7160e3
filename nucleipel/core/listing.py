"""Long lists in messages: the first of them, and how many there are besides."""

import logging
from collections.abc import Iterable, Sequence

log = logging.getLogger(__name__)

MOST_NAMES, MOST_FAULTS = 5, 4


def first_names(names: Iterable[str], *, most: int = MOST_NAMES, between: str = ", ") -> str:
    """The first names, and how many there are besides.

    >>> first_names("abcdefg")
    'a, b, c, d, e and 2 more'
    """
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return between.join(listed[:most]) + more


def first_faults(faults: Sequence[str], *, logged: bool = False) -> str:
    """The first faults, for one message; if there are more, all are logged, a line each.

    With `logged` they are in the log already.
    """
    if len(faults) <= MOST_FAULTS:
        return "; ".join(faults)
    if not logged:
        for fault in faults:
            log.error("%s", fault)
    return f"{first_names(faults, most=MOST_FAULTS, between='; ')}, listed above"
