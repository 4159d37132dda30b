"""What holds for prices with tiers, and for the bills made of them, whatever the tariff and the records."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from app.compose import price_offline
from app.domain.bill_records import PricedInterval
from app.domain.instants import format_instant, parse_instant_us
from app.wire.location import parse_location
from app.wire.tariff import parse_tariff
from tests.golden_bills.making import bill_of, priced

Json = dict[str, Any]

priced_whole = settings(max_examples=60, deadline=None)

MINUTE_US = 60_000_000
START_US = parse_instant_us("2025-03-29T18:00:00Z")
"""Clocks change in London seven hours later, and a month begins after two days."""

MINUTES = 3 * 1440
BILL = ("2025-03-29", "2025-04-03")

bounds = st.lists(st.sampled_from(["0.1", "0.5", "0.75", "1.5", "4"]), max_size=3, unique=True).map(
    lambda found: sorted(found, key=Decimal)
)
clocks = st.integers(0, 287).map(lambda five: f"{five // 12:02d}:{five % 12 * 5:02d}")


@st.composite
def tiers(draw: st.DrawFn, rates: st.SearchStrategy[Decimal], *, rising: bool) -> list[Json]:
    ends = [*draw(bounds), None]
    values = draw(st.lists(rates, min_size=len(ends), max_size=len(ends)))
    values = sorted(values) if rising else values
    return [{"up_to_kwh": end, "rate": f"{rate:f}"} for end, rate in zip(ends, values, strict=True)]


@st.composite
def charges(draw: st.DrawFn, charge_id: str, rates: st.SearchStrategy[Decimal], *, rising: bool) -> Json:
    windows = st.fixed_dictionaries({"start": clocks, "end": clocks})
    bands = [
        {"name": f"band {number}", "when": [draw(windows)], "tiers": draw(tiers(rates, rising=rising))}
        for number in range(draw(st.integers(0, 2)))
    ]
    bands.append({"name": "rest", "when": [], "tiers": draw(tiers(rates, rising=rising))})
    scope = draw(st.sampled_from(["charge", "band"]))
    return {"charge_id": charge_id, "kind": "energy", "tier_scope": scope, "bands": bands}


@st.composite
def tariffs(draw: st.DrawFn, least_rate: int = -1, *, rising: bool = False) -> Json:
    rates = st.decimals(least_rate, 2, places=4)
    ids = ["energy", "grid"][: draw(st.integers(1, 2))]
    on = st.none() | st.lists(st.sampled_from(ids), min_size=1, unique=True)
    share = st.decimals(0, 1, places=3).map(str)
    return {
        "tariff_id": "tiered",
        "direction": "IMPORT",
        "currency": "GBP",
        "timezone": draw(st.sampled_from(["Europe/London", "Asia/Kolkata", "Australia/Lord_Howe"])),
        "prices_include_tax": draw(st.booleans()),
        "taxes": draw(
            st.lists(st.fixed_dictionaries({"name": st.just("VAT"), "rate": share, "charges": on}), max_size=2)
        ),
        "tier_period": draw(st.sampled_from(["P1D", "P1M", "P1Y"])),
        "charges": [draw(charges(name, rates, rising=rising)) for name in ids],
    }


PLACE: Json = {
    "location_id": "loc_1",
    "timezone": "Europe/London",
    "interval_minutes": 30,
    "tariffs": [{"direction": "IMPORT", "tariff_id": "tiered"}],
}


def record(start_minute: int, end_minute: int, energy_mwh: int) -> Json:
    """Return a record of so many mWh: a thousandth of a Wh is a whole number of µWh."""
    start_us, end_us = (START_US + minute * MINUTE_US for minute in (start_minute, end_minute))
    times = {"start_time": format_instant(start_us), "end_time": format_instant(end_us)}
    return {"location_id": "loc_1", "units": "WH", "value": energy_mwh / 1000} | times


@st.composite
def spans(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Draw periods of whole minutes, at most 25 hours long, one after another; some of the time is left out."""
    marks = sorted(draw(st.sets(st.integers(0, MINUTES), min_size=2, max_size=10)))
    return [(start, end) for start, end in pairwise(marks) if end - start <= 25 * 60 and draw(st.integers(0, 4))]


def energies() -> st.SearchStrategy[int]:
    return st.integers(0, 3_000_000)


