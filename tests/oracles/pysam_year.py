"""One tariff twice: as tables of NREL-PySAM's Utilityrate5, and as our documents.

What it models: hours of twelve months, weekdays and weekends; tiers whose counter is pooled over all bands of a month
and whose bounds are the same in all of them; a year of 365 days that begins on a Monday; no holidays, clock changes or
taxes.
"""

import random
from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final

from tests.oracles.optional import calculator
from tests.oracles.year import Json, start_of

utility_rate: Any = calculator("PySAM.Utilityrate5")

NO_BOUND: Final = 1e38
NET_BILLING: Final = 2
"""Each step by itself is bought or sold: nothing is netted over a month, and no credit is carried on."""

KWH: Final = 0
KWH_A_DAY: Final = 2
BOUND_NAMES: Final = {KWH: "up_to_kwh", KWH_A_DAY: "up_to_kwh_per_day"}

Tiers = Sequence[tuple[str | None, str]]
"""(bound, rate) from the first; the last has no bound."""

SUMMER: Final = range(6, 10)
WEEKDAYS: Final = ["MON", "TUE", "WED", "THU", "FRI"]
IN_SUMMER: Final[Json] = {"from": "06-01", "to": "09-30"}
IN_WINTER: Final[Json] = {"from": "10-01", "to": "05-31"}
NIGHT: Final[list[Json]] = [{"start": "22:00", "end": "06:00"}]
HALVES_OF_NIGHT: Final[list[Json]] = [{"start": "22:00", "end": "24:00"}, {"start": "00:00", "end": "06:00"}]
"""A window past midnight is of the season in which it starts: at the edge of a season the calculator has two halves."""

BANDS: Final[dict[str, list[Json]]] = {
    "summer night": [IN_SUMMER | half for half in HALVES_OF_NIGHT],
    "winter night": [IN_WINTER | half for half in HALVES_OF_NIGHT],
    "summer peak": [IN_SUMMER | {"days": WEEKDAYS, "start": "16:00", "end": "21:00"}],
    "winter peak": [
        IN_WINTER | {"days": WEEKDAYS, "start": "07:00", "end": "10:00"},
        IN_WINTER | {"days": WEEKDAYS, "start": "17:00", "end": "20:00"},
    ],
    "summer": [IN_SUMMER],
    "winter": [],
}
"""Our windows, in the order of the numbers that `period_at` gives."""


def period_at(month: int, hour: int, *, weekend: bool) -> int:
    """Return the number of the band, from 1, in an hour of a month."""
    summer = month in SUMMER
    if hour >= 22 or hour < 6:
        return 1 if summer else 2
    if summer:
        return 3 if not weekend and 16 <= hour < 21 else 5
    return 4 if not weekend and (7 <= hour < 10 or 17 <= hour < 20) else 6


def schedule(*, weekend: bool) -> list[list[int]]:
    return [[period_at(month, hour, weekend=weekend) for hour in range(24)] for month in range(1, 13)]


BY_SEASON: Final[Json] = {
    "ur_ec_sched_weekday": schedule(weekend=False),
    "ur_ec_sched_weekend": schedule(weekend=True),
}
ALWAYS: Final[Json] = {"ur_ec_sched_weekday": [[1] * 24] * 12, "ur_ec_sched_weekend": [[1] * 24] * 12}


def energy_rows(periods: Sequence[Tiers], unit: int = KWH, *, selling: bool = False) -> list[list[float]]:
    """Return the table of energy rates: period, tier, bound, unit of the bound, price to buy, price to sell."""
    found: list[list[float]] = []
    for number, tiers in enumerate(periods, start=1):
        for tier, (bound, rate) in enumerate(tiers, start=1):
            prices = (0.0, float(rate)) if selling else (float(rate), 0.0)
            found.append([number, tier, NO_BOUND if bound is None else float(bound), unit, *prices])
    return found


def tiers_of(tiers: Tiers, unit: int = KWH) -> list[Json]:
    return [({} if bound is None else {BOUND_NAMES[unit]: bound}) | {"rate": rate} for bound, rate in tiers]


def energy_charge(charge_id: str, periods: Sequence[Tiers], bands: dict[str, list[Json]], unit: int = KWH) -> Json:
    found = [
        {"name": name, "when": when, "tiers": tiers_of(tiers, unit)}
        for (name, when), tiers in zip(bands.items(), periods, strict=True)
    ]
    return {"charge_id": charge_id, "kind": "energy", "bands": found}


def tariff(tariff_id: str, direction: str, charges: Sequence[Json]) -> Json:
    """Return a document whose lines are rounded so finely that the sums of bills can be compared."""
    return {
        "tariff_id": tariff_id,
        "direction": direction,
        "currency": "USD",
        "timezone": "UTC",
        "charges": list(charges),
        "rounding": {"line": {"quantum": "0.000000001"}},
    }


def market(minutes: int, steps: int) -> tuple[list[str], list[Json]]:
    """Return a price for each step, sometimes below zero: as texts, and as the documents of our series, day by day."""
    rng = random.Random(steps)  # noqa: S311 - prices like others, not secrets
    levels = [f"{rng.randint(-2_000, 40_000) / 100_000:.5f}" for _ in range(50)]
    values = rng.choices(levels, k=steps)
    days = groupby(range(steps), key=lambda step: step * minutes // 1440)
    return values, [
        {
            "series_id": "MARKET",
            "kind": "price",
            "unit": "USD/kWh",
            "points": [
                {"start_time": start_of(at, minutes), "end_time": start_of(at + 1, minutes), "value": values[at]}
                for at in steps_of_day
            ],
        }
        for _, steps_of_day in days
    ]


def calculated(flows: Sequence[int], minutes: int, rates: Json) -> Any:
    """Return the calculator after a year of flows in Wh. Its outputs live as long as it does."""
    model = utility_rate.new()
    kw_per_wh = 60 / minutes / 1000
    model.Lifetime.assign({"analysis_period": 1, "inflation_rate": 0, "system_use_lifetime_output": 0})
    model.SystemOutput.assign({"gen": [max(-flow, 0) * kw_per_wh for flow in flows], "degradation": [0]})
    model.Load.assign({"load": [max(flow, 0) * kw_per_wh for flow in flows]})
    model.ElectricityRates.assign({"en_electricity_rates": 1, "ur_metering_option": NET_BILLING} | rates)
    model.execute(0)
    return model
