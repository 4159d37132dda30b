"""Documents and records that tests put on topics."""

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final, TypeVar

from app.wire import compiled

BASE: Final = datetime(2025, 3, 1, tzinfo=UTC)
"""Minute 0 of the records that tests make."""

Json = dict[str, Any]
T = TypeVar("T")


@cache
def instant(minute: float) -> str:
    """Return the RFC 3339 text of so many minutes after `BASE`."""
    return (BASE + timedelta(minutes=minute)).strftime("%Y-%m-%dT%H:%M:%SZ")


def record(location_id: str, minute: float, minutes: float, kwh: float, **fields: Any) -> Json:
    """Return a meter record of some minutes, beginning at a minute after `BASE`."""
    return {
        "location_id": location_id,
        "units": "KWH",
        "value": kwh,
        "start_time": instant(minute),
        "end_time": instant(minute + minutes),
        **fields,
    }


def flat_tariff(tariff_id: str, rate: str = "0.30", *, version: int = 1, **fields: Any) -> Json:
    """Return an import tariff with one rate for all times, and 5 % tax on top."""
    band = {"name": "all", "when": [], "tiers": [{"up_to_kwh": None, "rate": rate}]}
    return {
        "tariff_id": tariff_id,
        "version": version,
        "direction": "IMPORT",
        "currency": "GBP",
        "timezone": "Europe/London",
        "taxes": [{"name": "VAT", "rate": "0.05"}],
        "charges": [{"charge_id": "energy", "kind": "energy", "bands": [band]}],
        **fields,
    }


def series_tariff(tariff_id: str, series_id: str) -> Json:
    """Return an import tariff whose price is a series."""
    market = {"series_id": series_id, "multiplier": "1", "adder": "0", "cap": None, "floor": None}
    charges = [{"charge_id": "market", "kind": "energy", "series": market}]
    return flat_tariff(tariff_id, taxes=[], charges=charges)


def series_day(series_id: str, minute: float, prices: Iterable[str]) -> Json:
    """Return half-hourly prices of one UTC date, the first of them at a minute after `BASE`."""
    points = [
        {"start_time": instant(minute + 30 * n), "end_time": instant(minute + 30 * n + 30), "value": price}
        for n, price in enumerate(prices)
    ]
    return {"series_id": series_id, "kind": "price", "unit": "GBP/kWh", "points": points}


def location(location_id: str, tariff_id: str | None = "flat", **fields: Any) -> Json:
    """Return a location in London with one import tariff, for ever."""
    links = [] if tariff_id is None else [{"direction": "IMPORT", "tariff_id": tariff_id}]
    return {"location_id": location_id, "timezone": "Europe/London", "interval_minutes": 30, "tariffs": links, **fields}


def encoded(value: Json | list[Json] | bytes | None) -> bytes | None:
    """Return a message's bytes; bytes and None are taken as they are."""
    return value if isinstance(value, bytes | None) else json.dumps(value).encode()


class Unkeyed(dict[str, Any]):
    """A record that is published without a key: it may land in any partition."""


class Keyed(list[Json]):
    """A batch that is published with a key: that of the location of its records."""

    def __init__(self, key: str, records: Iterable[Json]) -> None:
        super().__init__(records)
        self.key: Final = key


def key_of(value: Json | list[Json] | bytes | None) -> str | None:
    """Return the key that a good publisher gives a message: the location_id, where there is one."""
    if isinstance(value, Keyed):
        return value.key
    return value["location_id"] if isinstance(value, dict) and not isinstance(value, Unkeyed) else None


def body_of(priced: bytes) -> bytes:
    """Return a priced record without its tail: when it was submitted, and its sequence."""
    return priced[: priced.rindex(b',"submitted_at":"')]


def sequence_of(priced: bytes) -> int:
    """Return the sequence of a priced record."""
    sequence: int = json.loads(priced[priced.rindex(b',"sequence":') + len(b',"sequence":') : -1])
    return sequence


def either_way(make: Callable[[], T]) -> tuple[T, T]:
    """Make something with the compiled functions (Python's, where there are none), and with Python's."""
    try:
        compiled.use(wanted=True)
        one = make()
        compiled.use(wanted=False)
        return one, make()
    finally:
        compiled.use(wanted=True)
