"""OCPI Tariff objects, 2.2.1 and 2.3.0: what charging at a charge point costs.

Source: the Open Charge Point Interface's module Tariffs (mod_tariffs, EVRoaming Foundation). At each instant of a
charging session the first element that has a component of a dimension, and whose restrictions all match, prices that
dimension; without one it costs nothing. ENERGY thus becomes bands in the order of the elements, with a last band at 0;
FLAT and TIME become charges for sessions, whose bands may leave holes. Times and dates of restrictions are those of the
charge point's clock. Restrictions by date cut a tariff into versions.

In tariff documents nothing but time decides what is due. What something else decides is refused unless it is 0: parking,
reservations, limits of a session's price, and restrictions by its energy, power, current or duration.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final, NamedTuple

from app.domain.calendar import LocalCalendar, UnknownTimezoneError, calendar_for
from app.domain.instants import InstantError, format_instant, parse_instant_us
from app.domain.tariffs import DAY_NAMES, WEEKDAYS
from app.importers.tariffs.common import Imported, ImportOptions, expect_object, rate_text
from app.wire.documents import DocumentError, shown
from app.wire.tariff_bands import MAX_STEP_SECONDS

_DAYS: Final = dict(
    zip(("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"), WEEKDAYS, strict=True)
)
_MIDNIGHT: Final = "00:00"
_END_OF_DAY: Final = "24:00"
_CLOCK_LENGTH: Final = len(_MIDNIGHT)
_PER_CENT: Final = Decimal(100)

_OF_SESSION: Final = {
    "min_kwh": "the energy of the charging session",
    "max_kwh": "the energy of the charging session",
    "min_current": "the current at the moment",
    "max_current": "the current at the moment",
    "min_power": "the power at the moment",
    "max_power": "the power at the moment",
    "min_duration": "the duration of the charging session",
    "max_duration": "the duration of the charging session",
}
_OF_TIME: Final = frozenset({"start_time", "end_time", "start_date", "end_date", "day_of_week"})
_OF_RESERVATION: Final = frozenset({"reservation", "booking"})
_ENERGY: Final = "ENERGY"
_CHARGES: Final = {_ENERGY: "energy", "FLAT": "flat", "TIME": "time"}
"""The dimensions that are taken, and the charges that they become."""

_PARKING: Final = "PARKING_TIME"
_READ: Final = frozenset(
    {
        "country_code",
        "party_id",
        "id",
        "currency",
        "elements",
        "start_date_time",
        "end_date_time",
        "tax_included",
        "min_price",
        "max_price",
        "last_updated",
    }
)
_LEFT_OUT: Final = {
    "type": "who may charge by this tariff",
    "tariff_alt_text": "a description",
    "tariff_alt_url": "a description",
    "energy_mix": "where the energy comes from",
    "preauthorize_amount": "a matter of payment",
}


class _Windows(NamedTuple):
    """When an element holds: days and times of the local clock, and a span of dates, the last of them exclusive."""

    days: tuple[str, ...]
    clocks: tuple[tuple[str, str], ...]
    first: date | None
    end: date | None

    @property
    def always(self) -> bool:
        """Tell whether nothing but dates restricts it."""
        return self.days == DAY_NAMES and self.clocks == ((_MIDNIGHT, _END_OF_DAY),)

    def covers(self, on: date | None) -> bool:
        """Tell whether it holds on a date (None: before all dates), as far as its own dates are concerned."""
        if on is None:
            return self.first is None
        return (self.first is None or self.first <= on) and (self.end is None or on < self.end)


class _Price(NamedTuple):
    """A price of a dimension: its element's number, where it stands, its VAT in per cent (None: not said), when it holds.

    Time is billed in steps of `step_seconds`.
    """

    dimension: str
    element: int
    path: str
    price: Decimal
    vat: Decimal | None
    windows: _Windows
    step_seconds: int


class _Component(NamedTuple):
    """A price component as it stands in the document; `reserved`: it is for a reservation, and for no session."""

    path: str
    fields: Mapping[str, Any]
    dimension: str
    price: Decimal
    reserved: bool


class _Element(NamedTuple):
    """An element as it stands in the document."""

    number: int
    path: str
    restrictions: Mapping[str, Any]
    components: tuple[_Component, ...]


def import_ocpi(document: Any, options: ImportOptions) -> Imported:
    """Import a Tariff object, an array of them, or an answer that holds them under `data`.

    Raises:
        DocumentError: it is none of these, or no time zone was given.

    """
    if isinstance(document, Mapping) and "data" in document and "elements" not in document:
        document = document["data"]
    many = isinstance(document, list)
    tariffs = document if many else [document]
    if not tariffs:
        raise DocumentError(["no tariff in it (expected an OCPI Tariff object, or an array of them)"])
    if options.timezone is None:
        raise DocumentError(["no time zone: OCPI's times are those of the location (give --timezone)"])
    try:
        calendar = calendar_for(options.timezone)
    except UnknownTimezoneError as error:
        raise DocumentError([f"--timezone: {error}"]) from None
    result = Imported()
    for number, tariff in enumerate(tariffs):
        path = f"[{number}]" if many else ""
        named = options.tariff_id if number == 0 or options.tariff_id is None else f"{options.tariff_id}-{number + 1}"
        _Reader(expect_object(tariff, path or "document"), path, result).read(
            options._replace(tariff_id=named), calendar
        )
    for holiday in options.holidays:
        result.leave_out("--holiday", f"{holiday}: OCPI knows no holidays")
    return result


class _Reader:
    """Reads one Tariff object."""

    def __init__(self, tariff: Mapping[str, Any], path: str, result: Imported) -> None:
        self._tariff = tariff
        self._path = path
        self._result = result

    def read(self, options: ImportOptions, calendar: LocalCalendar) -> None:
        """Add the versions of the tariff to the result. Raises `DocumentError` for what is no OCPI tariff."""
        elements = self._tariff.get("elements")
        if not isinstance(elements, list) or not elements:
            raise DocumentError([f"{self._at('elements')}: missing (expected the elements of an OCPI Tariff)"])
        self._top_level()
        read = [self._element(number, element) for number, element in enumerate(elements)]
        components = [one for element in read for one in element.components if one.price and not one.reserved]
        charged = {one.dimension for one in components} | {_ENERGY}
        prices = [price for element in read for price in self._prices(element, charged)]
        start_us, end_us = (self._instant(name) for name in ("start_date_time", "end_date_time"))
        base = {
            "tariff_id": options.tariff_id or self._id(),
            "direction": options.direction or "IMPORT",
            "currency": options.currency or self._tariff.get("currency"),
            "timezone": options.timezone,
        }
        included = self._tax_included(prices)
        reached: set[str] = set()
        pieces = _pieces(prices, calendar, start_us, end_us)
        for version, (on, from_us, to_us) in enumerate(pieces, start=1):
            holding = [price for of in _CHARGES for price in _reached(prices, of, on)]
            reached |= {price.path for price in holding}
            self._result.tariffs.append(
                {
                    **base,
                    "version": version,
                    "valid_from": None if from_us is None else format_instant(from_us),
                    "valid_to": None if to_us is None else format_instant(to_us),
                    "prices_include_tax": included,
                    **_charges(holding),
                }
            )
        for price in prices:
            if price.path not in reached:
                self._result.leave_out(price.path, "never holds: its dates, or an element before it, leave no time")

    def _at(self, path: str) -> str:
        return f"{self._path}.{path}" if self._path else path

    def _id(self) -> str:
        """Return an id: unique within its operator, so that the operator is part of it."""
        parts = [self._tariff.get(name) for name in ("country_code", "party_id", "id")]
        return "-".join(str(part) for part in parts if part)

    def _instant(self, name: str) -> int | None:
        """Read a UTC instant, whose Z may be missing. Raises `DocumentError`."""
        text = self._tariff.get(name)
        if text is None:
            return None
        try:
            return parse_instant_us(str(text))
        except InstantError as error:
            if error.reason != "naive":
                raise DocumentError([f"{self._at(name)}: {error}"]) from None
            return parse_instant_us(f"{text}Z")

    def _top_level(self) -> None:
        for name, reason in _LEFT_OUT.items():
            if self._tariff.get(name):
                self._result.leave_out(self._at(name), reason)
        for name in sorted(self._tariff.keys() - _READ - _LEFT_OUT.keys()):
            self._result.leave_out(self._at(name), "no field of OCPI tariffs")
        for name, limit in (("min_price", "least"), ("max_price", "most")):
            value = self._tariff.get(name)
            amounts = list(value.values()) if isinstance(value, Mapping) else [value]
            amounts = [amount for amount in amounts if amount is not None]
            if amounts and (name == "max_price" or any(amounts)):
                self._result.refuse(
                    self._at(name), f"the {limit} that a charging session costs; tariff documents have no such limit"
                )

    def _tax_included(self, prices: Sequence[_Price]) -> bool:
        """Tell whether prices include tax; name where that leaves open what is to be paid."""
        said = self._tariff.get("tax_included")
        if said not in (None, "YES", "NO", "N/A"):
            raise DocumentError([f"{self._at('tax_included')}: {shown(said)} is not one of YES, NO, N/A"])
        for price in prices:
            path = f"{price.path}.vat"
            if said == "NO" and price.vat is None and price.price:
                self._result.refuse(path, "missing, and taxes come on top (tax_included NO): how much is not said")
            elif said == "N/A" and price.vat:
                self._result.refuse(path, f"{price.vat:f} %, but no taxes are applicable (tax_included N/A)")
            elif said == "YES" and price.vat is None and price.price:
                self._result.leave_out(path, "missing: how much of the price is tax is not said")
        return said == "YES"

    def _element(self, number: int, element: Any) -> _Element:
        """Read an element. Raises `DocumentError` for what is none."""
        path = self._at(f"elements[{number}]")
        element = expect_object(element, path)
        restrictions = expect_object(element.get("restrictions") or {}, f"{path}.restrictions")
        components = element.get("price_components")
        if not isinstance(components, list):
            raise DocumentError([f"{path}.price_components: missing (expected a list)"])
        reserved = any(restrictions.get(name) for name in _OF_RESERVATION)
        read = []
        for position, raw in enumerate(components):
            at = f"{path}.price_components[{position}]"
            fields = expect_object(raw, at)
            price = _number(fields.get("price"), f"{at}.price")
            read.append(_Component(at, fields, str(fields.get("type")), price, reserved))
        return _Element(number, path, restrictions, tuple(read))

    def _prices(self, element: _Element, charged: Collection[str]) -> Iterator[_Price]:
        """Yield the prices of an element that can be expressed, of the dimensions that cost anything anywhere."""
        taken = [one for one in element.components if self._is_taken(one) and one.dimension in charged]
        windows = self._windows(element.restrictions, f"{element.path}.restrictions") if taken else None
        for one in taken:
            step = self._step(one)
            vat = None if one.fields.get("vat") is None else _number(one.fields["vat"], f"{one.path}.vat")
            if windows is not None:
                yield _Price(one.dimension, element.number, one.path, one.price, vat, windows, step)

    def _is_taken(self, component: _Component) -> bool:
        """Tell whether a component is of a dimension that is taken; refuse it where it is not, and costs something."""
        dimension, amount = component.dimension, f"{component.dimension} {component.price:f}"
        if dimension == _PARKING or (component.reserved and dimension in {"FLAT", "TIME"}):
            if component.price:
                what = "for a reservation" if component.reserved else "for an hour of parking"
                self._result.refuse(component.path, f"{amount}: {what}; tariff documents have no such price")
            return False
        if dimension not in _CHARGES:
            reason = f"{shown(dimension)} is no dimension that is known (ENERGY, FLAT, TIME, PARKING_TIME)"
            self._result.refuse(component.path, reason)
            return False
        return True

    def _step(self, component: _Component) -> int:
        """Return the step in which time is billed; refuse steps that cannot be expressed."""
        path = f"{component.path}.step_size"
        step = _number(component.fields.get("step_size", 1), path)
        if component.dimension == _ENERGY and step > 1 and component.price:
            self._result.refuse(path, f"{step:f} Wh: each session is billed in such steps, rounded up")
        if component.dimension != "TIME" or step == 0:
            return 1
        if not 1 <= step <= MAX_STEP_SECONDS or step != int(step):
            if component.price:
                self._result.refuse(path, f"{step:f} s: no step of time (1 to {MAX_STEP_SECONDS} whole seconds)")
            return 1
        return int(step)

    def _windows(self, restrictions: Mapping[str, Any], path: str) -> _Windows | None:
        """Return when an element holds; None, and refused, where not only time decides that."""
        refused = False
        for name, value in restrictions.items():
            if value is None or value == [] or (name.startswith("min_") and value == 0):
                continue
            if name in _OF_SESSION:
                reason = f"{name} {value}: {_OF_SESSION[name]} decides the price; in tariff documents only time does, "
                self._result.refuse(f"{path}.{name}", reason + "and tiers count calendar periods, not sessions")
            elif name in _OF_RESERVATION:
                self._result.refuse(f"{path}.{name}", "energy within a reservation is no dimension of OCPI")
            elif name not in _OF_TIME:
                self._result.refuse(f"{path}.{name}", "no restriction that is known")
            else:
                continue
            refused = True
        if refused:
            return None
        days = _days(restrictions.get("day_of_week"), f"{path}.day_of_week")
        start = _clock(restrictions.get("start_time"), f"{path}.start_time") or _MIDNIGHT
        end = _clock(restrictions.get("end_time"), f"{path}.end_time") or _MIDNIGHT
        clocks: tuple[tuple[str, str], ...]
        if end == _MIDNIGHT:
            clocks = ((start, _END_OF_DAY),)
        elif start < end:
            clocks = ((start, end),)
        elif start == end:
            self._result.refuse(f"{path}.end_time", f"{end!r} is the start_time too: whether that is a day is not said")
            return None
        else:
            # All restrictions hold at an instant or not: after midnight it is the new day that must be listed.
            clocks = ((start, _END_OF_DAY), (_MIDNIGHT, end))
        first, last = (_date(restrictions.get(name), f"{path}.{name}") for name in ("start_date", "end_date"))
        return _Windows(days, clocks, first, last)


def _reached(prices: Sequence[_Price], dimension: str, on: date | None) -> list[_Price]:
    """Return the prices of a dimension that hold around a date, up to the first that always holds."""
    reached = []
    for price in prices:
        if price.dimension == dimension and price.windows.covers(on):
            reached.append(price)
            if price.windows.always:
                break
    return reached


def _pieces(
    prices: Sequence[_Price], calendar: LocalCalendar, start_us: int | None, end_us: int | None
) -> Iterator[tuple[date | None, int | None, int | None]]:
    """Yield (a date, valid from, valid to) of each span of time in which the same elements may hold."""
    dates = sorted({on for price in prices for on in (price.windows.first, price.windows.end) if on is not None})
    from_us, on = start_us, None
    for cut in dates:
        at_us = calendar.day_start_us(cut)
        if (from_us is None or from_us < at_us) and (end_us is None or at_us < end_us):
            yield on, from_us, at_us
            from_us = at_us
        if end_us is None or at_us < end_us:
            on = cut
    yield on, from_us, end_us


def _charges(prices: Sequence[_Price]) -> dict[str, Any]:
    """Return the charges and taxes of the prices that hold in one version.

    Prices of several VAT rates become several charges, which add up: each has all bands, and 0 where another one's
    rate holds.
    """
    charges: list[dict[str, Any]] = []
    taxed: dict[Decimal, list[str]] = {}
    for dimension, name in _CHARGES.items():
        mine = [price for price in prices if price.dimension == dimension]
        vats = _vats(mine) or ([Decimal(0)] if mine or dimension == _ENERGY else [])
        for vat in vats:
            charge_id = name if len(vats) == 1 else f"{name}-vat-{rate_text(vat)}"
            charges.append({"charge_id": charge_id, **_charge(dimension, mine, vat)})
            taxed.setdefault(vat, []).append(charge_id)
    only = len(_vats(prices)) <= 1
    taxes = [
        {
            "name": "VAT" if only else f"VAT {rate_text(vat)} %",
            "rate": rate_text(vat / _PER_CENT),
            "charges": None if only else names,
        }
        for vat, names in taxed.items()
        if vat
    ]
    return {"taxes": taxes, "charges": charges}


def _vats(prices: Sequence[_Price]) -> list[Decimal]:
    """Return the different rates of VAT of prices that are not 0."""
    return list(dict.fromkeys(price.vat or Decimal(0) for price in prices if price.price))


def _charge(dimension: str, prices: Sequence[_Price], vat: Decimal) -> dict[str, Any]:
    """Return what a charge has besides its id: the prices of one rate of VAT."""
    bands: list[dict[str, Any]] = []
    for price in prices:
        rate = rate_text(price.price if (price.vat or Decimal(0)) == vat else Decimal(0))
        band: dict[str, Any] = {"name": f"element-{price.element + 1}", "when": _when(price.windows)}
        if dimension == _ENERGY:
            band |= {"tiers": [{"up_to_kwh": None, "rate": rate}]}
        else:
            band |= {"amount": rate} | ({"step_seconds": price.step_seconds} if dimension == "TIME" else {})
        bands.append(band)
    if dimension == "FLAT":
        return {"kind": "session", "per": "session", "bands": bands}
    if dimension == "TIME":
        return {"kind": "session", "per": "hour", "counted": "charging", "bands": bands}
    if not prices or not prices[-1].windows.always:
        bands.append({"name": "free", "when": [], "tiers": [{"up_to_kwh": None, "rate": "0"}]})
    return {"kind": "energy", "bands": bands}


def _when(windows: _Windows) -> list[dict[str, Any]]:
    if windows.always:
        return []
    return [{"days": list(windows.days), "start": start, "end": end} for start, end in windows.clocks]


# --- Values ----------------------------------------------------------------------------------------------------------


def _number(value: Any, path: str) -> Decimal:
    if isinstance(value, int | Decimal) and not isinstance(value, bool) and Decimal(value).is_finite():
        return Decimal(value)
    raise DocumentError([f"{path}: {shown(value)} is not a number"])


def _clock(value: Any, path: str) -> str | None:
    """Return a time of day as OCPI writes it, which is how ours writes it."""
    if value is None:
        return None
    text = str(value)
    hour, colon, minute = text.partition(":")
    digits = hour.isdecimal() and minute.isdecimal() and text.isascii()
    if not (digits and colon and len(text) == _CLOCK_LENGTH and "00" <= hour <= "23" and "00" <= minute <= "59"):
        raise DocumentError([f"{path}: {shown(value)} is not a time (HH:MM, 00:00 to 23:59)"])
    return text


def _date(value: Any, path: str) -> date | None:
    try:
        return None if value is None else date.fromisoformat(str(value))
    except ValueError:
        raise DocumentError([f"{path}: {shown(value)} is not a date (YYYY-MM-DD)"]) from None


def _days(value: Any, path: str) -> tuple[str, ...]:
    """Return the days of a week as ours writes them; none at all are all."""
    if not value:
        return DAY_NAMES
    if not isinstance(value, list):
        raise DocumentError([f"{path}: {shown(value)} is not a list"])
    unknown = [name for name in value if str(name) not in _DAYS]
    if unknown:
        raise DocumentError([f"{path}: {unknown[0]!r} is not a day of the week (MONDAY to SUNDAY)"])
    days = tuple(name for foreign, name in _DAYS.items() if foreign in value)
    return DAY_NAMES if len(days) == len(WEEKDAYS) else days
