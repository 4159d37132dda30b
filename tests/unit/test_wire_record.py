"""Messages that publishers send by mistake or malice: each is decided, none stops the pipeline, nothing of it is lost."""

import json
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from app.compose import OfflineResult, price_offline
from app.domain.records import MeterRecord, Rejected
from app.wire.location import parse_location
from app.wire.record import NESTING_LIMIT, batch_slices, is_too_deep, read_message, read_record
from app.wire.rejected import decode_rejected, raw_bytes

TEXT = (
    '{"location_id":"loc_1","units":"KWH","value":0.5,'
    '"start_time":"2025-03-01T00:00:00Z","end_time":"2025-03-01T00:30:00Z"}'
)
GOOD = TEXT.encode()
DEEP = 100_000


def with_value(text: str) -> bytes:
    return TEXT.replace("0.5", text).encode()


def with_field(text: str) -> bytes:
    return f"{TEXT[:-1]},{text}}}".encode()


def priced(*values: bytes | None) -> OfflineResult:
    return price_offline(values, [parse_location({"location_id": "loc_1", "timezone": "Europe/London"})], [])  # type: ignore[arg-type]


def code_of(value: bytes | None) -> str:
    ((_, read),) = read_message(value)
    return read.error if isinstance(read, Rejected) else "accepted"


POISON: dict[str, tuple[bytes | None, str]] = {
    "no value": (None, "malformed_json"),
    "empty": (b"", "malformed_json"),
    "blanks": (b" \n\t", "malformed_json"),
    "null": (b"null", "malformed_json"),
    "a number": (b"7", "malformed_json"),
    "a text": (b'"text"', "malformed_json"),
    "an empty object": (b"{}", "missing_field"),
    "cut off": (GOOD[:-1], "malformed_json"),
    "two in one": (GOOD + b"\n" + GOOD, "malformed_json"),
    "a batch with a comma too many": (b"[" + GOOD + b",]", "malformed_json"),
    "a batch that is cut off": (b"[" + GOOD + b",", "malformed_json"),
    "deep arrays": (b"[" * DEEP + b"]" * DEEP, "malformed_json"),
    "deep arrays that never end": (b"[" * DEEP, "malformed_json"),
    "deep objects": (b'{"a":' * DEEP + b"1" + b"}" * DEEP, "malformed_json"),
    "a deep value": (with_value("[" * DEEP + "]" * DEEP), "malformed_json"),
    "bytes that are not UTF-8": (b"\xff\xfe\x00", "malformed_json"),
    "a text that is not UTF-8": (b'{"location_id":"\xff"}', "malformed_json"),
    "UTF-16": (TEXT.encode("utf-16"), "malformed_json"),
    "a byte order mark": (b"\xef\xbb\xbf" + GOOD, "malformed_json"),
    "half of a surrogate pair": (TEXT.replace("loc_1", "\\ud800").encode(), "malformed_json"),
    "a control character in an id": (TEXT.replace("loc_1", "loc\\u0000").encode(), "accepted"),  # refused by a rule
    "five megabytes of nonsense": (b"x" * 5_000_000, "malformed_json"),
    "five megabytes of text": (b'"' + b"x" * 5_000_000 + b'"', "malformed_json"),
    "NaN": (with_value("NaN"), "malformed_json"),
    "infinity": (with_value("-Infinity"), "malformed_json"),
    "more than a double holds": (with_value("1e400"), "invalid_value"),
    "less than a double holds": (with_value("-1e400"), "invalid_value"),
    "an integer of 5000 digits": (with_value("9" * 5000), "invalid_value"),
    "an integer of 400 digits": (with_value("9" * 400), "invalid_value"),
    "a number as a text": (with_value('"0.5"'), "invalid_value"),
    "a truth value": (with_value("true"), "invalid_value"),
    "an array as a value": (with_value("[0.5]"), "invalid_value"),
    "a confidence beyond numbers": (with_field('"confidence":1e400'), "invalid_value"),
    "no units beside a number beyond numbers": (TEXT.replace('"KWH"', 'null,"x":1e400').encode(), "missing_field"),
    "no units beside a text that is not UTF-8": (GOOD.replace(b'"KWH"', b'null,"x":"\xff"'), "missing_field"),
    "a text beside the right one that stood there first": (with_field('"value":"7"'), "invalid_value"),
    "a text before the right one": (TEXT.replace('"value"', '"value":"7","value"').encode(), "invalid_value"),
    "half of a surrogate pair in an unknown field": (with_field('"x":"\\ud800"'), "malformed_json"),
    "an array in an array": (b"[[" + GOOD + b"]]", "malformed_json"),
}


