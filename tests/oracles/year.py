"""A year of one meter in steps: what flows in and out, as our records, and what our engine makes of them.

The year is 2018 in UTC. It begins on a Monday and has no 29 February, as the year of the calculators of others has.
"""

import json
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import msgspec

from app.compose import price_offline
from app.domain.bill_records import PricedInterval
from app.domain.bills import Bill, make_bill
from app.wire.bill import NewestPriced
from app.wire.location import parse_location
from app.wire.series import parse_series
from app.wire.tariff import parse_tariff

Json = dict[str, Any]
BEGIN: Final = datetime(2018, 1, 1, tzinfo=UTC)
HOURS: Final = 8760
MONTHS: Final = tuple((date(2018, month, 1), date(2018 + month // 12, month % 12 + 1, 1)) for month in range(1, 13))


def start_of(step: int, minutes: int) -> str:
    return f"{BEGIN + timedelta(minutes=step * minutes):%Y-%m-%dT%H:%M:%SZ}"


def flows_wh(minutes: int, *, exporting: bool) -> list[int]:
    """Return the energy of each step in Wh: above 0 it flows in, below 0 it flows out, and now and then none flows."""
    rng = random.Random(minutes)  # noqa: S311 - a year like another, not a secret
    found = []
    for step in range(HOURS * 60 // minutes):
        hour = step * minutes // 60 % 24
        sunny = exporting and 9 <= hour < 17 and rng.random() < 0.8
        most_w = rng.choice((800, 2_000, 7_400) if rng.random() < 0.1 else (400, 900))
        found.append(rng.randrange(most_w * minutes // 60) * (-2 if sunny else 1) if rng.random() < 0.98 else 0)
    return found


def records_of(flows: Iterable[int], minutes: int) -> list[Json]:
    return [
        {
            "location_id": "home",
            "units": "WH",
            "value": abs(flow_wh),
            "energy_flow_direction": "OUTBOUND" if flow_wh < 0 else "INBOUND",
            "start_time": start_of(step, minutes),
            "end_time": start_of(step + 1, minutes),
        }
        for step, flow_wh in enumerate(flows)
    ]


class Cost(msgspec.Struct):
    """What a priced record says of the whole interval."""

    start_time: str
    cost: Decimal


@dataclass(frozen=True)
class Year:
    """A year priced by our engine: each step's cost by charge, and in all; each month's bill."""

    costs: dict[str, list[Decimal]]
    totals: list[Decimal]
    bills: list[Bill]

    def billed(self, charge_id: str) -> list[Fraction]:
        """Return what the lines of a charge come to in each bill, before rounding."""
        return [
            sum((line.unrounded for line in bill.lines if line.key.charge_id == charge_id), start=Fraction(0))
            for bill in self.bills
        ]


def priced_year(flows: Sequence[int], minutes: int, tariffs: Sequence[Json], series: Sequence[Json] = ()) -> Year:
    """Price a year by the stages of a worker, and bill its months."""
    links = [{"direction": tariff["direction"], "tariff_id": tariff["tariff_id"]} for tariff in tariffs]
    place = parse_location({"location_id": "home", "timezone": "UTC", "interval_minutes": minutes, "tariffs": links})
    known = [parse_tariff(tariff) for tariff in tariffs]
    records = records_of(flows, minutes)
    messages = [json.dumps(records[at : at + 5000]).encode() for at in range(0, len(records), 5000)]
    result = price_offline(messages, [place], known, map(parse_series, series))
    assert result.rejected == []
    costs = sorted(map(msgspec.json.Decoder(Cost).decode, result.priced), key=lambda cost: cost.start_time)
    assert [cost.start_time for cost in costs] == [record["start_time"] for record in records]
    newest = NewestPriced("home", -(1 << 62), 1 << 62)
    for value in result.priced:
        newest.take(value)
    charges = [charge["charge_id"] for tariff in tariffs for charge in tariff["charges"]]
    year = Year({name: [Decimal(0)] * len(flows) for name in charges}, [cost.cost for cost in costs], [])
    by_month: dict[int, list[PricedInterval]] = defaultdict(list)
    for interval in newest.intervals():
        at = datetime.fromtimestamp(interval.start_us / 10**6, UTC)
        by_month[at.month].append(interval)
        step = round((at - BEGIN) / timedelta(minutes=minutes))
        for component in interval.components:
            year.costs[component.charge_id][step] += component.cost
    by_id = {tariff.tariff_id: [tariff] for tariff in known}
    year.bills.extend(make_bill(place, by_id, by_month[month[0].month], month) for month in MONTHS)
    return year


def furthest(ours: Iterable[Fraction | Decimal], theirs: Iterable[float]) -> float:
    """Return the largest difference between two lists of the same length."""
    return max(abs(float(our) - their) for our, their in zip(ours, theirs, strict=True))
