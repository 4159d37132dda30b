"""Intervals: which readings make up the energy of one meter in one interval, and what a new reading changes there.

The table of intervals is a last-writer-wins map over time, ordered by submission: applying a reading twice, or a whole log
again, changes nothing. A reading replaces earlier ones of the same period, and those that its period covers entirely; it is
refused where it overlaps an earlier one only in part, so that no energy is counted twice or cut silently.
"""

from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Final, cast

import msgspec

from app.domain.instants import format_instant
from app.domain.records import Reading, Rejected


class Interval(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The state of one interval of one meter: a value, replaced as a whole by every change.

    `readings` are in order of time and do not overlap; each is kept with its whole period, also where the interval holds
    only a part of it. `revision` starts at 1 and grows by one with each accepted reading that changed energy which had been
    counted before, however records were batched. `held` says that the state has not been published since it changed.
    """

    start_us: int
    end_us: int
    revision: int
    held: bool
    readings: tuple[Reading, ...]

    def published(self) -> "Interval":
        """Return the same state with nothing left to publish."""
        return Interval(self.start_us, self.end_us, self.revision, False, self.readings)

    def energy_uwh(self) -> int:
        """Return the energy in the interval in µWh."""
        start_us, end_us = self.start_us, self.end_us
        total = 0
        for reading in self.readings:
            if reading.start_us >= start_us and reading.end_us <= end_us:
                total += reading.energy_uwh
            else:
                total += reading.energy_between_uwh(start_us, end_us)
        return total

    def covered_us(self) -> int:
        """Return for how long of the interval there are readings, in µs."""
        start_us, end_us = self.start_us, self.end_us
        total = 0
        for reading in self.readings:
            if reading.start_us >= start_us and reading.end_us <= end_us:
                total += reading.end_us - reading.start_us
            else:
                total += min(reading.end_us, end_us) - max(reading.start_us, start_us)
        return total

    def is_complete(self) -> bool:
        """Tell whether readings cover the whole interval: they do not overlap, so they cover it when they leave no gap."""
        readings, at_us = self.readings, self.start_us
        if len(readings) == 1:
            return readings[0].start_us <= at_us and readings[0].end_us >= self.end_us
        for reading in readings:
            if reading.start_us > at_us:
                return False
            at_us = max(at_us, reading.end_us)
        return at_us >= self.end_us

    def parts(self) -> list[tuple[int, int, int]]:
        """Return (start_us, end_us, energy_uwh) of each reading, clipped to the interval."""
        start_us, end_us = self.start_us, self.end_us
        return [
            (max(r.start_us, start_us), min(r.end_us, end_us), r.energy_between_uwh(start_us, end_us))
            for r in self.readings
        ]

    def submitted_ms(self) -> int:
        """Return the Kafka timestamp of the newest reading in ms since the Unix epoch; 0 when there is none."""
        newest_ms = 0
        for reading in self.readings:
            newest_ms = max(newest_ms, reading.submitted_ms)
        return newest_ms

    def confidence(self) -> float:
        """Return the readings' confidence weighted by energy (by time, where there is no energy), to six decimals."""
        readings = self.readings
        if not readings:
            return 1.0
        first = readings[0].confidence
        for reading in readings:
            if reading.confidence != first:
                break
        else:
            return first
        weights = [energy for _, _, energy in self.parts()]
        if not any(weights):
            weights = [end - start for start, end, _ in self.parts()]
        if not any(weights):
            weights = [1] * len(readings)
        weighted = sum(r.confidence * weight for r, weight in zip(readings, weights, strict=True))
        return round(weighted / sum(weights), 6)


class Verdict(Enum):
    """What became of a valid reading."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    SUPERSEDED = "superseded"


Placement = tuple[Verdict | Rejected, Sequence[Interval]]
"""The outcome for one reading: a verdict (or the reason of its refusal), and the intervals that are different now."""

READINGS_LIMIT: Final = 3600
"""Most readings in one interval: one a second in an hour."""

Bounds = tuple[int, int]
_NOTHING: Final[Sequence[Interval]] = ()
_DUPLICATE: Final[Placement] = (Verdict.DUPLICATE, _NOTHING)
_SUPERSEDED: Final[Placement] = (Verdict.SUPERSEDED, _NOTHING)


def place(reading: Reading, bounds: Bounds, existing: Interval | None) -> Placement:
    """Place a reading that lies inside one interval: the common case of `place_across`.

    `existing` is the interval's state, or None where no record has touched it.
    """
    if existing is None:
        return Verdict.ACCEPTED, (Interval(bounds[0], bounds[1], 1, True, (reading,)),)
    start_us, end_us = reading.start_us, reading.end_us
    for other in existing.readings:
        if (other.start_us < end_us and start_us < other.end_us) or other.start_us == start_us:
            return place_across(reading, [(bounds, existing)])
    readings = existing.readings
    if len(readings) >= READINGS_LIMIT:
        return _too_many(existing)
    if readings and readings[-1].start_us < start_us:
        merged = (*readings, reading)
    else:
        merged = tuple(sorted((*readings, reading), key=_by_time))
    # The bounds, not those of the state: what another grid has emptied still ends where that grid said.
    changed = Interval(bounds[0], bounds[1], existing.revision, True, merged)
    return Verdict.ACCEPTED, (changed,)


Touched = tuple[Bounds | None, Interval | None]


def place_across(reading: Reading, touched: Iterable[Touched]) -> Placement:
    """Decide what a reading does to the intervals that it touches, and return their new states.

    `touched` holds (bounds, state) of every interval that takes a part of the reading, with state None where no record has
    touched it yet; and (None, state) of every other interval of the meter in the reading's period, which can only lose
    readings to it: those of the days when a record of a whole month arrives, or the month when a record of a day does.
    Nothing is changed unless the reading is accepted, or is newer and says the same (its place in the log is then
    remembered, without anything to publish).
    """
    states = list(touched)
    replaced: list[Reading] = []
    for _, interval in states:
        if interval is None:
            continue
        for other in interval.readings:
            if other in replaced:
                continue
            conflict = _compare(reading, other)
            if conflict is None:
                continue
            if conflict is not _REPLACES:
                if conflict is _DUPLICATE and reading.submitted_after(other):
                    return _remember(reading, other, states)
                return conflict
            replaced.append(other)
    changed = [
        _with(reading, replaced, bounds, interval)
        for bounds, interval in states
        if bounds is not None or (interval is not None and any(other in replaced for other in interval.readings))
    ]
    for interval in changed:
        if len(interval.readings) > READINGS_LIMIT:
            return _too_many(interval)
    return Verdict.ACCEPTED, changed


def _too_many(interval: Interval) -> Placement:
    """Return the refusal of a reading for which there is no room: an interval has to fit into a message."""
    at = format_instant(interval.start_us)
    sentence = f"the interval at {at} has {READINGS_LIMIT} records already (expected fewer, longer ones)"
    return Rejected("invalid_value", sentence), _NOTHING


_REPLACES: Final[Placement] = (Verdict.ACCEPTED, _NOTHING)


def _compare(new: Reading, old: Reading) -> Placement | None:  # noqa: PLR0911 - a case each
    """Return what a stored reading means for a new one: nothing (None), that it is replaced, or the final outcome."""
    newer = new.submitted_after(old)
    if new.start_us == old.start_us and new.end_us == old.end_us:
        if new.says_the_same(old):
            return _DUPLICATE
        return _REPLACES if newer else _SUPERSEDED
    if new.start_us == new.end_us or old.start_us == old.end_us:
        return _compare_instant(new, old, newer=newer)
    if new.end_us <= old.start_us or old.end_us <= new.start_us:
        return None
    if newer and new.start_us <= old.start_us and old.end_us <= new.end_us:
        return _REPLACES
    if not newer and old.start_us <= new.start_us and new.end_us <= old.end_us:
        return _SUPERSEDED
    return _overlap(new, old)


def _compare_instant(new: Reading, old: Reading, *, newer: bool) -> Placement | None:
    """Do as `_compare` where one of the two has no duration: it takes no time from the other, but yields to a newer one."""
    if newer:
        return _REPLACES if new.start_us <= old.start_us < new.end_us else None
    return _SUPERSEDED if old.start_us <= new.start_us < old.end_us else None


def _overlap(new: Reading, old: Reading) -> Placement:
    """Return the refusal of a reading that overlaps another only in part."""
    message = (
        f"the period {format_instant(new.start_us)} to {format_instant(new.end_us)} overlaps only in part the period "
        f"{format_instant(old.start_us)} to {format_instant(old.end_us)} of an existing record"
    )
    return Rejected("overlaps_existing_period", message), _NOTHING


def _remember(new: Reading, old: Reading, states: list[Touched]) -> Placement:
    """Return the states with a repeated reading's newer place in the log: nothing to publish, but later ones must yield."""
    kept = msgspec.structs.replace(
        old, source=new.source, offset=new.offset, record_num=new.record_num, submitted_ms=new.submitted_ms
    )
    changed = [
        Interval(
            i.start_us, i.end_us, i.revision, i.held, tuple(kept if r is old or r == old else r for r in i.readings)
        )
        for _, i in states
        if i is not None
    ]
    return Verdict.DUPLICATE, changed


def _with(reading: Reading, replaced: list[Reading], bounds: Bounds | None, interval: Interval | None) -> Interval:
    """Return one interval's state after a reading is accepted."""
    if interval is None:
        start_us, end_us = cast("Bounds", bounds)
        return Interval(start_us, end_us, 1, True, (reading,))
    start_us, end_us = bounds or (interval.start_us, interval.end_us)
    added = () if bounds is None else (reading,)
    kept = [other for other in interval.readings if other not in replaced]
    revision = interval.revision
    if len(kept) != len(interval.readings):
        gone = [other for other in interval.readings if other in replaced and other.start_us != other.end_us]
        before = sum(other.energy_between_uwh(interval.start_us, interval.end_us) for other in gone)
        after = reading.energy_between_uwh(start_us, end_us) if added else 0
        revision += bool(gone) and before != after
    return Interval(start_us, end_us, revision, True, tuple(sorted((*kept, *added), key=_by_time)))


def _by_time(reading: Reading) -> Bounds:
    return (reading.start_us, reading.end_us)


def recut(states: Iterable[Interval], bounds_of: Callable[[int, int], Iterable[Bounds]]) -> list[Interval]:
    """Cut a meter's readings into other intervals, after its location's interval length or time zone changed.

    `bounds_of(start_us, end_us)` returns the bounds of the intervals that a period touches. The result holds every interval
    that is different: new and changed ones, and those that no longer exist, emptied. Intervals that share a start with an
    old one continue its revisions.
    """
    old = {interval.start_us: interval for interval in states}
    readings = sorted({reading for interval in old.values() for reading in interval.readings}, key=_by_time)
    changed = []
    for (start_us, end_us), parts in _cut(readings, bounds_of).items():
        inside = tuple(sorted(parts, key=_by_time))
        before = old.pop(start_us, None)
        if before is None:
            changed.append(Interval(start_us, end_us, 1, True, inside))
        elif before.end_us != end_us or before.readings != inside:
            after = Interval(start_us, end_us, before.revision, True, inside)
            if after.energy_uwh() != before.energy_uwh():
                after = msgspec.structs.replace(after, revision=before.revision + 1)
            changed.append(after)
    for before in old.values():
        if before.readings:
            revision = before.revision + (before.energy_uwh() != 0)
            changed.append(Interval(before.start_us, before.end_us, revision, True, ()))
    return changed


def _cut(readings: Sequence[Reading], bounds_of: Callable[[int, int], Iterable[Bounds]]) -> dict[Bounds, list[Reading]]:
    """Return which readings lie in which bounds, wholly or in part."""
    cut: dict[Bounds, list[Reading]] = {}
    for reading in readings:
        if reading.start_us != reading.end_us:
            for bounds in bounds_of(reading.start_us, reading.end_us):
                cut.setdefault(bounds, []).append(reading)
    for reading in readings:
        if reading.start_us == reading.end_us:
            # Where a month is one interval, the bounds of an instant in it are the month's.
            around = (bounds for bounds in cut if bounds[0] <= reading.start_us < bounds[1])
            bounds = next(around, None) or next(iter(bounds_of(reading.start_us, reading.end_us)))
            cut.setdefault(bounds, []).append(reading)
    return cut
