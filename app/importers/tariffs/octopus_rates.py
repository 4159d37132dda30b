"""Published rates of Octopus Energy's REST API: pages of them, as lists in order of time without overlap."""

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final, NamedTuple

from app.domain.instants import format_instant, parse_instant_us
from app.importers.tariffs.common import Imported
from app.wire.documents import shown

BEGIN_US: Final = -(1 << 62)
END_US: Final = 1 << 62
"""Instants before and after all others: a rate without valid_from, or without valid_to."""

SHORT_US: Final = 25 * 3600 * 1_000_000
"""A local day is no longer: rates that change with it, or within it, are short."""

KINDS: Final = ("standard_unit_rates", "day_unit_rates", "night_unit_rates", "standing_charges")
_NAMES: Final = frozenset({"tariff_code", "payment_method", "night_hours", *KINDS})
_IGNORED: Final = frozenset({"product_code", "display_name", "full_name", "description", "region", "gsp"})
_PAGE: Final = frozenset({"count", "next", "previous", "results"})
_RATE: Final = frozenset({"value_exc_vat", "value_inc_vat", "valid_from", "valid_to", "payment_method"})
_LINK: Final = re.compile(r"/(electricity|gas)-tariffs/([^/?]+)/([a-z-]+)")
_DEFAULT_METHOD: Final = "DIRECT_DEBIT"
_VAT_RATES: Final = (Decimal("0.05"), Decimal("0.2"), Decimal(0))
_HALF: Final = Decimal("0.5")
_UNIT: Final = Decimal("0.01")


class Published(NamedTuple):
    """A value in pence that holds over [start_us, end_us), without and with VAT."""

    start_us: int
    end_us: int
    exc_vat: Decimal | None
    inc_vat: Decimal | None
    method: str | None
    path: str

    @property
    def same(self) -> tuple[int, int, Decimal | None, Decimal | None]:
        """Return what two rates have in common that say the same."""
        return self[:4]


class Lists(NamedTuple):
    """The lists of a file by kind (those that are in it), the code of their tariff, and the hours of its night rate."""

    tariff_code: str | None
    rates: dict[str, list[Published]]
    night_hours: Any


def read_lists(document: Any, result: Imported, problems: list[str]) -> Lists:
    """Return the lists of rates in a file. What changes the price and is not understood goes to `result`.

    Where the file is none of the API's pages, nor an object of them, why goes to `problems`.
    """
    if isinstance(document, Mapping) and not document.keys() & {"results", "count"}:
        code, method = document.get("tariff_code"), document.get("payment_method") or _DEFAULT_METHOD
        named = {name: document[key] for key in document if (name := key.replace("-", "_")) in KINDS}
        for key in document:
            if key.replace("-", "_") not in _NAMES | _IGNORED:
                result.refuse(key, f"unknown field, with the value {shown(document[key])}, which may change the price")
        if not named:
            problems.append(f"document: {shown(document)} holds no rates (expected one of {', '.join(KINDS)})")
        hours = document.get("night_hours")
    else:
        kind, code = _kind_and_code(document, problems)
        named, method, hours = {kind: document}, _DEFAULT_METHOD, None
    rates = {}
    for name, value in named.items():
        path = "" if value is document else _key_of(document, name)
        found = list(_read_pages(value, path, result, problems))
        rates[name] = _in_order(_of_method(found, str(method), path, result, problems), result)
    if code is not None and not isinstance(code, str):
        problems.append(f"tariff_code: {shown(code)} is not a text")
    elif code is not None and code.startswith("G-"):
        problems.append(f"tariff_code: {code!r} is a tariff for gas (expected one for electricity)")
    return Lists(code if isinstance(code, str) else None, rates, hours)


def _key_of(document: Mapping[str, Any], name: str) -> str:
    return next(key for key in document if key.replace("-", "_") == name)


def _kind_and_code(document: Any, problems: list[str]) -> tuple[str, str | None]:
    """Return what a bare page holds, and of which tariff: its links say so, and rates by the hour can only be one."""
    pages = document if isinstance(document, list) else [document]
    links = [page.get(name) for page in pages if isinstance(page, Mapping) for name in ("next", "previous")]
    for match in (_LINK.search(link) for link in links if isinstance(link, str)):
        if match is None:
            continue
        fuel, code, kind = match.groups()
        if fuel == "gas":
            problems.append(f"next: {code!r} is a tariff for gas (expected one for electricity)")
        return kind.replace("-", "_"), code
    ignored: list[str] = []
    found = list(_read_pages(document, "", Imported(), ignored))
    if found and not is_short(found):
        problems.append(
            "document: a page does not say what its values are (expected an object with it as one of "
            f"{', '.join(KINDS)})"
        )
    return "standard_unit_rates", None


