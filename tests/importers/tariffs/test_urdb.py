"""The importer of URDB rates, against slow readings of the same JSON that share no code with it."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from app.domain.tariffs import Tariff
from app.domain.tiers import Graduated
from app.domain.timeline import Timeline
from app.importers.tariffs.common import Imported, ImportOptions, read_json
from app.importers.tariffs.urdb import import_urdb
from app.wire.documents import DocumentError
from app.wire.tariff import parse_tariff

DATA = Path(__file__).parent / "data" / "urdb"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NEW_YORK = ImportOptions(timezone="America/New_York")
ALWAYS = [[0] * 24] * 12

Tiers = list[tuple[Decimal | None, Decimal]]


def load(name: str) -> Any:
    return read_json((DATA / name).read_bytes())


def flat_rate(**fields: Any) -> dict[str, Any]:
    return {"label": "r", "energyratestructure": [[{"rate": Decimal("0.1"), "unit": "kWh"}]], **fields}


def imported(rate: Any, options: ImportOptions = NEW_YORK) -> Imported:
    return import_urdb(rate, options)


def charges_of(rate: Any, options: ImportOptions = NEW_YORK) -> dict[str, dict[str, Any]]:
    result = imported(rate, options)
    assert result.refused == []
    [tariff] = result.tariffs
    return {charge["charge_id"]: charge for charge in tariff["charges"]}


def refusals(rate: Any, options: ImportOptions = NEW_YORK) -> list[str]:
    return [str(part) for part in imported(rate, options).refused]


def every_hour_of(year: int, minute: int) -> list[datetime]:
    first = datetime(year, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
    return [first + timedelta(hours=hour) for hour in range(8784)]


def period_at(rate: dict[str, Any], at: datetime, zone: str, names: tuple[str, str], holidays: tuple[str, ...]) -> int:
    wall = at.astimezone(ZoneInfo(zone))
    weekend = wall.weekday() >= 5 or wall.date().isoformat() in holidays
    period: int = rate[names[1] if weekend else names[0]][wall.month - 1][wall.hour]
    return period


def read_tiers(tiers: list[dict[str, Any]]) -> Tiers:
    return [(tier.get("max"), tier.get("rate", Decimal(0)) + tier.get("adj", Decimal(0))) for tier in tiers]


def our_tiers(tariff: Tariff, timeline: Timeline, at: datetime, charge_id: str) -> Tiers | None:
    at_us = (at - EPOCH) // timedelta(microseconds=1)
    if tariff.valid_from_us is not None and at_us < tariff.valid_from_us:
        return None
    if tariff.valid_to_us is not None and at_us >= tariff.valid_to_us:
        return None
    [rate] = [charge.rate for charge in timeline.segment(at_us).charges if charge.charge_id == charge_id]
    if isinstance(rate, Graduated):
        return [(tier.up_to_kwh_per_day or tier.up_to_kwh, tier.rate) for tier in rate.tiers]
    assert isinstance(rate, Decimal)
    return [(None, rate)]


# --- Energy ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "holidays"),
    [
        ("America/New_York", ()),
        ("America/Los_Angeles", ("2024-07-04", "2024-12-25")),
        ("Pacific/Honolulu", ("2024-07-04",)),
    ],
)
def test_at_every_hour_of_a_year_energy_costs_what_the_schedules_say(zone: str, holidays: tuple[str, ...]) -> None:
    document = load("api_time_of_use.json")
    raw = document["items"][0]
    result = imported(document, ImportOptions(timezone=zone, holidays=holidays))
    assert result.refused == []
    tariff, export = (parse_tariff(found) for found in result.tariffs)
    timeline, export_timeline = Timeline(tariff), Timeline(export)
    first_day, end_day = datetime(2023, 6, 1, tzinfo=ZoneInfo(zone)), datetime(2025, 1, 1, tzinfo=ZoneInfo(zone))
    names = ("energyweekdayschedule", "energyweekendschedule")
    checked = 0
    for at in every_hour_of(2024, 13):
        if not first_day <= at < end_day:
            assert our_tiers(tariff, timeline, at, "energy") is None
            continue
        tiers = raw["energyratestructure"][period_at(raw, at, zone, names, holidays)]
        fuel = raw["fueladjustmentsmonthly"][at.astimezone(ZoneInfo(zone)).month - 1]
        assert our_tiers(tariff, timeline, at, "energy") == read_tiers(tiers)
        assert our_tiers(tariff, timeline, at, "fuel-adjustment") == [(None, fuel)]
        assert our_tiers(export, export_timeline, at, "energy") == [(None, tiers[0].get("sell", Decimal(0)))]
        checked += 1
    assert checked > 8770


def test_dates_of_the_api_and_of_the_bulk_download_are_days_of_the_local_calendar() -> None:
    [api, _] = imported(load("api_time_of_use.json")).tariffs
    [bulk] = imported(load("bulk_demand.json")).tariffs
    [older] = imported(load("v3_ratchet.json")).tariffs
    assert (api["valid_from"], api["valid_to"]) == ("2023-06-01T04:00:00Z", "2025-01-01T05:00:00Z")
    assert (bulk["valid_from"], bulk["valid_to"]) == ("2024-01-01T05:00:00Z", None)
    assert (older["valid_from"], older["valid_to"]) == ("2013-07-01T04:00:00Z", "2013-11-01T04:00:00Z")


def test_the_tiers_of_all_periods_count_the_same_energy_of_a_local_month() -> None:
    [tariff, _] = imported(load("api_time_of_use.json")).tariffs
    assert tariff["tier_period"] == "P1M"
    assert tariff["charges"][0]["tier_scope"] == "charge"


def test_a_daily_allowance_is_a_bound_for_each_day_of_the_month() -> None:
    [band] = charges_of(load("bulk_demand.json"))["energy"]["bands"]
    assert band["when"] == []
    assert band["tiers"] == [
        {"up_to_kwh_per_day": "15.4", "rate": "0.0731"},
        {"up_to_kwh_per_day": "60", "rate": "0.0912"},
        {"up_to_kwh": None, "rate": "0.1043"},
    ]


def test_no_digit_of_a_rate_and_its_adjustment_is_lost() -> None:
    rate = flat_rate(
        energyratestructure=[[{"rate": Decimal("0.123456789012345678"), "adj": Decimal("-0.000000000000000001")}]]
    )
    [band] = charges_of(rate)["energy"]["bands"]
    assert band["tiers"] == [{"up_to_kwh": None, "rate": "0.123456789012345677"}]


def test_numbers_of_absurd_size_are_refused() -> None:
    far_apart = flat_rate(energyratestructure=[[{"rate": Decimal("1E-90"), "adj": 1}]])
    assert [part.path for part in imported(far_apart).refused] == ["energyratestructure[0][0]"]
    result = imported(flat_rate(energyratestructure=[[{"rate": Decimal("1E+40")}]]))
    assert [part.path for part in result.refused] == ["document"]
    assert result.tariffs == []


def test_an_adjustment_alone_is_a_price() -> None:
    [band] = charges_of(flat_rate(energyratestructure=[[{"adj": Decimal("0.02")}]]))["energy"]["bands"]
    assert band["tiers"] == [{"up_to_kwh": None, "rate": "0.02"}]


def test_equal_hours_of_adjoining_months_become_one_window() -> None:
    summer = [[0] * 16 + [1] * 5 + [0] * 3 if month in range(5, 9) else [2] * 24 for month in range(12)]
    winter = [[2] * 24 if month not in range(5, 9) else [0] * 24 for month in range(12)]
    rates = [[{"rate": Decimal(number)}] for number in range(3)]
    rate = flat_rate(energyratestructure=rates, energyweekdayschedule=summer, energyweekendschedule=winter)
    peak, cold, rest = charges_of(rate)["energy"]["bands"]
    weekdays = ["MON", "TUE", "WED", "THU", "FRI"]
    assert peak["when"] == [{"from": "06-01", "to": "09-30", "days": weekdays, "start": "16:00", "end": "21:00"}]
    assert cold["when"] == [{"from": "10-01", "to": "05-31", "start": "00:00", "end": "24:00"}]
    assert rest["when"] == []


def test_a_winter_that_ends_in_february_includes_its_29th() -> None:
    schedule = [[1] * 24 if month in (10, 11, 0, 1) else [0] * 24 for month in range(12)]
    schedule[6] = [0, 1] * 12
    rates = [[{"rate": Decimal(number)}] for number in range(2)]
    rate = flat_rate(energyratestructure=rates, energyweekdayschedule=schedule, energyweekendschedule=schedule)
    [tariff] = imported(rate).tariffs
    timeline = Timeline(parse_tariff(tariff))
    for text, price in (("2024-02-29T12:00-05:00", 1), ("2024-03-01T00:00-05:00", 0), ("2023-11-01T00:00-04:00", 1)):
        assert our_tiers(parse_tariff(tariff), timeline, datetime.fromisoformat(text), "energy") == [
            (None, Decimal(price))
        ]


@pytest.mark.parametrize("unit", ["kWh/kW", "kWh/kW daily", "kVAh"])
def test_bounds_that_depend_on_demand_are_refused(unit: str) -> None:
    rate = flat_rate(energyratestructure=[[{"max": 100, "rate": 1, "unit": unit}, {"rate": 2, "unit": unit}]])
    assert refusals(rate) == [
        f"energyratestructure[0][{tier}].unit: {unit!r}: bounds that depend on demand" for tier in (0, 1)
    ]
    assert imported(rate).tariffs == []


def test_a_unit_without_bounds_changes_nothing() -> None:
    [band] = charges_of(flat_rate(energyratestructure=[[{"rate": 1, "unit": "kWh/kW"}]]))["energy"]["bands"]
    assert band["tiers"] == [{"up_to_kwh": None, "rate": "1"}]


def test_bounds_in_different_units_are_refused() -> None:
    rate = flat_rate(
        energyratestructure=[[{"max": 100, "rate": 1, "unit": "kWh"}, {"rate": 2, "unit": "kWh daily"}]],
    )
    assert refusals(rate) == ["energyratestructure: bounds in different units (kwh, kwh daily) in one rate"]


def test_every_bound_at_fault_is_named() -> None:
    tiers = [{"max": 100, "rate": 1}, {"max": 100, "rate": 2}, {"rate": 3}, {"max": 500, "sell": 1}]
    assert refusals(flat_rate(energyratestructure=[tiers]), NEW_YORK._replace(direction="IMPORT")) == [
        "energyratestructure[0][1].max: 100 (expected a bound above the one before it, 100)",
        "energyratestructure[0][2].max: no bound (expected a bound above the one before it, 100)",
        "energyratestructure[0][3].max: a bound of the last tier (500): what comes above it is not priced",
        "energyratestructure[0][3]: neither rate nor adj: what this tier costs is not said",
    ]


def test_a_bound_of_1e38_is_none() -> None:
    [band] = charges_of(flat_rate(energyratestructure=[[{"max": Decimal("1E+38"), "rate": 1}]]))["energy"]["bands"]
    assert band["tiers"] == [{"up_to_kwh": None, "rate": "1"}]


def test_every_fault_of_a_schedule_is_named() -> None:
    table: list[Any] = [list(month) for month in ALWAYS]
    table[3] = [0] * 23
    table[4][5], table[4][6], table[4][7] = 1, -1, True
    rate = flat_rate(energyweekdayschedule=table, energyweekendschedule=[[0] * 24])
    assert [text.partition(":")[0] for text in refusals(rate)] == [
        "energyweekdayschedule[3]",
        "energyweekdayschedule[4][5]",
        "energyweekdayschedule[4][6]",
        "energyweekdayschedule[4][7]",
        "energyweekendschedule",
    ]
    assert imported(rate).tariffs == []


def test_several_periods_without_a_schedule_are_refused() -> None:
    rate = flat_rate(energyratestructure=[[{"rate": 1}], [{"rate": 2}]])
    assert [text.partition(":")[0] for text in refusals(rate)] == ["energyweekdayschedule", "energyweekendschedule"]


def test_numbers_that_are_none_are_named_with_their_path() -> None:
    rate = flat_rate(energyratestructure=[[{"rate": "0.1", "adj": True, "tou": 1}], 7, []], mincharge="1")
    assert [text.partition(":")[0] for text in refusals(rate)] == [
        "energyratestructure[0][0].tou",
        "energyratestructure[0][0].rate",
        "energyratestructure[0][0].adj",
        "energyratestructure[1]",
        "energyratestructure[2]",
    ]


def test_a_rate_that_does_not_say_what_energy_costs_gives_no_tariff() -> None:
    result = imported({"label": "r", "fixedchargefirstmeter": 5, "fixedchargeunits": "$/month"})
    assert [part.path for part in result.refused] == ["energyratestructure"]
    assert result.tariffs == []


# --- Export ----------------------------------------------------------------------------------------------------------


def test_sell_rates_become_a_tariff_for_export_without_other_charges() -> None:
    imports, exports = imported(load("api_time_of_use.json"), NEW_YORK._replace(tariff_id="tou")).tariffs
    assert (imports["tariff_id"], imports["direction"]) == ("tou", "IMPORT")
    assert (exports["tariff_id"], exports["direction"]) == ("tou-export", "EXPORT")
    assert [charge["charge_id"] for charge in exports["charges"]] == ["energy"]


def test_the_direction_chooses_among_the_two_documents() -> None:
    only_import = imported(load("api_time_of_use.json"), NEW_YORK._replace(direction="IMPORT"))
    only_export = imported(load("api_time_of_use.json"), NEW_YORK._replace(direction="EXPORT", tariff_id="sells"))
    assert [tariff["direction"] for tariff in only_import.tariffs] == ["IMPORT"]
    assert "items[0].energyratestructure: sell rates: only IMPORT is asked for" in map(str, only_import.left_out)
    assert [(tariff["tariff_id"], tariff["direction"]) for tariff in only_export.tariffs] == [("sells", "EXPORT")]
    assert refusals(flat_rate(), NEW_YORK._replace(direction="EXPORT")) == [
        "energyratestructure: no sell rates: what export earns is not said"
    ]


def test_sell_rates_that_differ_between_tiers_are_refused_and_import_is_kept() -> None:
    tiers = [{"max": 100, "rate": 1, "sell": 2}, {"rate": 1}]
    result = imported(flat_rate(energyratestructure=[tiers]))
    assert [part.path for part in result.refused] == ["energyratestructure[0]"]
    assert [tariff["direction"] for tariff in result.tariffs] == ["IMPORT"]


@pytest.mark.parametrize(
    "fields", [{"dgrules": "Net Metering"}, {"usenetmetering": True}, {"dgrules": "Net Billing Hourly"}]
)
def test_netting_is_refused_beside_sell_rates_and_left_out_without(fields: dict[str, Any]) -> None:
    [name] = fields
    sells = flat_rate(energyratestructure=[[{"rate": 1, "sell": 1}]], **fields)
    assert [part.path for part in imported(sells).refused] == [name]
    assert [part.path for part in imported(flat_rate(**fields)).left_out] == [name]
    assert imported(flat_rate(**fields)).refused == []


def test_rules_of_generation_that_change_nothing_or_are_not_known() -> None:
    sells = [[{"rate": 1, "sell": 1}]]
    assert imported(flat_rate(energyratestructure=sells, dgrules="Net Billing Instantaneous")).left_out == []
    assert imported(flat_rate(energyratestructure=sells, usenetmetering=False)).left_out == []
    assert [p.path for p in imported(flat_rate(dgrules="Buy All Sell All")).left_out] == ["dgrules"]
    assert [p.path for p in imported(flat_rate(dgrules=["?"])).refused] == ["dgrules"]


# --- Fixed, minimum and demand charges -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "per", "amount"),
    [
        ({"fixedchargefirstmeter": Decimal("0.345"), "fixedchargeunits": "$/day"}, "day", "0.345"),
        ({"fixedchargefirstmeter": 12, "fixedchargeunits": "$/month"}, "month", "12"),
        ({"fixedchargefirstmeter": Decimal("100.2"), "fixedchargeunits": "$/year"}, "month", "8.35"),
        ({"fixedmonthlycharge": 275}, "month", "275"),
        ({"fixedmonthlycharge": 12, "fixedchargefirstmeter": 12, "fixedchargeunits": "$/month"}, "month", "12"),
    ],
)
def test_fixed_charges_are_by_the_day_or_month(fields: dict[str, Any], per: str, amount: str) -> None:
    assert charges_of(flat_rate(**fields))["fixed"] == {
        "charge_id": "fixed",
        "kind": "fixed",
        "per": per,
        "amount": amount,
    }


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"fixedchargefirstmeter": 100, "fixedchargeunits": "$/year"}, "fixedchargefirstmeter"),
        ({"fixedchargefirstmeter": 100}, "fixedchargeunits"),
        ({"fixedchargefirstmeter": 100, "fixedchargeunits": "$/bill"}, "fixedchargeunits"),
        ({"fixedmonthlycharge": 3, "fixedchargefirstmeter": 1, "fixedchargeunits": "$/day"}, "fixedmonthlycharge"),
        ({"mincharge": 120, "minchargeunits": "$/year"}, "mincharge"),
        ({"annualmincharge": 120}, "annualmincharge"),
        ({"demandreactivepowercharge": Decimal("2.7")}, "demandreactivepowercharge"),
        ({"coincidentratestructure": [[{"rate": 3}]]}, "coincidentratestructure"),
        ({"energyattrs": [{"Fuel": "varies"}]}, "energyattrs[0]"),
        ({"fixedKeyVals": [{"key": "Tax", "val": "2%"}]}, "fixedKeyVals[0]"),
        ({"surcharge": 1}, "surcharge"),
        ({"fueladjustmentsmonthly": [1]}, "fueladjustmentsmonthly"),
        ({"startdate": "2024"}, "startdate"),
        ({"enddate": {"$date": "soon"}}, "enddate"),
    ],
)
def test_a_part_that_changes_the_price_is_refused_by_its_path(fields: dict[str, Any], path: str) -> None:
    assert [part.path for part in imported(flat_rate(**fields)).refused] == [path]


@pytest.mark.parametrize(
    "fields",
    [
        {"fixedchargefirstmeter": 0},
        {"annualmincharge": 0},
        {"demandreactivepowercharge": 0, "demandratchetpercentage": [0] * 12, "lookbackpercent": 0},
        {"coincidentratestructure": [[{"rate": 0}]], "coincidentschedule": ALWAYS},
        {"flatdemandstructure": [[{"rate": 0}]], "flatdemandmonths": [0] * 12, "flatdemandunit": "kVA"},
        {"fueladjustmentsmonthly": [0] * 12},
        {"lookbackpercent": Decimal("0.5"), "demandwindow": 7},
    ],
)
def test_what_costs_nothing_is_not_refused(fields: dict[str, Any]) -> None:
    assert charges_of(flat_rate(**fields)).keys() == {"energy"}


def test_minimum_charges_are_by_the_day_or_month() -> None:
    assert charges_of(flat_rate(mincharge=Decimal("1.10"), minchargeunits="$/day"))["minimum"]["per"] == "day"
    assert charges_of(flat_rate(minmonthlycharge=9))["minimum"] == {
        "charge_id": "minimum",
        "kind": "minimum",
        "per": "month",
        "amount": "9",
    }


def test_at_every_hour_of_a_year_demand_costs_what_the_schedules_say() -> None:
    [raw] = load("bulk_demand.json")
    [document] = imported([raw]).tariffs
    charges = {charge["charge_id"]: charge for charge in document["charges"] if charge["kind"] == "demand"}
    parse_tariff(document)
    for at in every_hour_of(2024, 40):
        wall = at.astimezone(ZoneInfo("America/New_York"))
        flat = raw["flatDemandStrux"][raw["flatDemandMonths"][wall.month - 1]]["flatDemandTiers"]
        period = period_at(raw, at, "America/New_York", ("demandWeekdaySched", "demandWeekendSched"), ())
        by_time = read_tiers(raw["demandRateStrux"][period]["demandRateTiers"])
        assert demand_tiers(charges["flat-demand"], wall) == read_tiers(flat)
        assert demand_tiers(charges["demand"], wall) == (by_time if any(rate for _, rate in by_time) else None)


def demand_tiers(charge: dict[str, Any], wall: datetime) -> Tiers | None:
    day, clock = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")[wall.weekday()], wall.strftime("%H:%M")
    for band in charge["bands"]:
        for when in band["when"]:
            first, last, at = when.get("from", "01-01"), when.get("to", "12-31"), wall.strftime("%m-%d")
            in_season = first <= at <= last if first <= last else at >= first or at <= last
            if in_season and day in when.get("days", [day]) and when["start"] <= clock < when["end"]:
                return [
                    (None if tier["up_to_kw"] is None else Decimal(tier["up_to_kw"]), Decimal(tier["rate"]))
                    for tier in band["tiers"]
                ]
    return None


def test_demand_is_measured_in_the_window_that_the_rate_says() -> None:
    charges = charges_of(load("bulk_demand.json"))
    assert [charges[name]["measurement_minutes"] for name in ("flat-demand", "demand")] == [15, 15]
    assert charges["fixed"] == {"charge_id": "fixed", "kind": "fixed", "per": "month", "amount": "29"}
    assert charges["minimum"] == {"charge_id": "minimum", "kind": "minimum", "per": "day", "amount": "1.1"}


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"flatdemandunit": "kVA"}, "flatdemandunit"),
        ({"flatdemandunit": "kW daily"}, "flatdemandunit"),
        ({"demandwindow": None}, "demandwindow"),
        ({"demandwindow": 20}, "demandwindow"),
        ({"flatdemandmonths": [0] * 11}, "flatdemandmonths"),
        ({"flatdemandmonths": [0] * 11 + [Decimal("0.0")]}, "flatdemandmonths[11]"),
        ({"flatdemandstructure": [[{"rate": 1, "max": 5}]]}, "flatdemandstructure[0][0].max"),
    ],
)
def test_demand_that_cannot_be_said_is_refused_and_energy_is_kept(fields: dict[str, Any], path: str) -> None:
    demand = {"flatdemandstructure": [[{"rate": 5}]], "flatdemandmonths": [0] * 12, "demandwindow": 15}
    result = imported(flat_rate(**{**demand, **fields}))
    assert [part.path for part in result.refused] == [path]
    assert [charge["kind"] for charge in result.tariffs[0]["charges"]] == ["energy"]


def test_ratchets_and_lookbacks_are_refused_beside_the_charge_that_has_none() -> None:
    result = imported(load("v3_ratchet.json"))
    assert sorted(part.path for part in result.refused) == ["demandratchetpercentage", "demandreactivepowercharge"]
    assert [part.path for part in result.left_out] == ["phasewiring", "peakkwcapacitymin", "usenetmetering"]
    assert [charge["charge_id"] for charge in result.tariffs[0]["charges"]] == ["energy", "fixed", "flat-demand"]
    lookback = flat_rate(flatdemandstructure=[[{"rate": 5}]], demandwindow=15, lookbackpercent=1, lookbackrange=11)
    assert [part.path for part in imported(lookback).refused] == ["lookbackpercent", "lookbackrange"]


# --- The whole document ----------------------------------------------------------------------------------------------


def test_comments_and_eligibility_are_left_out_by_name() -> None:
    assert [str(part) for part in imported(load("api_time_of_use.json")).left_out] == [
        "items[0].peakkwcapacitymax: says who may take the rate",
        "items[0].voltagecategory: says who may take the rate",
        "items[0].energycomments: a comment for people",
        "items[0].fixedchargeeaaddl: the fixed charge of further meters: the document has that of the first one",
    ]


def test_several_rates_get_ids_of_their_own() -> None:
    named = imported([flat_rate(), flat_rate()], NEW_YORK._replace(tariff_id="t"))
    unnamed = imported([flat_rate(), {"_id": {"$oid": "x"}, **flat_rate(label=None)}])
    assert [tariff["tariff_id"] for tariff in named.tariffs] == ["t", "t-2"]
    assert [tariff["tariff_id"] for tariff in unnamed.tariffs] == ["urdb-r", "urdb-x"]


def test_a_rate_from_abroad_needs_its_currency() -> None:
    assert refusals(flat_rate(country="CAN")) == [
        "country: 'CAN': which currency the rates are in is not said (name it)"
    ]
    [tariff] = imported(flat_rate(country="CAN"), NEW_YORK._replace(currency="CAD")).tariffs
    assert tariff["currency"] == "CAD"
    assert imported(flat_rate(country="USA")).tariffs[0]["currency"] == "USD"


def test_what_a_tariff_document_does_not_hold_is_refused_and_no_document_is_made() -> None:
    result = imported(flat_rate(startdate=1735624800, enddate=1372658400))
    assert result.tariffs == []
    assert [part.path for part in result.refused] == ["document"]
    assert "valid_to" in result.refused[0].reason


@pytest.mark.parametrize(
    ("document", "options", "problem"),
    [
        (flat_rate(), ImportOptions(), "timezone: missing"),
        (flat_rate(), ImportOptions(timezone="EST5"), "timezone: 'EST5' is not a time zone"),
        (flat_rate(), NEW_YORK._replace(direction="LOCAL"), "direction: 'LOCAL'"),
        ("rates", NEW_YORK, "document: 'rates' is no rate of the URDB"),
        ({"items": []}, NEW_YORK, "document: "),
        ({"items": [flat_rate(), 3]}, NEW_YORK, "items[1]: 3 is no rate of the URDB"),
        ({"tariff_id": "x"}, NEW_YORK, "document: {'tariff_id': 'x'} is no rate of the URDB"),
    ],
)
def test_a_document_or_option_that_is_of_no_use_is_an_error(
    document: Any, options: ImportOptions, problem: str
) -> None:
    with pytest.raises(DocumentError) as caught:
        import_urdb(document, options)
    assert any(found.startswith(problem) for found in caught.value.problems), caught.value.problems


def test_the_examples_are_json_that_others_can_read() -> None:
    for path in DATA.iterdir():
        assert json.loads(path.read_text(encoding="utf-8"))
