"""``tariff``: foreign tariffs imported, ours checked and shown."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from app.cli import main
from app.settings import Settings
from app.streams.publish import Publisher
from app.streams.topics import create_topics, topic_names

OCPI = Path(__file__).parent.parent / "importers" / "tariffs" / "data" / "ocpi"
WORKDAYS = ["MON", "TUE", "WED", "THU", "FRI"]


def run(*arguments: object, stdin: str | None = None, **env: str) -> Result:
    return CliRunner().invoke(main, ["tariff", *map(str, arguments)], input=stdin, env=env)


def band(name: str, rate: str, *when: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "when": list(when), "tiers": [{"up_to_kwh": None, "rate": rate}]}


def tariff(*bands: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return {
        "tariff_id": "tou",
        "direction": "IMPORT",
        "currency": "GBP",
        "timezone": "Europe/London",
        "charges": [{"charge_id": "energy", "kind": "energy", "bands": list(bands)}],
    } | changed


PEAK = band("peak", "0.30", {"days": WORKDAYS, "start": "16:00", "end": "19:30"})
REST = band("rest", "0.12")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tariffs.json"
    path.write_text(json.dumps([tariff(PEAK, REST)]))
    return path


# --- import ---


def test_what_is_imported_can_be_loaded_and_priced(tmp_path: Path) -> None:
    out = tmp_path / "tariffs.json"
    result = run("import", "ocpi", OCPI / "day_night_weekend.json", "--timezone", "Europe/Amsterdam", "--out", out)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.splitlines() == [
        "left out: type: who may charge by this tariff",
        "left out: tariff_alt_text: a description",
        "1 tariffs, 0 series; 0 parts refused, 2 left out",
    ]
    assert CliRunner().invoke(main, ["load", "--check", str(out)]).exit_code == 0
    location = {"location_id": "loc", "timezone": "Europe/Amsterdam"}
    location["tariffs"] = [{"direction": "IMPORT", "tariff_id": "NL-TNM-day-night"}]  # type: ignore[assignment]
    record = {"location_id": "loc", "units": "KWH", "value": 10}
    record |= {"start_time": "2025-03-03T11:00:00Z", "end_time": "2025-03-03T11:30:00Z"}
    (tmp_path / "locations.json").write_text(json.dumps(location))
    (tmp_path / "records.jsonl").write_text(json.dumps(record))
    files = [str(tmp_path / "records.jsonl"), "--locations", str(tmp_path / "locations.json"), "--tariffs", str(out)]
    priced = CliRunner().invoke(main, ["price", *files])
    assert json.loads(priced.stdout)["cost"] == "5.0215"  # 10 * 0.415 * 1.21


def test_several_versions_are_written_and_checked() -> None:
    result = run("import", "ocpi", OCPI / "dates_and_limits_of_time.json", "--timezone", "Europe/Berlin", "--jsonl")
    assert [json.loads(line)["version"] for line in result.stdout.splitlines()] == [1, 2, 3]
    checked = run("check", "-", stdin=result.stdout)
    assert checked.exit_code == 0
    assert "-: line 3: valid" in checked.stdout


def test_refused_parts_are_all_named_and_nothing_is_written(tmp_path: Path) -> None:
    out = tmp_path / "tariffs.json"
    arguments = ("import", "ocpi", OCPI / "sessions.json", "--timezone", "Europe/Berlin")
    result = run(*arguments, "--out", out)
    assert (result.exit_code, result.stdout, out.exists()) == (1, "", False)
    lines = result.stderr.splitlines()
    assert [line.split(":")[0] for line in lines] == ["left out", *["refused"] * 7, "Error"]
    assert lines[4].startswith("refused: elements[2].price_components[0]: PARKING_TIME 5.00: for an hour of parking")
    assert lines[-1] == "Error: 7 parts cannot be expressed; --partial writes the others"
    partial = run(*arguments, "--partial")
    assert partial.exit_code == 0
    assert [one["tariff_id"] for one in json.loads(partial.stdout)] == ["DE-ALL-14"]
    assert partial.stderr.splitlines()[:-1] == lines[:-1]


def test_the_options_fill_in_what_the_file_does_not_say() -> None:
    foreign = (OCPI / "two_vat_rates.json").read_text()
    options = ("--timezone", "Europe/Paris", "--tariff-id", "mine", "--direction", "LOCAL", "--holiday", "2025-12-25")
    result = run("import", "ocpi", "-", *options, stdin=foreign)
    (made,) = json.loads(result.stdout)
    assert (made["tariff_id"], made["timezone"], made["direction"]) == ("mine", "Europe/Paris", "LOCAL")
    assert "left out: --holiday: 2025-12-25" in result.stderr


def test_an_import_that_leaves_a_hole_is_not_written() -> None:
    slot = {"valid_from": "05:00:00", "valid_to": "23:30:00", "rate": [{"fixed": 0.2}]}
    schedule = [{"months": ["All"], "days_and_hours": [{"days": ["All"], "hours": [slot]}]}]
    foreign = {"id": "trf", "direction": "IMPORT", "timezone": "Europe/London", "schedule": schedule}
    result = run("import", "flatpeak", "-", "--currency", "GBP", "--partial", stdin=json.dumps(foreign))
    assert (result.exit_code, result.stdout) == (1, "")
    hole = "tariff 'trf': charges[0].bands: no band covers MON 00:00 in season 01-01"
    assert result.stderr.splitlines() == [f"Error: {hole}"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("import", "ocpi", "none.json"), "none.json: cannot be read: No such file or directory"),
        (("import", "ocpi", OCPI / "sessions.json"), "give --timezone"),
        (("import", "ocpi", OCPI / "sessions.json", "--holiday", "soon"), "expected dates such as 2025-12-25"),
        (("import", "unheard-of", OCPI / "sessions.json"), "'unheard-of' is not one of"),
        (("show", "-", "--at", "soon"), "'soon' is not a timestamp"),
    ],
)
def test_wrong_arguments_end_with_the_exit_code_of_bad_input(arguments: tuple[object, ...], problem: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert problem in result.stderr


def test_what_is_no_json_is_said_to_be_none() -> None:
    result = run("import", "ocpi", "-", "--timezone", "UTC", stdin="{")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: not JSON")


# --- check ---


def test_a_valid_tariff_is_shown_as_a_week(file: Path) -> None:
    result = run("check", file, "--strict")
    assert (result.exit_code, result.stderr) == (0, "")
    workday = "B" * 32 + "A" * 7 + "B" * 9
    assert result.stdout.splitlines() == [
        f"{file}: [0]: valid",
        "tou  version 1  IMPORT  GBP  Europe/London",
        "  valid: always",
        "  energy charge 'energy':",
        "        0   2   4   6   8   10  12  14  16  18  20  22",
        *[f"    {day} {workday}" for day in WORKDAYS],
        *[f"    {day} {'B' * 48}" for day in ("SAT", "SUN")],
        "    A  peak  0.30 GBP/kWh",
        "    B  rest  0.12 GBP/kWh",
    ]


def test_every_problem_of_every_file_is_named_with_its_path(tmp_path: Path) -> None:
    wrong = tariff(PEAK, band("late", "0.2", {"start": "25:00"}), REST, colour="red")
    hole = tariff(PEAK, tariff_id="hole")
    (tmp_path / "one.jsonl").write_text("\n".join(map(json.dumps, [wrong, hole])))
    (tmp_path / "two.json").write_text("[")
    result = run("check", tmp_path / "one.jsonl", tmp_path / "two.json")
    assert result.exit_code == 1
    first, second, third, fourth = result.stderr.splitlines()
    one = f"Error: {tmp_path}/one.jsonl"
    assert first.startswith(f"{one}: line 1: charges[0].bands[1].when[0].start: '25:00' is not a time")
    assert second.startswith(f"{one}: line 1: colour: unknown field")
    assert third == f"{one}: line 2: charges[0].bands: no band covers MON 00:00 in season 01-01"
    assert fourth.startswith(f"Error: {tmp_path}/two.json: not JSON")


def test_a_file_that_cannot_be_read_is_bad_input(file: Path) -> None:
    result = run("check", file, "none.json")
    assert result.exit_code == 2
    assert "tou  version 1" in result.stdout
    assert result.stderr == "Error: none.json: cannot be read: No such file or directory\n"


def test_hidden_windows_are_warnings_and_fail_only_when_strict(tmp_path: Path) -> None:
    path = tmp_path / "tariffs.json"
    path.write_text(json.dumps(tariff(REST, PEAK)))
    result = run("check", path)
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        (
            f"Warning: {path}: document: charges[0].bands[1].when[0]: never holds, the band 'rest' before it does, "
            "first on MON 16:00 in season 01-01"
        )
    ]
    assert f"{path}: document: valid, 1 warning" in result.stdout
    assert "    B  peak  0.30 GBP/kWh  (never: bands before it hide it)" in result.stdout
    assert run("check", "--strict", path).exit_code == 1


def test_export_may_leave_holes_which_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "tariffs.json"
    path.write_text(json.dumps(tariff(PEAK, direction="EXPORT")))
    result = run("check", "--strict", path)
    assert result.exit_code == 0
    assert "no band covers MON 00:00 in season 01-01; energy exported then earns nothing" in result.stderr
    assert f"    MON {'.' * 32}{'A' * 7}{'.' * 9}" in result.stdout
    assert "    .  no rate" in result.stdout


def test_seasons_have_pictures_of_their_own_and_holidays_a_row(tmp_path: Path) -> None:
    winter = band("winter", "0.4", {"from": "11-01", "to": "02-29", "days": [*WORKDAYS, "SAT", "SUN"]})
    christmas = band("christmas", "0.01", {"days": ["HOL"], "start": "00:00", "end": "24:00"})
    path = tmp_path / "tariffs.json"
    path.write_text(json.dumps(tariff(winter, christmas, REST, holidays=["2025-12-25"])))
    lines = run("check", path).stdout.splitlines()
    begins = [number for number, line in enumerate(lines) if line.startswith("    season")]
    assert [lines[number] for number in begins] == ["    season 11-01 to 02-29", "    season 03-01 to 10-31"]
    assert lines[begins[0] + 2 : begins[0] + 10] == [
        *[f"    {day} {'A' * 48}" for day in (*WORKDAYS, "SAT", "SUN")],
        f"    HOL {'B' * 48}",
    ]
    assert lines[begins[1] + 2] == f"    MON {'C' * 48}"


def test_seasons_that_look_the_same_share_a_picture(tmp_path: Path) -> None:
    windows = [{"from": "04-01", "to": "04-30"}, {"from": "09-01", "to": "09-30"}]
    path = tmp_path / "tariffs.json"
    path.write_text(json.dumps(tariff(band("mild", "0.1", *windows), REST)))
    lines = [line.strip() for line in run("show", path).stdout.splitlines() if "season" in line]
    assert lines == ["season 10-01 to 03-31, 05-01 to 08-31", "season 04-01 to 04-30, 09-01 to 09-30"]


def test_a_picture_is_of_days_inside_the_season_not_of_its_first(tmp_path: Path) -> None:
    night = band("summer night", "0.1", {"from": "06-01", "to": "09-30", "start": "22:00", "end": "06:00"})
    path = tmp_path / "tariffs.json"
    path.write_text(json.dumps(tariff(night, REST)))
    lines = run("show", path).stdout.splitlines()
    summer = lines.index("    season 06-01 to 09-30")
    assert {line[8:] for line in lines[summer + 2 : summer + 9]} == {"A" * 12 + "B" * 32 + "A" * 4}


def test_a_change_within_the_half_hour_is_marked(tmp_path: Path) -> None:
    path = tmp_path / "tariffs.json"
    path.write_text(json.dumps(tariff(band("early", "0.1", {"start": "00:00", "end": "02:15"}), REST)))
    result = run("show", path)
    assert f"    MON AAAA*{'B' * 43}" in result.stdout
    assert "    *  several within the half hour" in result.stdout


def test_other_documents_are_checked_too() -> None:
    point = {"start_time": "2025-03-01T00:00:00Z", "end_time": "2025-03-01T01:00:00Z", "value": "0.1"}
    series = {"series_id": "A", "kind": "price", "unit": "GBP/kWh", "points": [point]}
    result = run("check", "-", stdin=json.dumps([series]))
    assert (result.exit_code, result.stdout) == (0, "-: [0]: A/2025-03-01: valid\n")


def test_colours_are_for_terminals_that_want_them(file: Path) -> None:
    plain = run("check", file).stdout
    assert "\x1b[" not in plain
    coloured = run("check", file, FORCE_COLOR="1", TERM="xterm").stdout
    assert "\x1b[31mA" in coloured
    assert run("check", file, FORCE_COLOR="1", TERM="xterm", NO_COLOR="1").stdout == plain


# --- show ---

RICH: dict[str, Any] = tariff(
    version=3,
    valid_from="2025-01-01T00:00:00Z",
    holidays=["2025-12-25"],
    taxes=[{"name": "VAT", "rate": "0.05"}, {"name": "levy", "rate": "0.021", "charges": ["standing"]}],
    tier_period="BILLING",
    billing_period={"months": 3, "anchor_day": 15},
    charges=[
        {
            "charge_id": "energy",
            "kind": "energy",
            "tier_scope": "band",
            "bands": [
                {
                    "name": "first half",
                    "when": [{"from": "01-01", "to": "06-30"}],
                    "tiers": [{"up_to_kwh": "200", "rate": "0.10"}, {"rate": "0.20"}],
                },
                {
                    "name": "second half",
                    "when": [],
                    "tiers": [{"up_to_kwh_per_day": "15.4", "rate": "0.20"}, {"rate": "0.30"}],
                },
            ],
        },
        {
            "charge_id": "market",
            "kind": "energy",
            "series": {"series_id": "AGILE", "multiplier": "1.1", "adder": "-0.01", "cap": "1.00", "floor": "0"},
        },
        {"charge_id": "standing", "kind": "fixed", "per": "day", "amount": "0.55", "from": "10-01", "to": "03-31"},
        {"charge_id": "least", "kind": "minimum", "per": "month", "amount": "25.00"},
        {
            "charge_id": "demand",
            "kind": "demand",
            "minimum_kw": "2",
            "bands": [
                {
                    "name": "peak",
                    "when": [
                        {"days": ["MON", "TUE"], "start": "16:00", "end": "20:00", "from": "06-01", "to": "09-30"}
                    ],
                    "tiers": [{"up_to_kw": "10", "rate": "12.5"}, {"up_to_kw": None, "rate": "9"}],
                }
            ],
        },
        {
            "charge_id": "start",
            "kind": "session",
            "per": "session",
            "bands": [{"name": "any", "when": [], "amount": "0.50"}],
        },
        {
            "charge_id": "time",
            "kind": "session",
            "per": "hour",
            "counted": "charging",
            "bands": [
                {"name": "busy", "when": [{"start": "16:00", "end": "20:00"}], "amount": "1.2", "step_seconds": 900}
            ],
        },
    ],
)


def test_everything_that_a_tariff_says_is_shown() -> None:
    result = run("show", "-", stdin=json.dumps(RICH))
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    head, pictures, rest = lines[:7], lines[7:26], lines[26:]
    assert [line for line in pictures if "season" in line] == [
        "    season 01-01 to 06-30",
        "    season 07-01 to 12-31",
    ]
    assert pictures[-1] == f"    HOL {'B' * 48}"
    assert head + rest == [
        "tou  version 3  IMPORT  GBP  Europe/London",
        "  valid: from 2025-01-01T00:00:00Z",
        "  holidays: 2025-12-25",
        "  tax: VAT 5 %, added to the prices",
        "  tax: levy 2.1 %, added to the prices, on standing",
        "  tiers are counted for a billing period (of 3 months, from day 15)",
        "  energy charge 'energy', tiers counted for each band:",
        "    A  first half  GBP/kWh: 0.10 up to 200 kWh a billing period, then 0.20",
        "    B  second half  GBP/kWh: 0.20 up to 15.4 kWh times the days of a billing period, then 0.30",
        "  energy charge 'market': follows the series 'AGILE' * 1.1 - 0.01, at most 1.00, at least 0 (GBP/kWh)",
        "  fixed charge 'standing': 0.55 GBP a day, 10-01 to 03-31",
        "  minimum charge 'least': 25.00 GBP a month",
        "  demand charge 'demand': a month, the highest 30 minutes of the month, at least 2 kW",
        "    peak  12.5 up to 10 kW, then 9 GBP/kW  MON TUE 16:00-20:00 06-01 to 09-30",
        "  session charge 'start': for each session",
        "    any  0.50 GBP/session  whenever no band before it holds",
        "  session charge 'time': for an hour of charging",
        "    busy  1.2 GBP/hour in steps of 900 s  MON TUE WED THU FRI SAT SUN HOL 16:00-20:00",
    ]


def test_at_an_instant_the_rates_of_each_charge_are_shown(file: Path) -> None:
    result = run("show", file, "--at", "2025-07-04T16:00:00Z")
    assert result.stdout.splitlines() == [
        "tou  version 1  IMPORT  at 2025-07-04T16:00:00Z",
        "  energy  peak  0.30 GBP/kWh, at least until 2025-07-04T18:30:00Z",
    ]
    rich = run("show", "-", "--at", "2025-07-04T16:00:00Z", stdin=json.dumps(RICH)).stdout
    assert "  market  follows the series 'AGILE'" in rich
    assert "standing" not in rich  # not in its season
    assert rich.splitlines()[-2:] == [
        "  start  any  0.50 GBP/session",
        "  time  busy  1.2 GBP/hour in steps of 900 s",
    ]
    assert "  time  no rate" in run("show", "-", "--at", "2025-07-04T20:00:00Z", stdin=json.dumps(RICH)).stdout
    assert (
        "  standing  0.55 GBP a day" in run("show", "-", "--at", "2025-01-04T16:00:00Z", stdin=json.dumps(RICH)).stdout
    )


def test_the_highest_version_that_is_valid_holds() -> None:
    versions = [
        tariff(band("all", "0.1")),
        tariff(band("all", "0.2"), version=2, valid_from="2025-06-01T00:00:00Z", valid_to="2025-07-01T00:00:00Z"),
    ]
    for at, rate in (("2025-05-31T23:59:59Z", "0.1"), ("2025-06-01T00:00:00Z", "0.2"), ("2025-07-01T00:00:00Z", "0.1")):
        assert f"all  {rate} GBP/kWh" in run("show", "-", "--at", at, stdin=json.dumps(versions)).stdout
    ended = run("show", "-", "--at", "2025-07-01T00:00:00Z", stdin=json.dumps(versions[1:]))
    assert (ended.exit_code, ended.stdout) == (1, "")
    assert ended.stderr == "Error: tou: no version is valid at 2025-07-01T00:00:00Z\n"


def test_a_moment_without_a_rate_is_said_to_have_none() -> None:
    exported = tariff(PEAK, direction="EXPORT")
    result = run("show", "-", "--at", "2025-07-05T16:00:00Z", stdin=json.dumps(exported))
    assert "  energy  no rate, at least until" in result.stdout


def test_a_file_without_tariffs_has_nothing_to_show(tmp_path: Path) -> None:
    path = tmp_path / "locations.json"
    path.write_text(json.dumps({"location_id": "loc", "timezone": "UTC"}))
    result = run("show", path)
    assert result.exit_code == 2
    assert "no tariff among its documents" in result.stderr


def test_files_need_no_kafka(file: Path) -> None:
    code = (
        f"import sys\nfrom app.cli import main\nmain(['tariff', 'check', {str(file)!r}], standalone_mode=False)\n"
        f"main(['tariff', 'import', 'ocpi', {str(OCPI / 'two_vat_rates.json')!r}, '--timezone', 'UTC'], "
        "standalone_mode=False)\n"
        "print({'aiokafka', 'faust', 'rocksdict'} & {name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.broker
def test_a_tariff_is_shown_by_its_id_from_the_topic_as_it_is_now(kafka: str) -> None:
    settings = Settings(bootstrap_servers=kafka, topic_prefix=f"cli-tariff-{os.getpid()}.", partitions=3)
    documents = [
        ("tou", tariff(band("all", "0.1"))),
        ("other", tariff(REST, tariff_id="other")),
        ("gone", tariff(REST, tariff_id="gone")),
        ("tou", tariff(PEAK, REST)),
        ("tou/2", tariff(band("all", "0.2"), version=2, valid_from="2026-01-01T00:00:00Z")),
        ("gone", None),
        ("broken", tariff(band("all", "x"), tariff_id="broken")),
    ]

    async def publish() -> None:
        await create_topics(settings)
        async with Publisher(kafka) as publisher:
            for key, document in documents:
                value = None if document is None else json.dumps(document).encode()
                await publisher.send(topic_names(settings).tariffs, key.encode(), value)

    asyncio.run(publish())
    env = {"METERSTREAM_BOOTSTRAP_SERVERS": kafka, "METERSTREAM_TOPIC_PREFIX": settings.topic_prefix}
    result = run("show", "tou", **env)
    assert result.exit_code == 0
    heads = [line for line in result.stdout.splitlines() if "version" in line]
    assert heads == [f"tou  version {version}  IMPORT  GBP  Europe/London" for version in (1, 2)]
    assert "peak  0.30 GBP/kWh" in result.stdout
    assert "all  0.1 " not in result.stdout
    assert "all  0.2 GBP/kWh" in run("show", "tou", "--at", "2026-01-01T00:00:00Z", **env).stdout
    broken = run("show", "broken", **env)
    assert broken.exit_code == 2
    where = f"{topic_names(settings).tariffs}: broken: charges[0].bands[0].tiers[0].rate"
    assert f"Error: {where}: 'x' is not a decimal number" in broken.stderr
    missing = run("show", "gone", **env)
    assert missing.exit_code == 2
    assert "'gone' is neither a file nor a tariff in" in missing.stderr
