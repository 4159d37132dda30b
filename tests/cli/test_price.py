"""``price``: the pipeline without Kafka, on files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.cli import main

LOCATION = {
    "location_id": "loc_1",
    "timezone": "Europe/London",
    "tariffs": [{"direction": "IMPORT", "tariff_id": "flat"}, {"direction": "EXPORT", "tariff_id": "feed-in"}],
}


def flat(tariff_id: str, direction: str, rate: str) -> dict[str, object]:
    tiers = [{"up_to_kwh": None, "rate": rate}]
    charge = {"charge_id": "energy", "kind": "energy", "bands": [{"name": "all", "when": [], "tiers": tiers}]}
    zone = "Europe/London"
    return {
        "tariff_id": tariff_id,
        "version": 1,
        "direction": direction,
        "currency": "GBP",
        "timezone": zone,
        "charges": [charge],
    }


def record(**changed: object) -> dict[str, object]:
    return {
        "location_id": "loc_1",
        "units": "KWH",
        "value": 0.5,
        "start_time": "2025-03-01T00:00:00Z",
        "end_time": "2025-03-01T00:30:00Z",
    } | changed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "locations.json").write_text(json.dumps([LOCATION]))
    tariffs = [flat("flat", "IMPORT", "0.30"), flat("feed-in", "EXPORT", "0.04")]
    (tmp_path / "tariffs.jsonl").write_text("\n".join(map(json.dumps, tariffs)))
    return tmp_path


def price(folder: Path, records: Path, *options: str) -> Result:
    documents = ["--locations", str(folder / "locations.json"), "--tariffs", str(folder / "tariffs.jsonl")]
    return CliRunner().invoke(main, ["price", str(records), *documents, *options])


def priced(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_json_lines_are_priced_sorted_and_summed_up(folder: Path) -> None:
    records = folder / "records.jsonl"
    later = record(start_time="2025-03-01T00:30:00Z", end_time="2025-03-01T01:00:00Z")
    records.write_text("\n".join(map(json.dumps, [later, record()])))
    result = price(folder, records)
    assert result.exit_code == 0
    assert [(one["start_time"], one["cost"]) for one in priced(result)] == [
        ("2025-03-01T00:00:00Z", "0.15"),
        ("2025-03-01T00:30:00Z", "0.15"),
    ]
    assert "2 input" in result.stderr


def test_csv_is_priced(folder: Path) -> None:
    records = folder / "export.csv"
    records.write_text(
        "metering_point,period_start,quantity\nMP,2025-03-01 00:00,1\nMP,2025-03-01 00:30,x\nMP,2025-03-01 01:00,2"
    )
    result = price(folder, records, "--location", "loc_1", "--direction", "export", "--timezone", "Europe/London")
    assert [one["cost"] for one in priced(result)] == ["-0.04", "-0.08"]
    assert "export.csv:3: quantity 'x' is not a number" in result.stderr
    assert "1 unreadable" in result.stderr


def test_what_is_rejected_goes_to_its_file_and_fails_only_when_strict(folder: Path) -> None:
    records = folder / "records.jsonl"
    records.write_text(json.dumps(record()) + "\nnonsense\n" + json.dumps(record(value=-1)))
    rejected = folder / "rejected.jsonl"
    result = price(folder, records, "--rejected", str(rejected))
    assert result.exit_code == 0
    assert len(priced(result)) == 1
    assert [json.loads(line)["error"] for line in rejected.read_text().splitlines()] == [
        "malformed_json",
        "negative_value",
    ]
    assert price(folder, records, "--strict").exit_code == 1


def test_documents_are_checked_first_all_of_them(folder: Path) -> None:
    records = folder / "records.jsonl"
    records.write_text(json.dumps(record()))
    (folder / "locations.json").write_text(json.dumps([LOCATION | {"timezone": "Mars"}, LOCATION | {"colour": 1}]))
    result = price(folder, records)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 2
    assert all(f"Error: {folder}/locations.json: [" in line for line in result.stderr.splitlines())


SERIES = {
    "series_id": "MARKET",
    "kind": "price",
    "unit": "GBP/kWh",
    "points": [{"start_time": "2025-03-01T00:00:00Z", "end_time": "2025-03-01T00:30:00Z", "value": "0.10"}],
}


def market(tariff_id: str) -> dict[str, object]:
    charge = {"charge_id": "energy", "kind": "energy", "series": {"series_id": "MARKET"}}
    return flat(tariff_id, "IMPORT", "0") | {"charges": [charge]}


@pytest.mark.parametrize("option", ["--locations", "--tariffs", "--series"])
def test_one_file_may_hold_documents_of_all_kinds(folder: Path, option: str) -> None:
    records, everything = folder / "records.jsonl", folder / "everything.json"
    records.write_text(json.dumps(record()))
    everything.write_text(json.dumps([market("flat"), SERIES, LOCATION]))
    result = CliRunner().invoke(main, ["price", str(records), option, str(everything)])
    assert [(one["tariff_id"], one["cost"]) for one in priced(result)] == [("flat", "0.05")]


def test_a_file_that_is_named_by_two_options_is_read_once(folder: Path) -> None:
    records, imported = folder / "records.jsonl", folder / "imported.jsonl"
    records.write_text(json.dumps(record()))
    imported.write_text("\n".join(map(json.dumps, [market("flat"), SERIES])))
    documents = ["--locations", str(folder / "locations.json"), "--tariffs", str(imported), "--series", str(imported)]
    result = CliRunner().invoke(main, ["price", str(records), *documents])
    assert [(one["tariff_id"], one["cost"]) for one in priced(result)] == [("flat", "0.05")]
    imported.write_text("{")
    result = CliRunner().invoke(main, ["price", str(records), *documents])
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)


def test_different_documents_of_one_name_in_two_files_are_refused(folder: Path) -> None:
    records, other = folder / "records.jsonl", folder / "other.json"
    records.write_text(json.dumps(record()))
    other.write_text(json.dumps([flat("flat", "IMPORT", "0.99")]))
    result = price(folder, records, "--series", str(other))
    assert result.exit_code == 2
    assert "tariff 'flat/1' is another one than at " in result.stderr


def test_without_a_tariff_intervals_are_pending(folder: Path) -> None:
    records = folder / "records.jsonl"
    records.write_text(json.dumps(record()))
    result = CliRunner().invoke(main, ["price", str(records), "--locations", str(folder / "locations.json")])
    assert [(one["status"], one["reason"]) for one in priced(result)] == [("pending", "no_tariff")]


@pytest.mark.parametrize("options", [(), ("--tariffs", "tariffs.jsonl")])
def test_at_least_one_location_is_expected(folder: Path, options: tuple[str, ...]) -> None:
    records = folder / "records.jsonl"
    records.write_text(json.dumps(record()))
    given = [str(folder / one) if "." in one else one for one in options]
    result = CliRunner().invoke(main, ["price", str(records), *given])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no location among the documents" in result.stderr


def test_who_reads_only_the_first_line_hears_no_complaint(folder: Path) -> None:
    records = folder / "records.jsonl"
    days = [(f"2025-{month:02}-{day:02}T00", day) for month in range(1, 13) for day in range(1, 29)]
    lines = [record(start_time=f"{at}:00:00Z", end_time=f"{at}:30:00Z", value=day) for at, day in days]
    records.write_text("\n".join(map(json.dumps, lines)))  # priced, more than a pipe holds
    documents = ["--locations", str(folder / "locations.json"), "--tariffs", str(folder / "tariffs.jsonl")]
    command = [sys.executable, "-m", "app.cli", "price", str(records), *documents]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["start_time"] == "2025-01-01T00:00:00Z"
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (1, "")


def test_nothing_of_kafka_is_imported(folder: Path) -> None:
    records = folder / "records.jsonl"
    records.write_text(json.dumps(record()))
    arguments = [
        "price",
        str(records),
        "--locations",
        f"{folder}/locations.json",
        "--tariffs",
        f"{folder}/tariffs.jsonl",
    ]
    code = (
        f"import sys\nfrom app.cli import main\nmain({arguments!r}, standalone_mode=False)\n"
        "print({'aiokafka', 'faust', 'rocksdict'} & {name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
    assert len(done.stdout.splitlines()) == 2