def cost_of(intervals: Iterable[PricedInterval]) -> Fraction:
    return sum((Fraction(one.cost) for interval in intervals for one in interval.components), start=Fraction(0))


def by_line(intervals: Iterable[PricedInterval]) -> dict[tuple[Any, ...], tuple[int, Fraction]]:
    """Return energy and cost by interval, charge, band and tier, where there is any energy."""
    sums: dict[tuple[Any, ...], tuple[int, Fraction]] = defaultdict(lambda: (0, Fraction(0)))
    for interval in intervals:
        for one in interval.components:
            key = (interval.start_us, one.charge_id, one.band, one.tier)
            sums[key] = sums[key][0] + one.energy_uwh, sums[key][1] + Fraction(one.cost)
    return {key: found for key, found in sums.items() if found[0]}


@st.composite
def cut(draw: st.DrawFn, span: tuple[int, int], mwh_a_minute: int) -> list[Json]:
    """Cut a record of constant power at whole minutes, anywhere."""
    inside = draw(st.sets(st.integers(*span), max_size=6))
    return [record(a, b, (b - a) * mwh_a_minute) for a, b in pairwise(sorted({*span, *inside}))]


@priced_whole
@given(st.data(), tariffs(), spans())
def test_it_does_not_matter_how_records_of_constant_power_are_cut(
    data: st.DataObject, tariff: Json, given_spans: list[tuple[int, int]]
) -> None:
    whole, pieces = [], []
    for span in given_spans:
        mwh_a_minute = data.draw(st.integers(0, 20_000))
        whole.append(record(*span, (span[1] - span[0]) * mwh_a_minute))
        pieces += data.draw(cut(span, mwh_a_minute))
    assert by_line(priced(pieces, [PLACE], [tariff])) == by_line(priced(whole, [PLACE], [tariff]))


@priced_whole
@given(st.data(), tariffs(least_rate=0, rising=True), spans())
def test_more_energy_never_costs_less_where_rates_are_not_negative_and_rise_by_tier(
    data: st.DataObject, tariff: Json, given_spans: list[tuple[int, int]]
) -> None:
    """Where rates fall, energy of one band can push that of another into a cheaper tier: there it does not hold."""
    given_mwh = [data.draw(energies()) for _ in given_spans]
    more_mwh = [energy + data.draw(st.just(0) | energies()) for energy in given_mwh]
    less, more = (
        priced([record(*span, mwh) for span, mwh in zip(given_spans, found, strict=True)], [PLACE], [tariff])
        for found in (given_mwh, more_mwh)
    )
    assert cost_of(less) <= cost_of(more)


@priced_whole
@given(st.data(), tariffs(), spans())
def test_with_tiers_the_components_sum_to_the_cost_which_is_rounded_once(
    data: st.DataObject, tariff: Json, given_spans: list[tuple[int, int]]
) -> None:
    records = [record(*span, data.draw(energies())) for span in given_spans]
    for published in published_of(records, tariff):
        exact = sum((Fraction(one["cost"]) for one in published["components"]), start=Fraction(0))
        assert Fraction(published["cost"]) == round(exact, 12)
        assert Fraction(published["cost"]) == Fraction(published["cost_excluding_tax"]) + Fraction(published["tax"])


@priced_whole
@given(st.data(), tariffs(), spans())
def test_the_lines_of_a_bill_sum_to_the_costs_of_its_intervals_before_rounding(
    data: st.DataObject, tariff: Json, given_spans: list[tuple[int, int]]
) -> None:
    records = [record(*span, data.draw(energies())) for span in given_spans]
    bill = bill_of(records, PLACE, [tariff], BILL)
    lines = sum((line.unrounded for line in bill.lines), start=Fraction(0))
    assert lines == cost_of(priced(records, [PLACE], [tariff]))
    assert lines == sum((total.unrounded for total in bill.totals), start=Fraction(0))
    assert lines == sum(
        (cost for day in bill.days for kinds in day.costs.values() for cost in kinds.values()), start=Fraction(0)
    )
    for line in bill.lines:
        assert abs(Fraction(line.total) - line.unrounded) <= Fraction(1, 200) * (1 + len(line.taxes))


def published_of(records: Sequence[Json], tariff: Json) -> list[Json]:
    result = price_offline(
        [json.dumps(one).encode() for one in records], [parse_location(PLACE)], [parse_tariff(tariff)]
    )
    return [json.loads(value) for value in result.priced]
