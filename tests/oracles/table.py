"""A slow table of intervals: who owns time, written down once more from the definition, for tests to hold workers against.

It keeps every record whole, and shares no code with the product. A table takes records in the order in which their
location's partition took them; which of two is newer is decided by where each was first published: by offset within one
log, between two by the Kafka timestamp.

What it takes for granted: no local midnight is missing or stands twice, and locations keep their zones. Where an interval
length changes, the table is that of the last one: but for revisions, and intervals that lost their records.
"""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, NamedTuple

from tests.oracles.records import broken_rule, instant_of, read_records
from tests.oracles.reference import Meter, Part
from tests.oracles.wall_clock import Document, cells, energy_uwh, month_around, text_of

CellKey = tuple[Meter, int]

_MOST_RECORDS: Final = 3600


class Place(NamedTuple):
    """Where a record was first published."""

    topic: str
    partition: int
    offset: int
    record_num: int
    timestamp: int

    def is_after(self, other: "Place") -> bool:
        """Tell whether a record there was submitted later than one elsewhere."""
        if (self.topic, self.partition) == (other.topic, other.partition):
            return (self.offset, self.record_num) > (other.offset, other.record_num)
        return self.timestamp > other.timestamp


class Refused(NamedTuple):
    """A record that was refused, where it was first published, and the code."""

    place: Place
    error: str


@dataclass(eq=False, slots=True)
class Kept:
    """A record that owns its period; `said` holds the timestamps of everybody who submitted it as it is."""

    meter: Meter
    start: int
    end: int
    energy_uwh: int
    confidence: Fraction
    reference: str | None
    session: str | None
    place: Place
    said: list[int]
    cells: list[int] = field(default_factory=list)

    def facts(self) -> tuple[object, ...]:
        return self.start, self.end, self.energy_uwh, self.confidence, self.reference, self.session

    def within(self, start: int, end: int) -> Part:
        """Return what the record gives to an interval."""
        part = Part(self.start, self.end, self.energy_uwh)
        return Part(max(start, self.start), min(end, self.end), part.between(start, end) or 0)


@dataclass(eq=False, slots=True)
class Cell:
    """An interval that some record has touched."""

    start: int
    end: int
    revision: int = 1
    records: list[Kept] = field(default_factory=list)

    def in_order(self) -> list[Kept]:
        return sorted(self.records, key=lambda one: (one.start, one.end))

    def parts(self) -> list[Part]:
        return [one.within(self.start, self.end) for one in self.in_order()]

    def energy_uwh(self) -> int:
        return sum(part.energy_uwh for part in self.parts())

    def covered(self) -> int:
        """Return for how many µs there are records: they do not overlap."""
        return sum(part.end - part.start for part in self.parts())

    def confidence(self) -> Fraction:
        """Return the records' confidence weighted by energy; where there is none by time, and else alike."""
        parts = self.parts()
        for weights in ([p.energy_uwh for p in parts], [p.end - p.start for p in parts], [1 for _ in parts]):
            if any(weights):
                weighted = (one.confidence * weight for one, weight in zip(self.in_order(), weights, strict=True))
                return sum(weighted, start=Fraction(0)) / sum(weights)
        return Fraction(1)


