"""Bills from documents and records, by the way that `meterstream bill --records` takes."""

import json
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, Final

from app.compose import price_offline
from app.domain.bill_records import PricedInterval
from app.domain.bills import Bill, make_bill
from app.domain.calendar import calendar_for
from app.domain.locations import Location
from app.domain.sessions import SessionPart
from app.domain.tariffs import Tariff
from app.wire.bill import NewestPriced
from app.wire.location import parse_location
from app.wire.series import parse_series
from app.wire.session import NewestSessions
from app.wire.tariff import parse_tariff

Json = dict[str, Any]
LONDON: Final = "Europe/London"


def tariff(*charges: Json, tariff_id: str = "tou", direction: str = "IMPORT", **fields: Any) -> Json:
    """Return a tariff in London and pounds, without tax."""
    return {
        "tariff_id": tariff_id,
        "version": 1,
        "direction": direction,
        "currency": "GBP",
        "timezone": LONDON,
        "charges": list(charges),
    } | fields


def energy(rate: str = "0.30", **fields: Any) -> Json:
    """Return an energy charge with one band."""
    bands = [{"name": "all", "when": [], "tiers": [{"up_to_kwh": None, "rate": rate}]}]
    return {"charge_id": "energy", "kind": "energy", "bands": bands} | fields


def location(*tariff_ids: str, **fields: Any) -> Json:
    """Return a location in London, for ever on an import tariff and, if a second is named, on an export tariff."""
    links = [
        {"direction": direction, "tariff_id": tariff_id}
        for direction, tariff_id in zip(("IMPORT", "EXPORT"), tariff_ids, strict=False)
    ]
    return {"location_id": "loc_1", "timezone": LONDON, "interval_minutes": 30, "tariffs": links} | fields


def record(start: str, end: str, kwh: float, **fields: Any) -> Json:
    """Return a meter record."""
    return {"location_id": "loc_1", "units": "KWH", "value": kwh, "start_time": start, "end_time": end} | fields


def parsed(documents: Iterable[Json]) -> dict[str, list[Tariff]]:
    """Return tariffs by id."""
    found: dict[str, list[Tariff]] = {}
    for document in documents:
        one = parse_tariff(document)
        found.setdefault(one.tariff_id, []).append(one)
    return found


def priced(
    records: Iterable[Json],
    locations: Sequence[Json],
    tariffs: Sequence[Json],
    series: Sequence[Json] = (),
    location_id: str = "loc_1",
) -> list[PricedInterval]:
    """Return the priced intervals of a location that records lead to."""
    return read(records, locations, tariffs, series, location_id)[0]


def read(
    records: Iterable[Json],
    locations: Sequence[Json],
    tariffs: Sequence[Json],
    series: Sequence[Json],
    location_id: str,
) -> tuple[list[PricedInterval], list[SessionPart]]:
    """Return the priced intervals of a location that records lead to, and what they tell of sessions."""
    result = price_offline(
        (json.dumps(each).encode() for each in records),
        [parse_location(each) for each in locations],
        [parse_tariff(each) for each in tariffs],
        [parse_series(each) for each in series],
    )
    newest = NewestPriced(location_id, -(1 << 62), 1 << 62)
    for value in result.priced:
        newest.take(value)
    told = NewestSessions(location_id, -(1 << 62), 1 << 62)
    for value in result.intervals:
        told.take(value)
    return newest.intervals(), told.parts()


def bill_of(
    records: Iterable[Json],
    place: Json,
    tariffs: Sequence[Json],
    period: tuple[str, str],
    *,
    device_id: str | None = None,
    series: Sequence[Json] = (),
) -> Bill:
    """Return the bill of one location."""
    intervals, told = read(records, [place], tariffs, series, place["location_id"])
    first, end = (date.fromisoformat(each) for each in period)
    return make_bill(parse_location(place), parsed(tariffs), intervals, (first, end), device_id, sessions=told)


def midnight_us(place: Location, on: str) -> int:
    """Return the first instant of a local date."""
    return calendar_for(place.timezone).day_start_us(date.fromisoformat(on))
