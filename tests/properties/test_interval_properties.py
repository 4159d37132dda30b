"""The table of intervals against its definition, written down slowly: who owns each five minutes.

The definition: a last-writer-wins map over time. A record takes its whole period, unless that would cut an earlier one: then
it is refused. The model shares no code with the product.
"""

import json
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import cache
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.domain.intervals import Interval, Verdict, place
from app.domain.records import Reading
from app.wire.interval import decode_state, encode_state
from tests.simulation import SimulatedPartition, book_of, message

SLOT = timedelta(minutes=5)
UWH_OF = {"WH": 10**6, "KWH": 10**9}
WATTS_OF = {"W": 1, "KW": 1000}


class Place(NamedTuple):
    """A zone, an interval length, and an hour from which the records of an example begin."""

    zone: str
    minutes: int
    begin: datetime


PLACES = [
    Place("Europe/London", 30, datetime(2025, 2, 28, 22, tzinfo=UTC)),  # a month ends
    Place("Europe/London", 5, datetime(2025, 3, 31, 21, 30, tzinfo=UTC)),  # a month of 743 hours ends
    Place("Australia/Lord_Howe", 60, datetime(2025, 10, 5, 11, tzinfo=UTC)),  # a day of 23.5 hours ends
    Place("Asia/Kolkata", 60, datetime(2025, 2, 28, 17, tzinfo=UTC)),  # local midnight is at half past
    Place("Europe/Berlin", 15, datetime(2025, 6, 30, 20, tzinfo=UTC)),
]


