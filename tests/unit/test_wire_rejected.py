"""Refused records: nothing of them is lost, whatever bytes they are, and they are small enough to be published."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.compose import price_offline
from app.domain.records import Rejected
from app.wire.location import parse_location
from app.wire.rejected import Position, decode_rejected, encode_rejected, raw_bytes

WHY = Rejected("malformed_json", "a sentence with \"quotes\" and 'others'")
AT = Position("meter.records", 3, 42, 1_740_787_200_123)


@settings(max_examples=200, deadline=None)
@given(st.none() | st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_the_bytes_come_back_as_they_were(raw: bytes | None) -> None:
    refused = decode_rejected(encode_rejected(WHY, raw, 0, AT))
    assert raw_bytes(refused) == raw


def test_it_says_why_and_where_it_stood() -> None:
    raw = b'{"location_id":"loc_1","record_reference_id":"MET1","value":"x"}'
    assert json.loads(encode_rejected(WHY, raw, 7, AT)) == {
        "error": "malformed_json",
        "message": "a sentence with \"quotes\" and 'others'",
        "record_num": 7,
        "record_reference_id": "MET1",
        "location_id": "loc_1",
        "topic": "meter.records",
        "partition": 3,
        "offset": 42,
        "timestamp": "2025-03-01T00:00:00.123Z",
        "raw": raw.decode(),
        "raw_encoding": "text",
    }


def test_bytes_that_are_not_text_are_in_base64() -> None:
    refused = decode_rejected(encode_rejected(WHY, b"\xff\x00", 0, AT))
    assert (refused.raw, refused.raw_encoding) == ("/wA=", "base64")


def test_a_message_without_a_value_has_none() -> None:
    refused = decode_rejected(encode_rejected(WHY, None, 0, AT))
    assert (refused.raw, raw_bytes(refused)) == (None, None)


@pytest.mark.parametrize(
    "raw",
    [b"", b"null", b"{", b"[1]", b"\xff", b'{"location_id":7}', b"[" * 100_000, b'{"a":' * 100_000],
)
def test_where_no_ids_can_be_read_there_are_none(raw: bytes) -> None:
    refused = decode_rejected(encode_rejected(WHY, raw, 0, AT))
    assert (refused.location_id, refused.record_reference_id) == (None, None)


SIZE = 100_000
NASTY = {
    "control characters": b"\x00" * SIZE,
    "quotes": b'"' * SIZE,
    "not UTF-8": b"\xff" * SIZE,
    "emoji": "\U0001f600".encode() * (SIZE // 4),
    "a long location": json.dumps({"location_id": '"' * (SIZE // 2)}).encode(),
    "a long reference": json.dumps({"record_reference_id": "\\" * (SIZE // 2)}).encode(),
    "a long time": json.dumps(
        {"location_id": "l", "units": "W", "value": 1, "start_time": "x" * SIZE, "end_time": "\x01"}
    ).encode(),
    "a long value": json.dumps(
        {"location_id": "l", "units": "W", "value": "y" * SIZE, "start_time": "", "end_time": ""}
    ).encode(),
}


@pytest.mark.parametrize("name", sorted(NASTY))
def test_a_refusal_is_at_most_twice_its_record_and_an_envelope(name: str) -> None:
    """More than that the topic of refusals does not take, and then the record could not be decided at all."""
    raw = NASTY[name]
    location = parse_location({"location_id": "l", "timezone": "UTC"})
    (refused,) = price_offline([raw], [location], []).rejected
    assert len(refused) <= 2 * len(raw) + 2_000
    assert raw_bytes(decode_rejected(refused)) == raw
