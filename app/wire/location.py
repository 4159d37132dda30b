"""Location documents (topic `meter.locations`): JSON to `Location` and back."""

from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, UnsetType
from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from app.domain.calendar import INTERVAL_MINUTES
from app.domain.instants import format_instant, parse_instant_us
from app.domain.locations import DEFAULT_INTERVAL_MINUTES, Location, TariffLink, overlapping_links
from app.domain.money import parse_decimal, units_text
from app.domain.tariffs import Direction
from app.wire.documents import (
    Document,
    Identifier,
    Instant,
    Integer,
    LocationId,
    Problems,
    Rate,
    Timezone,
    check,
    check_after,
    is_timezone,
    read_id,
    read_location_id,
)
from app.wire.documents import field_names as names_of

MAX_LINKS: Final = 1000
_UW_DECIMALS: Final = 9
"""1 kW = 10**9 µW."""


def _check_interval(minutes: int) -> int:
    if minutes not in INTERVAL_MINUTES:
        raise ValueError(
            f"{minutes} is not an interval length (expected one of {', '.join(map(str, INTERVAL_MINUTES))})"
        )
    return minutes


def _check_power(power_kw: Decimal) -> Decimal:
    scaled = power_kw.scaleb(_UW_DECIMALS)
    if power_kw <= 0 or scaled != scaled.to_integral_value():
        raise ValueError(f"'{power_kw}' is not a power (expected kW above 0, with at most {_UW_DECIMALS} decimals)")
    return power_kw


class _Link(Document):
    direction: Direction
    tariff_id: Identifier
    valid_from: Instant | None = None
    valid_to: Instant | None = None

    @field_validator("valid_to")
    @classmethod
    def _in_order(cls, valid_to: int | None, info: ValidationInfo) -> int | None:
        check_after(valid_to, "valid_from", info)
        return valid_to

    def to_domain(self) -> TariffLink:
        return TariffLink(self.direction, self.tariff_id, self.valid_from, self.valid_to)


def _check_links(links: tuple[_Link, ...]) -> tuple[_Link, ...]:
    found = overlapping_links([link.to_domain() for link in links])
    if found:
        raise Problems([(f"[{position}]", sentence) for position, sentence in found])
    return links


class _Location(Document):
    location_id: LocationId
    timezone: Timezone
    interval_minutes: Annotated[Integer, AfterValidator(_check_interval)] = DEFAULT_INTERVAL_MINUTES
    customer_id: Identifier | None = None
    max_power_kw: Annotated[Rate, AfterValidator(_check_power)] | None = None
    tariffs: Annotated[tuple[_Link, ...], Field(max_length=MAX_LINKS, strict=False), AfterValidator(_check_links)] = ()
    carbon_series_id: Identifier | None = None


_NAMES: Final = names_of(_Location, _Link)


def parse_location(raw: bytes | str | Mapping[str, Any]) -> Location:
    """Return the location that a document describes.

    Raises:
        DocumentError: with every problem of the document.

    """
    usual = _usual_location(raw) if isinstance(raw, bytes) else None
    if usual is not None:
        return usual
    found = check(_Location, raw, _NAMES)
    power_kw = found.max_power_kw
    return Location(
        location_id=found.location_id,
        timezone=found.timezone,
        interval_minutes=found.interval_minutes,
        customer_id=found.customer_id,
        max_power_uw=None if power_kw is None else int(power_kw.scaleb(_UW_DECIMALS)),
        links=tuple(link.to_domain() for link in found.tariffs),
        carbon_series_id=found.carbon_series_id,
    )


