"""``load --check``: every problem of every file, with its place."""

import json
from pathlib import Path

from click.testing import CliRunner, Result

from app.cli import main

LOCATION = {"location_id": "loc_1", "timezone": "Europe/London"}


def check(*paths: Path) -> Result:
    return CliRunner().invoke(main, ["load", "--check", *map(str, paths)])


def test_documents_of_all_kinds_may_stand_in_any_file(tmp_path: Path) -> None:
    point = {"start_time": "2025-03-01T00:00:00Z", "end_time": "2025-03-01T01:00:00Z", "value": "0.1"}
    series = {"series_id": "A", "kind": "price", "unit": "GBP/kWh", "points": [point]}
    path = tmp_path / "all.json"
    path.write_text(json.dumps([LOCATION, series, LOCATION]))
    result = check(path)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == ["valid 1 locations", "valid 0 tariffs", "valid 1 series"]


def test_every_problem_of_every_file_is_told_with_its_place(tmp_path: Path) -> None:
    one, other = tmp_path / "one.json", tmp_path / "other.jsonl"
    one.write_text(json.dumps([LOCATION | {"timezone": "Mars", "interval_minutes": 7}]))
    other.write_text(json.dumps({"location_id": "loc_2"}) + "\n" + json.dumps({"colour": 1}))
    result = check(one, other, tmp_path / "none.json")
    lines = result.stderr.splitlines()
    assert result.exit_code == 2
    assert result.stdout == ""
    assert lines[0].startswith(f"Error: {one}: [0]: timezone: 'Mars'")
    assert lines[1].startswith(f"Error: {one}: [0]: interval_minutes: 7")
    assert lines[2].startswith(f"Error: {other}: line 1: timezone: missing")
    assert lines[3].startswith(f"Error: {other}: line 2: not a document")
    assert lines[4] == f"Error: {tmp_path}/none.json: cannot be read: No such file or directory"


def test_two_different_documents_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "locations.json"
    path.write_text(json.dumps([LOCATION, LOCATION | {"timezone": "Europe/Berlin"}]))
    result = check(path)
    assert result.exit_code == 2
    assert f"{path}: [1]: location 'loc_1' is another one than at {path}: [0]" in result.stderr
