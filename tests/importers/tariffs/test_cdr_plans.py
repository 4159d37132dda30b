"""Whole plans: what becomes of each, and its price at every half hour against a slow reading of its JSON.

The slow reading is written from the plan's own words and shares nothing with the importer: it looks up the one window
that holds at a local time, and walks the blocks by their widths. Beside the published plans, which are read where they
are at hand, it goes over the plans in `data/cdr`, which have the same shapes.
"""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from app.domain.instants import parse_instant_us
from app.domain.tariffs import DemandCharge, FixedCharge, Tariff
from app.domain.tiers import Graduated
from app.domain.timeline import Timeline
from app.importers.tariffs.cdr import import_cdr
from app.importers.tariffs.common import Imported, ImportOptions, read_json
from app.wire.tariff import parse_tariff

EXAMPLES = sorted((Path(__file__).parent / "data" / "cdr").glob("*.json"))
PUBLISHED_FOLDER = Path(__file__).parents[4] / "shared" / "data" / "au_plans"
PUBLISHED = sorted(PUBLISHED_FOLDER.glob("*.json"))
CONTRACT = "electricityContract."
ZONES = {
    "Ausgrid": "Australia/Sydney",
    "Endeavour": "Australia/Sydney",
    "Energex": "Australia/Brisbane",
    "Jemena": "Australia/Melbourne",
    "Citipower": "Australia/Melbourne",
    "Powercor": "Australia/Melbourne",
    "AusNet Services (electricity)": "Australia/Melbourne",
    "TasNetworks": "Australia/Hobart",
}
DISCOUNT = "discounts[0]"
MEMBERSHIP = "fees[0]"
STEPS_IN_WORDS = ("solarFeedInTariff[0]", "solarFeedInTariff[1]")
TWO_DEMANDS = ("tariffPeriod[0].demandCharges[0]", "tariffPeriod[0].demandCharges[1]")
OVERLAPPING_FEED_IN = (
    "tariffPeriod[1].demandCharges[0].days",
    "tariffPeriod[3].demandCharges[0].days",
    "solarFeedInTariff[0]",
    "solarFeedInTariff[1].timeVaryingTariffs",
    "solarFeedInTariff[2].timeVaryingTariffs",
    DISCOUNT,
)

REFUSED: dict[str, tuple[str, ...]] = {
    # A guaranteed discount; two feed-in tariffs at all times, one "first 5 kWh's/day" and one "thereafter".
    "1ST1018001MRE1@EME": (*STEPS_IN_WORDS, DISCOUNT),
    "1ST1018002MRE1@EME": (*STEPS_IN_WORDS, DISCOUNT),
    "1ST1018005MRE1@EME": (*STEPS_IN_WORDS, DISCOUNT),
    "1ST1018006MRE1@EME": (*STEPS_IN_WORDS, DISCOUNT),
    "1ST672272MR@VEC": (DISCOUNT,),
    "1ST672277MR@VEC": (DISCOUNT,),
    # Measured by the month, and described as the maximum of the last 12 months.
    "1ST672332MS@VEC": ("tariffPeriod[1].demandCharges[0].description",),
    # Two demand charges in one season, described as those of summer and winter.
    "ALI1008537MRE2@EME": TWO_DEMANDS,
    "ALI1008538MRE2@EME": TWO_DEMANDS,
    # A least demand of 109.58 kW.
    "ALI664581MS@VEC": (
        "tariffPeriod[1].demandCharges[0].minDemand",
        "tariffPeriod[3].demandCharges[0].minDemand",
    ),
    "ALI664591MS@VEC": ("tariffPeriod[1].demandCharges[0].minDemand",),
    # A membership fee of $239.88.
    "ENE689884MS@VEC": (MEMBERSHIP,),
    "ENE689885MS@VEC": (MEMBERSHIP,),
    "ENE689887MS@VEC": (MEMBERSHIP,),
    "ENE689889MS@VEC": (MEMBERSHIP,),
    "ENE690007MS@VEC": (MEMBERSHIP,),
    "ENE690014MS@VEC": (MEMBERSHIP,),
    "ENE690015MS@VEC": (MEMBERSHIP,),
    # Demand on days that are not said; off-peak and shoulder feed-in at once from 15:00; a rebate given as an estimate.
    "IND985955MRE1@EME": OVERLAPPING_FEED_IN,
    "IND985956MRE1@EME": OVERLAPPING_FEED_IN,
}
"""The refused parts of the published plans; the others have none."""

WITHOUT_FEED_IN = {name for name, parts in REFUSED.items() if any(part.startswith("solar") for part in parts)}


def published() -> list[Path]:
    if not PUBLISHED:
        pytest.skip("the published plans are not at hand")
    return PUBLISHED


def imported(path: Path) -> Imported:
    return import_cdr(read_json(path.read_bytes()), ImportOptions())


