"""A year against NREL-PySAM's Utilityrate5: each step's cost, and each month's bill."""

from functools import cache
from typing import Any, Final, NamedTuple

import pytest

from tests.oracles import pysam_year as sam
from tests.oracles.year import Json, Year, flows_wh, furthest, priced_year

pytestmark = pytest.mark.oracle

STEP_TOLERANCE: Final = 1e-9
MONTH_TOLERANCE: Final = 1e-6
resolutions = pytest.mark.parametrize("minutes", [15, 30, 60])

RATES: Final = ("0.11", "0.09", "0.41", "0.33", "0.23", "0.19")
"""Of the six bands; a night costs the same in both seasons where it is one band."""

TIME_OF_USE: Final = [[(None, rate)] for rate in ("0.10", "0.10", *RATES[2:])]
NIGHT_FIRST: Final = {"night": sam.NIGHT} | {name: sam.BANDS[name] for name in list(sam.BANDS)[2:]}
TIERED: Final = [[("60", "0.13"), ("61.5", "0.4"), ("180", "0.17"), (None, "0.29")]]
BASELINE: Final = [[("2.1", "0.08"), ("4.25", "0.22"), (None, "0.35")]]
SUMMER_BOUNDS: Final = ("45", "160")
WINTER_BOUNDS: Final = ("70.5", "120")
BOTH: Final = [
    [
        (bound, f"{float(rate) + step / 10:.2f}")
        for step, bound in enumerate((*(SUMMER_BOUNDS if name.startswith("summer") else WINTER_BOUNDS), None))
    ]
    for name, rate in zip(sam.BANDS, RATES, strict=True)
]
FEED_IN: Final = [[("50", f"0.1{number}"), ("120", f"0.0{number}"), (None, "0.01")] for number in range(1, 7)]
ALL_DAY: Final[dict[str, list[Json]]] = {"all": []}


class Case(NamedTuple):
    """A year by our engine, and the calculator's year for each charge."""

    flows: list[int]
    ours: Year
    theirs: dict[str, Any]


@cache
def case(minutes: int) -> Case:
    """Price a year of import and export at once: the charges of a tariff do not depend on each other."""
    flows = flows_wh(minutes, exporting=True)
    prices, series = sam.market(minutes, len(flows))
    charges = [
        sam.energy_charge("time of use", TIME_OF_USE[1:], NIGHT_FIRST),
        sam.energy_charge("tiered", TIERED, ALL_DAY),
        sam.energy_charge("time of use and tiers", BOTH, sam.BANDS),
        sam.energy_charge("baseline", BASELINE, ALL_DAY, sam.KWH_A_DAY),
    ]
    sold = [
        sam.energy_charge("feed-in", FEED_IN, sam.BANDS),
        {"charge_id": "market", "kind": "energy", "series": {"series_id": "MARKET"}},
    ]
    tariffs = [sam.tariff("buy", "IMPORT", charges), sam.tariff("sell", "EXPORT", sold)]
    market = {"ur_en_ts_sell_rate": 1, "ur_ts_sell_rate": [float(price) for price in prices]}
    rates = {
        "time of use": sam.BY_SEASON | {"ur_ec_tou_mat": sam.energy_rows(TIME_OF_USE)},
        "tiered": sam.ALWAYS | {"ur_ec_tou_mat": sam.energy_rows(TIERED)},
        "time of use and tiers": sam.BY_SEASON | {"ur_ec_tou_mat": sam.energy_rows(BOTH)},
        "baseline": sam.ALWAYS | {"ur_ec_tou_mat": sam.energy_rows(BASELINE, sam.KWH_A_DAY)},
        "market": sam.ALWAYS | {"ur_ec_tou_mat": sam.energy_rows([[(None, "0")]])} | market,
        "feed-in": sam.BY_SEASON | {"ur_ec_tou_mat": sam.energy_rows(FEED_IN, selling=True)},
    }
    theirs = {name: sam.calculated(flows, minutes, given) for name, given in rates.items()}
    return Case(flows, priced_year(flows, minutes, tariffs, series), theirs)


CHARGES: Final = ["time of use", "tiered", "time of use and tiers", "baseline", "feed-in", "market"]


@resolutions
@pytest.mark.parametrize("charge", CHARGES)
def test_each_step_of_a_year_costs_the_same(minutes: int, charge: str) -> None:
    found = case(minutes)
    theirs = found.theirs[charge].Outputs.year1_hourly_ec_with_system
    assert len(theirs) == 8760 * 60 // minutes
    assert sum(abs(cost) for cost in theirs) > 10
    assert furthest(found.ours.costs[charge], theirs) <= STEP_TOLERANCE


