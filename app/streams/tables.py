"""The two tables of one partition in memory: what the store has, under what the open transaction has changed.

A change is seen by everything that follows it at once, is written to the store only when its transaction has committed, and
is forgotten with this object when the transaction, or the partition, is lost.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, Protocol

import msgspec

from app.domain.instants import US_PER_SECOND
from app.domain.intervals import Interval
from app.streams.held import HELD_MARK, INTERVAL_MARK, Entry
from app.streams.ledger import prefix_of
from app.streams.validate import Meter, instants
from app.wire.compiled import Packed
from app.wire.interval import decode_state, encode_states, instant_texts, marked_entries

PRICED_MARK: Final = b"p"
GRID_MARK: Final = b"g"
WALK_MARK: Final = b"w"
"""First bytes of the store's keys, beside those of intervals and their marks: priced records, a meter's grid, and its walks."""

META_KEY: Final = b"#meta"
"""Key of what a partition remembers beside its tables, in the store and in the changelog of intervals."""

AFTER: Final = b"\xff"
"""Behind everything that goes on from the same beginning: no UTF-8 text has this byte."""

_LAST: Final = "~"
"""Behind the texts of all instants."""

_LIVE: Final = 400_000
_LEAST_LIVE: Final = 20_000


def live_limit(partitions: int) -> int:
    """Return how many intervals that wait for more records each of so many partitions keeps in memory.

    One that waits and is not kept is read from the store for each of its records, which costs an eighth of a record more.
    """
    return max(_LIVE // partitions, _LEAST_LIVE)


Passing = tuple[str, Interval, bytes | None]
"""An interval that is looked at once: its id, its state, its last published priced record (None: there is none)."""


class Store(Protocol):
    """A sorted map of bytes on disk, or in memory where nothing must last."""

    def get(self, key: bytes) -> bytes | None:
        """Return a value, or None."""

    def items(self, start: bytes, stop: bytes) -> Iterable[tuple[bytes, bytes]]:
        """Return the entries with start <= key < stop, in order."""

    def first(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Return the first of those entries, at most `limit`."""

    def last_before(self, key: bytes, start: bytes) -> bytes | None:
        """Return the greatest key in [start, key), or None."""


class Meta(msgspec.Struct):
    """What a partition remembers beside its tables.

    `lineage` was drawn when the partition was first owned: a store with another one belongs to topics that were deleted and
    created again. `metrics` are totals since then; `reference` tells to which reference documents the prices correspond;
    records before `closed_us` are too old, and `swept_us` is how far old intervals have been deleted.
    """

    lineage: str
    metrics: dict[str, int] = {}
    reference: dict[str, dict[str, int]] = {}
    closed_us: int = 0
    swept_us: int = 0


decode_meta: Final = msgspec.json.Decoder(Meta).decode


class Changes:
    """What one transaction changed in the two tables; `unsorted` are ids of `intervals` that nobody has asked for yet."""

    __slots__ = (
        "_ids_of_meter",
        "_priced_of_meter",
        "_unsorted_priced",
        "deleted",
        "grids",
        "intervals",
        "priced",
        "unsorted",
        "walks",
    )

    def __init__(self) -> None:
        """Begin with nothing."""
        self.intervals: dict[str, tuple[Interval, Meter] | Packed] = {}
        self._ids_of_meter: dict[str, list[str]] = {}
        self.unsorted: list[str] = []
        self.deleted: set[str] = set()
        self.priced: dict[str, bytes | None] = {}
        self._priced_of_meter: dict[str, list[str]] = {}
        self._unsorted_priced: list[str] = []
        self.grids: dict[str, str] = {}
        self.walks: dict[str, bytes | None] = {}

    def delete_interval(self, interval_id: str) -> None:
        """Let an interval be deleted, whatever became of it before."""
        if self.intervals.pop(interval_id, None) is not None:
            self.ids_of(prefix_of(interval_id)).remove(interval_id)
        self.deleted.add(interval_id)

    def ids_of(self, prefix: str) -> list[str]:
        """Return the ids of a meter's intervals that are others now, in order; hardly anybody asks."""
        return self.ids_of_meter().get(prefix, [])

    def ids_of_meter(self) -> Mapping[str, list[str]]:
        """Return the ids of each meter's intervals that are others now, in order."""
        unsorted, self.unsorted = self.unsorted, []
        for interval_id in unsorted:
            _insert(self._ids_of_meter.setdefault(prefix_of(interval_id), []), interval_id)
        return self._ids_of_meter

    def put_priced(self, interval_id: str, value: bytes) -> None:
        """Replace the published record of an interval. Hot."""
        if interval_id not in self.priced:
            self._unsorted_priced.append(interval_id)
        self.priced[interval_id] = value

    def priced_of(self, prefix: str) -> list[str]:
        """Return the ids of a meter's intervals whose published records are others now, in order: tiers ask for them."""
        unsorted, self._unsorted_priced = self._unsorted_priced, []
        for interval_id in unsorted:
            _insert(self._priced_of_meter.setdefault(prefix_of(interval_id), []), interval_id)
        return self._priced_of_meter.get(prefix, [])


