"""Why a record is refused: each code with an example, and a sentence that names the field, the value and the expectation."""

import json
from typing import Any, get_args

import pytest

from app.compose import price_offline
from app.domain.records import BATCH_LIMIT, ErrorCode, Reading
from app.domain.rules import RULES, Claim, first_broken, id_problem, instant_problem
from app.streams.pipeline import Context, Pipeline
from app.streams.tables import MemoryStore, Tables
from app.wire.location import parse_location
from app.wire.record import decode_record
from tests.simulation import RECORDS, ListSink, book_of, message

GOOD = {
    "location_id": "loc_1",
    "units": "KWH",
    "value": 0.5,
    "start_time": "2025-03-01T00:00:00Z",
    "end_time": "2025-03-01T00:30:00Z",
}


def good(**fields: Any) -> dict[str, Any]:
    return GOOD | fields


def without(field: str) -> dict[str, Any]:
    return {name: value for name, value in GOOD.items() if name != field}


def refused(*values: Any, location: dict[str, Any] | None = None) -> list[tuple[str, str]]:
    """Return (code, sentence) of what is refused of some messages: bytes, or JSON values."""
    messages = [value if isinstance(value, bytes) else json.dumps(value).encode() for value in values]
    there = parse_location({"location_id": "loc_1", "timezone": "Europe/London"} | (location or {}))
    return [(one["error"], one["message"]) for one in map(json.loads, price_offline(messages, [there], []).rejected)]


START, END = GOOD["start_time"], GOOD["end_time"]
LONG = "a" * 201
NOT_LONGER = "(expected at most 25 hours, or exactly one calendar month in the location's time zone)"

REFUSALS: list[tuple[Any, str, str]] = [
    # What is not JSON, or no record
    (b"{", "malformed_json", "the record is not JSON: Input data was truncated"),
    (7, "malformed_json", "the record is a number (expected a JSON object)"),
    ("text", "malformed_json", "the record is a text (expected a JSON object)"),
    # Fields that are missing: null stands for that
    (without("location_id"), "missing_field", "location_id: the field is missing (expected text)"),
    (good(units=None), "missing_field", "units: the field is missing (expected one of W, KW, WH, KWH)"),
    (without("value"), "missing_field", "value: the field is missing (expected a number)"),
    (
        without("start_time"),
        "missing_field",
        "start_time: the field is missing (expected an RFC 3339 timestamp with an offset)",
    ),
    (
        without("end_time"),
        "missing_field",
        "end_time: the field is missing (expected an RFC 3339 timestamp with an offset)",
    ),
    # Values that are none of those expected
    (good(value="0.5"), "invalid_value", 'value: "0.5" is a text (expected a number)'),
    (good(value=True), "invalid_value", "value: true is a truth value (expected a number)"),
    (good(value=[0.5]), "invalid_value", "value: [0.5] is an array (expected a number)"),
    (good(units="MWH"), "invalid_value", 'units: "MWH" is a text (expected one of W, KW, WH, KWH)'),
    (good(units="kwh"), "invalid_value", 'units: "kwh" is a text (expected one of W, KW, WH, KWH)'),
    (
        good(energy_flow_direction="IN"),
        "invalid_value",
        'energy_flow_direction: "IN" is a text (expected one of INBOUND, OUTBOUND)',
    ),
    (
        good(tariff_direction="export"),
        "invalid_value",
        'tariff_direction: "export" is a text (expected one of IMPORT, EXPORT, LOCAL)',
    ),
    (good(location_id=7), "invalid_value", "location_id: 7 is a number (expected text)"),
    (good(device_id={}), "invalid_value", "device_id: {} is an object (expected text or null)"),
    (good(record_reference_id=7), "invalid_value", "record_reference_id: 7 is a number (expected text or null)"),
    (good(session_reference_id=7), "invalid_value", "session_reference_id: 7 is a number (expected text or null)"),
    (
        good(confidence="high"),
        "invalid_value",
        'confidence: "high" is a text (expected a number above 0, at most 1)',
    ),
    (
        good(confidence=0),
        "invalid_value",
        "confidence: 0.0 is out of range (expected more than 0 and at most 1)",
    ),
    (
        good(confidence=1.01),
        "invalid_value",
        "confidence: 1.01 is out of range (expected more than 0 and at most 1)",
    ),
    (good(location_id=""), "invalid_value", "location_id: the text is empty (expected an identifier)"),
    (
        good(location_id=LONG),
        "invalid_value",
        "location_id: the text is 201 characters long (expected at most 200)",
    ),
    (good(device_id="a|b"), "invalid_value", "device_id: 'a|b' contains '|' (expected an identifier without it)"),
    (
        good(start_time="yesterday"),
        "invalid_value",
        "start_time: 'yesterday' is not a timestamp (expected RFC 3339, such as 2025-03-01T00:00:00Z)",
    ),
    (
        good(end_time="2025-02-30T00:00:00Z"),
        "invalid_value",
        "end_time: '2025-02-30T00:00:00Z' is not a timestamp (day is out of range for month)",
    ),
    (
        good(start_time="1969-12-31T23:30:00Z"),
        "invalid_value",
        "start_time: '1969-12-31T23:30:00Z' is out of range (expected the years 1970 to 2199)",
    ),
    (
        good(end_time="2200-01-01T00:00:01Z"),
        "invalid_value",
        "end_time: '2200-01-01T00:00:01Z' is out of range (expected the years 1970 to 2199)",
    ),
    (
        good(value=1000000.1),
        "invalid_value",
        "value: 1000000.1 KWH is more energy than one record may hold (1 GWh)",
    ),
    (good(value=1e300), "invalid_value", "value: 1e+300 is too large (expected at most 1e+15)"),
    # Rules of their own
    (
        good(end_time="2025-03-01T00:30:00"),
        "naive_timestamp",
        "end_time: '2025-03-01T00:30:00' has no UTC offset (expected one, such as 2025-03-01T00:00:00Z or …+01:00)",
    ),
    (
        good(start_time=END, end_time=START),
        "end_before_start",
        f"end_time must not be before start_time (start_time {END}, end_time {START})",
    ),
    (
        good(end_time=START),
        "zero_duration",
        f"value: 0.5 KWH in a period of no duration (start_time and end_time are both {START})",
    ),
    (good(value=-0.5), "negative_value", "value: -0.5 is negative (expected a number of at least 0)"),
    (
        good(location_id="nowhere"),
        "unknown_location",
        "location_id: 'nowhere' is not known (expected a location in meter.locations)",
    ),
    (
        good(end_time="2025-03-02T01:00:01Z"),
        "period_too_long",
        f"the period {START} to 2025-03-02T01:00:01Z is 25.0003 hours long {NOT_LONGER}",
    ),
]


