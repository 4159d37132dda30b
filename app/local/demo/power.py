"""How much power flows through a meter: a house's day, the sun, a charging session, a heat pump, a battery."""

import math
from datetime import datetime
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from app.local.demo.chance import between, share
from app.local.demo.portfolio import Meter

_US: Final = 1_000_000
_SECONDS_PER_DAY: Final = 86_400
_HOURS_PER_DAY: Final = 24
_KETTLE_SHARE: Final = 0.04
_CHARGER_KW: Final = (3.6, 7.4, 11.0)


class Session(NamedTuple):
    """A car that charges."""

    session_id: str
    power_kw: float


def power_kw(seed: int, meter: Meter, at_us: int) -> float:
    """Return the power through the meter at one moment, in kW; 0 or more."""
    hour = local_hour(meter.timezone, at_us)
    match meter.profile:
        case "charger":
            session = session_at(seed, meter, at_us)
            return 0.0 if session is None else session.power_kw
        case "heat pump":
            runs = share(seed, meter.meter_id, at_us // (600 * _US)) < 0.35 + 0.3 * _bump(hour, 6, 3)
            return meter.size * 1.9 if runs else 0.06
        case "battery":
            return meter.size * 2.5 * _bump(hour, 3, 2.5)
        case "import":
            return max(0.0, _load_kw(seed, meter, at_us, hour) - _sun_kw(seed, meter, at_us, hour))
        case "export":
            return max(0.0, _sun_kw(seed, meter, at_us, hour) - _load_kw(seed, meter, at_us, hour))
        case "local":
            return min(_sun_kw(seed, meter, at_us, hour), _load_kw(seed, meter, at_us, hour))


def session_at(seed: int, meter: Meter, at_us: int) -> Session | None:
    """Return the charging session at a moment: two a day, one in the evening and one at some other hour."""
    slot = at_us // (_SECONDS_PER_DAY * _US // 2)
    part = at_us / (_SECONDS_PER_DAY * _US // 2) - slot
    begins = between(0.0, 0.5, seed, meter.meter_id, slot, "begins")
    if not begins <= part < begins + between(0.15, 0.45, seed, meter.meter_id, slot, "lasts"):
        return None
    power = _CHARGER_KW[int(share(seed, meter.meter_id, "charger") * len(_CHARGER_KW))]
    tapering = 1.0 - 0.6 * max(0.0, part - begins - 0.3)
    return Session(f"session-{meter.location_id}-{slot}", power * tapering)


def local_hour(timezone: str, at_us: int) -> float:
    """Return the hour of the local day, with its fraction."""
    local = datetime.fromtimestamp(at_us / _US, _zone(timezone))
    return local.hour + local.minute / 60 + local.second / 3600


def _load_kw(seed: int, meter: Meter, at_us: int, hour: float) -> float:
    """Return what a house draws: a base, breakfast, the evening, and what is switched on for some minutes."""
    shape = 0.22 + 0.9 * _bump(hour, 7.5, 1.3) + 1.5 * _bump(hour, 18.5, 2.2) + 0.3 * _bump(hour, 12.5, 2)
    kettle = 1.8 if share(seed, meter.location_id, "kettle", at_us // (180 * _US)) < _KETTLE_SHARE else 0.0
    return meter.size * shape * between(0.8, 1.2, seed, meter.location_id, at_us // (300 * _US)) + kettle


def _sun_kw(seed: int, meter: Meter, at_us: int, hour: float) -> float:
    """Return what the panels make: a bell from six to eighteen, and clouds that change every quarter of an hour."""
    height = math.sin(math.pi * (hour - 6) / 12)
    clouds = between(0.35, 1.0, seed, meter.location_id, "clouds", at_us // (900 * _US))
    return meter.solar_kw * 0.85 * math.pow(max(0.0, height), 1.3) * clouds


def _bump(hour: float, middle: float, width: float) -> float:
    """Return a bell of height 1 around an hour of the day, across midnight too."""
    away = abs(hour - middle)
    return math.exp(-((min(away, _HOURS_PER_DAY - away) / width) ** 2))


@lru_cache(maxsize=32)
def _zone(name: str) -> ZoneInfo:
    """Look a time zone up once."""
    return ZoneInfo(name)
