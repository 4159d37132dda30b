"""Octopus Energy's REST API: unit rates and standing charges, as tariff documents and a series of prices.

A file is what an end point answers: a page (`{"count", "next", "previous", "results": [...]}`), a list of pages or of
rates; or an object of ours that holds several of them:

    {"tariff_code": "E-1R-AGILE-24-10-01-C", "standard_unit_rates": …, "standing_charges": …}

or, for a meter with two registers, `day_unit_rates`, `night_unit_rates` and `night_hours`, the local hours
({"start": "00:30", "end": "07:30"}) of the night, which the API does not say. Values are pence a kWh and pence a day
(https://developer.octopus.energy/rest/reference).

Rates that change with the day or within it (Agile, Tracker, Go) become a series of prices, to which later prices can be
added by themselves; others become versions of the tariff, each with its validity, which can hold a rate without an end.
Both are exact. A change of the standing charge makes another version too.

Documents hold the values without VAT, and VAT as a tax, where one rate of VAT (5 %, 20 % or none) explains every pair
of published values within their digits, since a bill is reckoned so; otherwise the values with VAT. Export bears none.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final, NamedTuple

from app.domain.calendar import US_PER_DAY, timezones
from app.domain.instants import format_instant
from app.importers.tariffs.common import Imported, ImportOptions, rate_text
from app.importers.tariffs.octopus_rates import (
    BEGIN_US,
    END_US,
    Lists,
    Published,
    gaps,
    is_short,
    read_lists,
    vat_of,
)
from app.wire.documents import DocumentError, shown
from app.wire.series import parse_series
from app.wire.tariff import parse_tariff

_TIMEZONE: Final = "Europe/London"
_CURRENCY: Final = "GBP"
_MAX_VERSIONS: Final = 500
_MAX_DAYS: Final = 20_000
"""Of a series of prices, each a document: more than fifty years."""


class _Basis(NamedTuple):
    """Which of the two published values the documents hold, and the tax that they bear."""

    with_vat: bool
    vat: Decimal

    def pounds(self, rate: Published) -> str:
        """Return a value in pounds."""
        first, second = (rate.inc_vat, rate.exc_vat) if self.with_vat else (rate.exc_vat, rate.inc_vat)
        pence = second if first is None else first
        return rate_text((pence or Decimal(0)).scaleb(-2))


def import_octopus(document: Any, options: ImportOptions) -> Imported:
    """Return the tariff (in versions) of Octopus Energy's rates, and the series of its prices where they change daily.

    Options: `tariff_id` (else the tariff's code) is the id of the tariff and of the series; `direction` is IMPORT unless
    EXPORT is named; `timezone` is Europe/London unless another is named.

    Raises:
        DocumentError: the document is none of the API's, does not say enough, or an option is of no use.

    """
    result = Imported()
    problems: list[str] = []
    lists = read_lists(document, result, problems)
    if not problems:
        problems += _list_problems(lists)
        if not result.refused and not any(rates for kind, rates in lists.rates.items() if kind != "standing_charges"):
            problems.append("results: empty (expected at least one rate)")
    problems += _option_problems(options, lists)
    if problems:
        raise DocumentError(problems)
    standing = lists.rates.get("standing_charges")
    basis = _basis(lists, options, result)
    head = {
        "tariff_id": options.tariff_id or lists.tariff_code,
        "direction": options.direction or "IMPORT",
        "currency": _CURRENCY,
        "timezone": options.timezone or _TIMEZONE,
        "prices_include_tax": basis.with_vat,
        "taxes": [{"name": "VAT", "rate": rate_text(basis.vat)}] if basis.vat else [],
    }
    if standing is None and head["direction"] == "IMPORT":
        result.leave_out("standing_charges", "not in the file: the tariff has none")
    if head["direction"] == "EXPORT":
        for rate in standing or ():
            if rate.exc_vat or rate.inc_vat:
                result.refuse(rate.path, "a standing charge on export")
        standing = None
    energy = _series(lists, basis, head["tariff_id"], result) or _layers(lists, basis, result)
    versions = list(_versions(energy, standing, basis, result))
    for number, (start_us, end_us, charges) in enumerate(versions, start=1):
        _add_tariff({**head, "version": number, **_validity(start_us, end_us), "charges": charges}, result)
    return result


def _option_problems(options: ImportOptions, lists: Lists) -> Iterator[str]:
    if options.currency not in {None, _CURRENCY}:
        yield f"currency: {options.currency!r} is not that of the rates, which are pence (expected GBP)"
    if options.timezone is not None and options.timezone not in timezones():
        yield f"timezone: {options.timezone!r} is not a time zone (expected a name such as '{_TIMEZONE}')"
    if options.direction not in {None, "IMPORT", "EXPORT"}:
        yield f"direction: {options.direction!r} is not a direction of these rates (expected IMPORT or EXPORT)"
    code = lists.tariff_code or ""
    if options.direction is None and ("OUTGOING" in code or "EXPORT" in code):
        yield f"direction: missing ({code!r} looks like a tariff for export; expected IMPORT or EXPORT)"
    if options.tariff_id is None and not code:
        yield "tariff_id: missing (the file has no tariff_code; expected such as 'E-1R-AGILE-24-10-01-C')"


def _list_problems(lists: Lists) -> Iterator[str]:
    kinds = lists.rates.keys()
    registers = {"day_unit_rates", "night_unit_rates"}
    if "standard_unit_rates" in kinds and kinds & registers:
        yield "standard_unit_rates: beside day and night rates (expected those of one kind of meter)"
    elif "standard_unit_rates" not in kinds and not registers <= kinds:
        found = ", ".join(sorted(kinds))
        yield f"{found}: no tariff without its unit rates (expected standard_unit_rates, or those of day and night)"
    elif registers <= kinds and not _is_hours(lists.night_hours):
        expected = "expected the local hours of the night rate, such as {'start': '00:30', 'end': '07:30'}"
        yield f"night_hours: {shown(lists.night_hours)}: the rates do not say when it is night ({expected})"


def _is_hours(value: Any) -> bool:
    return isinstance(value, Mapping) and value.keys() == {"start", "end"}


def _basis(lists: Lists, options: ImportOptions, result: Imported) -> _Basis:
    rates = [rate for found in lists.rates.values() for rate in found]
    if options.direction == "EXPORT":
        if any(rate.exc_vat is not None and rate.inc_vat not in (None, rate.exc_vat) for rate in rates):
            result.leave_out("value_inc_vat", "export bears no VAT: value_exc_vat is taken")
        return _Basis(with_vat=False, vat=Decimal(0))
    vat = vat_of(rates)
    if vat is not None:
        return _Basis(with_vat=False, vat=vat)
    if all(rate.inc_vat is None for rate in rates):
        result.refuse("value_inc_vat", "missing: whether VAT comes on top of value_exc_vat is not said")
        return _Basis(with_vat=False, vat=Decimal(0))
    for rate in rates:
        if rate.inc_vat is None:
            result.refuse(f"{rate.path}.value_inc_vat", "missing: the value without VAT is taken, the others have VAT")
    result.leave_out("value_exc_vat", "no rate of VAT explains all values: those with VAT are taken, and VAT not shown")
    return _Basis(with_vat=True, vat=Decimal(0))


# --- Energy ----------------------------------------------------------------------------------------------------------


class _Layer(NamedTuple):
    """What holds over stretches of time, in order and without overlap: (start_us, end_us, a charge or its value)."""

    stretches: Sequence[tuple[int, int, Any]]
    span_us: tuple[int, int]

    def at(self, at_us: int) -> Any:
        """Return what holds at an instant; None: nothing."""
        position = bisect_right(self.stretches, at_us, key=lambda stretch: stretch[0]) - 1
        if position < 0 or at_us >= self.stretches[position][1]:
            return None
        return self.stretches[position][2]

    def touches(self, start_us: int, end_us: int) -> bool:
        """Tell whether its span has something in common with a stretch of time."""
        return self.span_us[0] < end_us and start_us < self.span_us[1]


def _series(lists: Lists, basis: _Basis, series_id: Any, result: Imported) -> list[_Layer] | None:
    """Add the series of rates that change daily, and return the charge that follows it; None: they do not."""
    rates = lists.rates.get("standard_unit_rates") or []
    ended = [rate for rate in rates if _has_ends(rate)]
    if not ended or not is_short(rates) or len(ended) < len(rates) <= _MAX_VERSIONS:
        return None
    for rate in rates:
        if not _has_ends(rate):
            result.refuse(rate.path, "a rate without a beginning or an end among those of a series")
    _name_gaps(ended, result)
    for points in _points_by_day(ended, basis):
        document = {"series_id": series_id, "kind": "price", "unit": f"{_CURRENCY}/kWh", "points": points}
        try:
            parse_series(document)
        except DocumentError as error:
            for problem in error.problems:
                result.refuse(f"series of {points[0]['start_time'][:10]}", problem)
        else:
            result.series.append(document)
    charge = {"charge_id": "energy", "kind": "energy", "series": {"series_id": series_id}}
    span_us = (ended[0].start_us, ended[-1].end_us)
    return [_Layer([(BEGIN_US, END_US, {"charge": charge})], span_us)]


def _points_by_day(rates: Sequence[Published], basis: _Basis) -> list[list[dict[str, str]]]:
    """Return the points of each UTC date, in order. Raises `DocumentError` for more dates than any file has."""
    spanned = sum(-(-rate.end_us // US_PER_DAY) - rate.start_us // US_PER_DAY for rate in rates)
    if spanned > len(rates) + _MAX_DAYS:
        raise DocumentError([f"standard_unit_rates: {spanned} days of prices (expected at most {_MAX_DAYS})"])
    days: dict[int, list[dict[str, str]]] = {}
    for rate in rates:
        value = basis.pounds(rate)
        for day in range(rate.start_us // US_PER_DAY, -(-rate.end_us // US_PER_DAY)):
            start_us, end_us = max(rate.start_us, day * US_PER_DAY), min(rate.end_us, (day + 1) * US_PER_DAY)
            point = {"start_time": format_instant(start_us), "end_time": format_instant(end_us), "value": value}
            days.setdefault(day, []).append(point)
    return [points for _, points in sorted(days.items())]


def _has_ends(rate: Published) -> bool:
    return rate.start_us > BEGIN_US and rate.end_us < END_US


def _layers(lists: Lists, basis: _Basis, result: Imported) -> list[_Layer]:
    """Return the bands of rates that hold for longer."""
    if "standard_unit_rates" in lists.rates:
        bands: dict[str, dict[str, Any]] = {"standard_unit_rates": {"name": "unit", "when": []}}
    else:
        night = {"name": "night", "when": [dict(lists.night_hours)]}
        bands = {"night_unit_rates": night, "day_unit_rates": {"name": "day", "when": []}}
    layers = []
    for kind, band in bands.items():
        rates = lists.rates[kind]
        _name_gaps(rates, result)
        stretches = [
            (
                rate.start_us,
                rate.end_us,
                {"band": {**band, "tiers": [{"up_to_kwh": None, "rate": basis.pounds(rate)}]}},
            )
            for rate in rates
        ]
        layers.append(_Layer(stretches, (rates[0].start_us, rates[-1].end_us) if rates else (0, 0)))
    return layers


def _name_gaps(rates: Sequence[Published], result: Imported) -> None:
    for rate, span in gaps(rates):
        result.leave_out(rate.path, f"no rate from {span}: intervals there wait for a price")


# --- Versions --------------------------------------------------------------------------------------------------------


def _versions(
    energy: Sequence[_Layer], standing: Sequence[Published] | None, basis: _Basis, result: Imported
) -> Iterator[tuple[int, int, list[dict[str, Any]]]]:
    """Yield (start_us, end_us, charges) of each version; versions that would say the same are one."""
    fixed = [
        (
            rate.start_us,
            rate.end_us,
            {"charge_id": "standing", "kind": "fixed", "per": "day", "amount": basis.pounds(rate)},
        )
        for rate in standing or ()
    ]
    standing_layer = _Layer(fixed, (BEGIN_US, END_US))
    layers = [*energy, standing_layer]
    bounds = sorted({bound for layer in layers for stretch in layer.stretches for bound in stretch[:2]})
    pending: tuple[int, int, list[dict[str, Any]]] | None = None
    for start_us, end_us in pairwise(bounds):
        held = [layer.at(start_us) for layer in energy]
        if None in held or not all(layer.touches(start_us, end_us) for layer in energy if standing is not None):
            continue
        bands = [item["band"] for item in held if "band" in item]
        charges = [item["charge"] for item in held if "charge" in item]
        if bands:
            charges.append({"charge_id": "energy", "kind": "energy", "bands": bands})
        due = standing_layer.at(start_us)
        if due is not None:
            charges.append(due)
        elif standing is not None:
            first, last = _validity(start_us, end_us).values()
            span = f"{first or 'the beginning'} to {last or 'the end'}"
            result.refuse("standing_charges", f"no standing charge from {span}: the tariff has none there")
        if pending is not None and pending[1] == start_us and pending[2] == charges:
            pending = (pending[0], end_us, charges)
            continue
        if pending is not None:
            yield pending
        pending = (start_us, end_us, charges)
    if pending is not None:
        yield pending


def _validity(start_us: int, end_us: int) -> dict[str, str | None]:
    return {
        "valid_from": None if start_us == BEGIN_US else format_instant(start_us),
        "valid_to": None if end_us == END_US else format_instant(end_us),
    }


def _add_tariff(document: dict[str, Any], result: Imported) -> None:
    try:
        parse_tariff(document)
    except DocumentError as error:
        for problem in error.problems:
            result.refuse(f"version {document['version']}", f"as a tariff document: {problem}")
    else:
        result.tariffs.append(document)
