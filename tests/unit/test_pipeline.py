"""The pipeline of one partition: when it publishes what, what it forwards, and how prices follow the documents."""

import json
from typing import Any

import pytest

from app.domain.instants import parse_instant_us
from app.domain.partitioning import partition_for
from app.domain.reference import ReferenceBook
from app.streams.cost import Pricer
from app.streams.faults import StoreError
from app.streams.pipeline import Context, Pipeline
from app.streams.sources import Log, origin_of
from app.streams.tables import MemoryStore, Tables
from app.wire.location import parse_location
from app.wire.rejected import decode_rejected
from app.wire.tariff import parse_tariff
from tests.simulation import INTERVALS, RECORDS, ListSink, SimulatedPartition, book_of, flat_tariff, message

DAY = "2025-03-01"
LOCATION = {"location_id": "loc_1"}


def record(start: str, end: str, value: float = 1, **fields: Any) -> bytes:
    """Return a record of `value` kWh between two times of the day, or two instants."""
    times = [text if "T" in text else f"{DAY}T{text}:00Z" for text in (start, end)]
    given = {"location_id": "loc_1", "units": "KWH", "value": value, "start_time": times[0], "end_time": times[1]}
    return json.dumps(given | fields).encode()


def started(*values: bytes, book: ReferenceBook | None = None, emit_every_s: float = 0.0) -> SimulatedPartition:
    """Return a partition with a log of records, of which nothing has been taken yet."""
    log = [message(value, at) for at, value in enumerate(values)]
    book = book or book_of(LOCATION, tariffs=[flat_tariff()])
    return SimulatedPartition(log, book, emit_every_s=emit_every_s)


def finished(*values: bytes, **more: Any) -> SimulatedPartition:
    partition = started(*values, **more)
    partition.finish()
    return partition


def last(partition: SimulatedPartition) -> dict[str, dict[str, Any]]:
    """Return the last priced record of each start_time."""
    found = [json.loads(value) for _, value in partition.priced]
    return {one["start_time"][11:16]: one for one in found}


def interval_id(start: str, flow: str = "INBOUND", direction: str = "IMPORT") -> str:
    return f"loc_1||{flow}|{direction}|{DAY}T{start}:00Z"


# When intervals are published


def test_an_interval_is_published_once_a_transaction_however_many_records_touched_it() -> None:
    partition = started(*(record("00:00", "00:30", value) for value in range(1, 8)))
    partition.take(7, 0)
    partition.commit()
    ((key, value),) = partition.intervals
    assert key.decode() == interval_id("00:00")
    assert (json.loads(value)["energy_wh"], json.loads(value)["revision"]) == (7000, 7)


def test_a_complete_interval_is_published_at_once_and_an_incomplete_one_when_it_is_due() -> None:
    partition = started(record("00:00", "00:30"), record("00:30", "00:40"), emit_every_s=10.0)
    partition.take(2, 0)
    partition.commit()  # second 1
    assert [key.decode() for key, _ in partition.intervals] == [interval_id("00:00")]
    assert partition.pipeline.due_at_s() == 11.0
    partition.now_s = 9.0
    partition.commit()
    assert len(partition.intervals) == 1
    partition.commit()
    assert [key.decode() for key, _ in partition.intervals[1:]] == [interval_id("00:30")]
    assert partition.pipeline.due_at_s() is None


def test_an_incomplete_interval_does_not_wait_longer_because_more_records_come() -> None:
    partition = started(*(record(f"00:0{at}", f"00:0{at + 1}") for at in range(5)), emit_every_s=3.0)
    for _ in range(5):
        partition.take(1, 0)
        partition.commit()
    published = [json.loads(value)["energy_wh"] for _, value in partition.intervals]
    assert published == [4000], "in second 4, three seconds after the first record; the fifth waits anew"
    assert partition.pipeline.due_at_s() == 8.0


