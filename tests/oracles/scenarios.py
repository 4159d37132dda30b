"""Random tariffs, locations, series and records, as plain documents, around the days on which time is difficult."""

import random
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from hypothesis import strategies as st

from tests.oracles.wall_clock import MINUTE, Document, midnight, text_of

DIFFICULT = {
    "Europe/London": ("2025-03-30", "2024-10-27", "2025-01-01", "2024-02-29"),
    "America/Los_Angeles": ("2025-03-09", "2025-11-02", "2024-12-31", "2025-07-01"),
    "Australia/Sydney": ("2025-04-06", "2024-10-06", "2025-01-31", "2024-12-31"),
    "Australia/Lord_Howe": ("2025-04-06", "2025-10-05", "2025-03-01", "2023-12-31"),
    "Asia/Kolkata": ("2025-03-31", "2024-12-31", "2024-02-28", "2025-06-14"),
    "America/St_Johns": ("2025-03-09", "2025-11-02", "2024-12-31", "2024-02-29"),
}
"""Zones, each with dates at which its clocks change or a month, a year or February ends."""

DAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN", "HOL")
DAY = 1440 * MINUTE


class Scenario(NamedTuple):
    """What goes into both calculators."""

    records: list[Document]
    locations: list[Document]
    tariffs: list[Document]
    series: list[Document]


clocks = st.one_of(st.integers(0, 288).map(lambda five: five * 5), st.integers(0, 1440)).map(
    lambda minute: f"{minute // 60:02d}:{minute % 60:02d}"
)
month_days = st.dates(date(2024, 1, 1), date(2024, 12, 31)).map(lambda on: f"{on:%m-%d}")
windows = st.fixed_dictionaries(
    {"start": clocks, "end": clocks},
    optional={
        "from": month_days,
        "to": month_days,
        "days": st.lists(st.sampled_from(DAYS), min_size=1, max_size=8, unique=True),
    },
)
rates = st.decimals(-1, 3, places=5).map(str)
round_bounds = st.integers(1, 20).map(lambda tenths: Decimal(tenths) / 10)
"""Of which some are reached to the last µWh: records of round energies sum up to them."""

small_bounds = round_bounds | st.decimals("0.000000001", 40, places=9)
daily_bounds = round_bounds | st.decimals("0.000000001", 15, places=9)


@st.composite
def tiers(draw: st.DrawFn, *, graduated: bool) -> list[Document]:
    count = draw(st.integers(0, 3)) if graduated else 0
    name, values = draw(st.sampled_from([("up_to_kwh", small_bounds), ("up_to_kwh_per_day", daily_bounds)]))
    bounds = sorted(draw(st.lists(values, min_size=count, max_size=count, unique=True)))
    return [{name: f"{bound:f}", "rate": draw(rates)} for bound in bounds] + [{"up_to_kwh": None, "rate": draw(rates)}]


@st.composite
def energy_charges(draw: st.DrawFn, charge_id: str, *, graduated: bool, partial: bool) -> Document:
    if draw(st.integers(0, 4)) == 0:
        rule = draw(
            st.fixed_dictionaries(
                {"series_id": st.just("MARKET")},
                optional={"multiplier": rates, "adder": rates, "cap": st.just("0.75"), "floor": st.just("-0.25")},
            )
        )
        return {"charge_id": charge_id, "kind": "energy", "series": rule}
    bands = [
        {
            "name": f"band {number}",
            "when": draw(st.lists(windows, min_size=1, max_size=2)),
            "tiers": draw(tiers(graduated=graduated)),
        }
        for number in range(draw(st.integers(0, 3)))
    ]
    if not bands or not partial or draw(st.booleans()):
        bands.append({"name": "rest", "when": [], "tiers": draw(tiers(graduated=graduated))})
    scope = draw(st.sampled_from(["charge", "band"]))
    return {"charge_id": charge_id, "kind": "energy", "tier_scope": scope, "bands": bands}


