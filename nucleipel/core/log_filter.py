"""What a stage that runs other stages lets them say."""

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager


@contextmanager
def only_messages_of(name: str, *, silent: Collection[str] = ()) -> Iterator[None]:
    """Within the block, show messages of one module, and warnings of others that are not `silent`.

    Modules go by the names of their loggers. Progress bars are not affected.
    """

    def is_shown(record: logging.LogRecord) -> bool:
        warns = record.levelno >= logging.WARNING and record.name not in silent
        return record.name == name or warns

    handlers = list(logging.getLogger("nucleipel").handlers)
    for handler in handlers:
        handler.addFilter(is_shown)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(is_shown)
