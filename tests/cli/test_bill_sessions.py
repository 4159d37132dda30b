"""``bill`` from files with charging sessions."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from app.cli import main
from tests.cli.test_bill import RECORDS, Files
from tests.golden_bills.making import Json, energy, location, record, tariff

START: Json = {"charge_id": "start", "kind": "session", "per": "session"}
START["bands"] = [{"name": "any", "when": [], "amount": "0.35"}]
TIME: Json = {"charge_id": "time", "kind": "session", "per": "hour"}
TIME["bands"] = [{"name": "any", "when": [], "amount": "1.20", "step_seconds": 900}]
SESSION = record("2025-03-03T10:00:00Z", "2025-03-03T10:40:00Z", 4, device_id="car", session_reference_id="s")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Return documents that charge for sessions, and records that tell one."""
    files = Files(tmp_path)
    files.write("documents.json", [location("tou"), tariff(energy(), START, TIME)])
    files.records(*(one for one in RECORDS if one["energy_flow_direction"] == "INBOUND"), SESSION)
    return files


def test_charging_sessions_are_billed_shown_and_drawn(files: Files) -> None:
    rows = [" ".join(line.split()) for line in files.run("--plot", files.path("bill.svg")).stdout.splitlines()]
    assert "start any 1 session 0.35 0.35 0.00 0.35" in rows
    assert "time any 0.75 hours 1.20 0.90 0.00 0.90" in rows
    assert "Month IMPORT kWh energy session cost" in rows
    assert ">session<" in Path(files.path("bill.svg")).read_text(encoding="utf-8")


def test_a_device_is_billed_with_its_own_sessions(files: Files) -> None:
    lines = files.bill("--device", "car")["lines"]
    assert [(line["kind"], line["total"]) for line in lines] == [
        ("energy", "1.2"),
        ("session", "0.35"),
        ("session", "0.9"),
    ]


def test_priced_records_do_not_tell_sessions_and_the_bill_says_so(files: Files) -> None:
    arguments = ["price", files.path("records.jsonl"), "--locations", files.path("documents.json")]
    files.write("priced.jsonl", CliRunner().invoke(main, arguments).stdout)
    result = files.run("--priced", files.path("priced.jsonl"), "--strict")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-3:] == [
        "Not complete",
        "  IMPORT, own meter",
        "    2025-03-03 00:00+00:00 to 2025-03-05 00:00+00:00  unbilled (sessions_unknown)",
    ]
    assert {line["kind"] for line in files.bill("--priced", files.path("priced.jsonl"))["lines"]} == {"energy"}
