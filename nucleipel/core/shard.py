"""The share of a job array's task: `3/8` is every eighth image, from the third on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shard:
    """Task `number` of `count`, from 1; (0, 0) is none: the run that only closes the output."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """The shard of `K/N` or `close`.

        Raises
        ------
        ValueError
            If it is neither, or K is not in 1..N.

        Examples
        --------
        >>> Shard.parse("2/3").of(["a", "b", "c", "d", "e"])
        ('b', 'e')
        """
        if text == "close":
            return CLOSE
        number, _, count = text.partition("/")
        if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
            raise ValueError(f"'{text}'; expected K/N with K in 1..N, or close")
        return cls(int(number), int(count))

    @property
    def closes(self) -> bool:
        """Whether this run completes the record in the end."""
        return self in (WHOLE, CLOSE)

    def of(self, items: Sequence[T]) -> tuple[T, ...]:
        """The items of this shard."""
        return tuple(items[self.number - 1 :: self.count]) if self.count else ()

    def __str__(self) -> str:
        return f"{self.number}/{self.count}" if self.count else "close"


WHOLE, CLOSE = Shard(1, 1), Shard(0, 0)