@resolutions
@pytest.mark.parametrize("charge", CHARGES)
def test_each_months_bill_has_the_same_sum(minutes: int, charge: str) -> None:
    found = case(minutes)
    theirs = found.theirs[charge].Outputs.year1_monthly_utility_bill_w_sys
    assert furthest(found.ours.billed(charge), theirs) <= MONTH_TOLERANCE


@resolutions
def test_the_sum_of_all_charges_is_the_cost_of_a_step_and_the_total_of_a_bill(minutes: int) -> None:
    found = case(minutes)
    steps = [run.Outputs.year1_hourly_ec_with_system for run in found.theirs.values()]
    assert furthest(found.ours.totals, map(sum, zip(*steps, strict=True))) <= STEP_TOLERANCE
    months = [run.Outputs.year1_monthly_utility_bill_w_sys for run in found.theirs.values()]
    totals = [bill.totals[0].total for bill in found.ours.bills]
    assert furthest(totals, map(sum, zip(*months, strict=True))) <= MONTH_TOLERANCE


@resolutions
def test_the_tiers_of_the_year_are_all_reached_in_each_direction(minutes: int) -> None:
    """What the tests above compare is not the first tier alone."""
    for bill in case(minutes).ours.bills:
        reached = {(line.key.charge_id, line.key.tier) for line in bill.lines}
        assert {("tiered", 4), ("time of use and tiers", 3), ("baseline", 3), ("feed-in", 3)} <= reached


DEMAND: Final = [("2", "3.5"), ("5.5", "6"), (None, "8.25")]
MINIMUM: Final = "255"


def demand_charges(minutes: int) -> list[Json]:
    """Return a demand charge of the month, and one with a band of its own for the evenings of weekdays."""
    window = {"days": sam.WEEKDAYS, "start": "16:00", "end": "21:00"}
    tiers = [{"up_to_kw": bound, "rate": rate} for bound, rate in DEMAND]
    peak = [
        {"name": "peak", "when": [window], "tiers": [{"rate": "11.5"}]},
        {"name": "rest", "tiers": [{"rate": "2.25"}]},
    ]
    kind = {"kind": "demand", "measurement_minutes": minutes}
    return [
        kind | {"charge_id": "demand", "bands": [{"name": "all", "tiers": tiers}]},
        kind | {"charge_id": "demand by time", "bands": peak},
    ]


def demand_rates() -> Json:
    rows = [
        (tier, sam.NO_BOUND if bound is None else float(bound), float(rate))
        for tier, (bound, rate) in enumerate(DEMAND, 1)
    ]
    return {
        "ur_dc_enable": 1,
        "ur_dc_flat_mat": [[month, *row] for month in range(12) for row in rows],
        "ur_dc_tou_mat": [[1, 1, sam.NO_BOUND, 2.25], [2, 1, sam.NO_BOUND, 11.5]],
        "ur_dc_sched_weekday": [[2 if 16 <= hour < 21 else 1 for hour in range(24)]] * 12,
        "ur_dc_sched_weekend": [[1] * 24] * 12,
        "ur_monthly_fixed_charge": 9.5,
        "ur_monthly_min_charge": float(MINIMUM),
    }


@resolutions
def test_each_months_bill_with_demand_and_fixed_charges_and_a_minimum_has_the_same_total(minutes: int) -> None:
    flows = flows_wh(minutes, exporting=False)
    charges = [
        sam.energy_charge("energy", BOTH, sam.BANDS),
        *demand_charges(minutes),
        {"charge_id": "meter", "kind": "fixed", "per": "month", "amount": "9.5"},
        {"charge_id": "minimum", "kind": "minimum", "per": "month", "amount": MINIMUM},
    ]
    rates = sam.BY_SEASON | {"ur_ec_tou_mat": sam.energy_rows(BOTH)} | demand_rates()
    run = sam.calculated(flows, minutes, rates)
    ours = priced_year(flows, minutes, [sam.tariff("buy", "IMPORT", charges)])
    assert furthest(ours.totals, run.Outputs.year1_hourly_ec_without_system) <= STEP_TOLERANCE
    assert furthest(ours.billed("demand"), run.Outputs.year1_monthly_dc_fixed_without_system) <= MONTH_TOLERANCE
    assert furthest(ours.billed("demand by time"), run.Outputs.year1_monthly_dc_tou_without_system) <= MONTH_TOLERANCE
    assert furthest(ours.billed("minimum"), run.Outputs.year1_monthly_minimum_without_system) <= MONTH_TOLERANCE
    assert 0 < sum(bool(lacking) for lacking in ours.billed("minimum")) < 12
    totals = [bill.totals[0].total for bill in ours.bills]
    assert furthest(totals, run.Outputs.year1_monthly_utility_bill_wo_sys) <= MONTH_TOLERANCE
