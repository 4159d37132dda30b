"""URDB rates as they are in a file: what their fields are called, and how each is read.

The fields of the API and those of the bulk download are read alike. A field that is not taken over is named.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Context, Decimal, Inexact
from typing import Any, Final, NamedTuple

from app.domain.calendar import date_of_day
from app.domain.instants import US_PER_SECOND, parse_instant_us
from app.importers.tariffs.common import Imported
from app.importers.tariffs.urdb_windows import HOURS, MONTHS, Schedule, monthly
from app.wire.documents import shown

EXACT: Final = Context(prec=60, traps=[Inexact])
_UNBOUNDED: Final = Decimal("1e30")
"""Bounds from here on mean that there is none: URDB and SAM write 1e38."""

_INTEGER: Final = re.compile(r"-?[0-9]{1,15}", re.ASCII)
_MS_PER_SECOND: Final = 1000
_SECONDS_PER_DAY: Final = 86_400
_FIRST_YEAR: Final = 1900
_END_YEAR: Final = 2200


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ALIASES: Final = {
    "_id": "label",
    "coincidentrateunits": "coincidentrateunit",
    "coincidentratestrux": "coincidentratestructure",
    "coincidentsched": "coincidentrateschedule",
    "coincidentschedule": "coincidentrateschedule",
    "demandhist": "peakkwcapacityhistory",
    "demandkeyvals": "demandattrs",
    "demandmax": "peakkwcapacitymax",
    "demandmin": "peakkwcapacitymin",
    "demandratchetpct": "demandratchetpercentage",
    "demandratestrux": "demandratestructure",
    "demandrateunits": "demandrateunit",
    "demandreactivepowerchg": "demandreactivepowercharge",
    "demandreactpwrcharge": "demandreactivepowercharge",
    "demandweekdaysched": "demandweekdayschedule",
    "demandweekendsched": "demandweekendschedule",
    "effectivedate": "startdate",
    "energyhist": "peakkwhusagehistory",
    "energykeyvals": "energyattrs",
    "energymax": "peakkwhusagemax",
    "energymin": "peakkwhusagemin",
    "energyratestrux": "energyratestructure",
    "energyweekdaysched": "energyweekdayschedule",
    "energyweekendsched": "energyweekendschedule",
    "fixedkeyvals": "fixedattrs",
    "flatdemandstrux": "flatdemandstructure",
    "flatdemandunits": "flatdemandunit",
}
_SILENT: Final = _words(
    """
    label utility utilityname name ratename uri approved is_default isdefault supercedes supersedes sector description
    source sourcereference sourceparent revisions eiaid eiaids latest_update latestupdate demandunits energytoulabels
    demandtoulabels demandlabels states coincidentrateunit coincidentrateschedule lookbackmonths
    """
)
"""Fields that say what the rate is called and where it comes from, or only belong to one that is looked at."""

READ: Final = _words(
    """
    startdate enddate country servicetype energyratestructure energyweekdayschedule energyweekendschedule energyattrs
    fueladjustmentsmonthly fixedchargefirstmeter fixedchargeunits fixedmonthlycharge fixedattrs mincharge minchargeunits
    minmonthlycharge annualmincharge flatdemandunit flatdemandstructure flatdemandmonths demandrateunit
    demandratestructure demandweekdayschedule demandweekendschedule demandwindow demandratchetpercentage lookbackpercent
    lookbackrange demandreactivepowercharge demandattrs coincidentratestructure dgrules usenetmetering
    """
)
_LEFT_OUT: Final = {
    **dict.fromkeys(
        _words("""
        peakkwcapacitymin peakkwcapacitymax peakkwcapacityhistory peakkwhusagemin peakkwhusagemax peakkwhusagehistory
        voltageminimum voltagemaximum voltagecategory phasewiring
        """),
        "says who may take the rate",
    ),
    **dict.fromkeys(("energycomments", "demandcomments", "basicinformationcomments"), "a comment for people"),
    "fixedchargeeaaddl": "the fixed charge of further meters: the document has that of the first one",
}
_IN_WORDS: Final = frozenset({"energyattrs", "demandattrs", "fixedattrs"})
REFUSED_NUMBERS: Final = {
    "annualmincharge": "a minimum charge by the year (ours is by the day or month)",
    "demandreactivepowercharge": "a charge for reactive power",
}


class Tier(NamedTuple):
    """A tier as URDB has it; `rate` is rate + adj."""

    path: str
    rate: Decimal
    priced: bool
    sell: Decimal | None
    bound: Decimal | None
    unit: str


Periods = Sequence[Sequence[Tier]]


def api_name(name: str) -> str:
    """Return the name that the API has for a field."""
    return _ALIASES.get(name.lower(), name.lower())


def is_rate(value: Any) -> bool:
    """Tell whether a JSON value looks like a rate."""
    return isinstance(value, Mapping) and any(api_name(name) in READ for name in value)


class RateFields:
    """The fields of one rate, by the names of the API. What is not understood goes to `result`, by its path."""

    def __init__(self, fields: Mapping[str, Any], path: str, result: Imported) -> None:
        """Take the JSON object of a rate, and the path at which it stands in its file ("" for a bare rate)."""
        self._prefix = f"{path}." if path else ""
        self._paths = {api_name(name): self._prefix + name for name in fields}
        self._values = {api_name(name): value for name, value in fields.items() if value is not None}
        self._result = result

    def value(self, name: str) -> Any:
        """Return what the file has in a field; None: nothing."""
        return self._values.get(name)

    def path(self, name: str) -> str:
        """Return where a field stands in its file."""
        return self._paths.get(name, self._prefix + name)

    def refuse(self, name: str, reason: str) -> None:
        """Name a field that changes the price and cannot be taken over."""
        self._result.refuse(self.path(name), reason)

    def name_what_is_not_taken(self) -> None:
        """Name every field that the documents do not hold, by itself; those that depend on others are not among them."""
        for name, value in self._values.items():
            if name in _LEFT_OUT:
                if value not in ("", 0):
                    self._result.leave_out(self.path(name), _LEFT_OUT[name])
            elif name in REFUSED_NUMBERS:
                if not_zero(value):
                    self.refuse(name, REFUSED_NUMBERS[name])
            elif name in _IN_WORDS:
                self._refuse_words(name, value)
            elif name not in READ and name not in _SILENT:
                self.refuse(name, f"unknown field, with the value {shown(value)}, which may change the price")
        if any(tier.rate for period in self.structure("coincidentratestructure") or () for tier in period):
            self.refuse("coincidentratestructure", "a charge for demand at the time of the system's peak")
        if self.value("servicetype") not in (None, "", "Bundled"):
            reason = f"{shown(self.value('servicetype'))}: the rate is only this part of the price"
            self._result.leave_out(self.path("servicetype"), reason)

    def _refuse_words(self, name: str, value: Any) -> None:
        for number, attribute in enumerate(value if isinstance(value, list) else [value]):
            reason = f"{shown(attribute)} is an attribute in words, which may change the price"
            self._result.refuse(f"{self.path(name)}[{number}]", reason)

    def number(self, name: str) -> Decimal | None:
        """Return a field's number, or None: it is absent, zero, or (then named) no number."""
        return self.decimal(self._values.get(name), self.path(name)) or None

    def decimal(self, value: Any, path: str) -> Decimal | None:
        """Return a number of a file; None: it is absent, or (then named) no number."""
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | Decimal) or not Decimal(value).is_finite():
            self._result.refuse(path, f"{shown(value)} is not a number")
            return None
        return Decimal(value)

    def structure(self, name: str) -> Periods | None:
        """Return the periods of a structure; None: absent, or something in it (then named) is not understood."""
        value = self._values.get(name)
        if value is None or value == []:
            return None
        refused = len(self._result.refused)
        periods = []
        for number, found in enumerate(value if isinstance(value, list) else [value]):
            path = f"{self.path(name)}[{number}]"
            tiers = found
            if isinstance(found, Mapping) and len(found) == 1:
                key, tiers = next(iter(found.items()))
                path += f".{key}"
            if not isinstance(tiers, list) or not tiers or not all(isinstance(tier, Mapping) for tier in tiers):
                self._result.refuse(path, f"{shown(found)} is not a period (expected a list of tiers)")
                continue
            periods.append([self._tier(tier, f"{path}[{position}]") for position, tier in enumerate(tiers)])
        return periods if len(self._result.refused) == refused else None

    def _tier(self, fields: Mapping[str, Any], path: str) -> Tier:
        for name in sorted(fields.keys() - {"rate", "adj", "sell", "max", "unit"}):
            self._result.refuse(f"{path}.{name}", f"unknown field of a tier, with the value {shown(fields[name])}")
        rate, adj, sell, bound = (
            self.decimal(fields.get(name), f"{path}.{name}") for name in ("rate", "adj", "sell", "max")
        )
        if bound is not None and bound >= _UNBOUNDED:
            bound = None
        try:
            total = EXACT.add(rate or Decimal(0), adj or Decimal(0))
        except Inexact:
            self._result.refuse(path, f"rate {rate} and adj {adj} are too far apart to be added exactly")
            total = Decimal(0)
        unit = str(fields.get("unit") or "kWh")
        return Tier(path, total, not (rate is None and adj is None), sell, bound, unit)

    def schedule(self, kind: str, periods: Periods) -> Schedule | None:
        """Return the schedule of energy or demand; None: something in it (then named) is not understood."""
        names = (f"{kind}weekdayschedule", f"{kind}weekendschedule")
        if len(periods) == 1 and not any(name in self._values for name in names):
            return monthly([0] * MONTHS)
        valid = [self._table(name, len(periods)) for name in names]
        return Schedule(*(self._values[name] for name in names)) if all(valid) else None

    def _table(self, name: str, periods: int) -> bool:
        table = self._values.get(name)
        if not isinstance(table, list) or len(table) != MONTHS:
            self.refuse(name, f"{shown(table)} is not a schedule (expected {MONTHS} months of {HOURS} hours)")
            return False
        refused = len(self._result.refused)
        for month, hours in enumerate(table):
            path = f"{self.path(name)}[{month}]"
            if not isinstance(hours, list) or len(hours) != HOURS:
                self._result.refuse(path, f"{shown(hours)} is not a month (expected {HOURS} hours)")
                continue
            for hour, period in enumerate(hours):
                if not is_period(period, periods):
                    reason = f"{shown(period)} is not a period (expected 0 to {periods - 1})"
                    self._result.refuse(f"{path}[{hour}]", reason)
        return len(self._result.refused) == refused


def is_period(value: Any, periods: int) -> bool:
    """Tell whether a value of a schedule is the number of one of so many periods."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < periods


def not_zero(value: Any) -> bool:
    """Tell whether a number, or one of a list of them, is not zero; what is no number counts as not zero."""
    values = value if isinstance(value, list) else [value]
    return any(found not in (None, 0, "") for found in values)


def rate_date(value: Any) -> date | None:
    """Return the UTC date of seconds since 1970, or of what MongoDB's JSON makes of a date; None: it is neither."""
    seconds = value
    if isinstance(value, Mapping):
        found = value.get("$date")
        found = found.get("$numberLong") if isinstance(found, Mapping) else found
        try:
            seconds = int(str(found)) // _MS_PER_SECOND if _INTEGER.fullmatch(str(found)) else _instant_s(found)
        except ValueError:
            return None
    if isinstance(seconds, bool) or not isinstance(seconds, int):
        return None
    on = date_of_day(seconds // _SECONDS_PER_DAY)
    return on if _FIRST_YEAR <= on.year < _END_YEAR else None


def _instant_s(found: Any) -> int:
    return parse_instant_us(str(found)) // US_PER_SECOND
