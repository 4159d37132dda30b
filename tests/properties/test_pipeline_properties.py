"""What holds for every log of records, however it is cut, repeated, replayed and interrupted."""

import json
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.domain.instants import format_instant, parse_instant_us
from app.domain.reference import ReferenceBook
from app.streams.sources import OfflineMessage
from app.wire.location import parse_location
from tests.simulation import SimulatedPartition, book_of, flat_tariff, message

MINUTE_US = 60_000_000
EVENING_US = parse_instant_us("2025-02-28T23:00:00Z")
"""An hour before a month begins, in London."""

FEBRUARY = ("2025-02-01T00:00:00Z", "2025-03-01T00:00:00Z")
MARCH = ("2025-03-01T00:00:00Z", "2025-03-31T23:00:00Z")


def book_with(minutes: int) -> ReferenceBook:
    """Return a book in which a band begins inside an interval, and export is paid."""
    bands = [
        {"name": "late", "when": [{"start": "23:40", "end": "24:00"}], "tiers": [{"rate": "0.31"}]},
        {"name": "rest", "when": [], "tiers": [{"rate": "0.17"}]},
    ]
    tou = flat_tariff("tou") | {"charges": [{"charge_id": "energy", "kind": "energy", "bands": bands}]}
    tariffs = [tou, flat_tariff("out", "0.09", "EXPORT")]
    return book_of(location_with(minutes), tariffs=tariffs)


def location_with(minutes: int) -> dict[str, Any]:
    links = [{"direction": "IMPORT", "tariff_id": "tou"}, {"direction": "EXPORT", "tariff_id": "out"}]
    more = {"timezone": "Europe/London", "interval_minutes": minutes, "max_power_kw": "100000"}
    return {"location_id": "loc_1", "tariffs": links} | more


book = cache(lambda: book_with(30))
"""The book of all examples that change nothing in it."""


def record_of(period: tuple[str, str], **fields: Any) -> dict[str, Any]:
    given = {name: value for name, value in fields.items() if value is not None}
    return {"location_id": "loc_1", "start_time": period[0], "end_time": period[1]} | given


def period_of(slot: int, minutes: int) -> tuple[str, str]:
    start_us = EVENING_US + slot * 5 * MINUTE_US
    return format_instant(start_us), format_instant(start_us + minutes * MINUTE_US)


periods = st.one_of(
    st.builds(period_of, st.integers(0, 24), st.sampled_from([5, 15, 30, 30, 60, 90])),
    st.builds(period_of, st.sampled_from([0, 6, 12, 18]), st.just(30)),
    st.builds(period_of, st.integers(0, 24), st.just(0)),
    st.sampled_from([FEBRUARY, MARCH]),
)
records = st.builds(
    record_of,
    periods,
    units=st.sampled_from(["W", "KW", "WH", "KWH"]),
    value=st.sampled_from([0, 1, 0.1, 7.3, 250]),
    device_id=st.sampled_from([None, None, None, "charger"]),
    energy_flow_direction=st.sampled_from([None, None, "OUTBOUND"]),
    record_reference_id=st.sampled_from([None, "a"]),
    confidence=st.sampled_from([None, None, 0.5]),
)
bad_records = st.builds(
    record_of,
    periods,
    units=st.sampled_from(["WH", "J"]),
    value=st.sampled_from([-1, "1", None]),
    location_id=st.sampled_from(["loc_1", "elsewhere", "", None]),
)
values = st.one_of(
    records.map(json.dumps).map(str.encode),
    records.map(json.dumps).map(str.encode),
    st.lists(st.one_of(records, bad_records), max_size=4).map(json.dumps).map(str.encode),
    bad_records.map(json.dumps).map(str.encode),
    st.sampled_from([b"", b"null", b"{", b"\xff\xfe", b"[1, 2", b"[[]]", b"7"]),
)
logs = st.lists(values, max_size=14).map(lambda found: [message(value, at) for at, value in enumerate(found)])


