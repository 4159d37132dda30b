"""CSV: the granularity follows from the file, quantities stay exact, local times are resolved or refused."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.importers.csv_readings import CsvOptions, read_csv
from app.importers.rows import FileError, Locations, Row

HEADER = "metering_point,period_start,quantity"


def write(tmp_path: Path, *lines: str, header: str = HEADER) -> Path:
    path = tmp_path / "readings.csv"
    path.write_text("\n".join((header, *lines)) + "\n", encoding="utf-8")
    return path


def rows_of(path: Path, options: CsvOptions | None = None, locations: Locations | None = None) -> list[Row]:
    return list(read_csv(path, options or CsvOptions(), locations or Locations()))


def records_of(rows: list[Row]) -> list[dict[str, Any]]:
    assert [row.problem for row in rows] == [None] * len(rows)
    return [msgspec.json.decode(row.value) for row in rows]


def problems_of(rows: list[Row]) -> list[tuple[int, str]]:
    return [(row.number, row.problem) for row in rows if row.problem is not None]


def series(point: str, start: datetime, step: timedelta, count: int) -> list[str]:
    return [f"{point},{(start + n * step).isoformat()},{n}.5" for n in range(count)]


def test_a_row_becomes_a_record(tmp_path: Path) -> None:
    path = write(tmp_path, "MP1,2025-03-01T00:00:00Z,0.512", "MP1,2025-03-01T01:15:00+01:00,0.25")
    first, second = records_of(rows_of(path, locations=Locations({"MP1": "loc_1"})))
    assert first == {
        "location_id": "loc_1",
        "energy_flow_direction": "INBOUND",
        "tariff_direction": "IMPORT",
        "record_reference_id": "MP1@2025-03-01T00:00:00Z",
        "units": "KWH",
        "value": 0.512,
        "start_time": "2025-03-01T00:00:00Z",
        "end_time": "2025-03-01T00:15:00Z",
    }
    assert (second["start_time"], second["end_time"]) == ("2025-03-01T00:15:00Z", "2025-03-01T00:30:00Z")


def test_export_has_the_other_directions(tmp_path: Path) -> None:
    path = write(tmp_path, *series("a", datetime(2025, 3, 1, tzinfo=UTC), timedelta(minutes=5), 2))
    (record, _) = records_of(rows_of(path, CsvOptions(direction="export")))
    assert (record["energy_flow_direction"], record["tariff_direction"]) == ("OUTBOUND", "EXPORT")


@pytest.mark.parametrize("minutes", [5, 10, 15, 30, 60])
def test_the_smallest_step_is_the_granularity_and_gaps_are_fine(tmp_path: Path, minutes: int) -> None:
    start = datetime(2025, 3, 1, tzinfo=UTC)
    steps = [0, 1, 2, 5, 6, 50]
    path = write(tmp_path, *(f"a,{(start + timedelta(minutes=minutes * n)).isoformat()},1" for n in steps))
    for record in records_of(rows_of(path)):
        start_at, end_at = (datetime.fromisoformat(record[name]) for name in ("start_time", "end_time"))
        assert end_at - start_at == timedelta(minutes=minutes)


def test_points_in_turn_are_told_apart(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "a,2025-03-01T00:00:00Z,1",
        "b,2025-03-01T00:00:00Z,1",
        "a,2025-03-01T00:30:00Z,1",
        "b,2025-03-01T00:30:00Z,1",
    )
    assert {record["end_time"] for record in records_of(rows_of(path))} == {
        "2025-03-01T00:30:00Z",
        "2025-03-01T01:00:00Z",
    }


@pytest.mark.parametrize("step", [timedelta(minutes=20), timedelta(minutes=7), timedelta(hours=2), timedelta(days=1)])
def test_another_step_is_refused(tmp_path: Path, step: timedelta) -> None:
    path = write(tmp_path, *series("a", datetime(2025, 3, 1, tzinfo=UTC), step, 4))
    with pytest.raises(FileError, match="expected 5, 10, 15, 30 or 60 minutes, or a month"):
        rows_of(path)


def test_two_granularities_at_two_points_are_refused(tmp_path: Path) -> None:
    start = datetime(2025, 3, 1, tzinfo=UTC)
    path = write(tmp_path, *series("a", start, timedelta(minutes=15), 4), *series("b", start, timedelta(minutes=30), 2))
    with pytest.raises(FileError, match="steps of 15 minutes, but of 30 minutes at metering point 'b'"):
        rows_of(path)
    assert len(records_of(rows_of(path, CsvOptions(granularity="15")))) == 6


def test_two_granularities_one_after_the_other_are_refused(tmp_path: Path) -> None:
    start = datetime(2025, 3, 1, tzinfo=UTC)
    later = start + timedelta(hours=10)
    path = write(tmp_path, *series("a", start, timedelta(hours=1), 10), *series("a", later, timedelta(minutes=30), 10))
    with pytest.raises(FileError, match=r"steps of 30 minutes, but of 60 minutes up to line \d+"):
        rows_of(path)


def test_a_single_start_asks_for_the_granularity(tmp_path: Path) -> None:
    path = write(tmp_path, "a,2025-03-01T00:00:00Z,1", "b,2025-03-01T00:00:00Z,1")
    with pytest.raises(FileError, match="give --granularity"):
        rows_of(path)
    assert len(records_of(rows_of(path, CsvOptions(granularity="30")))) == 2


def test_a_start_that_stands_twice_is_a_correction_and_keeps_its_place(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "a,2025-03-01T00:00:00Z,1",
        "a,2025-03-01T00:15:00Z,2",
        "a,2025-03-01T00:00:00Z,3",
        "a,2025-03-01T00:00:00Z,4",
    )
    assert [record["value"] for record in records_of(rows_of(path))] == [1, 2, 3, 4]


def test_a_start_between_the_steps_is_a_problem_of_its_row(tmp_path: Path) -> None:
    path = write(tmp_path, "a,2025-03-01T00:00:00Z,1", "a,2025-03-01T00:15:00Z,2", "a,2025-03-01T00:50:00Z,3")
    assert problems_of(rows_of(path)) == [
        (4, "period_start is not whole steps of 15 minutes after the metering point's first one")
    ]


def test_months_are_local_months(tmp_path: Path) -> None:
    path = write(
        tmp_path, "a,2025-02-01T00:00:00+01:00,10", "a,2025-03-01T00:00:00+01:00,20", "a,2025-04-01T00:00:00+02:00,30"
    )
    records = records_of(rows_of(path, CsvOptions(timezone="Europe/Berlin")))
    assert [(record["start_time"], record["end_time"]) for record in records] == [
        ("2025-01-31T23:00:00Z", "2025-02-28T23:00:00Z"),
        ("2025-02-28T23:00:00Z", "2025-03-31T22:00:00Z"),
        ("2025-03-31T22:00:00Z", "2025-04-30T22:00:00Z"),
    ]


def test_months_need_a_timezone(tmp_path: Path) -> None:
    path = write(tmp_path, "a,2025-02-01T00:00:00Z,10", "a,2025-03-01T00:00:00Z,20")
    with pytest.raises(FileError, match="monthly readings need a timezone"):
        rows_of(path)
    assert problems_of(rows_of(path, CsvOptions(timezone="Europe/Berlin"))) == [
        (2, "period_start is 2025-02-01T01:00:00 in Europe/Berlin, not the beginning of a month"),
        (3, "period_start is 2025-03-01T01:00:00 in Europe/Berlin, not the beginning of a month"),
    ]


def test_naive_times_are_refused_without_a_timezone(tmp_path: Path) -> None:
    path = write(tmp_path, "a,2025-03-01T00:00:00,1", "a,2025-03-01T00:30:00Z,1", "a,2025-03-01T01:00:00Z,1")
    ((number, problem),) = problems_of(rows_of(path))
    assert number == 2
    assert "no UTC offset" in problem
    assert "--timezone" in problem


def test_naive_times_are_the_wall_clock_of_the_timezone(tmp_path: Path) -> None:
    path = write(tmp_path, "a,2025-03-30 01:00,1", "a,2025-03-30 01:30,1", "a,2025-03-30 03:00,1")
    records = records_of(rows_of(path, CsvOptions(timezone="Europe/Berlin")))
    assert [record["start_time"] for record in records] == [
        "2025-03-30T00:00:00Z",
        "2025-03-30T00:30:00Z",
        "2025-03-30T01:00:00Z",
    ]


def test_a_time_that_the_spring_leaves_out_is_a_problem(tmp_path: Path) -> None:
    path = write(tmp_path, "a,2025-03-30T01:00:00,1", "a,2025-03-30T01:30:00,1", "a,2025-03-30T02:30:00,1")
    ((number, problem),) = problems_of(rows_of(path, CsvOptions(timezone="Europe/Berlin")))
    assert number == 4
    assert "does not exist in Europe/Berlin" in problem


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", datetime(2025, 10, 25, 22, tzinfo=UTC), 25),
        ("Europe/London", datetime(2025, 10, 25, 23, tzinfo=UTC), 25),
    ],
)
@pytest.mark.parametrize("minutes", [5, 15, 30, 60])
def test_the_double_hour_of_autumn_is_resolved_by_the_order_of_the_rows(
    tmp_path: Path, zone: str, day: datetime, hours: int, minutes: int
) -> None:
    from zoneinfo import ZoneInfo  # noqa: PLC0415

    starts = [day + timedelta(minutes=minutes * n) for n in range(hours * 60 // minutes)]
    walls = [at.astimezone(ZoneInfo(zone)).replace(tzinfo=None).isoformat() for at in starts]
    assert len(set(walls)) < len(walls)
    path = write(tmp_path, *(f"{point},{wall},1" for wall in walls for point in ("a", "b")))
    records = records_of(rows_of(path, CsvOptions(timezone=zone)))
    assert [record["start_time"] for record in records if record["location_id"] == "a"] == [
        at.isoformat().replace("+00:00", "Z") for at in starts
    ]


def test_the_double_hour_is_refused_when_the_order_does_not_tell(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "a,2025-10-26T02:00:00,1",  # the file begins in it
        "a,2025-10-26T02:30:00,1",
        "a,2025-10-26T03:00:00,1",
        "a,2025-10-26T03:30:00,1",
        "a,2025-10-26T02:00:00,1",  # it comes back out of order
    )
    assert [number for number, _ in problems_of(rows_of(path, CsvOptions(timezone="Europe/Berlin")))] == [2, 3, 6]


@pytest.mark.parametrize("text", ["0.512", "1234567.123456789", "0", "12", "-1.5", "0.10"])
def test_a_quantity_is_kept_digit_for_digit(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, f"a,2025-03-01T00:00:00Z,{text}", "a,2025-03-01T00:15:00Z,1")
    assert f'"value":{text},'.encode() in rows_of(path)[0].value


@pytest.mark.parametrize(
    ("text", "exact"), [(".5", "0.5"), ("+1.25", "1.25"), ("007", "7"), ("1e-3", "0.001"), (" 2 ", "2")]
)
def test_a_quantity_that_json_would_not_take_is_written_anew(tmp_path: Path, text: str, exact: str) -> None:
    path = write(tmp_path, f"a,2025-03-01T00:00:00Z,{text}", "a,2025-03-01T00:15:00Z,1")
    assert f'"value":{exact},'.encode() in rows_of(path)[0].value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "missing is not zero"),
        ("abc", "is not a number"),
        ("NaN", "is not a number"),
        ("Infinity", "is not a number"),
        ('"0,5"', "the decimal sign must be a point"),
        ("1e999999999", "is not a number"),
    ],
)
def test_a_quantity_that_is_no_number_is_a_problem_of_its_row(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, f"a,2025-03-01T00:00:00Z,{text}", "a,2025-03-01T00:15:00Z,1")
    ((number, problem),) = problems_of(rows_of(path))
    assert number == 2
    assert said in problem


def test_other_problems_of_rows_have_their_numbers(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "a,2025-03-01T00:00:00Z,1",
        "a,2025-03-01T00:15:00Z,1,extra",
        ",2025-03-01T00:15:00Z,1",
        "",
        "a,yesterday,1",
        "a,2025-03-01T00:15:00Z,1",
        "b,2025-03-01T00:15:00Z,1",
    )
    problems = problems_of(rows_of(path, locations=Locations({"a": "loc_1"})))
    assert [number for number, _ in problems] == [3, 4, 6, 8]
    assert "expected 3 fields, got 4" in problems[0][1]
    assert "metering_point is empty" in problems[1][1]
    assert "not a timestamp" in problems[2][1]
    assert "'b' is not in the map" in problems[3][1]


def test_columns_may_stand_in_any_order_among_others(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "1.5,x,2025-03-01T00:00:00Z,a",
        "2.5,y,2025-03-01T00:15:00Z,a",
        header="\ufeffQuantity,note,period_start,METERING_POINT",
    )
    assert [record["value"] for record in records_of(rows_of(path))] == [1.5, 2.5]


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("a,b,c", "metering_point, period_start, quantity is not in it"),
        ("metering_point;period_start;quantity", "the separator must be a comma"),
        ("metering_point,period_start,quantity,quantity", "quantity is not in it once"),
    ],
)
def test_another_header_is_refused(tmp_path: Path, header: str, said: str) -> None:
    with pytest.raises(FileError, match=said):
        rows_of(write(tmp_path, header=header))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(HEADER.encode() + b"\n\xff\xfe,1,2\n")
    with pytest.raises(FileError, match="cannot be read as CSV"):
        rows_of(path)


def test_an_unknown_timezone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="'Mars/Olympus' is no timezone"):
        rows_of(write(tmp_path), CsvOptions(timezone="Mars/Olympus"))


@given(st.text(min_size=1, max_size=8).filter(lambda text: text.strip() == text and text.isprintable()))
def test_any_name_of_a_point_comes_through(tmp_path_factory: pytest.TempPathFactory, point: str) -> None:
    import csv  # noqa: PLC0415

    path = tmp_path_factory.mktemp("names") / "x.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(
            [HEADER.split(","), [point, "2025-03-01T00:00:00Z", "1"], [point, "2025-03-01T00:05:00Z", "1"]]
        )
    assert [record["location_id"] for record in records_of(rows_of(path))] == [point, point]