class _UsualLink(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    direction: Direction
    tariff_id: str
    valid_from: str | UnsetType | None = UNSET
    valid_to: str | UnsetType | None = UNSET


class _UsualLocation(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    location_id: str
    timezone: str
    interval_minutes: int | UnsetType = UNSET
    customer_id: str | UnsetType | None = UNSET
    max_power_kw: str | UnsetType | None = UNSET
    tariffs: list[_UsualLink] | UnsetType = UNSET
    carbon_series_id: str | UnsetType | None = UNSET


_decode_usual: Final = msgspec.json.Decoder(_UsualLocation).decode
_values: Final = msgspec.structs.astuple


def _usual_location(raw: bytes) -> Location | None:
    """Return the location that a document describes, the short way: a worker reads all that there are before it begins.

    None where anything is strange: whoever looks closer says what.
    """
    try:
        found = _decode_usual(raw)
        minutes, power_kw, linked = found.interval_minutes, found.max_power_kw, found.tariffs
        pairs = () if linked is UNSET else [_usual_link(*_values(link)) for link in linked]
        links = tuple([link for link, _ in pairs])
        marks = sum([marks for _, marks in pairs]) + _marks_of(found)
        if not _has_so_many_marks(raw, marks) or not is_timezone(found.timezone):
            return None
        if len(links) > MAX_LINKS or overlapping_links(links):
            return None
        return Location(
            read_location_id(found.location_id),
            found.timezone,
            DEFAULT_INTERVAL_MINUTES if minutes is UNSET else _check_interval(minutes),
            _optional_id(found.customer_id),
            None if power_kw is UNSET or power_kw is None else _power_uw(power_kw),
            links,
            _optional_id(found.carbon_series_id),
        )
    except (ValueError, RecursionError):  # what is no JSON, or another kind of document, is a ValueError too
        return None


def _has_so_many_marks(raw: bytes, marks: int) -> bool:
    """Tell that no field stands twice. Unless one is escaped, quotation marks stand around fields' names and texts alone.

    The decoder takes the last of two fields of a name; the marks of both are there.
    """
    return b"\\" not in raw and raw.count(b'"') == marks


def _marks_of(found: _UsualLocation) -> int:
    """Return how many quotation marks stand around the fields of a location, and their texts; not of its links'."""
    marks = 8  # the id and the zone
    for value in (found.customer_id, found.max_power_kw, found.carbon_series_id):
        if value is not UNSET:
            marks += 2 if value is None else 4
    return marks + 2 * ((found.interval_minutes is not UNSET) + (found.tariffs is not UNSET))


@lru_cache(maxsize=4096)
def _usual_link(
    direction: Direction, tariff_id: str, valid_from: str | UnsetType | None, valid_to: str | UnsetType | None
) -> tuple[TariffLink, int]:
    """Return a link, the same one for all locations, and how many quotation marks stand around its fields and their texts.

    Raises ValueError where something is wrong with it.
    """
    start_us, end_us = (
        None if text is UNSET or text is None else parse_instant_us(text) for text in (valid_from, valid_to)
    )
    if start_us is not None and end_us is not None and end_us <= start_us:
        raise ValueError
    ends = [2 if text is None else 4 for text in (valid_from, valid_to) if text is not UNSET]
    return TariffLink(direction, read_id(tariff_id), start_us, end_us), 8 + sum(ends)


@lru_cache(maxsize=4096)
def _power_uw(text: str) -> int:
    """Return a power in kW as µW. Raises ValueError where it is none."""
    return int(_check_power(parse_decimal(text)).scaleb(_UW_DECIMALS))


def _optional_id(text: str | UnsetType | None) -> str | None:
    return None if text is UNSET or text is None else read_id(text)


def to_document(location: Location) -> dict[str, Any]:
    """Return a location as the JSON object that `parse_location` reads."""
    power_uw = location.max_power_uw
    return {
        "location_id": location.location_id,
        "timezone": location.timezone,
        "interval_minutes": location.interval_minutes,
        "customer_id": location.customer_id,
        "max_power_kw": None if power_uw is None else units_text(power_uw, _UW_DECIMALS),
        "tariffs": [
            {
                "direction": link.direction,
                "tariff_id": link.tariff_id,
                "valid_from": None if link.valid_from_us is None else format_instant(link.valid_from_us),
                "valid_to": None if link.valid_to_us is None else format_instant(link.valid_to_us),
            }
            for link in location.links
        ],
        "carbon_series_id": location.carbon_series_id,
    }