@pytest.mark.parametrize("name", sorted(POISON))
def test_poison_is_refused_with_its_reason(name: str) -> None:
    value, code = POISON[name]
    assert code_of(value) == code


@pytest.mark.parametrize("name", sorted(POISON))
def test_poison_stops_nothing_and_its_bytes_are_kept(name: str) -> None:
    value, _ = POISON[name]
    result = priced(GOOD, value, GOOD)
    assert (result.counts["input"], result.counts["accepted"], result.counts["duplicate"]) == (3, 1, 1)
    (refused,) = map(decode_rejected, result.rejected)
    kept = raw_bytes(refused)
    assert kept == (value[1:-1] if name == "an array in an array" and value else value)
    assert refused.offset == 1
    assert refused.error != "internal_error"


def test_an_array_without_records_is_no_record() -> None:
    assert read_message(b"[]") == []
    assert read_message(b" [ ] ") == []
    result = priced(b"[]")
    assert (result.priced, result.rejected, result.counts["input"]) == ([], [], 0)


def test_a_good_record_is_read_as_it_stands() -> None:
    record = MeterRecord("loc_1", "KWH", 0.5, "2025-03-01T00:00:00Z", "2025-03-01T00:30:00Z")
    assert read_message(GOOD) == [(GOOD, record)]
    assert read_message(b"  " + GOOD + b"\n") == [(b"  " + GOOD + b"\n", record)]


def test_every_field_is_read() -> None:
    fields = {
        "location_id": "loc_1",
        "units": "W",
        "value": 1.5,
        "start_time": "a",
        "end_time": "b",
        "device_id": "d",
        "session_reference_id": "s",
        "record_reference_id": "r",
        "energy_flow_direction": "OUTBOUND",
        "tariff_direction": "LOCAL",
        "confidence": 0.25,
    }
    assert read_record(json.dumps(fields).encode()) == MeterRecord(**fields)


@pytest.mark.parametrize(
    ("text", "value"), [("-0.0", 0.0), ("-0", 0.0), ("5e-1", 0.5), ("1", 1.0), ("1e-400", 0.0), ("1E2", 100.0)]
)
def test_numbers_may_be_written_in_every_way_of_json(text: str, value: float) -> None:
    ((_, read),) = read_message(with_value(text))
    assert isinstance(read, MeterRecord)
    assert read.value == value


def test_minus_nothing_is_nothing() -> None:
    (one,) = map(json.loads, priced(with_value("-0.0")).priced)
    assert math.copysign(1, one["energy_wh"]) == 1


def test_of_a_field_that_stands_twice_the_last_one_holds() -> None:
    ((_, read),) = read_message(with_field('"value":7'))
    assert isinstance(read, MeterRecord)
    assert read.value == 7


DEEPEST = NESTING_LIMIT - 1  # in the record


def at_depth(frames: int, look: Callable[[], object]) -> object:
    """Do something deep in a call."""
    return look() if frames == 0 else at_depth(frames - 1, look)


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"\\"]":'])
def test_where_nesting_is_too_deep_does_not_depend_on_who_asks(opening: bytes) -> None:
    closing = b"]" if opening == b"[" else b"}"
    for depth, code in ((DEEPEST, "accepted"), (DEEPEST + 1, "malformed_json"), (100_000, "malformed_json")):
        nested = opening * depth + b"1" + closing * depth
        value = GOOD[:-1] + b',"more":' + nested + b"}"
        assert code_of(value) == at_depth(100, partial(code_of, value)) == code
        assert is_too_deep(value) == (code != "accepted")
    for unclosed in (b"[" * (NESTING_LIMIT + 1), b"[" * 100_000, b'"' + b"[" * 600):
        assert code_of(unclosed) == at_depth(100, partial(code_of, unclosed)) == "malformed_json"


