"""How the fields of a Consumer Data Right plan are read: numbers, dates of the year, time zones, unknown fields.

Field types are those of the Consumer Data Standards (https://consumerdatastandardsaustralia.github.io/standards/,
schema EnergyPlanDetailV3): an AmountString is a decimal text in dollars without GST, a `volume` a JSON number. What
publishers write instead (volumes as text, amounts as numbers) is read as well where it is as plain.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, NamedTuple

from app.domain.calendar import calendar_for, timezones
from app.domain.instants import format_instant
from app.domain.money import parse_decimal
from app.domain.tariffs import in_season
from app.importers.tariffs.common import ImportOptions, Part
from app.wire.documents import DocumentError, shown

CURRENCY: Final = "AUD"
_AEST: Final = "Australia/Brisbane"
"""UTC+10 all year: Queensland has no daylight saving."""

_LEAP_YEAR: Final = 2024
_LEAP_DAY: Final = date(_LEAP_YEAR, 2, 29)
_YEAR: Final = tuple(date(_LEAP_YEAR, 1, 1) + timedelta(days=number) for number in range(366))
_MONTH_DAY: Final = re.compile(r"(\d{2})-(\d{2})", re.ASCII)
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_LAST_YEAR: Final = 9990
_MAX_NAMED: Final = 5
_MAX_ELEMENTS: Final = 200
"""Of one list: published plans have a dozen."""

_BROKEN_HILL: Final = "2880"
"""Postcode in New South Wales that keeps South Australia's time; Essential Energy serves it."""

_ZONES: Final[dict[str, str]] = {
    "ausgrid": "Australia/Sydney",
    "endeavour": "Australia/Sydney",
    "endeavour energy": "Australia/Sydney",
    "evoenergy": "Australia/Sydney",
    "citipower": "Australia/Melbourne",
    "powercor": "Australia/Melbourne",
    "jemena": "Australia/Melbourne",
    "united energy": "Australia/Melbourne",
    "ausnet services": "Australia/Melbourne",
    "ausnet services (electricity)": "Australia/Melbourne",
    "energex": "Australia/Brisbane",
    "ergon": "Australia/Brisbane",
    "ergon energy": "Australia/Brisbane",
    "sa power networks": "Australia/Adelaide",
    "tasnetworks": "Australia/Hobart",
}
"""The zone of all that a distributor serves. Essential Energy is not here: it depends on the postcodes."""

_ESSENTIAL: Final = frozenset({"essential", "essential energy"})


class Season(NamedTuple):
    """A part of every year, from a (month, day) to another, both inclusive; it may wrap over new year."""

    first: tuple[int, int]
    last: tuple[int, int]

    def __contains__(self, on: object) -> bool:
        """Tell whether a date is in it."""
        return isinstance(on, date) and in_season(self.first, self.last, on)

    def __str__(self) -> str:
        """Return it as "11-01 to 03-31"."""
        return f"{month_day(self.first)} to {month_day(self.last)}"

    @property
    def days(self) -> frozenset[date]:
        """Return its days in a leap year."""
        return _days_between(self.first, self.last)

    @property
    def is_whole_year(self) -> bool:
        """Tell whether it leaves no day out."""
        return len(self.days) == len(_YEAR)

    @property
    def has_whole_months(self) -> bool:
        """Tell whether it begins and ends with a month."""
        last = date(_LEAP_YEAR, *self.last)
        return self.first[1] == 1 and ((last + timedelta(days=1)).day == 1 or self.last == (2, 28))

    def document(self) -> dict[str, str]:
        """Return it as the fields `from` and `to` of our documents; none for the whole year."""
        return {} if self.is_whole_year else {"from": month_day(self.first), "to": month_day(self.last)}


@lru_cache(maxsize=1024)
def _days_between(first: tuple[int, int], last: tuple[int, int]) -> frozenset[date]:
    return frozenset(on for on in _YEAR if in_season(first, last, on))


WHOLE_YEAR: Final = Season((1, 1), (12, 31))


def month_day(at: tuple[int, int]) -> str:
    """Return a day of the year as "MM-DD"."""
    return f"{at[0]:02d}-{at[1]:02d}"


def cover_whole_year(seasons: Sequence[Season]) -> bool:
    """Tell whether seasons leave no day of a leap year out."""
    return len(frozenset[date]().union(*(season.days for season in seasons))) == len(_YEAR)


def to_leap_day(seasons: Sequence[Season]) -> list[Season]:
    """Let a season that ends on 28 February end with the month, where no other has the 29th."""
    if any(_LEAP_DAY in season for season in seasons):
        return list(seasons)
    return [season._replace(last=(2, 29)) if season.last == (2, 28) else season for season in seasons]


def year_problem(seasons: Sequence[Season]) -> str | None:
    """Return where seasons first leave a day out, or hold it twice; None where they hold each day once."""
    for on in _YEAR:
        holding = [str(season) for season in seasons if on in season]
        if not holding:
            return f"no tariff period holds {on:%m-%d} (expected each day of the year in one)"
        if len(holding) > 1:
            named = ", ".join(holding[:_MAX_NAMED]) + ", …" * (len(holding) > _MAX_NAMED)
            return f"{len(holding)} tariff periods hold {on:%m-%d}: {named} (expected each day in one)"
    return None


# --- Fields ----------------------------------------------------------------------------------------------------------


def read_season(item: Mapping[str, Any], path: str, refused: list[Part]) -> Season | None:
    """Return the season from `startDate` to `endDate` (MM-DD); None, and a refusal, where they name none."""
    found = [_read_month_day(item.get(name), f"{path}.{name}", refused) for name in ("startDate", "endDate")]
    return Season(found[0], found[1]) if found[0] is not None and found[1] is not None else None


