"""Files of every foreign format, from ``tariff import`` through ``tariff check`` to ``tariff show``."""

import json
from pathlib import Path

import pytest

from tests.cli.test_tariff import run

DATA = Path(__file__).parent.parent / "importers" / "tariffs" / "data"


@pytest.mark.parametrize(
    ("file", "options", "at", "rate"),
    [
        ("urdb/api_time_of_use.json", ("--timezone", "America/Los_Angeles"), "2024-07-02", " USD/kWh"),
        ("cdr/inclusive-ends.json", (), "2025-07-02", " AUD/kWh"),
        ("cdr/exclusive-ends.json", (), "2025-07-02", " AUD/kWh"),
        ("cdr/single-rate.json", (), "2025-07-02", "AUD/kWh"),
        ("octopus/agile.json", (), "2025-07-02", "follows the series"),
        ("octopus/two_registers.json", (), "2025-07-02", " GBP/kWh"),
        ("ocpi/day_night_weekend.json", ("--timezone", "Europe/Amsterdam"), "2025-07-02", " EUR/kWh"),
        ("flatpeak/seasons_and_tiers.json", ("--currency", "GBP"), "2025-07-02", "GBP/kWh"),
    ],
)
def test_what_is_imported_is_valid_and_has_a_rate(
    tmp_path: Path, file: str, options: tuple[str, ...], at: str, rate: str
) -> None:
    out = tmp_path / "tariffs.json"
    imported = run("import", file.partition("/")[0], DATA / file, *options, "--partial", "--out", out)
    assert (imported.exit_code, imported.stdout) == (0, "")
    documents = json.loads(out.read_text())
    checked = run("check", out)
    assert checked.exit_code == 0
    assert checked.stdout.count(": valid") == len(documents)
    shown = run("show", out, "--at", f"{at}T12:00:00Z")
    assert shown.exit_code == 0
    assert rate in shown.stdout
