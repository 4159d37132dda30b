"""A year against eeco: windows that begin at half past, bounds that differ between bands, and demand."""

from functools import cache
from typing import Final

import pytest

from tests.oracles import eeco_year as eeco
from tests.oracles.eeco_year import ALL_DAYS, ALL_YEAR, ALWAYS, SUMMER, WEEKEND, WINTER, WORKDAYS, Hours, Month
from tests.oracles.year import MONTHS, Json, Year, flows_wh, furthest, priced_year

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore:Series.dt.weekday")]

STEP_TOLERANCE: Final = 1e-9
MONTH_TOLERANCE: Final = 1e-6

OURS: Final[dict[str, list[Json]]] = {
    "summer peak": [
        {"from": "06-01", "to": "09-30", "days": ["MON", "TUE", "WED", "THU", "FRI"], "start": "16:30", "end": "21:00"}
    ],
    "winter peak": [
        {"from": "10-01", "to": "05-31", "days": ["MON", "TUE", "WED", "THU", "FRI"], "start": "07:00", "end": "09:30"},
        {"from": "10-01", "to": "05-31", "days": ["MON", "TUE", "WED", "THU", "FRI"], "start": "17:30", "end": "20:00"},
    ],
    "weekend": [{"days": ["SAT", "SUN"]}],
    "rest": [],
}
THEIRS: Final[dict[str, list[Hours]]] = {
    "summer peak": [Hours(SUMMER, WORKDAYS, ((16.5, 21),))],
    "winter peak": [Hours(WINTER, WORKDAYS, ((7, 9.5), (17.5, 20)))],
    "weekend": [Hours(ALL_YEAR, WEEKEND, ((0, 24),))],
    "rest": [
        Hours(SUMMER, WORKDAYS, ((0, 16.5), (21, 24))),
        Hours(WINTER, WORKDAYS, ((0, 7), (9.5, 17.5), (20, 24))),
    ],
}
DAYLIGHT: Final = {"day": [{"start": "06:30", "end": "19:30"}]}
"""What is left of the day earns nothing."""

Tiers = list[tuple[int, str]]
FLAT: Final[dict[str, Tiers]] = {
    "summer peak": [(0, "0.412")],
    "winter peak": [(0, "0.36")],
    "weekend": [(0, "0.1275")],
    "rest": [(0, "0.19")],
}
TIERED: Final[dict[str, Tiers]] = {"all": [(0, "0.11"), (40, "0.31"), (90, "0.17"), (160, "0.25")]}
BOTH: Final[dict[str, Tiers]] = {
    "summer peak": [(0, "0.41"), (90, "0.52")],
    "winter peak": [(0, "0.36"), (60, "0.4"), (155, "0.45")],
    "weekend": [(0, "0.12"), (35, "0.2")],
    "rest": [(0, "0.19"), (50, "0.23"), (100, "0.17")],
}
ALL: Final[dict[str, list[Json]]] = {"all": []}
DEMAND: Final[dict[str, Tiers]] = {"all": [(0, "4.5"), (1, "6.25"), (3, "9")]}
PEAK_DEMAND: Final[dict[str, Tiers]] = {"summer peak": [(0, "11.5")], "winter peak": [(0, "7.25")]}
DAILY_DEMAND: Final[dict[str, Tiers]] = {"all": [(0, "0.35")]}


def bands(tiers: dict[str, Tiers], when: dict[str, list[Json]], bound: str = "up_to_kwh") -> list[Json]:
    """Return bands of ours, of tiers that say where they begin."""
    found = []
    for name, begins in tiers.items():
        ends = [*(str(at) for at, _ in begins[1:]), None]
        steps = [{bound: end, "rate": rate} for end, (_, rate) in zip(ends, begins, strict=True)]
        found.append({"name": name, "when": when[name], "tiers": steps})
    return found