def _read_month_day(value: Any, path: str, refused: list[Part]) -> tuple[int, int] | None:
    match = _MONTH_DAY.fullmatch(value) if isinstance(value, str) else None
    try:
        if match:
            found = date(_LEAP_YEAR, int(match[1]), int(match[2]))
            return found.month, found.day
    except ValueError:
        pass
    refused.append(Part(path, f"{shown(value)} is not a day of the year (expected MM-DD)"))
    return None


def read_number(value: Any, path: str, refused: list[Part]) -> Decimal | None:
    """Return an amount, rate or volume; None, and a refusal, where it is no number."""
    try:
        if isinstance(value, str):
            return parse_decimal(value.strip())
        if isinstance(value, int | Decimal) and not isinstance(value, bool):
            return parse_decimal(f"{value:f}" if isinstance(value, Decimal) else str(value))
    except ValueError:
        pass
    refused.append(Part(path, f"{shown(value)} is not a number (expected such as '0.2450')"))
    return None


def objects(item: Mapping[str, Any], name: str, path: str, refused: list[Part]) -> Iterator[tuple[str, Any]]:
    """Yield (path, object) of each element of a list, which may be absent; what is no object is refused.

    A bare object stands for a list of one: that is how Energy Made Easy publishes `timeVaryingTariffs`.
    """
    value = item.get(name)
    if isinstance(value, Mapping):
        yield f"{path}{name}", value
        return
    if value is not None and not isinstance(value, list):
        refused.append(Part(f"{path}{name}", f"{shown(value)} is not a list (expected a list of objects)"))
        return
    if value is not None and len(value) > _MAX_ELEMENTS:
        refused.append(Part(f"{path}{name}", f"{len(value)} elements (expected at most {_MAX_ELEMENTS})"))
        return
    for number, element in enumerate(value or ()):
        at = f"{path}{name}[{number}]"
        if isinstance(element, Mapping):
            yield at, element
        else:
            refused.append(Part(at, f"{shown(element)} is not an object"))


def refuse_unknown(item: Mapping[str, Any], known: frozenset[str], path: str, refused: list[Part]) -> None:
    """Refuse the fields that the standard does not have: they may be part of the price."""
    refused.extend(
        Part(f"{path}{name}", f"{shown(item[name])}: a field that the standard does not have; it may change the price")
        for name in sorted(item.keys() - known)
    )


def read_validity(item: Mapping[str, Any], timezone: str, path: str, refused: list[Part]) -> dict[str, str] | None:
    """Return `startDate` and `endDate` (YYYY-MM-DD, inclusive) as the validity of a document."""
    validity = {}
    for name, field, days in (("startDate", "valid_from", 0), ("endDate", "valid_to", 1)):
        value = item.get(name)
        if value is None:
            continue
        on = _read_date(value)
        if on is None:
            refused.append(Part(f"{path}.{name}", f"{shown(value)} is not a date (expected YYYY-MM-DD)"))
            return None
        validity[field] = format_instant(calendar_for(timezone).day_start_us(on + timedelta(days=days)))
    return validity


def _read_date(value: Any) -> date | None:
    try:
        found = date.fromisoformat(value) if isinstance(value, str) and _DATE.fullmatch(value) else None
    except ValueError:
        return None
    return None if found is None or found.year > _LAST_YEAR else found


# --- Time zones ------------------------------------------------------------------------------------------------------


class Zones:
    """The time zones that a plan names: AEST is known; LOCAL is that of the distributors, or the option's."""

    def __init__(self, plan: Mapping[str, Any], contract: Mapping[str, Any], options: ImportOptions) -> None:
        """Take a plan, its contract, and the options."""
        self._contract = contract
        self._plan = plan
        self._options = options

    def of(self, item: Mapping[str, Any], path: str) -> str:
        """Return the zone of a part: its own `timeZone`, else the contract's, else AEST, as the standard has it.

        Raises:
            DocumentError: it is LOCAL, and neither the plan nor an option says where; or it is no zone.

        """
        own = item.get("timeZone")
        named = own if own is not None else self._contract.get("timeZone")
        where = f"{path}.timeZone" if own is not None else "electricityContract.timeZone"
        if named in (None, "AEST"):
            return _AEST
        if named != "LOCAL":
            raise DocumentError([f"{where}: {shown(named)} is not one of 'LOCAL', 'AEST'"])
        return self._local(where)

    def _local(self, where: str) -> str:
        found = _local_zone(self._plan.get("geography")) or self._options.timezone
        if found is None:
            asked = "expected the option timezone, such as 'Australia/Sydney'"
            raise DocumentError([f"{where}: LOCAL, and geography.distributors do not tell the time zone ({asked})"])
        if found not in timezones():
            raise DocumentError([f"timezone: {found!r} is not a time zone (expected such as 'Australia/Sydney')"])
        return found


def _local_zone(geography: Any) -> str | None:
    """Return the zone of all distributors of a plan; None where that is not certain."""
    if not isinstance(geography, Mapping):
        return None
    distributors = geography.get("distributors")
    if not isinstance(distributors, list) or not distributors:
        return None
    zones = {_zone_of(str(name).strip().casefold(), geography.get("includedPostcodes")) for name in distributors}
    return zones.pop() if len(zones) == 1 else None


def _zone_of(distributor: str, postcodes: Any) -> str | None:
    if distributor not in _ESSENTIAL:
        return _ZONES.get(distributor)
    plain = (
        isinstance(postcodes, list) and bool(postcodes) and all(re.fullmatch(r"2\d{3}", str(at)) for at in postcodes)
    )
    return "Australia/Sydney" if plain and _BROKEN_HILL not in postcodes else None
