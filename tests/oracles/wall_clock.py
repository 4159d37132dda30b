"""What the slow references share: instants, local time by the standard library's zones, and energy. No code of the product."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

Document = dict[str, Any]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE = 60_000_000
HALF_HOUR = 30 * MINUTE
UWH_PER_KWH = 10**9
WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")


@cache
def micros(text: str) -> int:
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


def instant(at: int) -> datetime:
    return EPOCH + timedelta(microseconds=at)


def text_of(at: int) -> str:
    """Return an instant as priced records write it: with a fraction only where there is one, and Z."""
    moment = instant(at).replace(tzinfo=None)
    text = moment.isoformat(timespec="microseconds" if moment.microsecond else "seconds")
    return (text.rstrip("0") if moment.microsecond else text) + "Z"


@cache
def zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


@cache
def midnight(zone_name: str, on: date) -> int:
    """Return the first instant of a local date."""
    return (datetime(on.year, on.month, on.day, tzinfo=zone(zone_name)) - EPOCH) // timedelta(microseconds=1)


def minutes_of(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


def month_day(text: str) -> tuple[int, int]:
    month, day = text.split("-")
    return int(month), int(day)


@cache
def cell_around(zone_name: str, length: int, at: int) -> tuple[int, int]:
    """Return the interval around an instant: steps of a length from local midnight, the last cut at the next one."""
    today = instant(at).astimezone(zone(zone_name)).date()
    day_start, day_end = midnight(zone_name, today), midnight(zone_name, today + timedelta(days=1))
    begin = at - (at - day_start) % length
    return begin, min(begin + length, day_end)


@cache
def month_around(zone_name: str, at: int) -> tuple[int, int]:
    """Return the local calendar month around an instant."""
    first = instant(at).astimezone(zone(zone_name)).date().replace(day=1)
    return midnight(zone_name, first), midnight(zone_name, (first + timedelta(days=31)).replace(day=1))


def cells(location: Document, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the intervals that a period touches; exactly one local month is one interval."""
    name, length = location["timezone"], location.get("interval_minutes", 30) * MINUTE
    if start < end and (start, end) == month_around(name, start):
        yield start, end
        return
    at = start
    while at < end or at == start:
        begin, at = cell_around(name, length, at)
        yield begin, at


def energy_uwh(value: float, units: str, start: int, end: int) -> int:
    """Return the energy that a value and its units mean over a period."""
    hours = Fraction(end - start, 3600 * 10**6)
    unit_uwh = (UWH_PER_KWH if units.startswith("K") else 10**6) * (1 if units.endswith("WH") else hours)
    # round() of a Fraction goes to the even one of two neighbours, as the definition does.
    return round(Fraction(Decimal(str(value))) * unit_uwh)
