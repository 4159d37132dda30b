"""Which intervals wait to be published: the store has a mark for each, so that a restart need not look at all intervals.

Most wait for their next record and are published soon. A mark that is set and taken away again costs as much as the interval
itself, so marks are set late: until then the store claims to know the changelog only as far as to the first change that it has no
mark for. Whoever opens it after a crash reads the changelog from there again, which changes nothing but the marks.
"""

from collections.abc import Iterable
from typing import Final

from app.wire import compiled
from app.wire.interval import HELD

INTERVAL_MARK: Final = b"i"
HELD_MARK: Final = b"h"
"""First bytes of the store's keys: of an interval, and of the mark that it waits."""

Entry = tuple[bytes, bytes | None]
"""A key and its value; None deletes."""

_LONGEST_WAY: Final = 200_000
"""How many offsets of the changelog are read again at most: a second or two."""


def is_held(key: bytes, value: bytes | None) -> bool:
    """Tell whether an entry of the changelog is the state of an interval that waits."""
    return value is not None and value.startswith(HELD) and key.startswith(INTERVAL_MARK)


def held_keys(entries: list[Entry]) -> list[bytes]:
    """Return the keys of those entries of the changelog that are states of intervals that wait. Hot."""
    if compiled.parts is not None:
        return compiled.parts.keys_by_beginning(entries, INTERVAL_MARK, HELD)
    return [key for key, value in entries if is_held(key, value)]


def mark_of(key: bytes) -> bytes:
    """Return the key of the mark of an interval, by the interval's own."""
    return HELD_MARK + key[1:]


class HeldMarks:
    """The marks of one store, while a partition is at work on it."""

    def __init__(self, held_ids: Iterable[str], limit: int) -> None:
        """Begin with the intervals that the store has marks for; leave at most `limit` others without."""
        self._marked: Final = {INTERVAL_MARK + interval_id.encode() for interval_id in held_ids}
        self._limit: Final = limit
        self._unmarked: dict[bytes, int] = {}
        """Keys of intervals that wait without a mark, and the changelog's end before that: in order, the earliest first."""

    def take(self, logged: list[Entry], before: int) -> list[Entry]:
        """Take what a transaction put into the changelog, which ended at `before` until then. Hot.

        Return what is marked otherwise now: that has to be written together with `logged`.
        """
        marked, unmarked = self._marked, self._unmarked
        entries: list[Entry] = []
        held = held_keys(logged)
        if unmarked or marked:
            known = {key for key, _ in logged if key in unmarked or key in marked}
            for key in known.difference(held):
                if unmarked.pop(key, None) is None:
                    marked.discard(key)
                    entries.append((mark_of(key), None))
        for key in held:
            if key not in marked:
                unmarked.setdefault(key, before)
        if len(unmarked) > self._limit or before - self.known_to(before) > _LONGEST_WAY:
            entries += self.set_all()
        return entries

    def known_to(self, end: int) -> int:
        """Return how far the store may claim to know the changelog, which ends at `end`: there is a mark for all before."""
        return next(iter(self._unmarked.values()), end)

    def set_all(self) -> list[Entry]:
        """Return the marks of all that have none yet; from then on they are in the store."""
        unmarked, self._unmarked = self._unmarked, {}
        self._marked.update(unmarked)
        return [(mark_of(key), b"") for key in unmarked]