billing_periods = st.fixed_dictionaries(
    {},
    optional={
        "months": st.sampled_from([1, 2, 3, 4, 6, 12]),
        "anchor_day": st.integers(1, 31),
        "anchor_month": st.integers(1, 12),
    },
)


@st.composite
def tariffs(draw: st.DrawFn, tariff_id: str, direction: str, zone: str, near: date, *, graduated: bool) -> Document:
    ids = [f"charge {number}" for number in range(draw(st.integers(1, 3)))]
    charges = [draw(energy_charges(name, graduated=graduated, partial=direction == "EXPORT")) for name in ids]
    charges.append({"charge_id": "standing", "kind": "fixed", "per": "day", "amount": "0.5"})
    some_charges = st.none() | st.lists(st.sampled_from([*ids, "standing"]), unique=True)
    taxes = st.fixed_dictionaries(
        {"name": st.just("tax"), "rate": st.decimals(0, 1, places=3).map(str), "charges": some_charges}
    )
    period = draw(st.sampled_from(["P1D", "P1M", "P1Y", "BILLING"]))
    document: dict[str, Any] = {
        "tariff_id": tariff_id,
        "version": 1,
        "direction": direction,
        "currency": "GBP",
        "timezone": zone if draw(st.integers(0, 3)) else draw(st.sampled_from(sorted(DIFFICULT))),
        "prices_include_tax": draw(st.booleans()),
        "taxes": draw(st.lists(taxes, max_size=2)),
        "holidays": [f"{near + timedelta(days=day)}" for day in draw(st.sets(st.integers(-2, 3), max_size=2))],
        "tier_period": period,
        "charges": charges,
    }
    if period == "BILLING":
        document["billing_period"] = draw(billing_periods)
    return document


