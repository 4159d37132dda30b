"""Pricing without Kafka: the worker's own stages over a list of messages."""

import json
from typing import Any

from app.compose import OfflineResult, price_offline
from app.wire.location import parse_location
from app.wire.tariff import parse_tariff
from tests.simulation import flat_tariff

LINKS = [{"direction": "IMPORT", "tariff_id": "flat"}]


def record(location_id: str, start: str, value: float = 1, **fields: Any) -> bytes:
    times = {"start_time": f"2025-03-01T{start}:00Z", "end_time": f"2025-03-01T{start[:4]}5:00Z"}
    return json.dumps({"location_id": location_id, "units": "KWH", "value": value} | times | fields).encode()


def priced(*records: bytes) -> OfflineResult:
    locations = [{"location_id": name, "timezone": "UTC", "tariffs": LINKS} for name in ("b", "a", "a b", "ä")]
    return price_offline(records, [parse_location(one) for one in locations], [parse_tariff(flat_tariff())])


def test_without_records_there_is_nothing() -> None:
    result = priced()
    assert (result.priced, result.rejected) == ([], [])
    assert not any(result.counts.values())


def test_priced_records_come_in_the_order_of_the_bytes_of_their_ids() -> None:
    result = priced(
        record("ä", "00:00"),
        record("b", "00:00"),
        record("a", "01:00"),
        record("a", "00:00"),
        record("a b", "00:00"),
        record("a", "00:00", device_id="d"),
        record("a", "00:00", energy_flow_direction="OUTBOUND"),
    )
    ids = [json.loads(value)["interval_id"] for value in result.priced]
    assert ids == [
        "a b||INBOUND|IMPORT|2025-03-01T00:00:00Z",
        "a|d|INBOUND|IMPORT|2025-03-01T00:00:00Z",
        "a||INBOUND|IMPORT|2025-03-01T00:00:00Z",
        "a||INBOUND|IMPORT|2025-03-01T01:00:00Z",
        "a||OUTBOUND|EXPORT|2025-03-01T00:00:00Z",
        "b||INBOUND|IMPORT|2025-03-01T00:00:00Z",
        "ä||INBOUND|IMPORT|2025-03-01T00:00:00Z",
    ]
    assert ids == sorted(ids, key=str.encode)


def test_each_interval_comes_once_with_its_last_state() -> None:
    result = priced(record("a", "00:00", 1), record("a", "00:00", 2), record("a", "00:00", 3))
    (one,) = map(json.loads, result.priced)
    assert (one["energy_wh"], one["revision"], one["sequence"]) == (3000, 3, 1)


def test_nothing_was_submitted_so_the_time_is_the_epoch() -> None:
    result = priced(record("a", "00:00"), b"{")
    assert [json.loads(value)["submitted_at"] for value in result.priced] == ["1970-01-01T00:00:00Z"]
    assert [json.loads(value)["timestamp"] for value in result.rejected] == ["1970-01-01T00:00:00Z"]


def test_a_refused_line_is_named_by_its_number_from_zero() -> None:
    result = priced(record("a", "00:00"), b"{", b"[1," + record("a", "00:00", -1) + b"]")
    refused = [json.loads(value) for value in result.rejected]
    assert [(one["offset"], one["record_num"], one["error"]) for one in refused] == [
        (1, 0, "malformed_json"),
        (2, 0, "malformed_json"),
        (2, 1, "negative_value"),
    ]


def test_the_counts_say_what_became_of_every_record() -> None:
    result = priced(record("a", "00:00"), record("a", "00:00"), b"{", record("nowhere", "00:00"))
    counts = {name: count for name, count in result.counts.items() if count}
    assert counts == {"input": 4, "accepted": 1, "duplicate": 1, "rejected": 2, "intervals": 1, "priced": 1}


def test_a_generator_is_read_once() -> None:
    result = price_offline((record("a", f"0{hour}:00") for hour in range(5)), iter(()), iter(()))
    assert result.counts["rejected"] == 5


def test_more_energy_than_a_double_carries_is_priced_exactly() -> None:
    """30 records of 1 GWh less 1 µWh: 30 * (1,000,000 - 0.000000001) kWh * 0.20 = 6,000,000 - 0.000000006."""
    minutes = [
        {"start_time": f"2025-03-01T00:{at:02}:00Z", "end_time": f"2025-03-01T00:{at + 1:02}:00Z"} for at in range(30)
    ]
    result = priced(*(record("a", "00:00", 999_999.999999999, **times) for times in minutes))
    (one,) = map(json.loads, result.priced)
    assert (one["complete"], one["cost"]) == (True, "5999999.999999994")