def test_an_interval_that_becomes_complete_waits_no_longer() -> None:
    partition = started(record("00:00", "00:15"), record("00:15", "00:30"), emit_every_s=100.0)
    for _ in range(2):
        partition.take(1, 0)
        partition.commit()
    assert [json.loads(value)["complete"] for _, value in partition.intervals] == [True]
    assert partition.pipeline.due_at_s() is None


@pytest.mark.parametrize("lost", ["memory", "store"])
def test_what_was_held_back_is_published_after_a_restart_without_another_record(lost: str) -> None:
    partition = started(record("00:00", "00:10"), emit_every_s=10.0)
    partition.take(1, 0)
    partition.commit()
    assert partition.intervals == []
    if lost == "store":
        partition.lose_the_store()
    else:
        partition.open()
    assert partition.tables.held_ids() == [interval_id("00:00")]
    partition.commit()
    assert [key.decode() for key, _ in partition.intervals] == [interval_id("00:00")]
    assert partition.tables.held_ids() == []


def test_a_record_sent_again_publishes_nothing() -> None:
    partition = finished(record("00:00", "00:30"))
    before = len(partition.intervals), len(partition.priced)
    partition.log = [*partition.log, message(record("00:00", "00:30"), 1)]
    partition.finish()
    assert (len(partition.intervals), len(partition.priced)) == before
    assert partition.counts["duplicate"] == 1


def test_a_change_that_says_nothing_new_about_energy_or_price_is_not_priced_again() -> None:
    """The interval is published, because its records are others; the priced record would be the same."""
    partition = started(record("00:00", "00:30"), record("00:00", "00:30", record_reference_id="b"))
    for _ in range(2):
        partition.take(1, 0)
        partition.commit()
    partition.finish()
    assert (len(partition.intervals), len(partition.priced)) == (2, 1)


def test_a_correction_is_published_and_priced_again() -> None:
    partition = started(record("00:00", "00:30", 1), record("00:00", "00:30", 2))
    for _ in range(2):
        partition.take(1, 1)
        partition.commit()
    partition.finish()
    priced = [json.loads(value) for _, value in partition.priced]
    assert [(one["sequence"], one["revision"], one["cost"]) for one in priced] == [(1, 1, "0.2"), (2, 2, "0.4")]
    assert [one["submitted_at"] for one in priced] == ["1970-01-01T00:00:00Z", "1970-01-01T00:00:01Z"]


# Months


MARCH = ("2025-03-01T00:00:00Z", "2025-03-31T23:00:00Z")


def test_a_month_takes_the_place_of_its_days() -> None:
    partition = finished(record("00:00", "00:30", 1), record("12:00", "12:30", 2), record(*MARCH, 300))
    priced = last(partition)
    assert {start: (one["energy_wh"], one["cost"]) for start, one in priced.items()} == {
        "00:00": (300_000, "60"),
        "12:00": (0, "0"),
    }
    assert priced["00:00"]["end_time"] == MARCH[1]
    assert priced["12:00"]["covered_seconds"] == 0


def test_what_a_month_took_from_its_days_is_published_with_the_month() -> None:
    """However long incomplete intervals are held back: what reads along must not count the energy twice meanwhile."""
    partition = started(record("12:00", "12:30", 2), record(*MARCH, 300), emit_every_s=100.0)
    for _ in range(2):
        partition.take(1, 0)
        partition.commit()
    published = {json.loads(value)["start_time"][11:16]: json.loads(value) for _, value in partition.intervals}
    assert {start: one["energy_wh"] for start, one in published.items()} == {"12:00": 0, "00:00": 300_000}


@pytest.mark.parametrize("at", ["00:00", "00:10", "12:00"])
@pytest.mark.parametrize("restart", [False, True])
def test_power_at_an_instant_of_a_month_takes_nothing_from_it(at: str, restart: bool) -> None:  # noqa: FBT001
    partition = started(record(*MARCH, 300), record(at, at, 7, units="W"))
    partition.take(1, 0)
    partition.commit()
    if restart:
        partition.open()
    partition.finish()
    assert partition.counts["accepted"] == 2
    assert sum(one["energy_wh"] for one in last(partition).values()) == 300_000
    assert last(partition)["00:00"]["end_time"] == MARCH[1]