def test_a_refusal_does_not_look_into_what_is_too_deep() -> None:
    value = GOOD[:-1] + b',"more":' + b"[" * 900 + b"]" * 900 + b"}"
    told = [at_depth(frames, refusals_of(value)) for frames in (0, 300)]
    assert told[0] == told[1]
    assert json.loads(told[0][0])["location_id"] is None


def refusals_of(value: bytes) -> Callable[[], list[bytes]]:
    return lambda: priced(value).rejected


def test_brackets_in_texts_and_records_side_by_side_are_not_nested() -> None:
    assert code_of(GOOD[:-1] + b',"more":"' + b"[" * 1000 + b'\\"' + b"{" * 1000 + b'"}') == "accepted"
    assert len(read_message(b"[" + b",".join([GOOD] * 1000) + b"]")) == 1000
    assert not is_too_deep(b"[" + b",".join([GOOD] * 1000) + b"]")


UNKNOWN = [
    b'"x":"' + b"y" * 5_000_000 + b'"',
    b'"x":{"y":[1,null,{"z":true}]}',
    b'"":0',
    b'"x":1e400',
    b'"x":' + b"9" * 5000,
    b'"x":"\xff"',
    b'"\xff":0',
]


@pytest.mark.parametrize("field", UNKNOWN, ids=range(len(UNKNOWN)))
def test_unknown_fields_are_ignored_whatever_they_hold(field: bytes) -> None:
    assert code_of(GOOD[:-1] + b"," + field + b"}") == "accepted"


def test_a_number_that_no_double_holds_is_named_with_its_field() -> None:
    ((_, read),) = read_message(with_value("1e400"))
    assert isinstance(read, Rejected)
    assert read.message == "value: 1e400 cannot be read: Number out of range"


def test_each_record_of_a_batch_is_read_by_itself() -> None:
    parts = [GOOD, b"null", with_value('"0.5"'), b'{"location_id":"\xff"}', with_value("7"), b"[]"]
    read = read_message(b" [" + b" , ".join(parts) + b"]\n")
    assert [raw for raw, _ in read] == parts
    codes = [one.error if isinstance(one, Rejected) else "accepted" for _, one in read]
    assert codes == [
        "accepted", "malformed_json", "invalid_value", "malformed_json", "accepted", "malformed_json"
    ]  # fmt: skip


def test_the_records_of_a_batch_are_numbered() -> None:
    result = priced(b"[" + b",".join([b"1", GOOD, b"2"]) + b"]")
    refused = [decode_rejected(value) for value in result.rejected]
    assert [(one.record_num, one.raw) for one in refused] == [(0, "1"), (2, "2")]
    assert result.counts["accepted"] == 1


def test_a_batch_is_cut_at_its_commas_only() -> None:
    tricky = TEXT.replace("loc_1", 'a,][\\"}').encode()
    assert batch_slices(b"[" + tricky + b"," + GOOD + b"]") == [tricky, GOOD]


@pytest.mark.parametrize("blanks", [b" ", b"\n" * 63, b" " * 64, b"\r\n\t " * 1000], ids=len)
def test_white_space_before_a_batch_is_no_matter(blanks: bytes) -> None:
    result = priced(blanks + b"[" + GOOD + b"]")
    assert (result.counts["accepted"], result.rejected) == (1, [])


def test_what_a_refusal_shows_of_a_value_is_short() -> None:
    read: Any = read_record(with_value(json.dumps("x" * 100_000)))
    assert read.error == "invalid_value"
    assert len(read.message) < 200