def records_of(location_id: str, start: int, end: int, seed: int, **names: str) -> Iterator[Document]:
    """Yield one meter's records between two instants: of all lengths, at all instants, with gaps, and without energy."""
    rng = random.Random(seed)  # noqa: S311 - scenes, not secrets
    lengths = rng.choice(([30], [15, 30], [60], [7, 25, 90], [5, 1440], [1500, 30], [13, 0]))
    at = start + rng.choice((0, 0, 15 * MINUTE, 7_000_001))
    is_round = rng.random() < 0.4
    while at < end:
        length = rng.choice(lengths) * MINUTE
        if rng.random() < 0.1:
            at += rng.choice((length, 11 * MINUTE, 1))
            continue
        power_w = rng.choice((0, 1, 250, 3_000, 12_345.678))
        energy = {"units": "W", "value": power_w}
        if length and rng.random() < 0.7:
            energy = {"units": "WH", "value": rng.randrange(length // 10 + 1) / 10**6}
        if length and is_round:
            energy = {"units": "WH", "value": rng.choice((0, 0, 100, 100, 200, 500))}
        yield {
            "location_id": location_id,
            "start_time": text_of(at),
            "end_time": text_of(at + length),
            **names,
            **energy,
        }
        at += max(length, MINUTE)


def market(start: int, end: int, seed: int) -> Iterator[Document]:
    """Yield days of a price series, by 15, 30 or 60 minutes, with points missing here and there."""
    rng = random.Random(seed)  # noqa: S311 - scenes, not secrets
    length = rng.choice((15, 30, 60)) * MINUTE
    for day in range(start - start % DAY, end, DAY):
        points = [
            {
                "start_time": text_of(at),
                "end_time": text_of(at + length),
                "value": f"{rng.randint(-9999, 99999) / 10**5:.5f}",
            }
            for at in range(day, day + DAY, length)
            if rng.random() > 0.02
        ]
        yield {"series_id": "MARKET", "kind": "price", "unit": "GBP/kWh", "points": points}


INTERVALS = 36
"""Most intervals of a meter in a scene: enough for some tiers, and few enough for many scenes."""


@st.composite
def scenarios(draw: st.DrawFn, zone: str, *, graduated: bool) -> Scenario:
    """Draw a scene around the first hours of a difficult day: clocks change in the first three of them."""
    near = date.fromisoformat(draw(st.sampled_from(DIFFICULT[zone])))
    minutes = draw(st.sampled_from([5, 10, 15, 30, 60]))
    begins = midnight(zone, near)
    start = begins - draw(st.integers(0, INTERVALS * minutes // 5 // 2)) * 5 * MINUTE
    end = max(begins + 3 * 60 * MINUTE, start + draw(st.integers(1, INTERVALS)) * minutes * MINUTE)
    tariffs, links = draw(linked_tariffs(zone, (start, near, end), graduated=graduated))
    place = {"location_id": "home", "timezone": zone, "interval_minutes": minutes, "tariffs": links}
    seed = draw(st.integers(0, 1 << 30))
    records = [
        *records_of("home", start, end, seed),
        *records_of("home", start, end, seed + 1, device_id="car"),
        *records_of("home", start, end, seed + 2, energy_flow_direction="OUTBOUND"),
        *records_of("home", start, end, seed + 3, energy_flow_direction="OUTBOUND", tariff_direction="LOCAL"),
        *records_of("home", start, end, seed + 4, tariff_direction="LOCAL"),
    ]
    return Scenario(records, [place], tariffs, list(market(start - DAY, end + 2 * DAY, seed)))


@st.composite
def months(draw: st.DrawFn, zone: str) -> Scenario:
    """Draw a scene in which one record holds the month around a difficult day, and others the days after it."""
    near = date.fromisoformat(draw(st.sampled_from(DIFFICULT[zone])))
    first = near.replace(day=1)
    start, end = midnight(zone, first), midnight(zone, (first + timedelta(days=31)).replace(day=1))
    tariffs, links = draw(linked_tariffs(zone, (start, near, end), graduated=True))
    place = {"location_id": "home", "timezone": zone, "interval_minutes": 60, "tariffs": links}
    whole = {"location_id": "home", "start_time": text_of(start), "end_time": text_of(end), "units": "KWH"}
    seed = draw(st.integers(0, 1 << 30))
    records = [
        whole | {"value": draw(st.integers(0, 10**8)) / 10**6},
        *records_of("home", end, end + 12 * 60 * MINUTE, seed),
    ]
    return Scenario(records, [place], tariffs, list(market(start - DAY, end + 3 * DAY, seed)))


@st.composite
def linked_tariffs(
    draw: st.DrawFn, zone: str, span: tuple[int, date, int], *, graduated: bool
) -> tuple[list[Document], list[Document]]:
    """Draw tariffs for all directions, and the links to them. The import tariff may change half way."""
    start, near, end = span
    change = text_of(start + (end - start) // 2 // MINUTE * MINUTE)
    imports = draw(tariffs("in", "IMPORT", zone, near, graduated=graduated))
    known = [imports]
    links: list[Document] = [{"direction": "IMPORT", "tariff_id": "in"}]
    match draw(st.sampled_from(["one", "one", "versions", "links", "gap"])):
        case "versions":
            newer = draw(tariffs("in", "IMPORT", zone, near, graduated=graduated))
            known.append(newer | {"version": 2, "valid_from": change})
        case "links":
            known.append(draw(tariffs("other", "IMPORT", zone, near, graduated=graduated)))
            links = [
                {"direction": "IMPORT", "tariff_id": "in", "valid_to": change},
                {"direction": "IMPORT", "tariff_id": "other", "valid_from": change},
            ]
        case "gap":
            known = [imports | {"valid_to": change}]
        case _:
            pass
    known.append(draw(tariffs("out", "EXPORT", zone, near, graduated=graduated)))
    links.append({"direction": "EXPORT", "tariff_id": "out"})
    if draw(st.booleans()):
        known.append(draw(tariffs("own", "LOCAL", zone, near, graduated=graduated)))
        links.append({"direction": "LOCAL", "tariff_id": "own"})
    return known, links