def test_a_day_in_a_month_that_is_one_interval_is_refused_after_a_restart_too() -> None:
    partition = started(record(*MARCH, 300), record("12:00", "12:30", 2))
    partition.take(1, 0)
    partition.commit()
    partition.open()
    partition.finish()
    assert [decode_rejected(value).error for value in partition.rejected] == ["overlaps_existing_period"]


def test_a_fault_of_the_disk_is_no_fault_of_what_is_tried_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """What raises is tried again by itself, and refused only where it is to blame."""

    def failing(*_: Any) -> Any:
        raise next(faults)

    sink = ListSink()
    pipeline = Pipeline(Context(0, 1, RECORDS.topic), Tables(MemoryStore()), book_of(LOCATION), sink, validate=failing)
    faults = iter([ValueError(), StoreError("the disk is full")])
    with pytest.raises(StoreError):
        pipeline.take_records(RECORDS, [message(record("00:00", "00:30"), 0)])
    monkeypatch.setattr(Pricer, "price", failing)
    faults = iter([ValueError(), StoreError("the disk is full")])
    with pytest.raises(StoreError):
        pipeline.take_intervals(INTERVALS, [message(b"{}", 0)])
    assert sink.sent == []


# Records of other partitions


PARTITIONS = 3
HERE = partition_for("loc_1", PARTITIONS)
ELSEWHERE = (HERE + 1) % PARTITIONS


def pipeline_of(partition: int, book: ReferenceBook | None = None) -> tuple[Pipeline, ListSink]:
    sink = ListSink()
    context = Context(partition, PARTITIONS, RECORDS.topic)
    return Pipeline(context, Tables(MemoryStore()), book or book_of(LOCATION), sink), sink


def test_a_record_in_a_partition_that_is_not_its_locations_is_forwarded_as_it_is() -> None:
    pipeline, sink = pipeline_of(ELSEWHERE)
    one, two = record("00:00", "00:30"), record("00:30", "01:00")
    pipeline.take_records(Log(RECORDS.topic, ELSEWHERE), [message(b"[" + one + b"," + two + b"]", 42)])
    assert [(s.output, s.key, s.value, s.partition) for s in sink.sent] == [
        ("records_by_location", b"loc_1", one, HERE),
        ("records_by_location", b"loc_1", two, HERE),
    ]
    assert [
        origin.position.timestamp_ms for s in sink.sent if (origin := origin_of(message(b"", headers=s.headers)))
    ] == [
        42_000,
        42_000,
    ]
    assert (pipeline.metrics["forwarded"], pipeline.metrics["input"]) == (2, 0)


def test_a_forwarded_record_is_decided_where_its_location_is() -> None:
    away, forwarded = pipeline_of(ELSEWHERE)
    away.take_records(Log(RECORDS.topic, ELSEWHERE), [message(record("00:00", "00:30"), 42)])
    home, sink = pipeline_of(HERE)
    (sent,) = forwarded.sent
    again = message(sent.value, 0, key=sent.key, timestamp_ms=99, headers=sent.headers)
    home.take_records(Log("meter.records-by-location", HERE), [again])
    home.settle(0.0)
    assert home.metrics["accepted"] == 1
    assert json.loads(sink.values("intervals")[0])["submitted_at"] == "1970-01-01T00:00:42Z"


def test_a_forwarded_record_that_is_refused_is_reported_where_it_was_published() -> None:
    away, forwarded = pipeline_of(ELSEWHERE)
    bad = record("00:00", "00:30", -1)
    batch = message(b"[" + record("00:00", "00:30") + b"," + bad + b"]", 42, key=b"a key")
    away.take_records(Log(RECORDS.topic, ELSEWHERE), [batch])
    home, sink = pipeline_of(HERE)
    sent = forwarded.sent[1]
    again = message(sent.value, 7, key=sent.key, timestamp_ms=99, headers=sent.headers)
    home.take_records(Log("meter.records-by-location", HERE), [again])
    ((_, key, value, *_),) = sink.sent
    refused = decode_rejected(value)
    assert key == b"a key"
    assert (refused.topic, refused.partition, refused.offset, refused.record_num) == (RECORDS.topic, ELSEWHERE, 42, 1)
    assert refused.timestamp == "1970-01-01T00:00:42Z"
    assert refused.raw == bad.decode()


