"""A shard of the parts of all images: the work of one process in a run that several share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Part:
    """Part `number` of `count` of one image, from 1; a small image has one part, itself."""

    image: str
    number: int = 1
    count: int = 1

    def __str__(self) -> str:
        return self.image if self.count == 1 else f"{self.image}-{self.number}-of-{self.count}"


def parts_of(counts: Mapping[str, int]) -> list[Part]:
    """The parts of all images, image by image; `counts` has the number of parts of each.

    Examples
    --------
    >>> [str(part) for part in parts_of({"slide": 2, "tile": 1})]
    ['slide-1-of-2', 'slide-2-of-2', 'tile']
    """
    return [
        Part(image, number, count)
        for image, count in counts.items()
        for number in range(1, count + 1)
    ]


@dataclass(frozen=True, slots=True)
class Shard:
    """Task `number` of `count`, from 1: of 3/8, every eighth part from the third on.

    (0, 0) has no parts: the run that only closes the output.
    """

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
        """Return whether this run completes the record in the end."""
        return self in (WHOLE, CLOSE)

    def of(self, items: Sequence[T]) -> tuple[T, ...]:
        """The items of this shard."""
        return tuple(items[self.number - 1 :: self.count]) if self.count else ()

    def __str__(self) -> str:
        return f"{self.number}/{self.count}" if self.count else "close"


WHOLE, CLOSE = Shard(1, 1), Shard(0, 0)
