"""Who is in the demo: locations in four time zones, with their tariffs, their meters and their devices."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from app.local.demo.chance import between, share
from app.local.demo.series import CARBON_SERIES

Profile = Literal["import", "export", "local", "charger", "heat pump", "battery"]
Units = Literal["W", "KW", "WH", "KWH"]

LOCATIONS: Final = 240
_CARBON_SHARE: Final = 0.5
_SOLAR_SHARE: Final = 0.45
_DEVICE_SHARE: Final = 0.5
_NO_EXPORT_TARIFF: Final = 40
"""Every so many locations feed in without a tariff for it: their records stay pending, with the reason."""


class Region(NamedTuple):
    """Where a share of the locations is, and what they have in common."""

    code: str
    timezone: str
    locations_of_12: int
    interval_minutes: tuple[int, ...]
    imports: tuple[str, ...]
    export: str | None
    local: str | None


REGIONS: Final = (
    Region("gb", "Europe/London", 5, (30,), ("gb-flat", "gb-tou", "gb-half-hourly"), "gb-export", "gb-local"),
    Region("au", "Australia/Sydney", 3, (5, 30), ("au-tou", "au-flat"), "au-export", None),
    Region("us", "America/Los_Angeles", 3, (15,), ("us-tou",), "us-export", None),
    Region("in", "Asia/Kolkata", 1, (60,), ("in-flat",), None, "in-local"),
)


@dataclass(frozen=True, slots=True)
class Meter:
    """One source of records: a location's own meter in one direction, or a device."""

    meter_id: str
    location_id: str
    device_id: str | None
    timezone: str
    profile: Profile
    units: Units
    record_minutes: int
    size: float
    solar_kw: float
    """Peak power of the location's panels; what they make lowers the import and feeds the export."""


@dataclass(frozen=True, slots=True)
class Site:
    """A location with its document and its meters."""

    document: dict[str, Any]
    meters: tuple[Meter, ...]


def demo_sites(seed: int, count: int = LOCATIONS) -> list[Site]:
    """Return the locations of the demo, the same for the same seed."""
    return [_site(seed, number) for number in range(count)]


def _region(number: int) -> Region:
    """Deal the locations out to the regions, so that any twelve in a row have all of them."""
    place = number % 12
    for region in REGIONS:
        place -= region.locations_of_12
        if place < 0:
            return region
    return REGIONS[-1]


def _site(seed: int, number: int) -> Site:
    """Make one location."""
    region = _region(number)
    location_id = f"{region.code}-{number:03d}"
    solar = share(seed, location_id, "solar") < _SOLAR_SHARE
    links = [(region.imports[number % len(region.imports)], "IMPORT")]
    if solar and region.export is not None and number % _NO_EXPORT_TARIFF:
        links.append((region.export, "EXPORT"))
    if solar and region.local is not None:
        links.append((region.local, "LOCAL"))
    document: dict[str, Any] = {
        "location_id": location_id,
        "timezone": region.timezone,
        "interval_minutes": region.interval_minutes[number % len(region.interval_minutes)],
        "customer_id": f"customer-{number // 2:03d}",
        "max_power_kw": "100",
        "tariffs": [{"direction": direction, "tariff_id": tariff_id} for tariff_id, direction in links],
    }
    if region.code == "gb" and share(seed, location_id, "carbon") < _CARBON_SHARE:
        document["carbon_series_id"] = CARBON_SERIES
    return Site(document, tuple(_meters(seed, location_id, region, solar=solar)))


def _meters(seed: int, location_id: str, region: Region, *, solar: bool) -> Iterator[Meter]:
    """Yield the location's own meters and its devices."""
    profiles: list[Profile] = ["import"]
    if solar:
        profiles.append("export")
        if region.local is not None:
            profiles.append("local")
    if share(seed, location_id, "device") < _DEVICE_SHARE:
        kinds: tuple[Profile, ...] = ("charger", "charger", "heat pump", "battery")
        profiles.append(kinds[int(share(seed, location_id, "kind") * len(kinds))])
    record_minutes = (5, 15, 30)[int(share(seed, location_id, "length") * 3)]
    for profile in profiles:
        units: tuple[Units, ...] = ("KW", "W", "KWH", "WH")
        is_device = profile in {"charger", "heat pump", "battery"}
        meter_id = f"{location_id}/{profile}"
        yield Meter(
            meter_id=meter_id,
            location_id=location_id,
            device_id=f"{profile.replace(' ', '-')}-1" if is_device else None,
            timezone=region.timezone,
            profile=profile,
            units=units[int(share(seed, meter_id, "units") * len(units))],
            record_minutes=record_minutes,
            size=round(between(0.6, 1.8, seed, location_id, "size"), 2),
            solar_kw=round(between(2.5, 9.0, seed, location_id, "panels"), 1) if solar else 0.0,
        )
