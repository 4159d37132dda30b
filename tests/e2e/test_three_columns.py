"""CSV of three columns, from `meterstream send` through a worker to a price: half hours, months, export, and rows at fault."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.commands import BAD_INPUT, FAILED, Commands
from tests.e2e.topics import message_count
from tests.harness import Stream
from tests.making import flat_tariff

pytestmark = pytest.mark.broker

HEADER: Final = "metering_point,period_start,quantity\n"
ZONE: Final = "Europe/Berlin"
IMPORT_RATE: Final = Fraction("0.3131")
EXPORT_RATE: Final = Fraction("0.0786")


def home(location_id: str) -> dict[str, Any]:
    links = [{"direction": each, "tariff_id": f"csv-{each.lower()}"} for each in ("IMPORT", "EXPORT")]
    return {"location_id": location_id, "timezone": ZONE, "interval_minutes": 30, "tariffs": links}


@pytest.fixture(scope="module")
def folder(commands: Commands, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for files, with four locations and their tariffs loaded."""
    folder = tmp_path_factory.mktemp("csv")
    common: dict[str, Any] = {"currency": "EUR", "timezone": ZONE, "taxes": []}
    documents = [
        flat_tariff("csv-import", "0.3131", **common),
        flat_tariff("csv-export", "0.0786", direction="EXPORT", **common),
        *map(home, ("csv-first", "csv-second", "csv-roof", "csv-months")),
    ]
    (folder / "documents.json").write_text(json.dumps(documents))
    commands.succeed("load", folder / "documents.json")
    return folder


def await_priced(stream: Stream, location_id: str, count: int) -> dict[str, dict[str, Any]]:
    """Wait for the complete intervals of a location, and return them by their start."""

    def priced() -> dict[str, dict[str, Any]]:
        return {each["start_time"]: each for each in stream.priced(location_id) if each["complete"]}

    stream.wait(lambda: len(priced()) >= count, f"{count} intervals of {location_id}")
    return priced()


# The night on which the clock is put forward over 02:00 to 03:00.
CLOCK: Final = ("22:00", "22:30", "23:00", "23:30"), ("00:00", "00:30", "01:00", "01:30", "03:00", "03:30")
STARTS: Final = [f"2025-03-29 {each}" for each in CLOCK[0]] + [f"2025-03-30 {each}" for each in CLOCK[1]]
STARTS_UTC: Final = [f"2025-03-29T{hour}:{minute}:00Z" for hour in (21, 22, 23) for minute in ("00", "30")] + [
    f"2025-03-30T{hour}:{minute}:00Z" for hour in ("00", "01") for minute in ("00", "30")
]


def test_good_rows_are_priced_and_each_bad_row_is_told(commands: Commands, product: Stream, folder: Path) -> None:
    quantities = {"DE-1": [f"{n}.25" for n in range(10)], "DE-2": [f"0.{n:03d}" for n in range(10)]}
    good = [f"{point},{start},{quantities[point][n]}" for n, start in enumerate(STARTS) for point in quantities]
    wrong = [
        ("DE-1,2025-03-30 02:30,1", "period_start '2025-03-30 02:30' does not exist in Europe/Berlin: "),
        ("DE-1,2025-03-30 04:00,one", "quantity 'one' is not a number"),
        ('DE-1,2025-03-30 04:30,"1,5"', "quantity '1,5' is not a number; the decimal sign must be a point"),
        ("DE-1,2025-03-30 05:00,", "quantity is empty (missing is not zero)"),
        ("DE-9,2025-03-30 04:00,1", "metering point 'DE-9' is not in the map"),
        ("DE-1,2025-03-30 05:30", "expected 3 fields, got 2"),
        ("DE-1,yesterday,1", "period_start 'yesterday' is not a timestamp"),
    ]
    (folder / "half-hours.csv").write_text(HEADER + "\n".join([*good, *(row for row, _ in wrong)]) + "\n")
    (folder / "points.csv").write_text("metering_point,location_id\nDE-1,csv-first\nDE-2,csv-second\n")
    options = ["--map", folder / "points.csv", "--timezone", ZONE, "--failures", folder / "failures.jsonl"]
    done = commands.run("send", *options, folder / "half-hours.csv")
    assert done.returncode == FAILED
    assert done.stdout == "submitted 20 records in 2 messages\naccepted  20 by the broker\nfailed    7\n"
    failures = [json.loads(line) for line in (folder / "failures.jsonl").read_text().splitlines()]
    told = done.stderr.splitlines()
    for number, ((_, reason), line, failure) in enumerate(zip(wrong, told, failures, strict=True), start=22):
        assert line.startswith(f"  {folder}/half-hours.csv:{number}: {reason}")
        assert line == f"  {failure['file']}:{failure['row']}: {failure['reason']}"
    for location_id, point in (("csv-first", "DE-1"), ("csv-second", "DE-2")):
        priced = await_priced(product, location_id, len(STARTS))
        assert list(priced) == STARTS_UTC
        kwh = [Fraction(text) for text in quantities[point]]
        assert [Fraction(each["cost"]) for each in priced.values()] == [each * IMPORT_RATE for each in kwh]
        assert {each["tariff_direction"] for each in priced.values()} == {"IMPORT"}


