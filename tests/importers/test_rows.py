"""Rows become messages, and metering points become locations."""

from pathlib import Path

import msgspec
import pytest

from app.importers.rows import FileError, Locations, Message, Row, group, read_map


def row(number: int, location_id: str, value: bytes = b"{}") -> Row:
    return Row(number, location_id, value)


def test_rows_of_a_location_are_put_together_in_their_order() -> None:
    rows = [row(1, "a", b"1"), row(2, "b", b"2"), row(3, "a", b"3"), row(4, "a", b"4"), row(5, "b", b"5")]
    messages = list(group(rows, 2))
    assert messages == [
        Message("a", b"[1,3]", 2, (1, 3)),
        Message("b", b"[2,5]", 2, (2, 5)),
        Message("a", b"4", 1, (4,)),
    ]


def test_one_row_a_message_leaves_the_values_as_they_are() -> None:
    assert list(group([row(1, "a", b' {"x": 1}')], 1)) == [Message("a", b' {"x": 1}', 1, (1,))]


def test_an_array_stays_a_message_of_its_own_and_keeps_its_place() -> None:
    rows = [row(1, "a", b"1"), Row(2, "a", b"[2,3]", records=2), row(3, "a", b"4")]
    assert [message.value for message in group(rows, 10) if isinstance(message, Message)] == [b"1", b"[2,3]", b"4"]


def test_no_message_grows_beyond_the_limit() -> None:
    messages = [one for one in group([row(n, "a", b"x" * 40) for n in range(10)], 100, 100) if isinstance(one, Message)]
    assert [message.records for message in messages] == [2, 2, 2, 2, 2]


def test_rows_without_a_record_pass_through() -> None:
    bad = Row(1, problem="wrong")
    assert list(group([bad, row(2, "a")], 5)) == [bad, Message("a", b"{}", 1, (2,))]


def test_nothing_is_lost_when_many_locations_wait() -> None:
    rows = [row(n, f"loc_{n % 60_000}", b"1") for n in range(120_000)]
    messages = [one for one in group(rows, 100) if isinstance(one, Message)]
    assert sorted(n for message in messages for n in message.rows) == list(range(120_000))


def test_two_points_at_one_location_are_refused() -> None:
    locations = Locations({"p1": "a", "p2": "a"})
    assert locations.of("p1") == "a"
    assert locations.of("p1") == "a"
    with pytest.raises(LookupError, match="'p1' and 'p2' are both at location 'a'"):
        locations.of("p2")
    with pytest.raises(LookupError, match="not in the map"):
        locations.of("p3")


@pytest.mark.parametrize(
    "text",
    ['{"p1": "a", "p2": "b"}', "metering_point,location_id\np1,a\n\np2,b\n", "p1,a\np2, b\n", "\ufeffp1,a\np2,b"],
)
def test_a_map_is_a_json_object_or_two_columns(tmp_path: Path, text: str) -> None:
    path = tmp_path / "map"
    path.write_text(text, encoding="utf-8")
    assert read_map(path) == {"p1": "a", "p2": "b"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"p1": 3}', "expected the name of a location, got 3"),
        ('{"p1": "a", "p1": "b"}', "'p1' is at 'a' and at 'b'"),
        ("{", "not JSON"),
        ("p1,a\np2\n", "line 2: expected metering_point,location_id"),
    ],
)
def test_a_map_that_is_wrong_says_where(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "map"
    path.write_text(text)
    with pytest.raises(FileError, match=said):
        read_map(path)


def test_a_map_that_is_not_there_is_a_file_error(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be read"):
        read_map(tmp_path / "none")


def test_joined_values_are_json() -> None:
    values = [msgspec.json.encode({"n": n}) for n in range(3)]
    (message,) = group([row(n, "a", value) for n, value in enumerate(values)], 3)
    assert isinstance(message, Message)
    assert msgspec.json.decode(message.value) == [{"n": 0}, {"n": 1}, {"n": 2}]