def test_every_published_plan_becomes_documents_apart_from_the_parts_in_the_table() -> None:
    found = {}
    for path in published():
        result = imported(path)
        found[path.stem.split("__")[1]] = tuple(part.path.removeprefix(CONTRACT) for part in result.refused)
        for document in result.tariffs:
            parse_tariff(document)
    assert len(found) == 32
    assert {name: parts for name, parts in found.items() if parts} == REFUSED


def test_every_published_plan_has_documents_for_import_controlled_loads_and_feed_in() -> None:
    for path in published():
        plan = json.loads(path.read_bytes())["data"]
        contract, plan_id = plan["electricityContract"], plan["planId"]
        loads = ["-controlled-load", "-controlled-load-2"][: len(contract.get("controlledLoad", []))]
        feed_in = [] if plan_id in WITHOUT_FEED_IN else ["-feed-in"]
        expected = [f"{plan_id}{suffix}" for suffix in ("", *loads, *feed_in)]
        assert [document["tariff_id"] for document in imported(path).tariffs] == expected


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_plans_become_documents_without_a_refused_part(path: Path) -> None:
    result = imported(path)
    assert result.refused == []
    assert {document["direction"] for document in result.tariffs} == {"IMPORT", "EXPORT"}


# --- The slow reading ------------------------------------------------------------------------------------------------


def minute_of(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:5])


def holds(window: dict[str, Any], day: str, minute: int) -> bool:
    start, end = minute_of(window["startTime"]), minute_of(window["endTime"])
    if end == 0:
        end = 1440
    elif end % 60 == 59:
        end += 1
    in_time = start <= minute < end if start < end else minute >= start or minute < end
    return in_time and day in window["days"]


def in_period(period: dict[str, Any], on: date) -> bool:
    first, last, at = period["startDate"], period["endDate"].replace("02-28", "02-29"), f"{on:%m-%d}"
    return first <= at <= last if first <= last else at >= first or at <= last


def marginal(rates: list[dict[str, Any]], used_kwh: Decimal) -> Decimal:
    """Return the price of the next bit of energy after so much of it; beyond the last block it is nothing."""
    left = used_kwh
    for rate in rates:
        width = Decimal(str(rate.get("volume") or 0))
        if width == 0 or left < width:
            return Decimal(rate["unitPrice"])
        left -= width
    return Decimal(0)


def rates_at(part: dict[str, Any], windows: str, day: str, minute: int) -> list[list[dict[str, Any]]]:
    """Return the rates that hold at a local time, each as its list of blocks."""
    single = part.get("singleRate") or part.get("singleTariff")
    if single:
        return [single["rates"]]
    varying = part.get("timeOfUseRates") or part.get("timeVaryingTariffs") or []
    varying = varying if isinstance(varying, list) else [varying]
    return [rate["rates"] for rate in varying if any(holds(window, day, minute) for window in rate[windows])]


