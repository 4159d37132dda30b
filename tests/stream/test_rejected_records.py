"""What is refused comes out on meter.rejected, with its raw bytes and the exact reason, and holds nothing else up."""

import base64
import json

import pytest

from tests.harness import Stream
from tests.making import Json
from tests.sites import Site

pytestmark = pytest.mark.broker


def test_a_refused_record_says_what_where_and_why(stream: Stream, site: Site) -> None:
    raw = json.dumps(site.record(30, -30, 1.0, record_reference_id="MET9")).encode()
    place = stream.publish(raw, key=site.location_id)[0]
    refused = stream.wait(site.rejected, "the refusal")[0]
    assert refused == {
        "error": "end_before_start",
        "message": "end_time must not be before start_time "
        "(start_time 2025-03-01T00:30:00Z, end_time 2025-03-01T00:00:00Z)",
        "record_num": 0,
        "record_reference_id": "MET9",
        "location_id": site.location_id,
        "topic": stream.names.records,
        "partition": place.partition,
        "offset": place.offset,
        "timestamp": refused["timestamp"],
        "raw": raw.decode(),
        "raw_encoding": "text",
    }
    kept = next(each for each in stream.seen(stream.names.rejected) if json.loads(each.value) == refused)
    assert kept.key == site.location_id.encode()
    assert kept.partition == place.partition


def test_a_refusal_keeps_the_records_own_key(stream: Stream, site: Site) -> None:
    partition = stream.partition_of(site.location_id)
    places = [
        stream.publish(b"[", key=key, partition=partition)[0]
        for key in (None, b"", b"another key", b"\xff\x00 no text")
    ]
    stream.wait(lambda: len(stream.refusals_at(*places)) == 4, "four refusals")
    key_of = {json.loads(each.value)["offset"]: each.key for each in stream.seen(stream.names.rejected)}
    assert [key_of[place.offset] for place in places] == [None, b"", b"another key", b"\xff\x00 no text"]


def test_an_unknown_location_is_refused(stream: Stream, site: Site) -> None:
    unknown = f"nobody_{site.location_id}"
    stream.publish(site.record(0, 30, 1.0) | {"location_id": unknown})
    refused = stream.wait(lambda: stream.rejected(unknown), "the refusal")[0]
    assert refused["error"] == "unknown_location"
    assert refused["message"] == f"location_id: {unknown!r} is not known (expected a location in meter.locations)"


POISON: dict[str, tuple[bytes | None, str, str]] = {
    "no value": (None, "malformed_json", "the message has no value (expected a JSON object or array)"),
    "no bytes": (b"", "malformed_json", "the record is not JSON: "),
    "not JSON": (b"{bad", "malformed_json", "the record is not JSON: "),
    "half a record": (b'{"location_id":"site_1","units":"KWH","val', "malformed_json", "the record is not JSON: "),
    "two records": (b'{"a":1}{"a":2}', "malformed_json", "the record is not JSON: "),
    "not UTF-8": (b'{"location_id":"\xff\xfe"}', "malformed_json", "the record is not JSON: "),
    "no JSON of any kind": (bytes(range(256)), "malformed_json", "the record is not JSON: "),
    "a number": (b"42", "malformed_json", "the record is a number (expected a JSON object)"),
    "null": (b"null", "malformed_json", "the record is null (expected a JSON object)"),
    "infinity": (b'{"value":Infinity}', "malformed_json", "the record is not JSON: "),
    "nothing in it": (b"{}", "missing_field", "location_id: the field is missing (expected text)"),
    "arrays in arrays": (
        b"[" * 200_000,
        "malformed_json",
        "the message is not read: it is nested more than 500 levels",
    ),
    "objects in objects": (b'{"a":' * 200_000, "malformed_json", "the message is not read: it is nested more than 500"),
    "five megabytes": (b'{"x":"' + b"y" * 5_000_000, "malformed_json", "the record is not JSON: "),
    "a large object": (b'{"x":"' + b"y" * 5_000_000 + b'"}', "missing_field", "location_id: the field is missing"),
    "five megabytes, not UTF-8": (b"\xfe" * 5_000_000, "malformed_json", "the record is not JSON: "),
    "too many records": (
        b"[" + b",".join([b"{}"] * 10_001) + b"]",
        "batch_too_large",
        "the message holds 10001 records",
    ),
}