@pytest.mark.parametrize(("value", "code", "sentence"), REFUSALS)
def test_a_refusal_names_what_is_wrong_and_what_was_expected(value: Any, code: str, sentence: str) -> None:
    assert refused(value) == [(code, sentence)]


def test_a_record_that_would_cut_another_is_refused() -> None:
    across = good(start_time="2025-03-01T00:15:00Z", end_time="2025-03-01T00:45:00Z")
    sentence = (
        f"the period 2025-03-01T00:15:00Z to 2025-03-01T00:45:00Z overlaps only in part the period {START} to {END} of an "
        "existing record"
    )
    assert refused(GOOD, across) == [("overlaps_existing_period", sentence)]


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"value": 5.01}, "value: 5.01 KWH means 10.02 kW on average"),
        ({"value": 5010, "units": "WH"}, "value: 5010.0 WH means 10.02 kW on average"),
        ({"value": 10.02, "units": "KW"}, "value: 10.02 KW means 10.02 kW on average"),
        ({"value": 10020, "units": "W"}, "value: 10020.0 W means 10.02 kW on average"),
        ({"value": 10020, "units": "W", "end_time": START}, "value: 10020.0 W means 10.02 kW on average"),
    ],
)
def test_more_power_than_the_location_can_have_is_refused(fields: dict[str, Any], shown: str) -> None:
    expected = f"{shown} (expected at most 10 kW, the location's max_power_kw)"
    assert refused(good(**fields), location={"max_power_kw": "10"}) == [("implausible_power", expected)]


@pytest.mark.parametrize("fields", [{"value": 5}, {"value": 10, "units": "KW"}, {"value": 0, "end_time": START}])
def test_as_much_power_as_the_location_can_have_is_accepted(fields: dict[str, Any]) -> None:
    assert refused(good(**fields), location={"max_power_kw": "10"}) == []


def test_a_batch_of_too_many_records_is_refused_whole() -> None:
    record = json.dumps(GOOD).encode()
    full, too_many = (b"[" + b",".join([record] * count) + b"]" for count in (BATCH_LIMIT, BATCH_LIMIT + 1))
    assert refused(full) == []
    assert [code for code, _ in refused(full.replace(record, b"{}", 1))] == ["missing_field"]
    assert refused(too_many) == refused(too_many.replace(record, b"{}", 1))
    assert refused(too_many) == [("batch_too_large", "the message holds 10001 records (expected at most 10000)")]


def test_a_record_older_than_what_is_kept_is_refused() -> None:
    record = decode_record(json.dumps(GOOD).encode())
    kept_from = Claim(record, 1_799_999_999, 3_600_000_000, None, is_month=False, oldest_us=1_800_000_000)
    broken = first_broken(kept_from)
    assert broken is not None
    assert broken.error == "too_old"
    expected = "1970-01-01T00:30:00Z or later, from when intervals are kept"
    assert broken.message == f"start_time: {START} is too old (expected {expected})"
    assert first_broken(kept_from._replace(oldest_us=1_799_999_999)) is None


def test_a_record_that_reaches_beyond_the_tolerance_is_refused() -> None:
    record = decode_record(json.dumps(GOOD).encode())
    claim = Claim(record, 0, 1_800_000_001, None, is_month=False, oldest_us=None, newest_us=1_800_000_000)
    broken = first_broken(claim)
    assert broken is not None
    assert broken.error == "in_the_future"
    expected = "1970-01-01T00:30:00Z or earlier, by the record's submission"
    assert broken.message == f"end_time: {END} is in the future (expected {expected})"
    assert first_broken(claim._replace(newest_us=1_800_000_001)) is None