@pytest.mark.parametrize("first", ["forwarded", "own"])
def test_a_forwarded_record_is_ordered_by_when_it_was_first_submitted(first: str) -> None:
    """The forwarded value was submitted in second 5, the one in the location's own partition in second 9: that holds."""
    away, sink = pipeline_of(ELSEWHERE)
    away.take_records(Log(RECORDS.topic, ELSEWHERE), [message(record("00:00", "00:30", 5), 1000, timestamp_ms=5000)])
    (sent,) = sink.sent
    forwarded = message(sent.value, 0, key=sent.key, timestamp_ms=99, headers=sent.headers)
    own = message(record("00:00", "00:30", 9), 3, timestamp_ms=9000)
    home, published = pipeline_of(HERE)
    order = [(Log("meter.records-by-location", HERE), forwarded), (Log(RECORDS.topic, HERE), own)]
    for log, one in order if first == "forwarded" else reversed(order):
        home.take_records(log, [one])
    home.settle(0.0)
    assert json.loads(published.values("intervals")[-1])["energy_wh"] == 9000
    assert home.metrics["superseded"] == (first == "own")


@pytest.mark.parametrize(("reference", "outcome"), [("a", "duplicate"), ("b", "accepted")])
def test_an_instant_that_was_there_before_its_month_is_told_from_another_one(reference: str, outcome: str) -> None:
    """It was forwarded in second 5; the month of second 3 came only then, and took nothing that is newer than itself."""
    instant = record("12:00", "12:00", 7, units="W", record_reference_id="a")
    away, sink = pipeline_of(ELSEWHERE)
    away.take_records(Log(RECORDS.topic, ELSEWHERE), [message(instant, 1000, timestamp_ms=5000)])
    (sent,) = sink.sent
    home, published = pipeline_of(HERE)
    forwarded = message(sent.value, 0, key=sent.key, timestamp_ms=99, headers=sent.headers)
    home.take_records(Log("meter.records-by-location", HERE), [forwarded])
    home.take_records(Log(RECORDS.topic, HERE), [message(record(*MARCH, 300), 1, timestamp_ms=3000)])
    home.settle(0.0)
    before = home.metrics[outcome]
    again = record("12:00", "12:00", 7, units="W", record_reference_id=reference)
    home.take_records(Log(RECORDS.topic, HERE), [message(again, 2, timestamp_ms=9000)])
    home.settle(0.0)
    assert home.metrics[outcome] == before + 1
    at_last = {key: json.loads(value)["records"] for _, key, value, *_ in published.sent if key.startswith(b"loc_1|")}
    instants = [
        one["record_reference_id"]
        for records in at_last.values()
        for one in records
        if one["start_time"][11:16] == "12:00"
    ]
    assert instants == [reference]


def test_what_is_published_to_the_topic_of_forwarded_records_is_in_a_log_of_its_own() -> None:
    """Offsets of two topics do not say which record came first; their times do."""
    home, published = pipeline_of(HERE)
    home.take_records(Log(RECORDS.topic, HERE), [message(record("00:00", "00:30", 9), 3, timestamp_ms=9000)])
    direct = message(record("00:00", "00:30", 5), 1000, timestamp_ms=5000)
    home.take_records(Log("meter.records-by-location", HERE), [direct])
    home.settle(0.0)
    assert json.loads(published.values("intervals")[-1])["energy_wh"] == 9000
    assert home.metrics["superseded"] == 1