def test_poison_is_refused_with_its_raw_bytes_and_good_records_go_on(stream: Stream, site: Site) -> None:
    poison_of: dict[int, str] = {}
    for number, (name, (value, _, _)) in enumerate(POISON.items()):
        poison_of[stream.publish(value, key=site.location_id)[0].offset] = name
        stream.publish(site.record(30 * number, 30, 1.0))
    for number in range(len(POISON)):
        assert site.await_priced(30 * number)["energy_wh"] == 1000

    partition = stream.partition_of(site.location_id)
    found = stream.wait(
        lambda: _all_at(stream.rejected(), partition, poison_of, len(POISON)), "a refusal for each poisoned message"
    )
    refused = {poison_of[each["offset"]]: each for each in found}
    assert refused.keys() == POISON.keys()
    assert len(found) == len(POISON)
    for name, (value, error, message) in POISON.items():
        assert refused[name]["error"] == error, name
        assert refused[name]["message"].startswith(message), name
        assert _raw(refused[name]) == value, name
        assert refused[name]["record_num"] == 0, name


def _all_at(refused: list[Json], partition: int, offsets: dict[int, str], count: int) -> list[Json]:
    """Return the refusals at some offsets of a partition, once there are enough."""
    found = [each for each in refused if each["partition"] == partition and each["offset"] in offsets]
    return found if len(found) >= count else []


def _raw(refused: Json) -> bytes | None:
    if refused["raw"] is None:
        return None
    return base64.b64decode(refused["raw"]) if refused["raw_encoding"] == "base64" else refused["raw"].encode()


def test_one_bad_record_of_a_batch_is_refused_alone(stream: Stream, site: Site) -> None:
    good = [site.record(30 * number, 30, 1.0) for number in range(4)]
    bad = site.record(0, 30, -1.0) | {"units": "FURLONG"}
    place = stream.publish([*good[:2], bad, *good[2:]], key=site.location_id)[0]
    for number in range(4):
        site.await_priced(30 * number)
    refused = stream.refusals_at(place)
    assert [(each["error"], each["record_num"]) for each in refused] == [("invalid_value", 2)]
    assert json.loads(refused[0]["raw"]) == bad


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"start_time": "2025-03-01T00:00:00"}, "naive_timestamp", "start_time: "),
        ({"value": -1}, "negative_value", "value: -1.0 is negative (expected a number of at least 0)"),
        ({"end_time": "2025-03-01T00:00:00Z"}, "zero_duration", "value: 1.0 KWH in a period of no duration"),
        ({"end_time": "2025-03-03T00:00:00Z"}, "period_too_long", "the period 2025-03-01T00:00:00Z to 2025-03-03"),
        ({"confidence": 0}, "invalid_value", "confidence: 0.0 is out of range (expected more than 0 and at most 1)"),
        ({"units": None}, "missing_field", "units: the field is missing (expected one of W, KW, WH, KWH)"),
        ({"units": "MWH"}, "invalid_value", 'units: "MWH" is '),
        ({"value": "1"}, "invalid_value", 'value: "1" is '),
        ({"location_id": ""}, "invalid_value", "location_id: the text is empty (expected an identifier)"),
        ({"location_id": "a|b"}, "invalid_value", "location_id: 'a|b' contains '|'"),
    ],
)
def test_each_rule_gives_its_reason(stream: Stream, site: Site, change: Json, error: str, sentence: str) -> None:
    place = stream.publish(site.record(0, 30, 1.0) | change, key=site.location_id)[0]
    refused = stream.wait(lambda: stream.refusals_at(place), "the refusal")[0]
    assert refused["error"] == error
    assert refused["message"].startswith(sentence)
