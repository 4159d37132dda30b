"""``bill`` from files: what it reads, prints and draws, and how it says what cannot be billed."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner, Result

from app.cli import main
from tests.golden_bills.making import Json, energy, location, record, tariff

DAYS = ("--from", "2025-03-03", "--to", "2025-03-05")
BANDS = [
    {"name": "night", "when": [{"start": "00:00", "end": "07:00"}], "tiers": [{"up_to_kwh": None, "rate": "0.10"}]},
    {"name": "peak", "when": [{"start": "16:00", "end": "19:00"}], "tiers": [{"up_to_kwh": None, "rate": "0.40"}]},
    {"name": "day", "when": [], "tiers": [{"up_to_kwh": None, "rate": "0.20"}]},
]
STANDING = {"charge_id": "standing", "kind": "fixed", "per": "day", "amount": "0.50"}
TARIFFS = [
    tariff(energy(bands=BANDS), STANDING, taxes=[{"name": "VAT", "rate": "0.05"}]),
    tariff(energy("0.15"), tariff_id="out", direction="EXPORT"),
]


def day(on: str, kwh: float, **fields: Any) -> Json:
    end = datetime.fromisoformat(f"{on}T00:00:00+00:00") + timedelta(days=1)
    return record(f"{on}T00:00:00Z", end.strftime("%Y-%m-%dT%H:%M:%SZ"), kwh, **fields)


RECORDS = [
    day(on, kwh, energy_flow_direction=flow)
    for on in ("2025-03-03", "2025-03-04")
    for flow, kwh in (("INBOUND", 24), ("OUTBOUND", 4))
]


class Files:
    """A folder with documents and records, and the command that bills them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("documents.json", [location("tou", "out"), *TARIFFS])
        self.records(*RECORDS)

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def write(self, name: str, content: object) -> str:
        (self.folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
        return self.path(name)

    def records(self, *records: Json | str) -> None:
        self.write("records.jsonl", "\n".join(one if isinstance(one, str) else json.dumps(one) for one in records))

    def run(self, *options: str, days: tuple[str, ...] = DAYS, records: str = "records.jsonl") -> Result:
        given = ["--location", "loc_1", *days, "--locations", self.path("documents.json"), *options]
        if "--priced" not in options:
            given += ["--records", self.path(records)]
        return CliRunner().invoke(main, ["bill", *given])

    def bill(self, *options: str, **given: Any) -> Json:
        result = self.run("--json", *options, **given)
        assert result.exit_code == 0, result.stderr
        found: Json = json.loads(result.stdout)
        return found


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def refusal(result: Result) -> str:
    """Return the one line that says what is wrong."""
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    return line


# --- from files ---


def test_json_lines_are_billed(files: Files) -> None:
    bill = files.bill()
    assert bill["complete"]
    # night 14 x 0.10, peak 6 x 0.40, day 28 x 0.20, each with 5 % VAT; 1.00 standing; 8 x 0.15 exported
    assert [line["total"] for line in bill["lines"]] == ["1.47", "2.52", "5.88", "1.05", "-1.2"]
    assert bill["totals"][0]["total"] == "9.72"


def test_a_table_is_printed_by_default_and_fits_a_page(files: Files) -> None:
    result = files.run()
    assert result.exit_code == 0
    assert result.stdout == files.run("--table").stdout
    lines = result.stdout.splitlines()
    assert lines[0] == "Bill of loc_1, 2025-03-03 to 2025-03-04 inclusive, 2 days (Europe/London): complete"
    assert max(map(len, lines)) <= 100
    (total,) = [line.split() for line in lines if line.startswith("Total")]
    assert total == ["Total", "GBP", "9.20", "0.52", "9.72"]
    assert "  of it VAT 5 %: 0.52 GBP" in lines
    assert [line.split()[0] for line in lines if line.startswith("2025-")] == ["2025-03"]


def test_days_are_listed_when_they_are_asked_for(files: Files) -> None:
    rows = [line.split() for line in files.run("--days").stdout.splitlines() if line.startswith("2025-")]
    assert rows == [
        ["2025-03", "48.000", "8.000", "8.6700", "1.0500", "9.7200", "GBP"],
        ["2025-03-03", "24.000", "4.000", "4.3350", "0.5250", "4.8600", "GBP"],
        ["2025-03-04", "24.000", "4.000", "4.3350", "0.5250", "4.8600", "GBP"],
    ]


def test_what_is_missing_is_listed_by_meter(files: Files) -> None:
    files.records(*RECORDS[:-1])
    result = files.run()
    assert result.exit_code == 0
    assert "INCOMPLETE" in result.stdout.splitlines()[0]
    assert result.stdout.splitlines()[-3:] == [
        "Not complete: 48 intervals",
        "  EXPORT, own meter",
        "    2025-03-04 00:00+00:00 to 2025-03-05 00:00+00:00  missing, 48 intervals",
    ]
    assert files.run("--strict").exit_code == 1


def test_many_problems_are_counted_and_all_of_them_in_the_json(files: Files) -> None:
    hours = [f"2025-03-{day:02d}T{hour:02d}" for day in (3, 4) for hour in range(24)]
    files.records(*(record(f"{hour}:00:00Z", f"{hour}:30:00Z", 1) for hour in hours))
    assert files.run().stdout.splitlines()[-1] == "    … and 18 more ranges (--json names all)"
    assert len(files.bill()["problems"]) == 48


def test_what_price_prints_is_billed_alike(files: Files) -> None:
    arguments = ["price", files.path("records.jsonl"), "--locations", files.path("documents.json")]
    priced = CliRunner().invoke(main, arguments).stdout
    files.write("priced.jsonl", priced + "\n" + priced)  # twice: of one sequence the later record is kept
    assert files.bill("--priced", files.path("priced.jsonl")) == files.bill()
    given = [
        "bill",
        "--location",
        "loc_1",
        *DAYS,
        "--json",
        "--locations",
        files.path("documents.json"),
        "--priced",
        "-",
    ]
    assert json.loads(CliRunner().invoke(main, given, input=priced).stdout) == files.bill()


def test_csv_is_billed(files: Files) -> None:
    rows = "\n".join(f"MP,2025-03-{day:02d} {hour:02d}:00,1" for day in (3, 4) for hour in range(24))
    files.write("readings.csv", f"metering_point,period_start,quantity\n{rows}\n")
    read = ("--everywhere", "--timezone", "Europe/London")
    bill = files.bill(*read, records="readings.csv")
    assert bill["complete"]
    assert bill["meters"][0]["energy_kwh"] == "48"
    files.write("map.json", {"MP": "loc_1"})
    assert files.bill("--map", files.path("map.json"), *read[1:], records="readings.csv") == bill
    exported = files.bill(*read, "--direction", "export", records="readings.csv")
    assert [line["charge_id"] for line in exported["lines"]] == ["standing", "energy"]
    assert {problem["tariff_direction"] for problem in exported["problems"]} == {"IMPORT"}


def test_nem12_is_billed(files: Files) -> None:
    halves = ",".join(["0.5"] * 48)
    days = [f"300,{date},{halves},A,,,20250305000000,\n" for date in ("20250303", "20250304")]
    head = "100,NEM12,202503050000,MDP,RETAIL\n200,NMI1,E1,E1,E1,N1,SERIAL,kWh,30,\n"
    files.write("nem12.csv", head + "".join(days) + "900\n")
    place = location("tou", timezone="Australia/Brisbane")
    files.write("documents.json", [place, tariff(energy(bands=BANDS), timezone="Australia/Brisbane")])
    bill = files.bill("--everywhere", records="nem12.csv")
    assert bill["complete"]
    assert [line["quantity"] for line in bill["lines"]] == ["14", "6", "28"]


def test_several_files_are_one_bill(files: Files) -> None:
    files.records(*RECORDS[:2])
    more = files.write("more.jsonl", "\n".join(map(json.dumps, RECORDS[2:])))
    documents = [files.write("tariffs.json", TARIFFS), files.write("documents.json", location("tou", "out"))]
    assert files.bill("--records", more, "--tariffs", documents[0])["complete"]


def test_a_correction_changes_the_bill(files: Files) -> None:
    files.records(*RECORDS, day("2025-03-04", 48))
    assert files.bill()["meters"][0]["energy_kwh"] == "72"


def test_a_device_is_billed_by_itself(files: Files) -> None:
    files.records(*RECORDS, day("2025-03-03", 5, device_id="car"), day("2025-03-04", 5, device_id="car"))
    whole = files.run()
    assert "Not billed: IMPORT, device car: the location's own meter has its energy too" in whole.stdout
    bill = files.bill("--device", "car")
    assert [(one["device_id"], one["billed"]) for one in bill["meters"]] == [
        ("car", True),
        (None, False),
        (None, False),
    ]
    assert {line["kind"] for line in bill["lines"]} == {"energy"}


def test_a_table_explains_demand_minimum_charges_and_means(files: Files) -> None:
    demand = {"charge_id": "capacity", "kind": "demand", "minimum_kw": "0.5"}
    peak = {"name": "peak", "when": [{"start": "16:00", "end": "19:00"}], "tiers": [{"up_to_kw": None, "rate": "31"}]}
    demand["bands"] = [peak, {"name": "rest", "when": [], "tiers": [{"up_to_kw": None, "rate": "3.1"}]}]
    least = {"charge_id": "least", "kind": "minimum", "per": "month", "amount": "310"}
    market = {"charge_id": "market", "kind": "energy", "series": {"series_id": "S"}}
    points = [
        {"start_time": "2025-03-03T00:00:00Z", "end_time": "2025-03-03T12:00:00Z", "value": "0.1"},
        {"start_time": "2025-03-03T12:00:00Z", "end_time": "2025-03-04T00:00:00Z", "value": "0.2"},
    ]
    series = {"series_id": "S", "kind": "price", "unit": "GBP/kWh", "points": points}
    files.write("documents.json", [location("tou"), tariff(market, demand, least), series])
    files.records(
        record("2025-03-03T00:00:00Z", "2025-03-03T12:00:00Z", 1.2),
        record("2025-03-03T12:00:00Z", "2025-03-04T00:00:00Z", 12),
    )
    lines = [
        " ".join(line.split())
        for line in files.run(days=("--from", "2025-03-03", "--to", "2025-03-04")).stdout.splitlines()
    ]
    assert [line for line in lines if line.startswith(("market", "capacity", "least"))] == [
        "market 13.200 kWh ~0.190909 2.52 0.00 2.52",
        "capacity 2025-03 peak 1 0.032258 kW months 31.00 1.00 0.00 1.00",
        "capacity 2025-03 rest 1 0.032258 kW months 3.10 0.10 0.00 0.10",
        "least 2025-03 0.032258 months 310.00 6.38 0.00 6.38",
        "capacity peak, 2025-03: 1 kW, in the window from 2025-03-03 16:00+00:00",
        "capacity rest, 2025-03: 1 kW, in the window from 2025-03-03 12:00+00:00",
        "least, 2025-03: what is lacking to 10.00 GBP",
    ]
    files.records()
    silent = files.run(days=("--from", "2025-03-03", "--to", "2025-03-04")).stdout
    assert "capacity peak, 2025-03: 0.5 kW, the least that is billed" in silent


def test_a_bill_without_a_charge_says_so(files: Files) -> None:
    files.write("documents.json", [location()])
    files.records(day("2025-03-03", 5, tariff_direction="LOCAL"))
    result = files.run(days=("--from", "2025-03-03", "--to", "2025-03-04"))
    assert "no charges" in result.stdout
    assert "LOCAL in kWh" in result.stdout


def test_numbers_are_never_cut_however_large(files: Files) -> None:
    files.write("documents.json", [location("tou"), tariff(energy("123456789.123456"), currency="JPY")])
    files.records(*(day(on, 900_000) for on in ("2025-03-03", "2025-03-04")))
    result = files.run()
    (row,) = [line for line in result.stdout.splitlines() if line.startswith("  energy")]
    assert row.split()[3:] == [
        "1800000.000",
        "kWh",
        "123456789.123456",
        *["222222220422220.80", "0.00", "222222220422220.80"],
    ]


def test_a_credit_that_rounds_to_nothing_has_no_sign(files: Files) -> None:
    files.write(
        "documents.json",
        [location("tou", "out"), *TARIFFS[:1], tariff(energy("0.000001"), tariff_id="out", direction="EXPORT")],
    )
    printed = files.run("--days").stdout
    assert "-0.0000" not in printed
    assert "-0.00 " not in printed


# --- pictures ---


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG\r\n"), ("pdf", b"%PDF-"), ("svg", b"<?xml")])
def test_the_picture_is_what_its_suffix_says(files: Files, suffix: str, magic: bytes) -> None:
    picture = files.folder / f"bill.{suffix}"
    result = files.run("--plot", str(picture))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == files.run().stdout
    assert picture.read_bytes().startswith(magic)
    assert picture.stat().st_size > 5_000


def svg_texts(files: Files, *options: str, **given: Any) -> list[str]:
    picture = files.folder / "bill.svg"
    assert files.run("--plot", str(picture), *options, **given).exit_code == 0
    return ["".join(one.itertext()) for one in ET.parse(picture).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314


def test_the_picture_names_bands_charges_units_and_days(files: Files) -> None:
    texts = svg_texts(files)
    for text in ("import energy night", "import energy peak", "import energy day", "export energy all"):
        assert texts.count(text) == 2  # energy and cost
    assert texts.count("fixed") == 1
    assert {"kWh per day", "GBP per day, incl. tax", "03 Mar", "04 Mar"} <= set(texts)
    assert "loc_1: 2025-03-03 to 2025-03-04 inclusive, 2 days, complete" in texts
    assert "incomplete day" not in texts


def test_the_picture_says_which_days_are_incomplete(files: Files) -> None:
    files.records(*RECORDS[:3])
    assert "incomplete day" in svg_texts(files)


def test_the_same_bill_is_the_same_picture(files: Files) -> None:
    svg_texts(files)
    first = (files.folder / "bill.svg").read_bytes()
    svg_texts(files)
    assert (files.folder / "bill.svg").read_bytes() == first


def test_a_year_is_drawn_in_one_shape_for_each_band(files: Files) -> None:
    start = datetime(2025, 1, 1, tzinfo=UTC)
    files.records(*(day((start + timedelta(days=number)).strftime("%Y-%m-%d"), 24) for number in range(0, 365, 10)))
    svg_texts(files, days=("--from", "2025-01-01", "--to", "2026-01-01"))
    assert (files.folder / "bill.svg").read_text().count('id="patch_') < 200


def test_two_currencies_have_a_chart_each(files: Files) -> None:
    files.write("documents.json", [location("tou", "out"), TARIFFS[0], TARIFFS[1] | {"currency": "EUR"}])
    assert {"EUR per day, incl. tax", "GBP per day, incl. tax"} <= set(svg_texts(files))


def test_a_name_with_dollar_signs_or_foreign_letters_is_drawn_as_it_is(files: Files) -> None:
    bands = [{"name": "$x_{$ 高峰", "when": [], "tiers": [{"up_to_kwh": None, "rate": "0.1"}]}]
    files.write("documents.json", [location("tou", "out"), tariff(energy(bands=bands)), TARIFFS[1]])
    assert "import energy $x_{$ 高峰" in svg_texts(files)


def test_a_bill_of_nothing_can_be_drawn(files: Files) -> None:
    files.records()
    files.write("documents.json", [location()])
    assert "kWh per day" in svg_texts(files)


def test_energy_of_two_tariffs_in_a_row_is_shown_by_the_bands_of_each(files: Files) -> None:
    change = "2025-03-04T12:00:00Z"
    links = [
        {"direction": "IMPORT", "tariff_id": "tou", "valid_to": change},
        {"direction": "IMPORT", "tariff_id": "new", "valid_from": change},
    ]
    new = tariff(energy(charge_id="unit rate"), energy("0.01", charge_id="levy"), tariff_id="new")
    files.write("documents.json", [location() | {"tariffs": links}, TARIFFS[0], new])
    files.records(RECORDS[0], RECORDS[2])
    texts = svg_texts(files)
    assert "import without a price" not in texts
    assert (texts.count("import unit rate all"), texts.count("import levy all")) == (2, 1)


def test_energy_is_shown_once_on_days_that_are_priced_in_part(files: Files) -> None:
    market = {"charge_id": "market", "kind": "energy", "series": {"series_id": "S"}}
    points = [{"start_time": "2025-03-03T00:00:00Z", "end_time": "2025-03-03T18:00:00Z", "value": "0.1"}]
    series = {"series_id": "S", "kind": "price", "unit": "GBP/kWh", "points": points}
    files.write("documents.json", [location("tou"), tariff(market, energy(bands=BANDS)), series])
    files.records(RECORDS[0], RECORDS[2])
    texts = svg_texts(files)
    assert (
        texts.count("import without a price"),
        texts.count("import energy night"),
        texts.count("import market"),
    ) == (1, 2, 1)


# --- what cannot be billed ---


@pytest.mark.parametrize(
    ("first", "end", "said"),
    [
        ("2025-13-01", "2025-03-05", "'2025-13-01' is not a date (expected one such as 2025-03-01)"),
        ("2025-03-03", "today", "'today' is not a date"),
        ("20250303", "2025-03-05", "'20250303' is not a date"),
        ("2025-03-05", "2025-03-05", "--from 2025-03-05 is not before --to 2025-03-05"),
        ("2025-03-06", "2025-03-05", "--from 2025-03-06 is not before --to 2025-03-05"),
        ("2025-03-03", "2045-03-05", "is not a billing period (expected at least 1 day, and at most 3660)"),
        ("2025-03-03", "9999-12-31", "9999-12-31 is out of range (expected 1970-01-02 to 2200-01-01)"),
        ("0001-01-01", "2025-03-05", "0001-01-01 is out of range"),
    ],
)
def test_dates_that_are_none_or_no_period_are_refused(files: Files, first: str, end: str, said: str) -> None:
    assert said in refusal(files.run(days=("--from", first, "--to", end)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--location", "nobody"), "no location 'nobody' in the files of documents"),
        (("--records", "/nowhere/at/all.jsonl"), "/nowhere/at/all.jsonl: cannot be read: No such file or directory"),
        (("--priced", "/nowhere/at/all.jsonl"), "/nowhere/at/all.jsonl: cannot be read: No such file or directory"),
        (("--tariffs", "/nowhere/at/all.json"), "/nowhere/at/all.json: cannot be read: No such file or directory"),
        (("--plot", "bill.gif"), "bill.gif does not end with one of .png, .svg, .pdf"),
        (("--plot", "/nowhere/at/all.png"), "/nowhere/at/all.png: cannot be written: No such file or directory"),
        (("--json", "--table"), "--json and --table exclude each other"),
        (("--everywhere", "--map", "map.json"), "--map and --everywhere exclude each other"),
    ],
)
def test_what_cannot_be_used_is_one_clear_line(files: Files, options: tuple[str, ...], said: str) -> None:
    assert said in refusal(files.run(*options))


def test_files_are_of_one_way_or_of_none(files: Files) -> None:
    def bill(*options: str) -> Result:
        return CliRunner().invoke(main, ["bill", "--location", "loc_1", *DAYS, *options])

    records, documents = ("--records", files.path("records.jsonl")), ("--locations", files.path("documents.json"))
    assert "need documents" in refusal(bill(*records))
    assert "need --records or --priced" in refusal(bill(*documents))
    assert "--records and --priced exclude each other" in refusal(bill(*records, *documents, "--priced", records[1]))


def test_documents_are_checked_first_all_of_them(files: Files) -> None:
    files.write("documents.json", [location("tou", timezone="Mars"), tariff(energy(), currency="pounds")])
    result = files.run()
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 2


def test_lines_that_cannot_be_used_are_told_and_fail_only_when_strict(files: Files) -> None:
    elsewhere = day("2025-03-03", -1, location_id="loc_2")
    files.records(*RECORDS, "nonsense", day("2025-03-04", -1), elsewhere)
    result = files.run()
    assert result.exit_code == 0
    assert [line.split(": ", 1)[0] for line in result.stderr.splitlines()] == ["Warning"] * len(
        result.stderr.splitlines()
    )
    assert re.search(r"records\.jsonl:5: not a JSON line", result.stderr)
    assert "rejected: negative_value" in result.stderr
    assert "complete" in result.stdout.splitlines()[0]
    assert files.run("--strict").exit_code == 1


def test_a_file_that_is_not_of_priced_records_is_told(files: Files) -> None:
    result = files.run("--priced", files.path("records.jsonl"))
    assert "records.jsonl:1: not a priced record" in result.stderr
    assert "INCOMPLETE" in result.stdout.splitlines()[0]


def test_without_tariffs_everything_is_unpriced(files: Files) -> None:
    files.write("documents.json", [location("tou", "out")])
    bill = files.bill()
    assert {(problem["kind"], problem["reason"]) for problem in bill["problems"]} == {("unpriced", "no_tariff")}
    assert len(bill["notes"]) == 2
    assert "Note: tariff tou, linked for IMPORT, is not known" in files.run().stdout


def test_nothing_of_kafka_is_imported_and_matplotlib_only_for_pictures(files: Files) -> None:
    arguments = ["bill", "--location", "loc_1", *DAYS, "--json", "--records", files.path("records.jsonl")]
    arguments += ["--locations", files.path("documents.json")]
    code = (
        f"import sys\nfrom app.cli import main\nmain({arguments!r}, standalone_mode=False)\n"
        "print({'aiokafka', 'faust', 'rocksdict', 'matplotlib'} & {name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
