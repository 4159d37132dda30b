"""A year of half hours of one location, and the tariffs that price it."""

import json
from collections.abc import Sequence
from typing import Any, Final

from app.domain.instants import format_instant, parse_instant_us

YEAR_US: Final = parse_instant_us("2025-01-01T00:00:00Z")
HALF_HOUR_US: Final = 1800 * 1_000_000
HALF_HOURS: Final = 17_520

Json = dict[str, Any]


def _band(name: str, rates: Sequence[tuple[str | None, str]], **when: object) -> Json:
    tiers = [{"up_to_kwh": bound, "rate": rate} for bound, rate in rates]
    return {"name": name, "when": [when] if when else [], "tiers": tiers}


def _tariff(bands: list[Json], **more: object) -> Json:
    return {
        "tariff_id": "tariff",
        "version": 1,
        "direction": "IMPORT",
        "currency": "GBP",
        "timezone": "Europe/London",
        "taxes": [{"name": "VAT", "rate": "0.05"}],
        "charges": [{"charge_id": "energy", "kind": "energy", "bands": bands}],
        **more,
    }


def flat(rate: str) -> Json:
    """Return a tariff of one rate."""
    return _tariff([_band("all", [(None, rate)])])


def three_bands(rate: str) -> Json:
    """Return a tariff of three bands and a tax; with another rate all of them cost something else."""
    peak = _band("peak", [(None, "0.38")], days=["MON", "TUE", "WED", "THU", "FRI"], start="16:00", end="19:00")
    night = _band("night", [(None, "0.09")], start="00:30", end="04:30")
    return _tariff([peak, night, _band("day", [(None, rate)])], taxes=[{"name": "VAT", "rate": rate}])


def monthly_tiers(rate: str) -> Json:
    """Return a tariff of two tiers, whose bound lies in the middle of each month of the year."""
    return _tariff([_band("all", [("200", rate), (None, f"{rate}5")])])


def yearly_tiers(_rate: str) -> Json:
    """Return a tariff of two tiers, of which the year stays in the first."""
    return _tariff([_band("all", [("5000", "0.20"), (None, "0.30")])], tier_period="P1Y")


def location(location_id: str, tariff_id: str = "tariff") -> Json:
    """Return a location in London on a tariff, whose records may say anything."""
    links = [{"direction": "IMPORT", "tariff_id": tariff_id}]
    return {"location_id": location_id, "timezone": "Europe/London", "tariffs": links, "max_power_kw": "1000000"}


def record(location_id: str, number: int, kwh: float) -> bytes:
    """Return the record of a half hour by its number in the year."""
    start_us = YEAR_US + number * HALF_HOUR_US
    times = {"start_time": format_instant(start_us), "end_time": format_instant(start_us + HALF_HOUR_US)}
    return json.dumps({"location_id": location_id, "units": "KWH", "value": kwh} | times).encode()


def usual_kwh(number: int) -> float:
    """Return about 0.25 kWh, in whole Wh, of many values."""
    return (100 + number * 7919 % 307) / 1000
