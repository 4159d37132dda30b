"""JSON Lines are passed on byte for byte; only what cannot be keyed is refused."""

import pytest

from app.importers.jsonl import read_jsonl
from app.importers.rows import Row


def test_a_line_is_passed_on_byte_for_byte() -> None:
    line = b'{ "location_id":"loc_1", "value":  0.10, "unknown":[1,{}]}'
    assert list(read_jsonl([line + b"\r\n"])) == [Row(1, "loc_1", line)]


def test_an_array_is_keyed_by_its_first_record() -> None:
    line = b'[{"location_id":"a"},{"location_id":"b"},3]'
    assert list(read_jsonl([line])) == [Row(1, "a", line, records=3)]


def test_blank_lines_and_a_byte_order_mark_are_nothing() -> None:
    rows = list(read_jsonl([b'\xef\xbb\xbf{"location_id":"a"}\n', b"\n", b"  \n", b'{"location_id":"b"}']))
    assert [(row.number, row.location_id) for row in rows] == [(1, "a"), (4, "b")]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"nonsense", "not a JSON line"),
        (b'{"location_id":"a"', "not a JSON line"),
        (b'{"location_id":"a"} x', "not a JSON line"),
        (b'{"value":1}', "location_id is missing"),
        (b'{"location_id":5}', "expected a record"),
        (b'{"location_id":""}', "location_id is empty"),
        (b"[]", "the array is empty"),
        (b'[{"value":1}]', "location_id is missing"),
        (b"17", "expected a record"),
        (b'{"location_id":"\xff"}', ""),
    ],
)
def test_a_line_that_cannot_be_keyed_is_told_with_its_number(line: bytes, said: str) -> None:
    first, bad = read_jsonl([b'{"location_id":"a"}\n', line])
    assert first.problem is None
    assert bad.number == 2
    assert bad.problem is not None
    assert said in bad.problem