def test_a_fault_of_ours_refuses_the_record_and_nothing_else() -> None:
    calls = []

    def validate(*_: Any) -> Reading:
        calls.append(1)
        raise ZeroDivisionError("no reason")

    sink, tables = ListSink(), Tables(MemoryStore())
    book = book_of({"location_id": "loc_1"})
    pipeline = Pipeline(Context(0, 1, RECORDS.topic), tables, book, sink, validate=validate)
    pipeline.take_records(RECORDS, [message(json.dumps(GOOD).encode()), message(b"{", 1)])
    errors = [json.loads(value) for value in sink.values("rejected")]
    assert [one["error"] for one in errors] == ["internal_error", "malformed_json"]
    assert errors[0]["message"] == "the record could not be handled: ZeroDivisionError: no reason"
    assert json.loads(errors[0]["raw"]) == GOOD
    assert len(calls) == 2, "a record is tried once more by itself before it is refused"


def test_every_code_has_an_example_here() -> None:
    shown = {code for _, code, _ in REFUSALS}
    elsewhere = {"overlaps_existing_period", "implausible_power", "batch_too_large", "internal_error"}
    elsewhere |= {"too_old", "in_the_future"}
    assert shown | elsewhere == set(get_args(ErrorCode))
    assert not shown & elsewhere


def test_every_rule_is_named_like_its_code() -> None:
    assert {rule.__name__ for rule in RULES} < set(get_args(ErrorCode))


def test_of_several_broken_rules_the_first_gives_the_reason() -> None:
    assert [code for code, _ in refused(good(value=-1, start_time=END, end_time=START))] == ["end_before_start"]
    assert [code for code, _ in refused(good(value=-1, confidence=2))] == ["negative_value"]
    assert [code for code, _ in refused(good(location_id="nowhere", value=-1))] == ["unknown_location"]


@pytest.mark.parametrize(
    "fields",
    [
        {"value": 0},
        {"value": 1_000_000, "units": "KWH"},
        {"confidence": 1},
        {"confidence": 1e-9},
        {"confidence": None, "device_id": None, "tariff_direction": None, "energy_flow_direction": None},
        {"device_id": ""},
        {"end_time": "2025-03-02T01:00:00Z"},
        {"end_time": START, "value": 0},
        {"end_time": START, "units": "W"},
        {"start_time": "1970-01-01T00:00:00Z", "end_time": "1970-01-01T00:30:00Z"},
        {"start_time": "2199-12-31T23:30:00Z", "end_time": "2200-01-01T00:00:00Z"},
        {"start_time": "2025-03-01 00:00:00z", "end_time": "2025-03-01t00:30:00+00:00"},
        {"end_time": "2025-03-01T00:00:00.000001Z"},
        {"colour": "blue", "nested": {"unknown": [1]}},
        {"location_id": "loc_1", "device_id": "Zähler №1"},
    ],
)
def test_a_record_at_the_edge_of_the_rules_is_accepted(fields: dict[str, Any]) -> None:
    assert refused(good(**fields)) == []


def test_ids_may_be_as_long_as_the_limit_says() -> None:
    assert id_problem("device_id", "a" * 200) is None
    assert id_problem("device_id", "a" * 201) == "device_id: the text is 201 characters long (expected at most 200)"


@pytest.mark.parametrize("field", ["location_id", "device_id"])
def test_ids_cannot_hold_what_they_are_joined_by(field: str) -> None:
    expected = f"{field}: 'a|b' contains '|' (expected an identifier without it)"
    assert refused(good(**{field: "a|b"})) == [("invalid_value", expected)]


@pytest.mark.parametrize("text", ["a\nb", "a\x00", "a\u2028b", "\x7f"])
@pytest.mark.parametrize("field", ["location_id", "device_id", "record_reference_id", "session_reference_id"])
def test_texts_cannot_hold_what_would_break_lines(field: str, text: str) -> None:
    expected = f"{field}: {text!r} contains a control character (expected printable text)"
    assert refused(good(**{field: text})) == [("invalid_value", expected)]


def test_instants_lie_in_the_years_that_are_supported() -> None:
    assert instant_problem("start_time", 0, "…") is None
    assert instant_problem("start_time", -1, "…") is not None
    assert instant_problem("end_time", 7_258_118_400_000_000, "…") is None
    assert instant_problem("end_time", 7_258_118_400_000_001, "…") is not None


@pytest.mark.parametrize("field", ["record_reference_id", "session_reference_id"])
def test_references_are_no_longer_than_ids(field: str) -> None:
    """They travel on with their interval, and many records make one: without a limit it could grow beyond its topic."""
    assert refused(good(**{field: "r" * 200})) == []
    expected = f"{field}: the text is 201 characters long (expected at most 200)"
    assert refused(good(**{field: "r" * 201})) == [("invalid_value", expected)]