def half_hours(plan: dict[str, Any], tariff: Tariff) -> Iterator[tuple[int, date, str, int]]:
    """Yield (instant, local date, its day, minute) of a week around the start of each tariff period."""
    contract = plan["electricityContract"]
    local = contract.get("timeZone") == "LOCAL"
    zone = ZoneInfo(ZONES[plan["geography"]["distributors"][0]]) if local else None
    first = tariff.valid_from_us or parse_instant_us("2025-01-01T00:00:00Z")
    year = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=first)).year
    for period in contract["tariffPeriod"]:
        month, day = map(int, period["startDate"].split("-"))
        at = datetime(year, month, day, tzinfo=UTC) - timedelta(days=3)
        for number in range(7 * 48):
            instant = at + timedelta(minutes=30 * number)
            clock = instant.astimezone(zone) if zone else instant + timedelta(hours=10)
            at_us = (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
            yield at_us, clock.date(), f"{clock:%a}".upper(), clock.hour * 60 + clock.minute


USED_KWH = [Decimal(text) for text in ("0", "4.9", "5", "7", "9.9", "10", "12", "15", "15.5", "200", "1200", "1600")]


def prices(timeline: Timeline, at_us: int) -> list[tuple[Decimal, ...]]:
    """Return what each charge of a document asks for the next bit of energy, after each of `USED_KWH`."""
    found = []
    for charge in timeline.segment(at_us).charges:
        if isinstance(charge.rate, Graduated):
            tiers = [(tier.up_to_kwh, tier.rate) for tier in charge.rate.tiers]
        else:
            assert isinstance(charge.rate, Decimal)
            tiers = [(None, charge.rate)]
        found.append(tuple(next(rate for bound, rate in tiers if bound is None or used < bound) for used in USED_KWH))
    return found


@pytest.fixture(scope="module", params=[*EXAMPLES, *PUBLISHED], ids=lambda path: path.stem)
def plan(request: pytest.FixtureRequest) -> tuple[dict[str, Any], dict[str, Tariff], set[str]]:
    result = imported(request.param)
    raw = json.loads(request.param.read_bytes(), parse_float=str)["data"]
    tariffs = {document["tariff_id"].removeprefix(raw["planId"]): parse_tariff(document) for document in result.tariffs}
    return raw, tariffs, {part.path.removeprefix(CONTRACT) for part in result.refused}


Plan = tuple[dict[str, Any], dict[str, Tariff], set[str]]


def test_usage_costs_at_each_half_hour_what_the_plan_says(plan: Plan) -> None:
    raw, tariffs, _ = plan
    periods = [one for one in raw["electricityContract"]["tariffPeriod"] if one["rateBlockUType"] != "demandCharges"]
    tariff = tariffs[""]
    timeline = Timeline(tariff)
    for at_us, on, day, minute in half_hours(raw, tariff):
        expected = [
            tuple(marginal(rates, used) for used in USED_KWH)
            for period in periods
            if in_period(period, on)
            for rates in rates_at(period, "timeOfUse", day, minute)
        ]
        assert len(expected) == 1
        assert prices(timeline, at_us) == expected, (on, day, minute)


def test_controlled_loads_cost_at_each_half_hour_what_the_plan_says(plan: Plan) -> None:
    raw, tariffs, _ = plan
    loads = raw["electricityContract"].get("controlledLoad", [])
    for suffix, load in zip(("-controlled-load", "-controlled-load-2"), loads, strict=False):
        tariff = tariffs[suffix]
        timeline = Timeline(tariff)
        for at_us, on, day, minute in half_hours(raw, tariff):
            expected = [
                tuple(marginal(rates, used) for used in USED_KWH) for rates in rates_at(load, "timeOfUse", day, minute)
            ]
            assert prices(timeline, at_us) == expected, (suffix, on, day, minute)
        supply = Decimal((load.get("singleRate") or {}).get("dailySupplyCharge", "0"))
        assert sum(charge.amount for charge in tariff.charges if isinstance(charge, FixedCharge)) == supply
    assert sum(suffix.startswith("-controlled-load") for suffix in tariffs) == len(loads)


def test_feed_in_earns_at_each_half_hour_what_the_plan_says_and_nothing_outside_its_windows(plan: Plan) -> None:
    raw, tariffs, refused = plan
    elements = raw["electricityContract"].get("solarFeedInTariff", [])
    tariff = tariffs.get("-feed-in")
    if tariff is None:
        assert any(path.startswith("solarFeedInTariff") for path in refused)
        return
    timeline = Timeline(tariff)
    for at_us, on, day, minute in half_hours(raw, tariff):
        expected = [
            tuple(marginal(rates, used) for used in USED_KWH)
            for element in elements
            for rates in rates_at(element, "timeVariations", day, minute)
        ]
        assert prices(timeline, at_us) == expected, (on, day, minute)
    assert tariff.taxes == ()


def test_supply_costs_on_each_day_what_the_plan_says(plan: Plan) -> None:
    raw, tariffs, _ = plan
    charges = [charge for charge in tariffs[""].charges if isinstance(charge, FixedCharge)]
    for number in range(366):
        on = date(2024, 1, 1) + timedelta(days=number)
        expected = sum(
            Decimal(period.get("dailySupplyCharge", "0"))
            for period in raw["electricityContract"]["tariffPeriod"]
            if in_period(period, on)
        )
        assert sum(charge.amount for charge in charges if charge.due_on(on)) == expected


def test_demand_is_measured_at_each_half_hour_for_the_charges_that_the_plan_says(plan: Plan) -> None:
    raw, tariffs, refused = plan
    tariff = tariffs[""]
    ours = [charge for charge in tariff.charges if isinstance(charge, DemandCharge)]
    stated = [
        (period, charge)
        for number, period in enumerate(raw["electricityContract"]["tariffPeriod"])
        for charge_number, charge in enumerate(period.get("demandCharges", []))
        if not any(path.startswith(f"tariffPeriod[{number}].demandCharges[{charge_number}]") for path in refused)
    ]
    assert len(ours) == len(stated)
    for _, on, day, minute in half_hours(raw, tariff):
        expected = [
            (Decimal(charge["amount"]), charge["measurementPeriod"].lower(), charge["chargePeriod"].lower())
            for period, charge in stated
            if in_period(period, on) and holds(charge, day, minute)
        ]
        found = [
            (band.tiers[0].rate, charge.measured_over, charge.per)
            for charge in ours
            for band in charge.bands
            if any(
                when.matches_day(on, tariff.day_name(on)) and when.start_minute <= minute < when.end_minute
                for when in band.when
            )
        ]
        assert found == expected, (on, day, minute)


def test_import_bears_gst_on_prices_without_it(plan: Plan) -> None:
    _, tariffs, _ = plan
    for suffix, tariff in tariffs.items():
        rates = [(tax.name, tax.rate, tax.charges) for tax in tariff.taxes]
        assert rates == ([] if suffix.startswith("-feed-in") else [("GST", Decimal("0.1"), None)])
        assert (tariff.currency, tariff.prices_include_tax) == ("AUD", False)
