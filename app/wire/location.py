"""Location documents (topic `meter.locations`): JSON to `Location` and back."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from app.domain.calendar import INTERVAL_MINUTES
from app.domain.instants import format_instant
from app.domain.locations import DEFAULT_INTERVAL_MINUTES, Location, TariffLink, overlapping_links
from app.domain.money import units_text
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