class Tables:
    """The tables `intervals` and `priced` of one partition."""

    def __init__(self, store: Store, live_limit: int = _LEAST_LIVE) -> None:
        """Stand on a store; at most about `live_limit` intervals stay in memory."""
        self._store = store
        self._live_limit = live_limit
        self._intervals: dict[str, Interval | Packed] = {}
        self._fresh: set[str] = set()
        self.changes = Changes()
        self.intervals: Final = _IntervalView(self)
        self.priced: Final = _PricedView(self)

    def committed(self) -> None:
        """Begin with new changes: the old ones are in the store now."""
        self.changes = Changes()
        excess = len(self._intervals) - self._live_limit
        if excess > 0:
            for key in list(islice(self._intervals, excess + self._live_limit // 10)):
                del self._intervals[key]
        if len(self._fresh) > self._live_limit:
            self._fresh.clear()

    def interval(self, interval_id: str) -> Interval | None:
        """Return the state of an interval."""
        known = self._in_memory(interval_id)
        if known is None:
            value = self._store.get(INTERVAL_MARK + interval_id.encode())
            if value is not None:
                known = self._intervals[interval_id] = decode_state(value)
        return known

    def _in_memory(self, interval_id: str) -> Interval | None:
        """Return the state of an interval that is at work, or that this transaction has changed."""
        found = self._intervals.get(interval_id)
        if found is None:
            changed = self.changes.intervals.get(interval_id)
            return None if changed is None else changed[0]
        return found if isinstance(found, Interval) else found[0]

    def put_interval(self, interval_id: str, interval: Interval, meter: Meter) -> None:
        """Replace the state of an interval. Hot."""
        self._intervals[interval_id] = interval
        changes = self.changes
        if interval_id not in changes.intervals:
            changes.unsorted.append(interval_id)
        changes.intervals[interval_id] = (interval, meter)

    def put_complete(self, interval_id: str, interval: Interval, meter: Meter) -> None:
        """Replace the state of an interval that this transaction has changed, and publishes whole. Hot.

        It is hardly ever asked for again, and makes room for those that wait for more.
        """
        self._intervals.pop(interval_id, None)
        self.changes.intervals[interval_id] = (interval, meter)

    def delete(self, interval_id: str) -> None:
        """Delete an interval and its price. Nobody may ask for the interval again in the open transaction."""
        self._intervals.pop(interval_id, None)
        self._fresh.discard(interval_id)
        self.changes.delete_interval(interval_id)
        self.changes.priced[interval_id] = None

    def note_first(self, interval_id: str) -> None:
        """Remember that an interval was never there before, so that no price of it can be either."""
        self._fresh.add(interval_id)

    def priced_value(self, interval_id: str) -> bytes | None:
        """Return the last published record of an interval."""
        value = self.changes.priced.get(interval_id)
        if value is None and interval_id not in self._fresh and interval_id not in self.changes.priced:
            value = self._store.get(PRICED_MARK + interval_id.encode())
        return value

    def put_priced(self, interval_id: str, value: bytes) -> None:
        """Replace the published record of an interval."""
        self._fresh.discard(interval_id)
        self.changes.put_priced(interval_id, value)

    def scan_priced(self, prefix: str, start_us: int, end_us: int) -> Iterator[tuple[int, bytes]]:
        """Yield (start_us, value) of a meter's priced records that start in [start_us, end_us), in order."""
        first, last = _bound(prefix, start_us), _bound(prefix, end_us)
        stored = self._store.items(PRICED_MARK + first.encode(), PRICED_MARK + last.encode())
        at = len(prefix.encode()) + 1
        changed = _between(self.changes.priced_of(prefix), first, last)
        if not changed:
            for key, value in stored:
                yield instants[key[at:].decode()], value
            return
        found = {key[1:].decode(): value for key, value in stored}
        priced = self.changes.priced
        found |= {interval_id: new for interval_id in changed if (new := priced[interval_id]) is not None}
        for interval_id in sorted(found):
            yield _start_us(interval_id), found[interval_id]

    def last_priced_before(self, prefix: str, before_us: int) -> tuple[int, bytes] | None:
        """Return (start_us, value) of a meter's last priced record that starts before an instant, or None."""
        newest = ""
        before = _bound(prefix, before_us)
        key = self._store.last_before(PRICED_MARK + before.encode(), PRICED_MARK + prefix.encode())
        if key is not None:
            newest = key[1:].decode()
        changed = self.changes.priced_of(prefix)
        index = bisect_left(changed, before)
        if index:
            newest = max(newest, changed[index - 1])
        value = self.priced_value(newest) if newest else None
        return None if value is None else (_start_us(newest), value)

    def prefixes(self, location_id: str) -> list[str]:
        """Return the beginnings of the interval ids of a location's meters, in order."""
        beginning = location_id + "|"
        found = {prefix for prefix in self.changes.ids_of_meter() if prefix.startswith(beginning)}
        at, stop = INTERVAL_MARK + beginning.encode(), INTERVAL_MARK + beginning.encode() + AFTER
        while entries := self._store.first(at, stop, 1):
            prefix = prefix_of(entries[0][0][1:].decode())
            found.add(prefix)
            at = INTERVAL_MARK + prefix.encode() + AFTER
        return sorted(found)

    def prefix_after(self, prefix: str) -> str | None:
        """Return the beginning of the interval ids of the meter after one, or None; "" is before all of them."""
        at = INTERVAL_MARK + (prefix.encode() + AFTER if prefix else b"")
        entries = self._store.first(at, INTERVAL_MARK + AFTER, 1)
        found = [prefix_of(key[1:].decode()) for key, _ in entries]
        found += [fresh for fresh, ids in self.changes.ids_of_meter().items() if ids and fresh > prefix]
        return min(found, default=None)

    def passing(self, prefix: str, start_us: int, end_us: int, limit: int) -> list[Passing]:
        """Return the first of a meter's intervals that start in [start_us, end_us), in order, as they pass by.

        They take the place of none that is at work in memory. Good until the next change.
        """
        first, last = _bound(prefix, start_us).encode(), _bound(prefix, end_us).encode()
        stored = self._store.first(INTERVAL_MARK + first, INTERVAL_MARK + last, limit)
        changes = self.changes
        changed = changes.ids_of(prefix)
        if changed:
            fresh = _between(changed, first.decode(), last.decode())[:limit]
            either = dict(stored) | {INTERVAL_MARK + interval_id.encode(): b"" for interval_id in fresh}
            stored = sorted(either.items())[:limit]
        if not stored:
            return []
        priced = dict(self._store.items(PRICED_MARK + stored[0][0][1:], PRICED_MARK + stored[-1][0][1:] + AFTER))
        published = changes.priced
        found = []
        for key, value in stored:
            own = key[1:]
            interval_id = own.decode()
            interval = self._in_memory(interval_id) or decode_state(value)
            before = published.get(interval_id) or priced.get(PRICED_MARK + own)
            found.append((interval_id, interval, before))
        return found

    def scan_intervals(self, prefix: str, start_us: int, end_us: int) -> list[Interval]:
        """Return a meter's intervals that start in [start_us, end_us), in order."""
        first, last = _bound(prefix, start_us), _bound(prefix, end_us)
        stored = self._store.items(INTERVAL_MARK + first.encode(), INTERVAL_MARK + last.encode())
        found = {key[1:].decode(): decode_state(value) for key, value in stored}
        changes = self.changes
        for interval_id in _between(changes.ids_of(prefix), first, last):
            found[interval_id] = changes.intervals[interval_id][0]
        return [found[interval_id] for interval_id in sorted(found)]

    def newest_start_us(self, prefix: str) -> int | None:
        """Return the latest start among a meter's intervals."""
        first = INTERVAL_MARK + prefix.encode()
        key = self._store.last_before(first + AFTER, first)
        found = [] if key is None else [key[1:].decode()]
        found += self.changes.ids_of(prefix)[-1:]
        return _start_us(max(found)) if found else None

    def grid_of(self, prefix: str) -> str | None:
        """Return the name of the grid of a meter's intervals."""
        known = self.changes.grids.get(prefix)
        if known is None:
            value = self._store.get(GRID_MARK + prefix.encode())
            known = None if value is None else value.decode()
        return known

    def put_grid(self, prefix: str, grid: str) -> None:
        """Remember the grid of a meter."""
        self.changes.grids[prefix] = grid

    def put_walks(self, prefix: str, value: bytes | None) -> None:
        """Replace what is left of a meter's walks; None: nothing."""
        self.changes.walks[prefix] = value

    def walks(self) -> list[tuple[str, bytes]]:
        """Return what was left of each meter's walks when the last transaction was committed."""
        return [(key[1:].decode(), value) for key, value in self._store.items(WALK_MARK, WALK_MARK + AFTER)]

    def held_ids(self) -> list[str]:
        """Return the ids of the stored intervals whose last change has not been published."""
        return [key[1:].decode() for key, _ in self._store.items(HELD_MARK, HELD_MARK + AFTER)]


def _start_us(interval_id: str) -> int:
    return instants[interval_id[interval_id.rindex("|") + 1 :]]


def _bound(prefix: str, at_us: int) -> str:
    """Return the place of an instant among a meter's ids, also for instants that no calendar has."""
    if at_us <= 0:
        return prefix
    if at_us >= _END_US:
        return prefix + _LAST
    # Intervals begin at whole seconds; the text of a fraction would stand before that of its second.
    return prefix + instant_texts[-(-at_us // US_PER_SECOND) * US_PER_SECOND]


def _insert(ids: list[str], interval_id: str) -> None:
    """Add an id in order; nearly always it is the last."""
    if ids and interval_id < ids[-1]:
        insort(ids, interval_id)
    else:
        ids.append(interval_id)


def _between(ids: list[str], first: str, last: str) -> list[str]:
    """Return the part [first, last) of ids in order."""
    return ids[bisect_left(ids, first) : bisect_left(ids, last)]


_END_US: Final = 253_402_300_800 * 1_000_000


class _IntervalView:
    """The table of intervals as bucketing sees it."""

    __slots__ = ("get", "grid_of", "newest_start_us", "note_first", "put", "put_grid", "scan")

    def __init__(self, tables: Tables) -> None:
        self.get = tables.interval
        self.put = tables.put_interval
        self.note_first = tables.note_first
        self.newest_start_us = tables.newest_start_us
        self.scan = tables.scan_intervals
        self.grid_of = tables.grid_of
        self.put_grid = tables.put_grid


class _PricedView:
    """The table of priced records as pricing sees it."""

    __slots__ = ("get", "last_before", "scan")

    def __init__(self, tables: Tables) -> None:
        self.get = tables.priced_value
        self.scan = tables.scan_priced
        self.last_before = tables.last_priced_before


def changelog_entries(changes: Changes) -> list[Entry]:
    """Return what a transaction puts into the changelog of the table `intervals`; that of `priced` is its own topic. Hot."""
    entries: list[Entry] = encode_states(INTERVAL_MARK, changes.intervals)
    entries += [(INTERVAL_MARK + interval_id.encode(), None) for interval_id in sorted(changes.deleted)]
    entries += [(GRID_MARK + prefix.encode(), grid.encode()) for prefix, grid in changes.grids.items()]
    entries += [(WALK_MARK + prefix.encode(), walks) for prefix, walks in changes.walks.items()]
    return entries


def store_entries(logged: Sequence[Entry], changes: Changes) -> list[Entry]:
    """Return what a transaction means for the two tables in the store: `logged` is what it put into the changelog. Hot.

    The marks of intervals that wait come to that: `HeldMarks.take`.
    """
    return [*logged, *marked_entries(PRICED_MARK, changes.priced)]


def priced_entry(key: bytes, value: bytes | None) -> Entry:
    """Return what one record of `meter.priced` means for the store."""
    return PRICED_MARK + key, value


class MemoryStore:
    """A store that lasts as long as this object: for pricing without Kafka, and for simulations."""

    def __init__(self) -> None:
        """Begin empty."""
        self._entries: dict[bytes, bytes] = {}
        self._sorted: list[bytes] | None = None

    def get(self, key: bytes) -> bytes | None:
        """Return a value, or None."""
        return self._entries.get(key)

    def items(self, start: bytes, stop: bytes) -> Iterable[tuple[bytes, bytes]]:
        """Return the entries with start <= key < stop, in order."""
        return sorted((key, value) for key, value in self._entries.items() if start <= key < stop)

    def first(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Return the first of those entries, at most `limit`."""
        return list(islice(self.items(start, stop), limit))

    def last_before(self, key: bytes, start: bytes) -> bytes | None:
        """Return the greatest key in [start, key), or None."""
        return max((known for known in self._entries if start <= known < key), default=None)

    def write(self, entries: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Put and delete entries."""
        for key, value in entries:
            if value is None:
                self._entries.pop(key, None)
            else:
                self._entries[key] = value
