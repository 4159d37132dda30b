"""Bills with known ends. Each folder's why.md has the arithmetic.

records.jsonl, locations.json, tariffs.json, series.json    what is known, as for `meterstream bill --records`
bill.json        whose bill, and for which local dates
expected.json    the whole bill; without `days` where there are many
"""

import json
from datetime import date
from decimal import Decimal
from fractions import Fraction
from functools import cache
from pathlib import Path

import pytest

from app.domain.bill_records import PricedInterval
from app.domain.bills import Bill, make_bill
from app.wire.bill import to_document
from app.wire.location import parse_location
from tests.golden_bills.making import Json, parsed, read

HERE = Path(__file__).parent

STORIES = {
    "time-of-use-and-standing": "a line for each band; a standing charge by the day; tax on each line",
    "prices-that-include-tax": "the total is what is rounded; tax is the part within it",
    "tax-on-some-charges": "each tax on the charges that it names",
    "spring-clock-change": "a day of 23 hours is one day",
    "part-of-a-month": "monthly amounts for a part of the month; what is lacking to a minimum",
    "demand-of-a-month": "the highest half hour of each band, by tiers, and at least the minimum",
    "export-credit": "credits are negative; fixed charges are costs in every direction",
    "market-price-in-one-line": "a series is one line, with its mean price",
    "what-is-missing": "missing, incomplete and unpriced intervals are named",
    "own-meter-and-device": "no energy is billed twice",
    "new-version-at-midnight": "each version of a tariff has its own lines",
    "whole-month-cut-in-two": "an interval that the bill's edge cuts is named, not cut",
    "tiers-of-a-month": "a line for each tier",
    "charging-sessions": "a fee at the start; time by bands, over the bill's edge, and rounded up once",
}
"""Every story that must exist, and what it says."""

stories = pytest.mark.parametrize("story", sorted(STORIES))


def file(story: str, name: str) -> list[Json]:
    path = HERE / story / name
    found: list[Json] = json.loads(path.read_bytes()) if path.exists() else []
    return found


@cache
def told(story: str) -> tuple[Bill, list[PricedInterval]]:
    """Make the bill of a story; return it, and the priced intervals of its location."""
    records = [json.loads(line) for line in (HERE / story / "records.jsonl").read_bytes().splitlines()]
    asked = json.loads((HERE / story / "bill.json").read_bytes())
    (place,) = [each for each in file(story, "locations.json") if each["location_id"] == asked["location_id"]]
    period = date.fromisoformat(asked["from"]), date.fromisoformat(asked["to"])
    tariffs = file(story, "tariffs.json")
    intervals, sessions = read(records, [place], tariffs, file(story, "series.json"), place["location_id"])
    bill = make_bill(parse_location(place), parsed(tariffs), intervals, period, sessions=sessions)
    return bill, intervals


@cache
def made(story: str) -> Json:
    """Make the bill of a story, as its JSON object."""
    return to_document(told(story)[0])


@stories
def test_a_bill_is_as_expected(story: str) -> None:
    expected = json.loads((HERE / story / "expected.json").read_bytes())
    left_out = set(made(story)) - set(expected)
    assert left_out <= {"days"}
    assert {name: value for name, value in made(story).items() if name not in left_out} == expected


def test_every_story_is_told() -> None:
    assert {path.name for path in HERE.iterdir() if (path / "bill.json").exists()} == set(STORIES)


@stories
def test_whoever_adds_up_a_bill_gets_its_totals(story: str) -> None:
    bill = made(story)
    for line in bill["lines"]:
        taxes = [Decimal(tax["amount"]) for tax in line["taxes"]]
        assert sum(taxes) == Decimal(line["tax"])
        assert Decimal(line["net"]) + Decimal(line["tax"]) == Decimal(line["total"])
    for total in bill["totals"]:
        lines = [line for line in bill["lines"] if line["currency"] == total["currency"]]
        for name in ("net", "tax", "total", "unrounded"):
            assert sum(Decimal(line[name]) for line in lines) == Decimal(total[name])


@stories
def test_energy_lines_are_the_published_costs_to_the_last_digit(story: str) -> None:
    bill, intervals = told(story)
    billed = {one.meter for one in bill.meters if one.not_billed is None}
    published = sum(
        Fraction(component.cost)
        for one in intervals
        if one.meter in billed and bill.start_us <= one.start_us and one.end_us <= bill.end_us
        for component in one.components
    )
    assert sum(line.unrounded for line in bill.lines if line.key.kind == "energy") == published


@stories
def test_days_and_months_add_up_to_the_bill_before_rounding(story: str) -> None:
    bill = made(story)
    for total in bill["totals"]:
        for periods in (bill["days"], bill["months"]):
            costs = [cost for period in periods for cost in period["costs"] if cost["currency"] == total["currency"]]
            shown = sum(Decimal(cost["total"]) for cost in costs)
            assert abs(shown - Decimal(total["unrounded"])) <= Decimal("1e-12") * len(costs)
    for periods in (bill["days"], bill["months"]):
        metered = sum(Decimal(energy["energy_kwh"]) for period in periods for energy in period["energy"])
        assert metered == sum(Decimal(meter["energy_kwh"]) for meter in bill["meters"] if meter["billed"])