def expected_inputs(log: Sequence[OfflineMessage]) -> int:
    """Return how many records a log holds: the elements of each array, and one of everything else."""
    count = 0
    for one in log:
        try:
            found = json.loads(one.value or b"")
        except ValueError:
            found = None
        count += len(found) if isinstance(found, list) else 1
    return count


class Step(NamedTuple):
    """A part of a transaction, and what becomes of it then."""

    records: int
    intervals: int
    fate: str


steps = st.builds(
    Step,
    st.integers(0, 5),
    st.integers(0, 5),
    st.sampled_from(["go on", "commit", "commit", "crash", "commit and crash", "commit and lose the store"]),
)


def run(log: Sequence[OfflineMessage], plan: Sequence[Step] = (), emit_every_s: float = 0.0) -> SimulatedPartition:
    """Work through a log by a plan, and then to its end."""
    partition = SimulatedPartition(log, book(), emit_every_s=emit_every_s)
    for step in plan:
        partition.take(step.records, step.intervals)
        if step.fate.startswith("commit"):
            partition.commit()
        if step.fate.endswith("crash"):
            partition.open()
        if step.fate.endswith("lose the store"):
            partition.lose_the_store()
    partition.finish()
    return partition


def same_end(one: SimulatedPartition, other: SimulatedPartition) -> None:
    assert one.facts() == other.facts()
    assert one.final_bodies() == other.final_bodies()


@settings(max_examples=150, deadline=None)
@given(logs, st.lists(steps, max_size=8), st.sampled_from([0.0, 2.0]))
def test_neither_cuts_nor_crashes_change_the_end(
    log: list[OfflineMessage], plan: list[Step], emit_every_s: float
) -> None:
    partition, undisturbed = run(log, plan, emit_every_s), run(log)
    same_end(partition, undisturbed)
    assert partition.states() == undisturbed.states()
    assert partition.rejected == undisturbed.rejected
    decided = ("input", "accepted", "rejected", "superseded", "duplicate")
    assert {name: partition.counts[name] for name in decided} == {name: undisturbed.counts[name] for name in decided}


@settings(max_examples=80, deadline=None)
@given(logs, st.lists(steps, max_size=8), st.sampled_from([0.0, 2.0]))
def test_what_is_published_counts_up_and_always_says_something_new(
    log: list[OfflineMessage], plan: list[Step], emit_every_s: float
) -> None:
    partition = run(log, plan, emit_every_s)
    for published in partition.published_bodies().values():
        assert [sequence for sequence, _ in published] == list(range(1, len(published) + 1))
        assert all(before != after for (_, before), (_, after) in pairwise(published))


@settings(max_examples=80, deadline=None)
@given(logs, st.lists(steps, max_size=8))
def test_every_record_is_counted_once(log: list[OfflineMessage], plan: list[Step]) -> None:
    partition = run(log, plan)
    counts = partition.counts
    assert counts["input"] == expected_inputs(log)
    assert counts["input"] == sum(counts[name] for name in ("accepted", "rejected", "superseded", "duplicate"))
    assert counts["rejected"] == len(partition.rejected)


ON_THE_HOUR = record_of(period_of(0, 0), units="W", value=1)
FROM_THE_HOUR_ON = record_of(period_of(0, 60), units="W", value=1)
INSIDE = record_of(period_of(1, 0), units="W", value=1)
IN_MARCH = record_of(period_of(18, 0), units="W", value=1)


def log_of(*given: dict[str, Any]) -> list[OfflineMessage]:
    return [message(json.dumps(one).encode(), at) for at, one in enumerate(given)]


@settings(max_examples=80, deadline=None)
@given(logs, st.lists(st.tuples(st.integers(0, 13), st.integers(1, 14)), max_size=5))
@example(log_of(ON_THE_HOUR, FROM_THE_HOUR_ON), [(0, 2)])
@example(log_of(INSIDE, FROM_THE_HOUR_ON), [(0, 2)])
@example(log_of(IN_MARCH, record_of(MARCH, units="W", value=1)), [(0, 2)])
def test_delivering_messages_again_changes_nothing(log: list[OfflineMessage], repeats: list[tuple[int, int]]) -> None:
    """A message that was seen may be seen again, at any time after it, with the place in the log that it has."""
    again = list(log)
    for number, later in repeats:
        if number < len(log):
            again.insert(again.index(log[number]) + later, log[number])
    same_end(run(again), run(log))


