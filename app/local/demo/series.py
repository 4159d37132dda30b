"""The demo's series: a half-hourly price and the carbon intensity of a grid, both made up, for any UTC day."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from app.local.demo.chance import between
from app.local.demo.tariffs import PRICE_SERIES

CARBON_SERIES: Final = "GB-CARBON"
_HALF_HOURS: Final = 48
_DAYS_AROUND: Final = (-1, 0, 1)


def series_documents(seed: int, now_us: int) -> Iterator[dict[str, Any]]:
    """Yield both series for yesterday, today and tomorrow (UTC): whatever has a reading now has a price."""
    today = datetime.fromtimestamp(now_us / 1e6, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for days in _DAYS_AROUND:
        midnight = today + timedelta(days=days)
        yield _day(
            PRICE_SERIES, "price", "GBP/kWh", [f"{_price(seed, midnight, n):.4f}" for n in range(_HALF_HOURS)], midnight
        )
        yield _day(
            CARBON_SERIES,
            "carbon",
            "gCO2e/kWh",
            [f"{_carbon(seed, midnight, n):.0f}" for n in range(_HALF_HOURS)],
            midnight,
        )


def _price(seed: int, midnight: datetime, number: int) -> float:
    """Return GBP per kWh: dear in the evening, below zero on a windy night."""
    evening = math.exp(-(((number - 35) / 4) ** 2))
    wind = between(-0.09, 0.04, seed, "wind", midnight.date(), number // 12)
    return 0.09 + 0.18 * evening + wind + between(-0.01, 0.01, seed, "price", midnight.date(), number)


def _carbon(seed: int, midnight: datetime, number: int) -> float:
    """Return g CO2e per kWh: cleaner at midday."""
    return (
        190 - 70 * math.sin(math.pi * number / _HALF_HOURS) + between(-25, 25, seed, "carbon", midnight.date(), number)
    )


def _day(series_id: str, kind: str, unit: str, values: list[str], midnight: datetime) -> dict[str, Any]:
    """Return the document of one day."""
    starts = [midnight + timedelta(minutes=30 * number) for number in range(len(values) + 1)]
    texts = [start.strftime("%Y-%m-%dT%H:%M:%SZ") for start in starts]
    points = [
        {"start_time": texts[number], "end_time": texts[number + 1], "value": value}
        for number, value in enumerate(values)
    ]
    return {"series_id": series_id, "kind": kind, "unit": unit, "points": points}
