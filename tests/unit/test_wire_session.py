"""What a bill reads of charging sessions in published intervals."""

import json
from typing import Any

import pytest

from app.domain.instants import parse_instant_us
from app.domain.sessions import SessionPart
from app.wire.session import IntervalError, NewestSessions

START_US, END_US = parse_instant_us("2025-03-03T00:00:00Z"), parse_instant_us("2025-03-04T00:00:00Z")
HALF_HOUR_US = 1_800_000_000


def interval(
    *sessions: str | None, on: str = "2025-03-03", location_id: str = "loc_1", energy_wh: Any = 5, **fields: Any
) -> bytes:
    """Return a published interval, as it is written, in which a record of each session lies."""
    start, end = f"{on}T10:00:00Z", f"{on}T10:30:00Z"
    records = [
        {
            "record_reference_id": '"session_reference_id":"no',
            "session_reference_id": session,
            "start_time": start,
            "end_time": end,
            "energy_wh": energy_wh,
        }
        for session in sessions
    ]
    document = {
        "interval_id": f"{location_id}||INBOUND|IMPORT|{start}",
        "location_id": location_id,
        "device_id": None,
        "tariff_direction": "IMPORT",
        "start_time": start,
        "end_time": end,
        "records": records,
    }
    return json.dumps(document | fields, separators=(",", ":")).encode()


def kept(*values: bytes) -> list[str]:
    newest = NewestSessions("loc_1", START_US, END_US)
    for value in values:
        newest.take(value)
    return [part.session_id for part in newest.parts()]


def test_a_record_that_names_a_session_is_a_part_of_it() -> None:
    newest = NewestSessions("loc_1", START_US, END_US)
    newest.take(interval("s", device_id="d"))
    at_us = START_US + 20 * HALF_HOUR_US
    assert newest.parts() == [SessionPart("s", "IMPORT", "d", at_us, at_us + HALF_HOUR_US, True)]


@pytest.mark.parametrize("energy_wh", [0, 0.0])
def test_a_record_without_energy_is_no_charging(energy_wh: float) -> None:
    newest = NewestSessions("loc_1", START_US, END_US)
    newest.take(interval("s", energy_wh=energy_wh))
    assert [part.charging for part in newest.parts()] == [False]


def test_records_that_name_none_are_none() -> None:
    assert kept(interval(None, "s", None)) == ["s"]
    assert kept(interval(None)) == []


def test_the_newest_message_of_an_interval_takes_the_place_of_the_others() -> None:
    assert kept(interval("old"), interval("new", "newer")) == ["new", "newer"]
    assert kept(interval("old"), interval(None)) == []
    assert kept(interval("old"), interval()) == []


def test_an_interval_that_was_deleted_tells_nothing() -> None:
    newest = NewestSessions("loc_1", START_US, END_US)
    newest.take(interval("s"))
    newest.forget("loc_1||INBOUND|IMPORT|2025-03-03T10:00:00Z")
    newest.forget("loc_1||INBOUND|IMPORT|2025-03-03T11:00:00Z")
    assert newest.parts() == []


def test_other_locations_do_not_matter() -> None:
    assert kept(interval("s", location_id="loc_2")) == []


@pytest.mark.parametrize(
    ("on", "found"), [("2025-01-30", []), ("2025-01-31", ["s"]), ("2025-04-03", ["s"]), ("2025-04-04", [])]
)
def test_sessions_are_looked_for_as_far_as_a_month_around_the_bill(on: str, found: list[str]) -> None:
    assert kept(interval("s", on=on)) == found


@pytest.mark.parametrize(
    "value",
    [
        b"nonsense",
        b"{}",
        interval("s", records=[{"session_reference_id": "s"}]),
        interval("s").replace(b"T10:30:00Z", b"T10:30:00"),
    ],
)
def test_what_is_no_interval_is_refused(value: bytes) -> None:
    with pytest.raises(IntervalError):
        NewestSessions("loc_1", START_US, END_US).take(value)