def energy(charge_id: str, tiers: dict[str, Tiers], when: dict[str, list[Json]]) -> Json:
    return {"charge_id": charge_id, "kind": "energy", "bands": bands(tiers, when)}


def demand(charge_id: str, tiers: dict[str, Tiers], when: dict[str, list[Json]], per: str = "month") -> Json:
    measured = {"measurement_minutes": eeco.MINUTES, "measured_over": per, "per": per}
    return {"charge_id": charge_id, "kind": "demand", "bands": bands(tiers, when, "up_to_kw")} | measured


BOUGHT: Final = [
    energy("time of use", FLAT, OURS),
    energy("tiered", TIERED, ALL),
    energy("time of use and tiers", BOTH, OURS),
    demand("demand", DEMAND, ALL),
    demand("peak demand", PEAK_DEMAND, OURS),
    demand("daily demand", DAILY_DEMAND, ALL, "day"),
    {"charge_id": "customer", "kind": "fixed", "per": "month", "amount": "12.34"},
]
SOLD: Final = [energy("feed-in", {"day": [(0, "0.055")]}, DAYLIGHT)]

ROWS: Final[dict[str, list[Json]]] = {
    "time of use": [row for name in FLAT for row in eeco.rows("energy", name, THEIRS[name], FLAT[name])],
    "tiered": list(eeco.rows("energy", "all", ALWAYS, TIERED["all"])),
    "time of use and tiers": [row for name in BOTH for row in eeco.rows("energy", name, THEIRS[name], BOTH[name])],
    "demand": list(eeco.rows("demand", "all", ALWAYS, DEMAND["all"])),
    "peak demand": [row for name in PEAK_DEMAND for row in eeco.rows("demand", name, THEIRS[name], PEAK_DEMAND[name])],
    "daily demand": list(eeco.rows("demand", "all", ALWAYS, DAILY_DEMAND["all"], "daily")),
    "customer": list(eeco.rows("customer", "all", ALWAYS, [(0, "12.34")])),
    "feed-in": list(eeco.rows("export", "day", [Hours(ALL_YEAR, ALL_DAYS, ((6.5, 19.5),))], [(0, "0.055")])),
}


@cache
def flows() -> list[int]:
    return flows_wh(eeco.MINUTES, exporting=True)


@cache
def months() -> list[Month]:
    return [Month(flows(), month) for month in MONTHS]


@cache
def their_months(charge: str) -> list[float]:
    return [month.calculated(ROWS[charge]) for month in months()]


@cache
def our_year() -> Year:
    common = {"currency": "USD", "timezone": "UTC", "rounding": {"line": {"quantum": "0.000000001"}}}
    buy = {"tariff_id": "buy", "direction": "IMPORT", "charges": BOUGHT} | common
    sell = {"tariff_id": "sell", "direction": "EXPORT", "charges": SOLD} | common
    return priced_year(flows(), eeco.MINUTES, [buy, sell])


@pytest.mark.parametrize(("charge", "sign"), [("time of use", 1), ("feed-in", -1)])
def test_each_step_without_tiers_costs_the_same(charge: str, sign: int) -> None:
    prices = [price for month in months() for price in month.prices(ROWS[charge])]
    theirs = [sign * max(sign * flow, 0) / 1000 * price for flow, price in zip(flows(), prices, strict=True)]
    assert furthest(our_year().costs[charge], theirs) <= STEP_TOLERANCE


@pytest.mark.parametrize("charge", ROWS)
def test_each_months_bill_has_the_same_sum_of_a_charge(charge: str) -> None:
    assert any(their_months(charge))
    assert furthest(our_year().billed(charge), their_months(charge)) <= MONTH_TOLERANCE


def test_each_months_bill_has_the_same_total() -> None:
    theirs = map(sum, zip(*map(their_months, ROWS), strict=True))
    ours = [bill.totals[0].total for bill in our_year().bills]
    assert furthest(ours, theirs) <= MONTH_TOLERANCE
