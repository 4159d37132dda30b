"""NEM12: channels, qualities, units and times become records; what is left out is told."""

import zipfile
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.importers.nem12 import read_nem12
from app.importers.rows import FileError, Locations, Row

HEADER = "100,NEM12,202304120954,MDP,RETAIL"
END = "900"


def details(nmi: str = "NMI1", suffix: str = "E1", unit: str = "kWh", minutes: int = 30) -> str:
    return f"200,{nmi},E1B1,{suffix},{suffix},N1,SERIAL,{unit},{minutes},"


def day(*values: str, date: str = "20230301", quality: str = "A", minutes: int = 30) -> str:
    filled = [*values, *("0.5",) * (1440 // minutes - len(values))]
    return f"300,{date},{','.join(filled)},{quality},,,20230302000000,"


def write(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "nem12.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def rows_of(path: Path, locations: Locations | None = None) -> list[Row]:
    return list(read_nem12(path, locations or Locations()))


def records_of(rows: list[Row]) -> list[dict[str, Any]]:
    return [msgspec.json.decode(row.value) for row in rows if row.problem is None and row.skipped is None]


def test_a_reading_becomes_a_record_in_eastern_standard_time(tmp_path: Path) -> None:
    rows = rows_of(write(tmp_path, HEADER, details(), day(".048", "1.25"), END), Locations(everywhere="loc_1"))
    records = records_of(rows)
    assert len(records) == 48
    assert records[0] == {
        "location_id": "loc_1",
        "energy_flow_direction": "INBOUND",
        "tariff_direction": "IMPORT",
        "record_reference_id": "NMI1/E1@2023-03-01T00:00:00+10:00",
        "units": "KWH",
        "confidence": 1,
        "value": 0.048,
        "start_time": "2023-03-01T00:00:00+10:00",
        "end_time": "2023-03-01T00:30:00+10:00",
    }
    assert records[-1]["end_time"] == "2023-03-02T00:00:00+10:00"
    assert [row.number for row in rows] == list(range(1, 49))


def test_b_channels_are_export(tmp_path: Path) -> None:
    records = records_of(rows_of(write(tmp_path, HEADER, details(suffix="B1"), day(), END)))
    assert {(one["energy_flow_direction"], one["tariff_direction"]) for one in records} == {("OUTBOUND", "EXPORT")}


def test_a_second_channel_of_one_direction_is_a_device_and_overwrites_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER, details(), day("1"), details(suffix="E2"), day("2"), END)
    records = records_of(rows_of(path))
    assert {one.get("device_id") for one in records} == {None, "NMI1/E2"}


@pytest.mark.parametrize(
    ("unit", "units", "value"), [("kWh", "KWH", "1.1"), ("WH", "WH", "1.1"), ("MWh", "KWH", "1100.0")]
)
def test_units_of_energy_are_exact(tmp_path: Path, unit: str, units: str, value: str) -> None:
    rows = rows_of(write(tmp_path, HEADER, details(unit=unit), day("1.1"), END))
    assert f'"units":"{units}","confidence":1,"value":{value},'.encode() in rows[0].value


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((details(suffix="Q1", unit="kVArh"), day()), "channel Q1 is neither import (E) nor export (B)"),
        ((details(unit="kVArh"), day()), "unit kVArh is not energy"),
        ((details(), day(quality="N")), "quality N"),
    ],
)
def test_what_is_not_for_us_is_skipped_and_counted(tmp_path: Path, lines: tuple[str, ...], said: str) -> None:
    rows = rows_of(write(tmp_path, HEADER, *lines, END))
    assert len(rows) == 48
    assert all(row.skipped and said in row.skipped for row in rows)


@pytest.mark.parametrize(("quality", "confidence"), [("A", 1), ("F16", 0.9), ("S14", 0.8), ("E52", 0.7)])
def test_an_estimate_has_less_confidence(tmp_path: Path, quality: str, confidence: float) -> None:
    records = records_of(rows_of(write(tmp_path, HEADER, details(), day(quality=quality), END)))
    assert {one["confidence"] for one in records} == {confidence}


def test_qualities_may_vary_within_a_day(tmp_path: Path) -> None:
    lines = (day(quality="V"), "400,1,20,A,,", "400,21,30,S14,32,", "400,31,48,N,,")
    rows = rows_of(write(tmp_path, HEADER, details(), *lines, END))
    assert [one["confidence"] for one in records_of(rows)] == [1] * 20 + [0.8] * 10
    assert sum(row.skipped is not None for row in rows) == 18


def test_a_quality_that_nobody_knows_is_a_problem(tmp_path: Path) -> None:
    rows = rows_of(write(tmp_path, HEADER, details(), day(quality="V"), END))
    assert len(rows) == 48
    assert all(row.problem and "quality 'V'" in row.problem for row in rows)


def test_a_later_version_of_a_day_comes_later(tmp_path: Path) -> None:
    records = records_of(rows_of(write(tmp_path, HEADER, details(), day("1"), day("2"), END)))
    assert [one["value"] for one in records if one["start_time"].startswith("2023-03-01T00:00")] == [1, 2]


@pytest.mark.parametrize("value", ["", "abc", "nan", "inf"])
def test_a_value_that_is_no_number_is_a_problem_of_its_reading(tmp_path: Path, value: str) -> None:
    rows = rows_of(write(tmp_path, HEADER, details(), day("1", value), END))
    assert [(row.number, row.problem) for row in rows if row.problem] == [
        (2, "2023-03-01T00:30:00+10:00: there is no number, and the quality is not N")
    ]


def test_a_day_with_too_few_values_is_told_and_not_only_logged(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER, details(), "300,20230301,1,2,3,A,,,20230302000000,", day(date="20230302"), END)
    rows = rows_of(path)
    assert len(records_of(rows)) == 48
    (problem,) = [row.problem for row in rows if row.problem]
    assert problem is not None
    assert "20230301" in problem


def test_a_file_that_was_cut_off_is_told(tmp_path: Path) -> None:
    rows = rows_of(write(tmp_path, HEADER, details(), day()))
    assert len(records_of(rows)) == 48
    assert [row.problem for row in rows if row.problem] == ["Missing end of data (900) row."]


def test_two_meters_at_one_location_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER, details(), day(), details(nmi="NMI2"), day(), END)
    rows = rows_of(path, Locations(everywhere="loc_1"))
    assert len(records_of(rows)) == 48
    assert sum("would overwrite each other" in (row.problem or "") for row in rows) == 48


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("metering_point,period_start,quantity",), "not a NEM12 file"),
        (("100,NEM13,202304120954,MDP,RETAIL", END), "accumulated readings"),
        ((HEADER, details(), day("1").replace("300,20230301", "300,202303"), END), "not a NEM12 file"),
        ((HEADER, details(), day(), "400,9,3,A,,", END), "line 4"),
        ((), "not a NEM12 file"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, lines: tuple[str, ...], said: str) -> None:
    with pytest.raises(FileError, match=said):
        rows_of(write(tmp_path, *lines))


def test_a_file_that_is_not_there_is_a_file_error(tmp_path: Path) -> None:
    with pytest.raises(FileError):
        rows_of(tmp_path / "none.csv")


def test_a_zipped_file_is_read_too(tmp_path: Path) -> None:
    plain = write(tmp_path, HEADER, details(), day(), END)
    packed = tmp_path / "nem12.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(plain, "nem12.csv")
    assert rows_of(packed) == rows_of(plain)
