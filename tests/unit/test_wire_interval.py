"""Intervals as they are published, and as they are kept."""

import json
from typing import Any

import pytest

from app.domain.instants import parse_instant_us
from app.domain.intervals import Interval
from app.domain.records import MeterId, Reading
from app.wire.interval import (
    MeterText,
    decode_interval,
    decode_state,
    encode_state,
    json_text,
    message_energy_uwh,
    message_parts,
)

pytestmark = pytest.mark.usefixtures("either_function")

START_US = parse_instant_us("2025-03-01T00:00:00Z")
MINUTE_US = 60_000_000
METER = MeterId("loc_1", "", "INBOUND", "IMPORT")


def reading(start: int, end: int, energy_uwh: int, **more: Any) -> Reading:
    fields = {"confidence": 1.0, "submitted_ms": 0, "source": 0, "offset": 0, "record_num": 0} | more
    return Reading(START_US + start * MINUTE_US, START_US + end * MINUTE_US, energy_uwh, **fields)


def interval(*readings: Reading, revision: int = 1) -> Interval:
    return Interval(START_US, START_US + 30 * MINUTE_US, revision, True, readings)


def published(state: Interval, meter: MeterId = METER) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(MeterText(meter).encode(state))
    return found


def test_the_whole_public_form() -> None:
    first = reading(0, 10, 300_000_000, record_reference_id="MET1", session_reference_id="ses", submitted_ms=2000)
    second = reading(10, 45, 350_000_000, confidence=0.5, submitted_ms=1500)
    assert published(interval(first, second, revision=7)) == {
        "interval_id": "loc_1||INBOUND|IMPORT|2025-03-01T00:00:00Z",
        "location_id": "loc_1",
        "device_id": None,
        "energy_flow_direction": "INBOUND",
        "tariff_direction": "IMPORT",
        "start_time": "2025-03-01T00:00:00Z",
        "end_time": "2025-03-01T00:30:00Z",
        "energy_wh": 500,
        "covered_seconds": 1800,
        "complete": True,
        "confidence": 0.8,
        "revision": 7,
        "records": [
            {
                "record_reference_id": "MET1",
                "session_reference_id": "ses",
                "start_time": "2025-03-01T00:00:00Z",
                "end_time": "2025-03-01T00:10:00Z",
                "energy_wh": 300,
                "submitted_at": "1970-01-01T00:00:02Z",
            },
            {
                "record_reference_id": None,
                "session_reference_id": None,
                "start_time": "2025-03-01T00:10:00Z",
                "end_time": "2025-03-01T00:30:00Z",
                "energy_wh": 200,
                "submitted_at": "1970-01-01T00:00:01.5Z",
            },
        ],
        "submitted_at": "1970-01-01T00:00:02Z",
    }


def test_a_part_of_a_record_is_published_with_its_part_of_the_period() -> None:
    (record,) = published(interval(reading(-60, 15, 750_000_000)))["records"]
    assert (record["start_time"], record["end_time"], record["energy_wh"]) == (
        "2025-03-01T00:00:00Z",
        "2025-03-01T00:15:00Z",
        150,
    )


def test_an_interval_that_has_lost_its_readings_is_published_as_nothing() -> None:
    found = published(interval(revision=3))
    assert (found["energy_wh"], found["covered_seconds"], found["complete"], found["records"]) == (0, 0, False, [])
    assert (found["confidence"], found["submitted_at"]) == (1, "1970-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("energy_uwh", "text"),
    [
        (0, b"0"),
        (1, b"0.000001"),
        (512_000_000, b"512"),
        (10_283_500_000, b"10283.5"),
        (10**15, b"1000000000"),
        (10**15 - 1, b"999999999.999999"),
    ],
)
def test_energy_is_written_and_read_exactly(energy_uwh: int, text: bytes) -> None:
    value = MeterText(METER).encode(interval(reading(0, 30, energy_uwh)))
    assert b'"energy_wh":' + text + b"," in value
    message = decode_interval(value)
    assert message_energy_uwh(message, value) == energy_uwh
    assert message_parts(message, parse_instant_us) == [(START_US, START_US + 30 * MINUTE_US, energy_uwh)]


def test_more_energy_than_a_double_carries_is_read_exactly() -> None:
    """Each record is at most 1 GWh, but many make one interval."""
    parts = [reading(at, at + 1, 10**15 - 1 - at) for at in range(30)]
    value = MeterText(METER).encode(interval(*parts))
    message = decode_interval(value)
    assert message_energy_uwh(message, value) == sum(one.energy_uwh for one in parts)
    assert [energy for _, _, energy in message_parts(message, parse_instant_us)] == [one.energy_uwh for one in parts]


@pytest.mark.parametrize("text", ['a"b', "a\\b", 'x","records":[', 'x","submitted_at":"', "Zähler №1 😀", "a/b c", "0"])
def test_any_identifier_is_written_so_that_it_can_be_read(text: str) -> None:
    meter = MeterId(text, text, "OUTBOUND", "LOCAL")
    found = published(interval(reading(0, 30, 1, record_reference_id=text, session_reference_id=text)), meter)
    assert found["interval_id"] == f"{text}|{text}|OUTBOUND|LOCAL|2025-03-01T00:00:00Z"
    assert (found["location_id"], found["device_id"]) == (text, text)
    assert (found["records"][0]["record_reference_id"], found["records"][0]["session_reference_id"]) == (text, text)


def test_an_id_sorts_by_time_within_a_meter() -> None:
    text = MeterText(METER)
    ids = [text.interval_id(START_US + at * 5 * MINUTE_US) for at in range(600)]
    assert ids == sorted(ids)
    assert all(one.startswith(text.prefix) for one in ids)


@pytest.mark.parametrize(
    ("end", "seconds"), [(MINUTE_US, "60"), (1, "0.000001"), (1_500_000, "1.5"), (30 * MINUTE_US, "1800")]
)
def test_seconds_are_exact(end: int, seconds: str) -> None:
    state = interval(Reading(START_US, START_US + end, 1, 1.0, 0, 0, 0, 0))
    assert f'"covered_seconds":{seconds},' in MeterText(METER).encode(state).decode()


@pytest.mark.parametrize(("confidence", "text"), [(1.0, "1"), (0.5, "0.5"), (0.1, "0.1"), (1e-9, "1e-09")])
def test_confidence_is_a_number_of_json(confidence: float, text: str) -> None:
    state = interval(reading(0, 30, 1, confidence=confidence))
    assert f'"confidence":{text},' in MeterText(METER).encode(state).decode()
    assert published(state)["confidence"] == confidence


def test_a_state_tells_whether_it_is_held_without_being_decoded() -> None:
    state = interval(reading(0, 30, 1))
    assert (encode_state(state)[:1], encode_state(state.published())[:1]) == (b"h", b".")
    assert decode_state(encode_state(state)) == state


@pytest.mark.parametrize(("text", "expected"), [(None, "null"), ("", '""'), ('"', '"\\""'), ("é", '"é"')])
def test_json_texts(text: str | None, expected: str) -> None:
    assert json_text(text) == expected
