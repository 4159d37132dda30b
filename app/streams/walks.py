"""Walks: the stretches of meters in which intervals may have come into other tiers since they were priced.

They are found while others are priced, and worked off between chunks. What is left of them is committed with what asked
for them, so that a crash loses none.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

Stretch = tuple[int, int]
"""[start_us, end_us) by the starts of intervals."""

_MAX_STRETCHES: Final = 64
"""More of one meter are made one: to look at an interval in vain costs less than to remember where not to."""

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(list[Stretch]).decode


class Walk(NamedTuple):
    """The intervals of one meter, by the beginning of their ids, that start in [start_us, end_us) and may cost otherwise."""

    prefix: str
    start_us: int
    end_us: int


class Walks:
    """The walks of one partition, by meter; those of one meter neither overlap nor touch."""

    __slots__ = ("_changed", "_committed", "_stretches")

    def __init__(self) -> None:
        """Begin with nothing to do."""
        self._stretches: dict[str, list[Stretch]] = {}
        self._committed: set[str] = set()
        self._changed: set[str] = set()

    def __len__(self) -> int:
        """Return the number of meters with something to do."""
        return len(self._stretches)

    def __iter__(self) -> Iterator[Walk]:
        """Yield all walks."""
        for prefix, stretches in self._stretches.items():
            for start_us, end_us in stretches:
                yield Walk(prefix, start_us, end_us)

    def restore(self, committed: Iterable[tuple[str, bytes]]) -> None:
        """Take up what was committed."""
        for prefix, value in committed:
            self._stretches[prefix] = _decode(value)
            self._committed.add(prefix)

    def add(self, prefix: str, start_us: int, end_us: int) -> None:
        """Remember a stretch of a meter; nothing where it is empty."""
        if start_us >= end_us:
            return
        self._changed.add(prefix)
        stretches = self._stretches.setdefault(prefix, [])
        first = bisect_left(stretches, start_us, key=lambda stretch: stretch[1])
        last = first
        while last < len(stretches) and stretches[last][0] <= end_us:
            start_us, end_us = min(start_us, stretches[last][0]), max(end_us, stretches[last][1])
            last += 1
        stretches[first:last] = [(start_us, end_us)]
        if len(stretches) > _MAX_STRETCHES:
            stretches[:] = [(stretches[0][0], stretches[-1][1])]

    def pop(self) -> Walk:
        """Take the first walk of the meter that has waited longest.

        Raises:
            StopIteration: there is none.

        """
        prefix, stretches = next(iter(self._stretches.items()))
        start_us, end_us = stretches.pop(0)
        if not stretches:
            del self._stretches[prefix]
        self._changed.add(prefix)
        return Walk(prefix, start_us, end_us)

    def take_changes(self) -> Iterator[tuple[str, bytes | None]]:
        """Yield (prefix, what is to be committed of a meter's walks; None: there is nothing left), and count it as done."""
        changed, self._changed = sorted(self._changed), set()
        for prefix in changed:
            stretches = self._stretches.get(prefix)
            if stretches is not None:
                self._committed.add(prefix)
                yield prefix, _encode(stretches)
            elif prefix in self._committed:
                self._committed.discard(prefix)
                yield prefix, None