def test_what_is_no_record_is_refused_where_it_is() -> None:
    pipeline, sink = pipeline_of(ELSEWHERE)
    pipeline.take_records(Log(RECORDS.topic, ELSEWHERE), [message(b"{", 1)])
    assert [sent.output for sent in sink.sent] == ["rejected"]


# Prices follow the documents


def test_intervals_that_waited_for_a_tariff_are_priced_when_it_comes() -> None:
    book = book_of(LOCATION)
    partition = finished(record("00:00", "00:30", 0.5), book=book)
    assert last(partition)["00:00"]["reason"] == "no_tariff"
    affected = book.put_tariff(parse_tariff(flat_tariff()))
    assert affected.location_ids == {"loc_1"}
    partition.reprice("loc_1")
    partition.commit()
    after = last(partition)["00:00"]
    assert (after["status"], after["cost"], after["sequence"], after["revision"]) == ("priced", "0.1", 2, 1)


def test_pricing_again_what_has_not_changed_publishes_nothing() -> None:
    partition = finished(record("00:00", "00:30"))
    partition.reprice("loc_1")
    partition.commit()
    assert len(partition.priced) == 1


def test_an_interval_on_its_way_to_pricing_is_left_to_it() -> None:
    """Otherwise the later state would be priced before the earlier one, which would then stand last."""
    partition = started(record("00:00", "00:30", 1), record("00:00", "00:30", 2))
    for _ in range(2):
        partition.take(1, 0)
        partition.commit()
    partition.reprice("loc_1")
    partition.take(0, 1)
    partition.reprice("loc_1")
    partition.commit()
    assert [json.loads(value)["revision"] for _, value in partition.priced] == [1]
    partition.finish()
    assert [json.loads(value)["revision"] for _, value in partition.priced] == [1, 2]


def test_an_interval_on_its_way_is_left_to_pricing_after_a_restart_too() -> None:
    partition = started(record("00:00", "00:30", 1))
    partition.take(1, 0)
    partition.commit()
    partition.open()
    partition.reprice("loc_1")
    partition.commit()
    assert partition.priced == []


def test_an_interval_that_is_held_back_is_not_priced_ahead_of_its_publication() -> None:
    partition = started(record("00:00", "00:10"), emit_every_s=10.0)
    partition.take(1, 0)
    partition.reprice("loc_1")
    partition.commit()
    partition.reprice("loc_1")
    assert partition.priced == []


@pytest.mark.parametrize(("location_id", "start"), [("nowhere", None), ("loc_1", "2025-03-01T23:00:00Z")])
def test_pricing_again_what_is_not_there_does_nothing(location_id: str, start: str | None) -> None:
    partition = finished(record("00:00", "00:30"))
    partition.reprice(location_id, None if start is None else parse_instant_us(start))
    partition.commit()
    assert len(partition.priced) == 1


def ids_over(partition: SimulatedPartition, location_id: str, start_us: int | None, end_us: int | None) -> list[str]:
    """Return the intervals that are priced again when something changes over [start_us, end_us)."""
    walks = partition.pipeline.walks_over(location_id, start_us, end_us)
    return [interval_id for walk in walks for interval_id, _, _ in partition.tables.passing(*walk, limit=100)]


@pytest.mark.parametrize(
    ("start", "end", "found"),
    [
        (None, None, ["00:00", "00:30", "12:00"]),
        ("2025-03-01T00:30:00Z", None, ["00:00", "00:30", "12:00"]),
        (None, "2025-03-01T00:30:00Z", ["00:00"]),
        (None, "2025-03-01T00:30:01Z", ["00:00", "00:30"]),
        (None, "2025-03-01T00:30:00.5Z", ["00:00", "00:30"]),
        (None, "1969-01-01T00:00:00Z", []),
        ("2025-06-01T00:00:00Z", None, []),
    ],
)
def test_the_intervals_that_a_change_may_concern_are_found(
    start: str | None, end: str | None, found: list[str]
) -> None:
    """Too many do no harm: pricing one again that is not concerned publishes nothing."""
    partition = finished(record("00:00", "01:00"), record("12:00", "12:30"))
    bounds = [None if text is None else parse_instant_us(text) for text in (start, end)]
    assert [one[-9:-4] for one in ids_over(partition, "loc_1", *bounds)] == found


