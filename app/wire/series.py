"""Series documents (topic `meter.series`), prices or carbon of one UTC date: JSON to `SeriesDay` and back."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from app.domain.calendar import US_PER_DAY
from app.domain.instants import format_instant
from app.domain.tariffs import CARBON_UNIT, SeriesDay, SeriesKind, SeriesPoint
from app.wire.documents import Document, Identifier, Instant, Problems, Rate, check, check_after
from app.wire.documents import field_names as names_of

MAX_POINTS: Final = 86_400
"""One a second: more is a mistake."""

_PRICE_UNIT: Final = re.compile(r"[A-Z]{3}/kWh", re.ASCII)


class _Point(Document):
    start_time: Instant
    end_time: Instant
    value: Rate

    @field_validator("end_time")
    @classmethod
    def _in_order(cls, end_time: int, info: ValidationInfo) -> int:
        check_after(end_time, "start_time", info)
        return end_time


def _between_points(points: tuple[_Point, ...]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong between points: all lie in one UTC date, in order, none over another."""
    day = points[0].start_time // US_PER_DAY
    for number, point in enumerate(points):
        start, end = format_instant(point.start_time), format_instant(point.end_time)
        if point.start_time // US_PER_DAY != day:
            yield (
                f"[{number}].start_time",
                f"{start!r} is on another UTC date than points[0] (expected a document a date)",
            )
        elif point.end_time > (day + 1) * US_PER_DAY:
            yield f"[{number}].end_time", f"{end!r} is past the end of the UTC date (expected it cut at 00:00Z)"
        if number and point.start_time < points[number - 1].start_time:
            yield f"[{number}].start_time", f"{start!r} is before the point before it (expected points in order)"
        elif number and point.start_time < points[number - 1].end_time:
            yield f"[{number}].start_time", f"{start!r} overlaps the point before it"


def _check_points(points: tuple[_Point, ...]) -> tuple[_Point, ...]:
    if not points:
        raise ValueError("empty (expected at least one point)")
    found = list(_between_points(points))
    if found:
        raise Problems(found)
    return points


class _Series(Document):
    series_id: Identifier
    kind: SeriesKind
    unit: Identifier
    points: Annotated[tuple[_Point, ...], Field(max_length=MAX_POINTS, strict=False), AfterValidator(_check_points)]

    @field_validator("unit")
    @classmethod
    def _unit_of_kind(cls, unit: str, info: ValidationInfo) -> str:
        kind = info.data.get("kind")
        if kind == "carbon" and unit != CARBON_UNIT:
            raise ValueError(f"{unit!r} is not the unit of a carbon series (expected '{CARBON_UNIT}')")
        if kind == "price" and not _PRICE_UNIT.fullmatch(unit):
            raise ValueError(
                f"{unit!r} is not the unit of a price series (expected a currency a kWh, such as 'GBP/kWh')"
            )
        return unit


_NAMES: Final = names_of(_Series, _Point)


def parse_series(raw: bytes | str | Mapping[str, Any]) -> SeriesDay:
    """Return the points that a document describes.

    Raises:
        DocumentError: with every problem of the document.

    """
    found = check(_Series, raw, _NAMES)
    points = tuple(SeriesPoint(point.start_time, point.end_time, point.value) for point in found.points)
    return SeriesDay(found.series_id, found.kind, found.unit, points)


def to_document(day: SeriesDay) -> dict[str, Any]:
    """Return a series' points as the JSON object that `parse_series` reads."""
    return {
        "series_id": day.series_id,
        "kind": day.kind,
        "unit": day.unit,
        "points": [
            {
                "start_time": format_instant(point.start_us),
                "end_time": format_instant(point.end_us),
                "value": f"{point.value:f}",
            }
            for point in day.points
        ],
    }