def is_short(rates: Sequence[Published]) -> bool:
    """Tell whether rates change with the day or within it: half of them at least do."""
    durations = sorted(rate.end_us - rate.start_us for rate in rates)
    return bool(durations) and durations[len(durations) // 2] <= SHORT_US


def _read_pages(value: Any, path: str, result: Imported, problems: list[str]) -> Iterator[Published]:
    """Yield the rates of a page, of a list of pages, or of a list of rates."""
    prefix = f"{path}." if path else ""
    pages: list[tuple[str | None, Mapping[str, Any]]]
    if isinstance(value, list) and value and all(isinstance(page, Mapping) and "results" in page for page in value):
        pages = [(f"{path}[{number}].", page) for number, page in enumerate(value)]
    elif isinstance(value, Mapping) and isinstance(value.get("results"), list):
        pages = [(prefix, value)]
    elif isinstance(value, list):
        pages = [(None, {"results": value})]
    else:
        problems.append(
            f"{path or 'document'}: {shown(value)} is not a page of rates (expected an object with results)"
        )
        return
    here = 0
    for page_path, page in pages:
        for name in sorted(page.keys() - _PAGE):
            result.refuse(f"{page_path or ''}{name}", f"unknown field of a page, with the value {shown(page[name])}")
        results = page["results"] if isinstance(page["results"], list) else []
        here += len(results)
        for number, fields in enumerate(results):
            rate_path = f"{path}[{number}]" if page_path is None else f"{page_path}results[{number}]"
            rate = _read_rate(fields, rate_path, result, problems)
            if rate is not None:
                yield rate
    count = pages[0][1].get("count")
    if isinstance(count, int) and count > here:
        result.refuse(f"{pages[0][0] or ''}count", f"{count} rates are published, {here} of them are in the file")


def _read_rate(fields: Any, path: str, result: Imported, problems: list[str]) -> Published | None:
    if not isinstance(fields, Mapping):
        problems.append(f"{path}: {shown(fields)} is not a rate (expected an object)")
        return None
    for name in sorted(fields.keys() - _RATE):
        result.refuse(f"{path}.{name}", f"unknown field of a rate, with the value {shown(fields[name])}")
    before = len(problems)
    exc_vat, inc_vat = (_value(fields, name, path, problems) for name in ("value_exc_vat", "value_inc_vat"))
    if exc_vat is None and inc_vat is None and len(problems) == before:
        problems.append(f"{path}.value_inc_vat: missing (expected pence, with or without VAT)")
    start_us = _instant(fields, "valid_from", path, problems)
    end_us = _instant(fields, "valid_to", path, problems)
    start_us = BEGIN_US if start_us is None else start_us
    end_us = END_US if end_us is None else end_us
    if end_us <= start_us and len(problems) == before:
        problems.append(f"{path}.valid_to: {shown(fields['valid_to'])} is not after valid_from")
    return Published(start_us, end_us, exc_vat, inc_vat, fields.get("payment_method"), path)


def _value(fields: Mapping[str, Any], name: str, path: str, problems: list[str]) -> Decimal | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or not Decimal(value).is_finite():
        problems.append(f"{path}.{name}: {shown(value)} is not a number (expected pence)")
        return None
    return Decimal(value)


def _instant(fields: Mapping[str, Any], name: str, path: str, problems: list[str]) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    try:
        return parse_instant_us(value if isinstance(value, str) else str(value))
    except ValueError as error:
        problems.append(f"{path}.{name}: {error}")
        return None


def _of_method(
    rates: Sequence[Published], chosen: str, path: str, result: Imported, problems: list[str]
) -> list[Published]:
    """Return the rates of one way of payment; another one's that differ are named."""
    methods = {str(rate.method) for rate in rates if rate.method is not None}
    kept = [rate for rate in rates if rate.method in (None, chosen)]
    if not kept and rates:
        problems.append(
            f"{path or 'document'}: no rate of the payment_method {chosen!r} (expected one of {sorted(methods)})"
        )
    same = {rate.same for rate in kept}
    for other in sorted(methods - {chosen}):
        if any(rate.same not in same for rate in rates if rate.method == other):
            result.leave_out(path or "results", f"rates of the payment_method {other}: those of {chosen} are taken")
    return kept


def _in_order(rates: Sequence[Published], result: Imported) -> list[Published]:
    """Return rates by time without those that overlap one another: which of them holds is not said."""
    once = {rate.same: rate for rate in reversed(rates)}
    ordered = sorted(once.values(), key=lambda rate: rate.same[:2])
    wrong: set[str] = set()
    last: Published | None = None
    for rate in ordered:
        if last is not None and rate.start_us < last.end_us:
            wrong |= {rate.path, last.path}
            result.refuse(rate.path, f"overlaps {last.path}: which of the two holds is not said, and neither is taken")
        if last is None or rate.end_us > last.end_us:
            last = rate
    return [rate for rate in ordered if rate.path not in wrong]


def gaps(rates: Sequence[Published]) -> Iterator[tuple[Published, str]]:
    """Yield (the rate after it, a text for people) for every gap between rates."""
    for before, after in pairwise(rates):
        if before.end_us < after.start_us:
            yield after, f"{format_instant(before.end_us)} to {format_instant(after.start_us)}"


def vat_of(rates: Sequence[Published]) -> Decimal | None:
    """Return the rate of VAT that explains every pair of values within their digits; None: there is none."""
    pairs = [(rate.exc_vat, rate.inc_vat) for rate in rates if rate.exc_vat is not None and rate.inc_vat is not None]
    if len(pairs) < len(rates):
        return None
    digits = [min((_unit(pair[column]) for pair in pairs), default=_UNIT) for column in (0, 1)]
    for allowed in (Decimal(0), _HALF):
        for vat in _VAT_RATES:
            within = allowed * (digits[0] * (1 + vat) + digits[1])
            if all(abs(inc_vat - exc_vat * (1 + vat)) <= within for exc_vat, inc_vat in pairs):
                return vat
    return None


def _unit(value: Decimal) -> Decimal:
    """Return the value of the last digit that is published; at most a hundredth, as final zeros are not written."""
    exponent = value.normalize().as_tuple().exponent
    return min(_UNIT, Decimal(1).scaleb(exponent)) if isinstance(exponent, int) else _UNIT