def test_a_month_is_concerned_by_a_change_in_its_last_hour() -> None:
    """October has 31 days and an hour in London."""
    october = ("2025-09-30T23:00:00Z", "2025-11-01T00:00:00Z")
    partition = finished(record(*october, 300))
    last_half_hour_us = parse_instant_us("2025-10-31T23:30:00Z")
    assert len(ids_over(partition, "loc_1", last_half_hour_us, None)) == 1


def test_the_intervals_of_a_locations_devices_are_its_own() -> None:
    partition = finished(record("00:00", "00:30"), record("00:00", "00:30", device_id="d"))
    assert len(ids_over(partition, "loc_1", None, None)) == 2
    assert ids_over(partition, "loc_", None, None) == []
    assert ids_over(partition, "loc_10", None, None) == []


# Another interval length


@pytest.mark.parametrize("found_by", ["a record", "pricing again"])
def test_after_a_change_of_the_interval_length_the_same_energy_is_in_other_intervals(found_by: str) -> None:
    book = book_of(LOCATION, tariffs=[flat_tariff()])
    partition = finished(record("00:00", "00:30", 1), record("00:30", "01:00", 2), book=book)
    links = [{"direction": "IMPORT", "tariff_id": "flat"}]
    longer = LOCATION | {"timezone": "Europe/London", "interval_minutes": 60, "tariffs": links}
    affected = book.put_location(parse_location(longer))
    assert affected.grid_changed
    partition.pipeline.forget_locations(affected.location_ids)
    if found_by == "a record":
        partition.log = [*partition.log, message(record("00:00", "00:30", 1), 2)]
    else:
        partition.reprice("loc_1")
    partition.finish()
    priced = last(partition)
    assert {start: (one["energy_wh"], one["cost"], one["end_time"][11:16]) for start, one in priced.items()} == {
        "00:00": (3000, "0.6", "01:00"),
        "00:30": (0, "0", "01:00"),
    }
    assert [priced[start]["revision"] for start in ("00:00", "00:30")] == [2, 2]


def test_a_change_of_the_location_in_the_middle_of_a_transaction_forgets_no_reading() -> None:
    partition = started(record("00:00", "00:10", 1), record("00:10", "00:20", 2), record("00:00", "00:10", 5))
    for _ in range(3):
        partition.take(1, 0)
        partition.pipeline.forget_locations({"loc_1"})
    partition.finish()
    assert (last(partition)["00:00"]["energy_wh"], last(partition)["00:00"]["revision"]) == (7000, 2)


# What cannot be


def test_what_is_no_interval_on_the_topic_of_intervals_is_refused_and_the_rest_priced() -> None:
    partition = started(record("00:00", "00:30"))
    partition.take(1, 0)
    partition.commit()
    ((key, value),) = partition.intervals
    messages = [message(None, 0, key=key), message(b"{}", 1, key=b"\xff"), message(value, 2, key=key)]
    partition.pipeline.take_intervals(INTERVALS, messages)
    outputs = [sent.output for sent in partition.sink.sent]
    assert outputs == ["rejected", "priced"]
    refused = decode_rejected(partition.sink.sent[0].value)
    assert (refused.error, refused.topic, refused.offset, refused.raw) == ("internal_error", INTERVALS.topic, 1, "{}")


def test_a_location_that_becomes_known_takes_the_records_that_come_then() -> None:
    book = book_of()
    partition = started(record("00:00", "00:30"), record("00:00", "00:30"), book=book)
    partition.take(1, 0)
    partition.commit()
    book.put_location(parse_location(LOCATION | {"timezone": "Europe/London"}))
    partition.finish()
    assert (partition.counts["rejected"], partition.counts["accepted"]) == (1, 1)
    assert [decode_rejected(value).error for value in partition.rejected] == ["unknown_location"]