class _Timeline:
    """The records of one meter in order of time: those with a duration do not overlap."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.owners: list[Kept] = []
        self.instants: dict[int, Kept] = {}

    def touching(self, start: int, end: int) -> list[Kept]:
        """Return the records that have any time in [start, end), or around an instant."""
        first = max(bisect_right(self.starts, start) - 1, 0)
        found = []
        for one in self.owners[first:]:
            if one.start >= max(end, start + 1):
                break
            if one.end > start:
                found.append(one)
        return found

    def remove(self, one: Kept) -> None:
        if one.start == one.end:
            del self.instants[one.start]
            return
        index = bisect_left(self.starts, one.start)
        del self.starts[index], self.owners[index]

    def add(self, one: Kept) -> None:
        if one.start == one.end:
            self.instants[one.start] = one
            return
        index = bisect_left(self.starts, one.start)
        self.starts.insert(index, one.start)
        self.owners.insert(index, one)


class Table:
    """The table of intervals that records lead to, what became of each record, and what was refused."""

    def __init__(self, locations: Iterable[Document]) -> None:
        self.locations = {location["location_id"]: location for location in locations}
        self.counts: Counter[str] = Counter()
        self.refused: list[Refused] = []
        self.cells: dict[CellKey, Cell] = {}
        self._timelines: dict[Meter, _Timeline] = defaultdict(_Timeline)

    def take_message(self, value: bytes | None, place: Place) -> None:
        """Decide all records of a message; the place is that of its first one."""
        for number, record in enumerate(read_records(value)):
            self.take(record, place._replace(record_num=place.record_num + number))

    def take(self, record: Document | str, place: Place) -> None:
        """Decide one record as it was read: a document, or the code of its refusal."""
        verdict = self._decide(record, place)
        self.counts["input"] += 1
        if verdict in {"accepted", "superseded", "duplicate"}:
            self.counts[verdict] += 1
        else:
            self.counts["rejected"] += 1
            self.refused.append(Refused(place, verdict))

    def _decide(self, record: Document | str, place: Place) -> str:
        if isinstance(record, str):
            return record
        location = self.locations.get(record["location_id"])
        error = broken_rule(record, location)
        if error is not None:
            return error
        assert location is not None
        new = _kept(record, place)
        timeline = self._timelines[new.meter]
        replaced: list[Kept] = []
        for old in self._against(timeline, new):
            verdict = _verdict(new, old)
            if verdict == "duplicate" and place.is_after(old.place):
                old.place = place
            if verdict == "duplicate":
                old.said.append(place.timestamp)
            if verdict == "replaces":
                replaced.append(old)
            elif verdict is not None:
                return verdict
        return "accepted" if self._put(timeline, new, replaced, location) else "invalid_value"

    @staticmethod
    def _against(timeline: _Timeline, new: Kept) -> list[Kept]:
        """Return the records that a new one may have to do with, in order of time."""
        if new.start == new.end:
            instants = [timeline.instants[new.start]] if new.start in timeline.instants else []
        else:
            instants = [one for at, one in timeline.instants.items() if new.start <= at < new.end]
        return sorted([*timeline.touching(new.start, new.end), *instants], key=lambda one: (one.start, one.end))

    def _put(self, timeline: _Timeline, new: Kept, replaced: list[Kept], location: Document) -> bool:
        """Put a record in the place of others; tell whether there was room for it."""
        meter = new.meter
        bounds = dict(cells(location, new.start, new.end))
        if new.start == new.end:
            month = self.cells.get((meter, month_around(location["timezone"], new.start)[0]))
            if month is not None and month.end > new.start:
                bounds = {month.start: month.end}
        present = [self.cells[meter, start] for start in bounds if (meter, start) in self.cells]
        lost = set(replaced)
        if any(sum(one not in lost for one in cell.records) >= _MOST_RECORDS for cell in present):
            return False
        new.cells = list(bounds)
        for start in {*bounds, *(at for old in replaced for at in old.cells)}:
            cell = self.cells.get((meter, start))
            if cell is None:
                cell = self.cells[meter, start] = Cell(start, bounds[start])
            gone = [one for one in cell.records if one in lost]
            before = sum(one.within(cell.start, cell.end).energy_uwh for one in gone)
            cell.end = bounds.get(start, cell.end)
            after = new.within(cell.start, cell.end).energy_uwh if start in bounds else 0
            if any(one.start < one.end for one in gone) and before != after:
                cell.revision += 1
            cell.records = [one for one in cell.records if one not in lost]
            if start in bounds:
                cell.records.append(new)
        for old in replaced:
            timeline.remove(old)
        timeline.add(new)
        return True

    # What there is in the end

    def by_id(self) -> Iterator[tuple[str, CellKey, Cell]]:
        """Yield every interval with its id."""
        for key, cell in self.cells.items():
            meter = key[0]
            device = meter.device or ""
            yield f"{meter.location}|{device}|{meter.flow}|{meter.direction}|{text_of(cell.start)}", key, cell

    def parts(self) -> dict[tuple[Meter, int, int], list[Part]]:
        """Return what records give to each interval; one that has lost its records is priced as one of no energy."""
        return {
            (meter, cell.start, cell.end): cell.parts() or [Part(cell.start, cell.end, 0)]
            for (meter, _), cell in self.cells.items()
        }


def _kept(record: Document, place: Place) -> Kept:
    flow = record.get("energy_flow_direction") or "INBOUND"
    direction = record.get("tariff_direction") or {"INBOUND": "IMPORT", "OUTBOUND": "EXPORT"}[flow]
    meter = Meter(record["location_id"], record.get("device_id") or None, flow, direction)
    start, end = instant_of(record["start_time"]), instant_of(record["end_time"])
    given = record.get("confidence")
    confidence = Fraction(1) if given is None else Fraction(str(given))
    amount = energy_uwh(record["value"], record["units"], start, end)
    names = record.get("record_reference_id"), record.get("session_reference_id")
    return Kept(meter, start, end, amount, confidence, *names, place, [place.timestamp])


def _verdict(new: Kept, old: Kept) -> str | None:
    """Return what a kept record means for a new one: nothing, that it is replaced, or what becomes of the new one."""
    newer = new.place.is_after(old.place)
    if (new.start, new.end) == (old.start, old.end):
        return "duplicate" if new.facts() == old.facts() else "replaces" if newer else "superseded"
    if new.start == new.end:
        return None if newer else "superseded"
    if old.start == old.end:
        return "replaces" if newer else None
    if newer and new.start <= old.start and old.end <= new.end:
        return "replaces"
    if not newer and old.start <= new.start and new.end <= old.end:
        return "superseded"
    return "overlaps_existing_period"