@settings(max_examples=80, deadline=None)
@given(logs, st.integers(0, 14), st.lists(steps, max_size=4))
def test_replaying_a_suffix_changes_nothing_and_publishes_nothing(
    log: list[OfflineMessage], start: int, plan: list[Step]
) -> None:
    partition = run(log, plan)
    before = partition.facts(), list(partition.priced), list(partition.intervals)
    partition.records_to = start
    partition.open()
    partition.finish()
    assert (partition.facts(), partition.priced, partition.intervals) == before


@settings(max_examples=80, deadline=None)
@given(logs, st.lists(st.integers(0, 2), min_size=14, max_size=14))
def test_records_sent_again_at_once_change_no_facts(log: list[OfflineMessage], times: list[int]) -> None:
    """Publishers that retry send the same bytes again, as messages of their own.

    Not so with a batch that contradicts itself: each of its values is submitted once more, and replaces the one before.
    """
    singles = [one for one in log if not (one.value or b"").startswith(b"[")]
    log = [one._replace(offset=at) for at, one in enumerate(singles)]
    sent = [one.value for one, more in zip(log, times, strict=False) for _ in range(1 + more)]
    same_end(run([message(value, at) for at, value in enumerate(sent)]), run(log))


@settings(max_examples=60, deadline=None)
@given(logs, st.lists(steps, max_size=6))
def test_what_was_published_is_what_is_stored(log: list[OfflineMessage], plan: list[Step]) -> None:
    partition = run(log, plan)
    states = partition.states()
    last = {key.decode(): json.loads(value) for key, value in partition.intervals}
    assert set(last) == set(states)
    for interval_id, published in last.items():
        state = states[interval_id]
        assert not state.held
        assert published["revision"] == state.revision
        assert round(published["energy_wh"] * 1_000_000) == state.energy_uwh()
        assert [one["record_reference_id"] for one in published["records"]] == [
            reading.record_reference_id for reading in state.readings
        ]
    assert {key.decode() for key in partition.final_bodies()} == set(states)


def energies_of(partition: SimulatedPartition) -> dict[str, tuple[int, int, Any]]:
    """Return what each interval says of energy, without how often that has changed, and without instants."""
    found = {}
    for key, (end_us, _, energy_uwh, readings) in partition.facts().items():
        lasting = [one for one in readings if one[0] < one[1]]
        if lasting:
            found[key] = (end_us, energy_uwh, lasting)
    return found


then = st.sampled_from(["restart", "price again at once"])


@settings(max_examples=60, deadline=None)
@given(logs, st.integers(0, 14), st.sampled_from([(30, 60), (60, 15), (15, 30)]), st.sets(then))
@example(log_of(record_of(MARCH, units="KWH", value=1), IN_MARCH), 2, (30, 60), set())
def test_after_another_interval_length_all_is_as_if_it_had_always_been_so(
    log: list[OfflineMessage], change: int, minutes: tuple[int, int], also: set[str]
) -> None:
    partition = SimulatedPartition(log, book_with(minutes[0]))
    partition.take(change, 0)
    partition.commit()
    affected = partition.book.put_location(parse_location(location_with(minutes[1])))
    if "restart" in also:
        partition.open()
    partition.pipeline.forget_locations(affected.location_ids)
    if "price again at once" in also:
        partition.reprice("loc_1")
    partition.finish()
    partition.reprice("loc_1")
    partition.finish()
    always = SimulatedPartition(log, book_with(minutes[1]))
    always.finish()
    assert energies_of(partition) == energies_of(always)
    assert partition.rejected == always.rejected
    costs, expected = (
        {
            one["interval_id"]: one["cost"]
            for one in map(json.loads, dict(run.priced).values())
            if one["covered_seconds"]
        }
        for run in (partition, always)
    )
    assert costs == expected
