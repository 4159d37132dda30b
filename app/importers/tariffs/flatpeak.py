"""FlatPeak tariffs: a schedule of months, days and hours with rates and surcharges.

Sources: docs.flatpeak.com, API reference (tariff elements: create, retrieve, list) and its guides; for the older object
with `import` and `export` the types of the package @flat-peak/javascript-sdk. What is taken from there, and what they
leave open:

- a rate is (`fixed` + `surcharge_fixed`) * (1 + `surcharge_percentage`): the fixed surcharge first (Connect reference).
  Amounts are in large currency units; `cost` of the older object is in small ones;
- `surcharge_percentage` is a share, as in the published example (0.05); a number from 1 on is refused;
- `to_kwh` is a cumulative bound; its period is not published: it is taken as the local calendar month;
- hours past midnight belong to the listed days with both parts, so that the hours of each group of days fill a day;
- entries with `dates` go before those without ("special day overrides").
"""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, localcontext
from itertools import product
from typing import Any, Final

from app.domain.overlaps import overlaps
from app.domain.tariffs import DAY_NAMES, WEEKDAYS
from app.importers.tariffs.common import Imported, ImportOptions, expect_object, rate_text
from app.wire.documents import DocumentError, shown
from app.wire.tariff import parse_tariff

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_LAST_DAYS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_DAYS: Final[dict[str, tuple[str, ...]]] = {
    "all": DAY_NAMES,
    "weekday": WEEKDAYS[:5],
    "weekdays": WEEKDAYS[:5],
    "weekend": WEEKDAYS[5:],
    "weekends": WEEKDAYS[5:],
    **{name.lower(): (name,) for name in WEEKDAYS},
}
_WHOLE_YEAR: Final = ("01-01", "12-31")
_WHOLE_DAY: Final = ("00:00", "24:00")
_DIRECTIONS: Final = ("IMPORT", "EXPORT", "LOCAL")
_HOURS: Final = 24
_CLOCK_PARTS: Final = 3
_PRECISION: Final = 100

_NO_DECIMALS: Final = frozenset(
    ["BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF"]
)
_THREE_DECIMALS: Final = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})
"""Currencies of ISO 4217 whose small unit is not a hundredth."""

_READ: Final = frozenset(
    [
        "id",
        "object",
        "type",
        "direction",
        "timezone",
        "schedule",
        "import",
        "export",
        "data",
        "contract_start_date",
        "contract_end_date",
        "market_rates",
        "market_rates_source",
        "location_id",
        "product_id",
        "account_id",
        "live_mode",
        "time_created",
        "connection_type",
        "is_linked",
        "status",
        "integration_instance",
        "tariff_template_id",
        "provider_tariff_reference",
        "source",
    ]
)
_LEFT_OUT: Final = {
    "display_name": "a name for people",
    "provider_id": "who sells",
    "provider_tariff_expiry_date": "when the provider ends the tariff; the contract's dates are taken",
    "time_expiry": "when the data is to be fetched again",
    "is_disabled": "whether rates are returned for it",
}

_Tiers = tuple[tuple[str | None, str], ...]


def import_flatpeak(document: Any, options: ImportOptions) -> Imported:
    """Import a tariff element, an array or list object of them, or the older object with `import` and `export`.

    Elements of one location, direction and contract (COMMODITY and NON_COMMODITY) become charges of one tariff.

    Raises:
        DocumentError: it is none of these, or no currency was given.

    """
    many = isinstance(document, list)
    tariffs = document if many else [document]
    path = ""
    if isinstance(document, Mapping) and document.get("object") == "list":
        tariffs, many, path = document.get("data"), True, "data"
    if not isinstance(tariffs, list) or not tariffs:
        raise DocumentError(["no tariff in it (expected a FlatPeak tariff, or a list of them)"])
    if options.currency is None:
        raise DocumentError(["no currency: FlatPeak's is the location's (give --currency)"])
    result = Imported()
    merged: dict[tuple[str, ...], dict[str, Any]] = {}
    for number, tariff in enumerate(tariffs):
        at = f"{path}[{number}]" if many else ""
        reader = _Reader(expect_object(tariff, at or "document"), at, result, options)
        for made in reader.documents():
            _merge(made, tariff.get("location_id"), merged, result)
    for number, made in enumerate(result.tariffs):
        if options.tariff_id is not None:
            made["tariff_id"] = options.tariff_id if number == 0 else f"{options.tariff_id}-{number + 1}"
    for holiday in options.holidays:
        result.leave_out("--holiday", f"{holiday}: FlatPeak's schedules know no holidays")
    return result


