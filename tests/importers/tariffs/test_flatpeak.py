"""FlatPeak schedules: priced as the schedule says at every quarter of an hour, and refused where it does not."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from app.domain.tariffs import Tier
from app.domain.tiers import Graduated
from app.domain.timeline import Timeline
from app.importers.tariffs.common import Imported, ImportOptions, read_json
from app.importers.tariffs.flatpeak import import_flatpeak
from app.wire.documents import DocumentError
from app.wire.tariff import parse_tariff

DATA = Path(__file__).parent / "data" / "flatpeak"
OPTIONS = ImportOptions(currency="GBP")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
GROUPS = {"Weekdays": range(5), "Weekends": range(5, 7), "All": range(7), "Sat": (5,), "Sun": (6,)}


def example(name: str) -> Any:
    return read_json((DATA / name).read_bytes())


def imported(document: Any, options: ImportOptions = OPTIONS) -> Imported:
    return import_flatpeak(document, options)


def slot(start: str = "00:00:00", end: str = "00:00:00", **rate: Any) -> dict[str, Any]:
    return {"valid_from": start, "valid_to": end, "rate": [rate or {"fixed": 0.2}]}


def element(*entries: dict[str, Any], **changed: Any) -> dict[str, Any]:
    document = {"id": "trf", "direction": "IMPORT", "timezone": "Europe/London", "schedule": entries} | changed
    made: dict[str, Any] = read_json(json.dumps(document).encode())
    return made


def entry(*hours: dict[str, Any], days: list[str] | None = None, **changed: Any) -> dict[str, Any]:
    return {"months": ["All"], "days_and_hours": [{"days": days or ["All"], "hours": list(hours)}]} | changed


def refused(document: Any) -> list[str]:
    return [str(part) for part in imported(document).refused]


def rates(document: dict[str, Any]) -> list[str]:
    return [band["tiers"][0]["rate"] for band in document["charges"][0]["bands"]]


# --- What it prices ---


def scheduled(schedule: list[dict[str, Any]], wall: datetime) -> list[dict[str, Any]]:
    """Look a rate up as a person would; an entry with dates goes first."""
    clock = f"{wall:%H:%M:%S}"
    for one in sorted(schedule, key=lambda one: "dates" not in one):
        in_month = "All" in one["months"] or MONTHS[wall.month - 1] in one["months"]
        if not in_month or wall.day not in one.get("dates", range(32)):
            continue
        for group in one["days_and_hours"]:
            if not any(wall.weekday() in GROUPS[name] for name in group["days"]):
                continue
            for hours in group["hours"]:
                start, end = hours["valid_from"], hours["valid_to"]
                if start <= clock < end if start < end else clock >= start or clock < end:
                    found: list[dict[str, Any]] = hours["rate"]
                    return found
    raise AssertionError(wall)


def test_every_quarter_of_an_hour_costs_what_the_schedule_says() -> None:
    document = example("seasons_and_tiers.json")
    (made,) = imported(document).tariffs
    timeline, zone = Timeline(parse_tariff(made)), ZoneInfo("Europe/London")
    at, wrong, tiered = datetime(2025, 1, 1, tzinfo=UTC), [], 0
    while at < datetime(2026, 1, 1, tzinfo=UTC):
        expected = scheduled(document["data"][0]["schedule"], at.astimezone(zone))
        energy, network = timeline.segment(int(at.timestamp()) * 1_000_000).charges
        found: Any = energy.rate
        if isinstance(found, Graduated):
            tiered += 1
            (low, high) = found.tiers
            agrees = (low, high) == (Tier(Decimal(300), Decimal("0.2205")), Tier(None, Decimal("0.25")))
            agrees = agrees and [rate["fixed"] for rate in expected] == [Decimal("0.2"), Decimal("0.25")]
        else:
            agrees = [found] == [rate["fixed"] for rate in expected]
        if not agrees or network.rate != Decimal("0.031"):
            wrong.append((at, expected, energy))
        at += timedelta(minutes=15)
    assert wrong == []
    assert tiered > 1000


def test_elements_of_one_contract_become_charges_of_one_tariff() -> None:
    (made,) = imported(example("seasons_and_tiers.json")).tariffs
    assert [charge["charge_id"] for charge in made["charges"]] == ["energy", "network"]
    assert (made["tariff_id"], made["valid_from"]) == ("trf_1", "2025-01-01T00:00:00Z")


def test_elements_of_other_locations_stay_apart() -> None:
    one, other = (element(entry(slot()), id=name, location_id=name) for name in ("a", "b"))
    assert [made["tariff_id"] for made in imported([one, other]).tariffs] == ["a", "b"]
    named = imported([one, other], OPTIONS._replace(tariff_id="mine"))
    assert [made["tariff_id"] for made in named.tariffs] == ["mine", "mine-2"]


def test_surcharges_are_added_first_and_then_raised_by_the_percentage() -> None:
    (made,) = imported(element(entry(slot(fixed=0.2, surcharge_fixed=0.01, surcharge_percentage=0.05)))).tariffs
    assert rates(made) == ["0.2205"]


def test_what_is_read_of_tiers_without_being_published_is_named() -> None:
    found = imported(example("seasons_and_tiers.json"))
    assert found.refused == []
    assert "data[0].schedule: the period of to_kwh, which is not published: counted by local month" in map(
        str, found.left_out
    )


def test_the_older_object_becomes_a_tariff_for_each_direction_in_large_units() -> None:
    found = imported(example("import_and_export.json"))
    bought, sold = found.tariffs
    assert [bought["direction"], sold["direction"]] == ["IMPORT", "EXPORT"]
    assert [bought["tariff_id"], sold["tariff_id"]] == ["trf_3-import", "trf_3-export"]
    assert rates(bought) == ["0.075", "0.3075"]
    assert rates(sold) == ["0.12"]
    assert [part.path for part in found.left_out] == ["display_name", "time_expiry"]
    assert [
        one["direction"]
        for one in imported(example("import_and_export.json"), OPTIONS._replace(direction="EXPORT")).tariffs
    ] == ["EXPORT"]


@pytest.mark.parametrize(("currency", "rate"), [("JPY", "30.75"), ("KWD", "0.03075"), ("EUR", "0.3075")])
def test_small_units_are_those_of_the_currency(currency: str, rate: str) -> None:
    made = imported(example("import_and_export.json"), ImportOptions(currency=currency)).tariffs[0]
    assert rates(made)[1] == rate


def test_months_over_new_year_are_one_season_and_february_has_its_leap_day() -> None:
    winter = entry(slot(), months=["Dec", "Jan", "Feb"])
    (made,) = imported(
        element(winter, entry(slot(fixed=0.1), months=["Mar", "Apr", "Jun"]), direction="EXPORT")
    ).tariffs
    seasons = [[(when["from"], when["to"]) for when in band["when"]] for band in made["charges"][0]["bands"]]
    assert seasons == [[("12-01", "02-29")], [("03-01", "04-30"), ("06-01", "06-30")]]


def test_a_date_that_a_month_lacks_is_passed_over() -> None:
    special = entry(slot(), months=["Feb", "Apr"], dates=[1, 2, 30, 31])
    (made,) = imported(element(special, entry(slot(fixed=0.1)))).tariffs
    windows = made["charges"][0]["bands"][0]["when"]
    assert [(when["from"], when["to"]) for when in windows] == [
        ("02-01", "02-02"),
        ("04-01", "04-02"),
        ("04-30", "04-30"),
    ]


# --- What is refused ---


def test_the_published_example_prices_neither_the_night_nor_energy_above_its_tier() -> None:
    found = imported(example("published_example.json"))
    assert [str(part) for part in found.refused] == [
        "schedule[0].days_and_hours[0].hours[0].rate[0].to_kwh: no rate for energy above 30.5 kWh"
    ]
    with pytest.raises(DocumentError, match="no band covers MON 00:00"):
        parse_tariff(found.tariffs[0])


@pytest.mark.parametrize(
    ("document", "path"),
    [
        (element(entry(slot()), market_rates=True), "market_rates"),
        (element(entry(slot()), market_rates_source="mrs_1"), "market_rates_source"),
        (
            element(entry(slot()), schedule=[entry(slot(value="$index * 2"))]),
            "schedule[0].days_and_hours[0].hours[0].rate[0]",
        ),
        (element(entry(slot(fixed=1, surcharge_percentage=5))), "schedule[0].days_and_hours[0].hours[0].rate[0]"),
        (element(entry(slot(fixed=1, to_kwh="some"))), "schedule[0].days_and_hours[0].hours[0].rate[0].to_kwh"),
        (element(entry(slot(fixed=1, discount=1))), "schedule[0].days_and_hours[0].hours[0].rate[0].discount"),
        (
            element(entry({"valid_from": "00:00:00", "valid_to": "00:00:00"})),
            "schedule[0].days_and_hours[0].hours[0].rate",
        ),
        (element(entry(slot(end="23:59:59"))), "schedule[0].days_and_hours[0].hours[0].valid_to"),
        (element(entry(slot(start="24:30:00"))), "schedule[0].days_and_hours[0].hours[0].valid_from"),
        (element(entry(slot(), days=["Holidays"])), "schedule[0].days_and_hours[0].days"),
        (element(entry(slot(), months=["Summer"])), "schedule[0].months"),
        (element(entry(slot(), dates=[32])), "schedule[0].dates"),
        (element(entry(slot()), schedule=None, data=[entry(slot())]), "data"),
        ({"import": [{"type": "tiered", "data": []}]}, "import[0].type"),
        ({"import": [{"data": [entry(slot())]}]}, "import[0].data[0].days_and_hours[0].hours[0].cost"),
    ],
)
def test_a_part_that_cannot_be_expressed_is_refused_with_its_path(document: Any, path: str) -> None:
    assert [part.path for part in imported(document).refused] == [path]


def test_two_rates_at_the_same_time_are_refused() -> None:
    found = refused(element(entry(slot("06:00:00", "12:00:00")), entry(slot("11:00:00", "06:00:00", fixed=0.1))))
    assert found == [
        (
            "schedule: two rates hold at once (bands[1].when[0]: hidden in part by the band 'rate-1' before it, "
            "first on MON 11:00 in season 01-01)"
        )
    ]


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ([], "no tariff in it"),
        ({"object": "list", "data": []}, "no tariff in it"),
        ("text", "document: 'text' is not an object"),
        ({"id": "t"}, "schedule: missing"),
        (element(entry(slot()), direction="SIDEWAYS"), "direction: 'SIDEWAYS' is not one of"),
    ],
)
def test_what_is_no_flatpeak_tariff_is_named(document: Any, problem: str) -> None:
    with pytest.raises(DocumentError) as error:
        imported(document)
    assert problem in str(error.value)


def test_the_currency_must_be_given() -> None:
    with pytest.raises(DocumentError, match="give --currency"):
        imported(element(entry(slot())), ImportOptions())


def test_the_time_zone_and_the_direction_may_be_given() -> None:
    options = ImportOptions(currency="EUR", timezone="Europe/Berlin", direction="LOCAL", holidays=("2025-12-25",))
    found = imported(element(entry(slot())), options)
    assert [(made["timezone"], made["direction"]) for made in found.tariffs] == [("Europe/Berlin", "LOCAL")]
    assert [part.path for part in found.left_out] == ["--holiday"]