class Record(NamedTuple):
    """A record of one meter, in terms of the definition."""

    start: datetime
    end: datetime
    units: str
    value: float
    reference: str | None

    def energy_uwh(self) -> int:
        return energy_of(self.value, self.units, self.end - self.start)

    def energy_in_uwh(self, slot: datetime) -> int:
        """Return the energy in a slot at constant power: between the cumulative energies at its ends, rounded down."""
        first, count = (slot - self.start) // SLOT, (self.end - self.start) // SLOT
        return self.energy_uwh() * (first + 1) // count - self.energy_uwh() * first // count

    def slots(self) -> list[datetime]:
        return [self.start + SLOT * number for number in range((self.end - self.start) // SLOT)]

    def message(self) -> bytes:
        fields = {"units": self.units, "value": self.value, "record_reference_id": self.reference}
        times = {"start_time": self.start.isoformat(), "end_time": self.end.isoformat()}
        return json.dumps({"location_id": "loc_1"} | fields | times).encode()


@cache
def energy_of(value: float, units: str, duration: timedelta) -> int:
    exact = Fraction(str(value))
    if units in UWH_OF:
        return round(exact * UWH_OF[units])  # a Fraction's round is half even
    seconds = Fraction(duration // timedelta(microseconds=1), 10**6)
    return round(exact * WATTS_OF[units] * seconds / 3600 * 10**6)


@cache
def local_midnight(zone: str, at: datetime, days: int = 0) -> datetime:
    wall = at.astimezone(ZoneInfo(zone)).replace(hour=0, minute=0, second=0, tzinfo=None) + timedelta(days=days)
    return wall.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


@cache
def month_of(zone: str, at: datetime) -> tuple[datetime, datetime]:
    first = at.astimezone(ZoneInfo(zone)).replace(day=1, hour=0, minute=0, tzinfo=None)
    begin, end = (day.replace(tzinfo=ZoneInfo(zone)) for day in (first, (first + timedelta(days=32)).replace(day=1)))
    return begin.astimezone(UTC), end.astimezone(UTC)


class Model:
    """Who owns each slot, and how often what was counted in an interval has changed."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.owners: dict[datetime, Record] = {}
        self.instants: dict[datetime, Record] = {}
        self.revisions: dict[datetime, int] = {}
        self.months: set[datetime] = set()
        self.verdicts: list[str] = []

    def is_month(self, record: Record) -> bool:
        return (record.start, record.end) == month_of(self.place.zone, record.start)

    def interval_of(self, slot: datetime) -> datetime:
        """Return the start of the interval around a slot, where no month is one interval."""
        midnight = local_midnight(self.place.zone, slot)
        step = timedelta(minutes=self.place.minutes)
        return midnight + (slot - midnight) // step * step

    def end_of(self, start: datetime) -> datetime:
        if start in self.months:
            return month_of(self.place.zone, start)[1]
        return min(start + timedelta(minutes=self.place.minutes), local_midnight(self.place.zone, start, 1))

    def take(self, record: Record) -> None:
        """Apply a record, which is newer than all before it."""
        self.verdicts.append(self._decide(record))

    def _decide(self, record: Record) -> str:
        if record.start == record.end:
            if record.units in UWH_OF and record.value != 0:
                return "rejected"
            same = self.instants.get(record.start)
            self.instants[record.start] = record
            return "duplicate" if same is not None and same.reference == record.reference else "accepted"
        replaced = {self.owners[slot] for slot in record.slots() if slot in self.owners}
        if any(owner.start < record.start or owner.end > record.end for owner in replaced):
            return "rejected"
        for owner in replaced:
            facts = [(one.start, one.end, one.energy_uwh(), one.reference) for one in (owner, record)]
            if facts[0] == facts[1]:
                return "duplicate"
        before = self._counted(replaced)
        self.instants = {at: one for at, one in self.instants.items() if not record.start <= at < record.end}
        for slot in record.slots():
            self.owners[slot] = record
        after = self._counted({record})
        if self.is_month(record):
            self.months.add(record.start)
        for start in {*before, *after}:
            changed = start in before and before[start][0] != after.get(start, (0, 0))[0]
            self.revisions[start] = self.revisions.get(start, 1) + changed
        return "accepted"

    def _counted(self, records: set[Record]) -> dict[datetime, tuple[int, int]]:
        """Return (energy in µWh, seconds) of some records by the start of the interval in which it is counted."""
        found: dict[datetime, tuple[int, int]] = {}
        for record in records:
            if self.is_month(record):
                seconds = (record.end - record.start) // timedelta(seconds=1)
                parts = [(record.start, record.energy_uwh(), seconds)]
            else:
                parts = [(self.interval_of(slot), record.energy_in_uwh(slot), 300) for slot in record.slots()]
            for start, energy_uwh, seconds in parts:
                so_far = found.get(start, (0, 0))
                found[start] = (so_far[0] + energy_uwh, so_far[1] + seconds)
        return found

    def facts(self) -> dict[datetime, tuple[datetime, int, int, int]]:
        """Return (end, revision, energy in µWh, covered seconds) of each interval that ever held energy."""
        counted = self._counted(set(self.owners.values()))
        return {
            start: (self.end_of(start), revision, *counted.get(start, (0, 0)))
            for start, revision in self.revisions.items()
        }


def instant(at_us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)


@st.composite
def histories(draw: st.DrawFn) -> tuple[Place, list[Record]]:
    place = draw(st.sampled_from(PLACES))

    def record() -> Record:
        if draw(st.integers(0, 9)) == 0:
            start, end = month_of(place.zone, place.begin + draw(st.sampled_from([timedelta(), timedelta(days=2)])))
        else:
            length = draw(st.sampled_from([0, 5, 15, 15, 30, 30, 30, 60, 90, 1440]))
            grid = draw(st.sampled_from([5, 15, 30, 30]))
            start = place.begin + timedelta(minutes=grid * draw(st.integers(0, 240 // grid)))
            end = start + timedelta(minutes=length)
        units, value = draw(st.sampled_from(["W", "KW", "WH", "KWH"])), draw(st.sampled_from([0, 1, 0.7, 1, 3.3, 50]))
        return Record(start, end, units, value, draw(st.sampled_from([None, None, "a"])))

    return place, [record() for _ in range(draw(st.integers(0, 12)))]


def found_by_the_product(place: Place, history: list[Record]) -> SimulatedPartition:
    book = book_of({"location_id": "loc_1", "timezone": place.zone, "interval_minutes": place.minutes})
    partition = SimulatedPartition([message(one.message(), at) for at, one in enumerate(history)], book)
    while partition.records_to < len(history):
        partition.take(1, 0)
        partition.commit()
    return partition


LONDON, LONDON_IN_FIVES = PLACES[:2]
MIDNIGHT = datetime(2025, 3, 1, tzinfo=UTC)
MARCH = month_of("Europe/London", MIDNIGHT)
APRIL = MARCH[1]


@settings(max_examples=120, deadline=None)
@given(histories())
@example(
    (LONDON_IN_FIVES, [Record(*MARCH, "W", 0, None), *(Record(APRIL, APRIL + SLOT * n, "W", 1, None) for n in (1, 3))])
)
@example((LONDON, [Record(*MARCH, "KWH", 50, None), Record(MIDNIGHT, MIDNIGHT, "W", 1, None)]))
@example((LONDON, [Record(MIDNIGHT, MIDNIGHT + SLOT * 6, "KWH", 1, None), Record(*MARCH, "KWH", 50, None)]))
@example((LONDON, [Record(MIDNIGHT + SLOT * 6, MIDNIGHT + SLOT * 12, "KWH", 1, None), Record(*MARCH, "KWH", 50, None)]))
def test_the_table_is_what_its_definition_says(history: tuple[Place, list[Record]]) -> None:
    place, records = history
    model = Model(place)
    for record in records:
        model.take(record)
    partition = found_by_the_product(place, records)
    found = {
        instant(one.start_us): (instant(one.end_us), one.revision, one.energy_uwh(), one.covered_us() // 10**6)
        for one in partition.states().values()
    }
    expected = model.facts()
    assert {start: facts for start, facts in found.items() if start in expected} == expected
    # What else there is holds instants, and no energy.
    others = [facts for start, facts in found.items() if start not in expected]
    assert [facts[1:] for facts in others] == [(1, 0, 0)] * len(others)
    counts = {name: model.verdicts.count(name) for name in ("accepted", "duplicate", "rejected")}
    assert {name: partition.counts[name] for name in (*counts, "superseded")} == counts | {"superseded": 0}


@settings(max_examples=60, deadline=None)
@given(histories())
def test_energy_is_conserved(history: tuple[Place, list[Record]]) -> None:
    """All intervals together hold the energy of the records that own time, to the last µWh."""
    place, records = history
    model = Model(place)
    for record in records:
        model.take(record)
    total = sum(one.energy_uwh() for one in found_by_the_product(place, records).states().values())
    assert total == sum(record.energy_uwh() for record in set(model.owners.values()))


# One reading in many intervals

START_US = 1_740_787_200_000_000

readings = st.builds(
    Reading,
    start_us=st.integers(START_US, START_US + 10**10),
    end_us=st.integers(START_US + 10**10 + 1, START_US + 10**11),
    energy_uwh=st.integers(0, 10**15),
    confidence=st.floats(0, 1, exclude_min=True),
    submitted_ms=st.integers(0, 2**42),
    source=st.integers(0, 100),
    offset=st.integers(0, 2**62),
    record_num=st.integers(0, 10_000),
    record_reference_id=st.none() | st.text(max_size=20),
    session_reference_id=st.none() | st.text(max_size=20),
)


@settings(max_examples=200, deadline=None)
@given(readings, st.lists(st.integers(START_US - 10**9, START_US + 10**11), max_size=20))
def test_a_split_conserves_energy_exactly(reading: Reading, cuts: list[int]) -> None:
    edges = sorted([reading.start_us, reading.end_us, *(cut for cut in cuts if cut > reading.start_us)])
    parts = [reading.energy_between_uwh(start, end) for start, end in pairwise(edges)]
    assert sum(parts) == reading.energy_uwh
    assert min(parts) >= 0


@settings(max_examples=100, deadline=None)
@given(readings, st.integers(1, 60), st.integers(1, 60))
def test_a_part_is_within_a_microwatthour_of_constant_power(reading: Reading, begin: int, length: int) -> None:
    duration_us = reading.end_us - reading.start_us
    low = reading.start_us + duration_us * begin // 120
    high = min(reading.end_us, low + duration_us * length // 120)
    exact = Fraction(reading.energy_uwh * (high - low), duration_us)
    assert abs(reading.energy_between_uwh(low, high) - exact) < 1


states = st.builds(
    Interval,
    start_us=st.just(START_US),
    end_us=st.just(START_US + 1_800_000_000),
    revision=st.integers(1, 10**6),
    held=st.booleans(),
    readings=st.lists(readings, max_size=4).map(tuple),
)


@settings(max_examples=100, deadline=None)
@given(states)
def test_a_state_is_read_as_it_was_written(state: Interval) -> None:
    written = encode_state(state)
    assert decode_state(written) == state
    assert written.startswith(b"h") == state.held


@settings(max_examples=100, deadline=None)
@given(st.permutations(range(6)))
def test_of_two_logs_the_newest_reading_wins_in_whatever_order_they_are_read(order: list[int]) -> None:
    """Readings of the same period from two topic partitions: each in its own order of offsets, as logs are read."""
    bounds = (START_US, START_US + 1_800_000_000)
    logs = {
        0: [Reading(*bounds, 10 + at, 1.0, 1000 * at, 0, at, 0) for at in range(3)],
        2: [Reading(*bounds, 20 + at, 1.0, 1000 * at, 2, at, 0) for at in range(3)],
    }
    existing: Interval | None = None
    left = {0: list(logs[0]), 2: list(logs[2])}
    for number in order:
        source = 0 if number < 3 else 2
        verdict, changed = place(left[source].pop(0), bounds, existing)
        assert verdict in (Verdict.ACCEPTED, Verdict.SUPERSEDED)
        existing = changed[0] if changed else existing
    # Equal timestamps are decided by the number of the log.
    assert existing is not None
    assert [reading.energy_uwh for reading in existing.readings] == [22]