def _merge(
    made: dict[str, Any], location_id: Any, merged: dict[tuple[str, ...], dict[str, Any]], result: Imported
) -> None:
    """Add a tariff to the result, or its charge to the tariff of the same location and contract."""
    (charge,) = made["charges"]
    names = ("direction", "timezone", "valid_from", "valid_to")
    key = (str(location_id), *(str(made[name]) for name in names))
    known = merged.setdefault(key, made) if location_id is not None else made
    if known is made or charge["charge_id"] in {other["charge_id"] for other in known["charges"]}:
        result.tariffs.append(made)
    else:
        known["charges"].append(charge)


class _Reader:
    """Reads one tariff object."""

    def __init__(self, tariff: Mapping[str, Any], path: str, result: Imported, options: ImportOptions) -> None:
        self._tariff = tariff
        self._path = path
        self._result = result
        self._options = options

    def documents(self) -> Iterator[dict[str, Any]]:
        """Yield tariff documents with one charge each. Raises `DocumentError` for what is no FlatPeak tariff."""
        tariff = self._tariff
        for name, reason in _LEFT_OUT.items():
            if tariff.get(name):
                self._result.leave_out(self._at(name), reason)
        for name in sorted(tariff.keys() - _READ - _LEFT_OUT.keys()):
            self._result.leave_out(self._at(name), "no field that is published for tariffs")
        for name in ("market_rates", "market_rates_source"):
            if tariff.get(name):
                self._result.refuse(self._at(name), "rates come on top of a market rate, which the document lacks")
        if isinstance(tariff.get("schedule"), list):
            direction = self._options.direction or str(tariff.get("direction", "")).upper()
            if direction not in _DIRECTIONS:
                raise DocumentError(
                    [f"{self._at('direction')}: {shown(tariff.get('direction'))} is not one of {_DIRECTIONS}"]
                )
            entries = [(f"schedule[{number}]", entry) for number, entry in enumerate(tariff["schedule"])]
            yield from self._document("schedule", entries, direction, str(tariff.get("id", "")), self._rate)
        elif "import" in tariff or "export" in tariff:
            yield from self._older(tariff)
        elif isinstance(tariff.get("data"), list):
            self._result.refuse(
                self._at("data"), "an older form of the schedule, the unit of whose rates is not published"
            )
        else:
            raise DocumentError([f"{self._at('schedule')}: missing (expected the schedule of a FlatPeak tariff)"])

    def _older(self, tariff: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield a document for each direction of the older object."""
        named = str(tariff.get("id", ""))
        for name in ("import", "export"):
            schedules = _list(tariff.get(name), self._at(name))
            direction = name.upper()
            if not schedules or (self._options.direction or direction) != direction:
                continue
            entries: list[tuple[str, Any]] = []
            for number, schedule in enumerate(schedules):
                path = f"{name}[{number}]"
                if expect_object(schedule, self._at(path)).get("type", "weekday") != "weekday":
                    self._result.refuse(self._at(f"{path}.type"), f"{shown(schedule['type'])} is not 'weekday'")
                    continue
                data = _list(schedule.get("data"), self._at(f"{path}.data"))
                entries += [(f"{path}.data[{position}]", entry) for position, entry in enumerate(data)]
            both = bool(tariff.get("import")) and bool(tariff.get("export"))
            tariff_id = f"{named}-{name}" if both else named
            yield from self._document(name, entries, direction, tariff_id, self._cost)

    def _document(
        self, path: str, entries: Sequence[tuple[str, Any]], direction: str, tariff_id: str, read_rate: Any
    ) -> Iterator[dict[str, Any]]:
        """Yield the document of one schedule, if a rate of it can be expressed."""
        special: dict[_Tiers, list[dict[str, Any]]] = {}
        usual: dict[_Tiers, list[dict[str, Any]]] = {}
        for entry_path, entry in entries:
            at = self._at(entry_path)
            slots = special if expect_object(entry, at).get("dates") else usual
            for windows, tiers in self._entry(entry, at, read_rate):
                slots.setdefault(tiers, []).extend(windows)
        document = {
            "tariff_id": tariff_id,
            "direction": direction,
            "currency": self._options.currency,
            "timezone": self._options.timezone or self._tariff.get("timezone"),
            "valid_from": self._tariff.get("contract_start_date"),
            "valid_to": self._tariff.get("contract_end_date"),
        }
        charge = "network" if self._tariff.get("type") == "NON_COMMODITY" else "energy"
        groups = [list(_bands(slots, start)) for slots, start in ((special, 1), (usual, 1 + len(special)))]
        for bands in groups:
            self._refuse_overlaps(path, document, bands)
        bands = [band for group in groups for band in group]
        if any(len(band["tiers"]) > 1 for band in bands):
            self._result.leave_out(
                self._at(path), "the period of to_kwh, which is not published: counted by local month"
            )
        if bands:
            yield document | {"charges": [{"charge_id": charge, "kind": "energy", "bands": bands}]}

    def _refuse_overlaps(self, path: str, document: dict[str, Any], bands: list[dict[str, Any]]) -> None:
        """Refuse rates that hold at the same time: which of them is to be paid is not said."""
        if len(bands) < 2:  # noqa: PLR2004 - two can overlap
            return
        charge = {"charge_id": "energy", "kind": "energy", "bands": bands}
        try:
            tariff = parse_tariff(document | {"direction": "EXPORT", "charges": [charge]})
        except DocumentError:
            return  # whoever checks the result names it
        for sentence in overlaps(tariff):
            self._result.refuse(self._at(path), f"two rates hold at once ({sentence.removeprefix('charges[0].')})")

    def _entry(
        self, entry: Mapping[str, Any], path: str, read_rate: Any
    ) -> Iterator[tuple[list[dict[str, Any]], _Tiers]]:
        """Yield (windows, tiers) of each hours of an entry that can be expressed."""
        seasons = self._seasons(entry, path)
        for number, group in enumerate(_list(entry.get("days_and_hours"), f"{path}.days_and_hours")):
            at = f"{path}.days_and_hours[{number}]"
            days = self._days(_list(expect_object(group, at).get("days"), f"{at}.days") or ["All"], f"{at}.days")
            for position, hours in enumerate(_list(group.get("hours"), f"{at}.hours")):
                slot = f"{at}.hours[{position}]"
                clocks = self._clocks(expect_object(hours, slot), slot)
                tiers = read_rate(hours, slot)
                if seasons and days and clocks and tiers:
                    windows = [
                        {"from": first, "to": last, "days": list(days), "start": start, "end": end}
                        for (first, last), (start, end) in product(seasons, clocks)
                    ]
                    yield windows, tiers

    def _at(self, path: str) -> str:
        return f"{self._path}.{path}" if self._path else path

    # --- When ---

    def _seasons(self, entry: Mapping[str, Any], path: str) -> list[tuple[str, str]]:
        """Return the days of the year of an entry as (from, to), both inclusive; none, and refused, if unknown."""
        months = set()
        for name in _list(entry.get("months"), f"{path}.months") or ["All"]:
            known = str(name).lower()
            if known != "all" and known not in _MONTHS:
                self._result.refuse(f"{path}.months", f"{name!r} is no month that is published (Jan to Dec, All)")
                return []
            months |= set(range(12)) if known == "all" else {_MONTHS.index(known)}
        dates = _list(entry.get("dates"), f"{path}.dates")
        if not dates:
            return list(_month_runs(months))
        if not all(isinstance(date, int) and 1 <= date <= max(_LAST_DAYS) for date in dates):
            self._result.refuse(f"{path}.dates", f"{shown(dates)} are not days of the month (1 to 31)")
            return []
        return [
            (f"{month + 1:02d}-{first:02d}", f"{month + 1:02d}-{last:02d}")
            for month in sorted(months)
            for first, last in _runs({date for date in dates if date <= _LAST_DAYS[month]})
        ]

    def _days(self, names: Sequence[Any], path: str) -> tuple[str, ...]:
        days = set()
        for name in names:
            known = _DAYS.get(str(name).lower())
            if known is None:
                self._result.refuse(path, f"{name!r} is no day that is published (Mon to Sun, Weekdays, Weekends, All)")
                return ()
            days |= set(known)
        return DAY_NAMES if days >= set(WEEKDAYS) else tuple(name for name in WEEKDAYS if name in days)

    def _clocks(self, hours: Mapping[str, Any], path: str) -> list[tuple[str, str]]:
        """Return the times of day of a slot as (start, end); those past midnight in two parts."""
        times = []
        for name in ("valid_from", "valid_to"):
            time = _time(hours.get(name))
            if time is None:
                self._result.refuse(
                    f"{path}.{name}", f"{shown(hours.get(name))} is not a time in whole minutes (HH:MM:00)"
                )
                return []
            times.append(time)
        start, end = times
        if end in {"00:00", "24:00"}:
            return [(start, "24:00")]
        if start < end:
            return [(start, end)]
        return [(start, "24:00"), ("00:00", end)] if start != end else [_WHOLE_DAY]

    # --- How much ---

    def _rate(self, hours: Mapping[str, Any], path: str) -> _Tiers:
        """Return the tiers of a slot; none, and refused, if a rate is of another form."""
        rates = hours.get("rate")
        if not isinstance(rates, list) or not rates:
            self._result.refuse(f"{path}.rate", "missing: a slot without a rate")
            return ()
        tiers: list[tuple[str | None, str]] = []
        for number, raw in enumerate(rates):
            at = f"{path}.rate[{number}]"
            rate = expect_object(raw, at)
            value = self._value(rate, at)
            if value is None:
                return ()
            bound = _number(rate.get("to_kwh"))
            if bound is None and rate.get("to_kwh") is not None:
                self._result.refuse(f"{at}.to_kwh", f"{shown(rate['to_kwh'])} is not a number")
                return ()
            tiers.append((None if bound is None else rate_text(bound), value))
        if tiers[-1][0] is not None:
            at = f"{path}.rate[{len(rates) - 1}].to_kwh"
            self._result.refuse(at, f"no rate for energy above {tiers[-1][0]} kWh")
            tiers[-1] = (None, tiers[-1][1])
        return tuple(tiers)

    def _value(self, rate: Mapping[str, Any], path: str) -> str | None:
        fixed = _number(rate.get("fixed"))
        if fixed is None or "value" in rate:
            self._result.refuse(path, "no rate in the published form (expected fixed; a value or formula is not taken)")
            return None
        surcharge, share = (_number(rate.get(f"surcharge_{name}", 0)) for name in ("fixed", "percentage"))
        if surcharge is None or share is None or share >= 1:
            self._result.refuse(
                path, "a surcharge that cannot be read (expected numbers, the percentage as a share of 1)"
            )
            return None
        for name in sorted(rate.keys() - {"fixed", "to_kwh", "surcharge_fixed", "surcharge_percentage"}):
            self._result.refuse(f"{path}.{name}", "no field that is published for rates")
        with localcontext(prec=_PRECISION):
            return rate_text((fixed + surcharge) * (1 + share))

    def _cost(self, hours: Mapping[str, Any], path: str) -> _Tiers:
        """Return the only tier of a slot of the older object, whose costs are in small currency units."""
        cost = _number(hours.get("cost"))
        if cost is None:
            self._result.refuse(f"{path}.cost", f"{shown(hours.get('cost'))} is not a number")
            return ()
        currency = self._options.currency
        decimals = 0 if currency in _NO_DECIMALS else 3 if currency in _THREE_DECIMALS else 2
        return ((None, rate_text(cost.scaleb(-decimals))),)


def _bands(slots: Mapping[_Tiers, list[dict[str, Any]]], start: int) -> Iterator[dict[str, Any]]:
    """Yield a band for each price, with all its windows."""
    for number, (tiers, windows) in enumerate(slots.items(), start=start):
        everything = any(
            (window["from"], window["to"]) == _WHOLE_YEAR
            and tuple(window["days"]) == DAY_NAMES
            and (window["start"], window["end"]) == _WHOLE_DAY
            for window in windows
        )
        yield {
            "name": f"rate-{number}",
            "when": [] if everything else windows,
            "tiers": [{"up_to_kwh": bound, "rate": rate} for bound, rate in tiers],
        }


def _month_runs(months: set[int]) -> Iterator[tuple[str, str]]:
    """Yield seasons of whole months; one over new year in one piece."""
    runs = [[first - 1, last - 1] for first, last in _runs({month + 1 for month in months})]
    if len(runs) > 1 and runs[0][0] == 0 and runs[-1][1] == len(_MONTHS) - 1:
        runs[0][0] = runs.pop()[0]
    for first, last in runs:
        yield f"{first + 1:02d}-01", f"{last + 1:02d}-{_LAST_DAYS[last]:02d}"


def _runs(numbers: set[int]) -> Iterator[tuple[int, int]]:
    """Yield the runs of consecutive numbers as (first, last)."""
    for first in sorted(number for number in numbers if number - 1 not in numbers):
        last = first
        while last + 1 in numbers:
            last += 1
        yield first, last


def _list(value: Any, path: str) -> list[Any]:
    """Return a list; null is an empty one. Raises `DocumentError` for anything else."""
    if value is None or isinstance(value, list):
        return value or []
    raise DocumentError([f"{path}: {shown(value)} is not a list"])


def _time(value: Any) -> str | None:
    """Return a time of day, HH:MM:00 or HH:MM, as HH:MM; None if it is none in whole minutes."""
    parts = str(value).split(":")
    if not 2 <= len(parts) <= _CLOCK_PARTS or not all(len(part) == 2 and part.isdecimal() for part in parts):  # noqa: PLR2004 - digits
        return None
    hour, minute = int(parts[0]), int(parts[1])
    seconds = parts[2:] not in ([], ["00"])
    if seconds or minute > 59 or hour * 60 + minute > _HOURS * 60:  # noqa: PLR2004 - minutes of an hour
        return None
    return f"{hour:02d}:{minute:02d}"


def _number(value: Any) -> Decimal | None:
    if isinstance(value, int | Decimal) and not isinstance(value, bool) and Decimal(value).is_finite():
        return Decimal(value)
    return None
