"""``tariff check`` on documents that are broken, doubtful or far too large."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_tariff import PEAK, REST, WORKDAYS, band, run, tariff


def test_two_different_tariffs_of_one_name_and_version_are_a_problem(tmp_path: Path) -> None:
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    one.write_text(json.dumps([tariff(REST), tariff(REST), tariff(PEAK, REST, version=2)]))
    other.write_text(json.dumps(tariff(PEAK, REST)))
    result = run("check", one, other)
    assert result.exit_code == 1
    assert result.stderr == f"Error: {other}: document: tariff 'tou/1' is another one than at {one}: [0]\n"


def test_a_line_that_is_no_json_hides_no_problem_of_another(tmp_path: Path) -> None:
    path = tmp_path / "tariffs.jsonl"
    path.write_text("\n".join([json.dumps(tariff(REST)), "{bad", json.dumps(tariff(REST, timezone="Mars")), "[1]"]))
    result = run("check", path)
    assert result.exit_code == 1
    assert [line.removeprefix(f"Error: {path}: ").split(" (")[0] for line in result.stderr.splitlines()] == [
        "line 2: not JSON: Expecting property name enclosed in double quotes at column 2",
        "line 4: [1] is not a document",
        "line 3: timezone: 'Mars' is not a time zone",
    ]
    assert f"{path}: line 1: valid" in result.stdout


@pytest.mark.parametrize("content", ["[]", '{"tariffs": []}'])
def test_a_file_without_documents_is_a_problem(content: str) -> None:
    result = run("check", "-", stdin=content)
    assert (result.exit_code, result.stderr) == (1, "Error: -: no document in it (expected at least one)\n")


def test_what_is_allowed_and_seldom_meant_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "tariffs.json"
    path.write_text(json.dumps(tariff(REST, taxes=[{"name": "VAT", "rate": "20"}], billing_period={"anchor_day": 15})))
    result = run("check", path)
    assert result.exit_code == 0
    assert [line.removeprefix(f"Warning: {path}: document: ") for line in result.stderr.splitlines()] == [
        "taxes[0].rate: '20' adds 2000 % (a tax of 5 % is '0.05')",
        "billing_period: has no effect, since tier_period is 'P1M' (expected 'BILLING')",
    ]
    assert run("check", "--strict", path).exit_code == 1


@pytest.mark.parametrize("columns", ["80", "100"])
def test_a_week_keeps_its_shape_in_a_narrow_terminal(tmp_path: Path, columns: str) -> None:
    file = tmp_path / "tariffs.json"
    file.write_text(json.dumps(tariff(PEAK, REST)))
    lines = run("check", file, COLUMNS=columns).stdout.splitlines()
    assert lines[1:] == run("check", file).stdout.splitlines()[1:]
    assert max(len(line) for line in lines[1:]) <= 80


def windows(number: int) -> list[dict[str, Any]]:
    """Return so many windows, each of a season and a time of its own."""
    return [
        {"from": f"{n % 12 + 1:02d}-{n % 28 + 1:02d}", "to": f"{n * 5 % 12 + 1:02d}-{n * 3 % 28 + 1:02d}",
         "days": WORKDAYS[n % 5 :], "start": f"{n % 24:02d}:{n % 60:02d}", "end": f"{n * 7 % 24:02d}:30"}
        for n in range(number)
    ]  # fmt: skip


def test_a_tariff_of_hundreds_of_windows_is_checked_and_drawn_in_part(tmp_path: Path) -> None:
    path = tmp_path / "tariffs.json"
    holidays = [f"{year}-12-25" for year in range(2000, 2030)]
    bands = [band(f"band {number}", "0.1", *windows(60)[number::6]) for number in range(6)]
    path.write_text(json.dumps(tariff(*bands, REST, holidays=holidays)))
    result = run("show", path)
    assert result.exit_code == 0
    assert "2011-12-25, and 18 more" in result.stdout
    assert 0 < result.stdout.count("    season") <= 24
    assert "more seasons, from" in result.stdout


def test_a_tariff_of_more_windows_than_anybody_has_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tariffs.json"
    bands = [band(f"band {number}", "0.1", *windows(100)) for number in range(21)]
    path.write_text(json.dumps(tariff(*bands, REST)))
    result = run("check", path)
    assert result.exit_code == 1
    assert result.stderr == f"Error: {path}: document: charges: 2100 windows in all (expected at most 2000)\n"