def test_a_row_that_only_the_worker_can_judge_is_in_the_list_of_the_rejected(
    commands: Commands, product: Stream, folder: Path
) -> None:
    path = folder / "negative.csv"
    path.write_text(HEADER + "csv-first,2025-04-02 12:00,-1\ncsv-first,2025-04-02 12:30,2\n")
    said = commands.succeed("send", "--timezone", ZONE, path)
    assert said.splitlines()[1:] == ["accepted  2 by the broker", "failed    0"]
    product.wait(lambda: product.rejected("csv-first"), "the negative reading refused")
    listed = commands.run("rejected", "list", "--location", "csv-first")
    assert listed.returncode == 0
    assert "csv-first  negative_value: value: " in listed.stdout
    assert listed.stderr == "1 rejected: 1 negative_value\n"


def test_a_file_of_export_earns(commands: Commands, product: Stream, folder: Path) -> None:
    path = folder / "roof.csv"
    path.write_text(HEADER + "DE-3,2025-06-01T12:00:00+02:00,1.5\nDE-3,2025-06-01T12:30:00+02:00,0.001\n")
    commands.succeed("send", "--direction", "export", "--location", "csv-roof", path)
    priced = await_priced(product, "csv-roof", 2)
    assert list(priced) == ["2025-06-01T10:00:00Z", "2025-06-01T10:30:00Z"]
    assert [Fraction(each["cost"]) for each in priced.values()] == [-EXPORT_RATE * 3 / 2, -EXPORT_RATE / 1000]
    directions = {(each["energy_flow_direction"], each["tariff_direction"]) for each in priced.values()}
    assert directions == {("OUTBOUND", "EXPORT")}


def test_months_are_intervals_of_local_months(commands: Commands, product: Stream, folder: Path) -> None:
    path = folder / "months.csv"
    rows = ["2025-02-01 00:00,301.5", "2025-03-01 00:00,280.25", "2025-04-01 00:00,199.999"]
    path.write_text(HEADER + "".join(f"csv-months,{row}\n" for row in rows) + "DE-4,2025-02-02 00:00,1\n")
    done = commands.run("send", "--timezone", ZONE, path)
    assert (done.returncode, done.stdout.splitlines()[1:]) == (FAILED, ["accepted  3 by the broker", "failed    1"])
    assert done.stderr == (
        f"  {path}:5: period_start is 2025-02-02T00:00:00 in Europe/Berlin, not the beginning of a month\n"
    )
    priced = await_priced(product, "csv-months", 3)
    assert [(each["start_time"], each["end_time"], each["covered_seconds"] / 3600) for each in priced.values()] == [
        ("2025-01-31T23:00:00Z", "2025-02-28T23:00:00Z", 28 * 24),
        ("2025-02-28T23:00:00Z", "2025-03-31T22:00:00Z", 31 * 24 - 1),
        ("2025-03-31T22:00:00Z", "2025-04-30T22:00:00Z", 30 * 24),
    ]
    kwh = [Fraction(row.rpartition(",")[2]) for row in rows]
    assert [Fraction(each["cost"]) for each in priced.values()] == [each * IMPORT_RATE for each in kwh]


def test_a_file_of_two_granularities_is_refused_and_nothing_is_sent(
    commands: Commands, product: Stream, folder: Path
) -> None:
    good, mixed = folder / "good.csv", folder / "mixed.csv"
    quarters = [f"csv-roof,2025-07-01T00:{minute:02d}:00Z,1" for minute in (0, 15, 30, 45)]
    halves = [f"csv-first,2025-07-01T{hour:02d}:{minute},1" for hour in range(3) for minute in ("00:00Z", "30:00Z")]
    good.write_text(HEADER + "\n".join(quarters))
    mixed.write_text(HEADER + "\n".join([*quarters, *halves]))
    before = message_count(product.settings, product.names.records)
    done = commands.run("send", good, mixed)
    assert (done.returncode, done.stdout) == (BAD_INPUT, "")
    assert done.stderr.startswith(f"Error: {mixed}: steps of 15 minutes, but of 30 minutes ")
    assert len(done.stderr.splitlines()) == 1
    assert message_count(product.settings, product.names.records) == before
