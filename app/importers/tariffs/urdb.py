"""OpenEI's Utility Rate Database (URDB): one rate, or several, as tariff documents of ours.

Read are the JSON of the API (versions 3 to 8: `{"items": [...]}`, a list, or a bare rate) and that of the bulk
download, whose fields have other names (`energyRateStrux` for `energyratestructure`) and wrap their tiers
(`{"energyRateTiers": [...]}`). Names are compared without case.

What fields mean is what OpenEI documents and NREL's SAM does with them
(https://openei.org/services/doc/rest/util_rates/?version=8, PySAM's `ResourceTools.URDBv7_to_ElectricityRates`):
schedules are 12 months by 24 hours of the local clock, for weekdays and for Saturdays and Sundays, and hold numbers of
periods; a period has tiers; the price of a tier is `rate + adj`; `max` is the bound of a month's energy, all periods
together; "kWh daily" multiplies it by the days of the month. URDB knows no time zone and no holidays: both are options;
holidays count as weekend. Dates are calendar dates (00:00Z, or midnight in Colorado): the UTC date of the instant
counts, from local midnight to the end of the last day.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal, Inexact
from typing import Any, Final

from app.domain.calendar import INTERVAL_MINUTES, calendar_for, timezones
from app.domain.instants import format_instant
from app.importers.tariffs.common import Imported, ImportOptions, rate_text
from app.importers.tariffs.urdb_fields import (
    EXACT,
    REFUSED_NUMBERS,
    Periods,
    RateFields,
    Tier,
    is_period,
    is_rate,
    not_zero,
    rate_date,
)
from app.importers.tariffs.urdb_windows import MONTHS, Schedule, bands_of, monthly, windows_of
from app.wire.documents import DocumentError, shown
from app.wire.tariff import parse_tariff

_REFUSED_FOR_DEMAND: Final = {
    "demandratchetpercentage": "demand that is at least a share of an earlier month's (a ratchet)",
    "lookbackpercent": "demand that is at least a share of an earlier month's (a lookback)",
    "lookbackrange": "demand that looks back on earlier months",
}
_NETTING: Final = {
    "Net Metering": "export that is set off against the import of its month",
    "Net Billing Hourly": "export that is set off against the import of its hour",
}
_BOUND_FIELDS: Final = {"kwh": "up_to_kwh", "kwh daily": "up_to_kwh_per_day"}
_PER: Final = {"$/day": "day", "$/month": "month", "$/year": "year"}


def import_urdb(document: Any, options: ImportOptions) -> Imported:
    """Return the tariffs that URDB rates describe: one for import each, and one for export where there are sell rates.

    Needed is the option `timezone`. `currency` is USD unless another is named. With `direction` IMPORT or EXPORT only
    those documents are made.

    Raises:
        DocumentError: the document is no rate of the URDB, or an option is missing or of no use.

    """
    problems = list(_option_problems(options))
    rates = _rates(document)
    if not rates:
        problems.append(f"document: {shown(document)} is no rate of the URDB (expected a rate, a list, or items)")
    problems += [
        f"{path or 'document'}: {shown(rate)} is no rate of the URDB (expected an object with energyratestructure)"
        for path, rate in rates
        if not is_rate(rate)
    ]
    if problems:
        raise DocumentError(problems)
    result = Imported()
    for number, (path, fields) in enumerate(rates):
        _Rate(fields, path, options, result).take_over(number)
    return result


def _option_problems(options: ImportOptions) -> Iterable[str]:
    if options.timezone is None:
        yield "timezone: missing (URDB names none; expected the zone of the rate's clock, such as 'America/New_York')"
    elif options.timezone not in timezones():
        yield f"timezone: {options.timezone!r} is not a time zone (expected a name such as 'America/New_York')"
    if options.direction not in {None, "IMPORT", "EXPORT"}:
        yield f"direction: {options.direction!r} is not a direction of URDB rates (expected IMPORT or EXPORT)"


def _rates(document: Any) -> list[tuple[str, Any]]:
    if isinstance(document, Mapping) and isinstance(document.get("items"), list):
        return [(f"items[{number}]", rate) for number, rate in enumerate(document["items"])]
    if isinstance(document, list):
        return [(f"[{number}]", rate) for number, rate in enumerate(document)]
    return [("", document)] if isinstance(document, Mapping) else []


class _Rate:
    """One rate, while it is taken over."""

    def __init__(self, fields: Mapping[str, Any], path: str, options: ImportOptions, result: Imported) -> None:
        self._fields = RateFields(fields, path, result)
        self._path = path or "document"
        self._options = options
        self._result = result

    def take_over(self, number: int) -> None:
        """Add this rate's documents to the result, and name what they do not hold."""
        self._fields.name_what_is_not_taken()
        if not self._fields.value("energyratestructure"):
            self._fields.refuse("energyratestructure", "missing: what energy costs is not said, so there is no tariff")
        periods = self._fields.structure("energyratestructure")
        schedule = self._fields.schedule("energy", periods) if periods else None
        head = self._head(number) if schedule else None
        if periods is None or schedule is None or head is None:
            return
        if self._options.direction != "EXPORT":
            self._add({**head, "direction": "IMPORT"}, self._import_charges(schedule, periods))
        sells = any(tier.sell is not None for used in schedule.used for tier in periods[used])
        if self._options.direction == "IMPORT":
            if sells:
                self._result.leave_out(self._fields.path("energyratestructure"), "sell rates: only IMPORT is asked for")
            self._name_netting(exports=False)
            return
        export_charges = self._export_charges(schedule, periods) if sells else []
        if sells:
            tariff_id = head["tariff_id"] + ("" if self._options.direction == "EXPORT" else "-export")
            self._add({**head, "tariff_id": tariff_id, "direction": "EXPORT"}, export_charges)
        elif self._options.direction == "EXPORT":
            self._fields.refuse("energyratestructure", "no sell rates: what export earns is not said")
        self._name_netting(exports=bool(export_charges))

    def _name_netting(self, *, exports: bool) -> None:
        name, rule = "dgrules", self._fields.value("dgrules")
        if rule is None and str(self._fields.value("usenetmetering")).lower() == "true":
            name, rule = "usenetmetering", "Net Metering"
        if rule in (None, "", "Net Billing Instantaneous"):
            return
        if rule == "Buy All Sell All":
            reason = "all generation is sold: the EXPORT document prices what a meter of the generation records"
            self._result.leave_out(self._fields.path(name), reason)
        elif str(rule) not in _NETTING:
            self._fields.refuse(name, f"{shown(rule)} is not a rule that is known (expected {', '.join(_NETTING)})")
        elif exports:
            self._fields.refuse(
                name, f"{_NETTING[rule]}: the documents price all import, and all export at the sell rate"
            )
        else:
            self._result.leave_out(
                self._fields.path(name), f"{_NETTING[rule]}: the document prices all import, and no export"
            )

    def _head(self, number: int) -> dict[str, Any] | None:
        """Return what the documents of this rate have in common; None (and it is named): the currency is not known."""
        country = self._fields.value("country")
        if self._options.currency is None and country not in (None, "", "USA", "US"):
            self._fields.refuse("country", f"{shown(country)}: which currency the rates are in is not said (name it)")
            return None
        label = self._fields.value("label")
        label = label.get("$oid") if isinstance(label, Mapping) else label
        tariff_id = f"urdb-{label or number + 1}"
        if self._options.tariff_id is not None:
            tariff_id = self._options.tariff_id if number == 0 else f"{self._options.tariff_id}-{number + 1}"
        return {
            "tariff_id": tariff_id,
            "version": 1,
            "currency": self._options.currency or "USD",
            "timezone": self._options.timezone,
            "valid_from": self._midnight("startdate", timedelta()),
            "valid_to": self._midnight("enddate", timedelta(days=1)),
            "holidays": list(self._options.holidays),
            "tier_period": "P1M",
        }

    def _midnight(self, name: str, after: timedelta) -> str | None:
        """Return the local midnight at which a date's day begins, or the one some time later."""
        value = self._fields.value(name)
        if value is None:
            return None
        on = rate_date(value)
        if on is None:
            self._fields.refuse(name, f"{shown(value)} is not a date (expected seconds since 1970)")
            return None
        return format_instant(calendar_for(self._options.timezone or "").day_start_us(on + after))

    def _add(self, head: Mapping[str, Any], charges: Sequence[Mapping[str, Any]]) -> None:
        """Add a document that `parse_tariff` takes; one that it does not take is named with what is wrong with it.

        No charges: why has been named.
        """
        if not charges:
            return
        document = {**head, "charges": list(charges)}
        try:
            parse_tariff(document)
        except DocumentError as error:
            for problem in error.problems:
                self._result.refuse(self._path, f"as a tariff document: {problem}")
        else:
            self._result.tariffs.append(document)

    def _import_charges(self, schedule: Schedule, periods: Periods) -> list[dict[str, Any]]:
        """Return the charges of the import document: none (and why is named) where energy cannot be said."""
        energy = self._energy_charge(schedule, periods)
        others = [
            self._fuel_charge(),
            self._amount("fixed", ("fixedchargefirstmeter", "fixedchargeunits"), "fixedmonthlycharge"),
            *self._demand_charges(),
            self._amount("minimum", ("mincharge", "minchargeunits"), "minmonthlycharge"),
        ]
        return [energy, *(charge for charge in others if charge is not None)] if energy is not None else []

    def _energy_charge(self, schedule: Schedule, periods: Periods) -> dict[str, Any] | None:
        refused = len(self._result.refused)
        used = [periods[number] for number in schedule.used]
        units = {tier.unit.lower() for tiers in used if len(tiers) > 1 for tier in tiers}
        for tier in (tier for tiers in used if len(tiers) > 1 for tier in tiers):
            if tier.unit.lower() not in _BOUND_FIELDS:
                self._result.refuse(f"{tier.path}.unit", f"{shown(tier.unit)}: bounds that depend on demand")
        if len(units) > 1 and units <= _BOUND_FIELDS.keys():
            self._fields.refuse(
                "energyratestructure", f"bounds in different units ({', '.join(sorted(units))}) in one rate"
            )
        for tiers in used:
            self._check_bounds(tiers)
        if len(self._result.refused) > refused:
            return None
        field = _BOUND_FIELDS[units.pop()] if units else "up_to_kwh"
        bands = bands_of(schedule, lambda number: _tiers(periods[number], field))
        return {"charge_id": "energy", "kind": "energy", "tier_scope": "charge", "bands": bands}

    def _check_bounds(self, tiers: Sequence[Tier]) -> None:
        """Name what is wrong with the tiers of a period: bounds that are missing, or go down, or a last one."""
        above = Decimal(0)
        for tier in tiers[:-1]:
            if tier.bound is None or tier.bound <= above:
                stated = "no bound" if tier.bound is None else rate_text(tier.bound)
                reason = f"{stated} (expected a bound above the one before it, {rate_text(above)})"
                self._result.refuse(f"{tier.path}.max", reason)
            above = tier.bound or above
        if tiers[-1].bound is not None:
            reason = f"a bound of the last tier ({rate_text(tiers[-1].bound)}): what comes above it is not priced"
            self._result.refuse(f"{tiers[-1].path}.max", reason)
        for tier in tiers:
            if not tier.priced:
                self._result.refuse(tier.path, "neither rate nor adj: what this tier costs is not said")

    def _export_charges(self, schedule: Schedule, periods: Periods) -> list[dict[str, Any]]:
        """Return the charge of the sell rates, or none (and why is named); a period without one earns nothing, as in SAM."""
        refused = len(self._result.refused)
        for number in schedule.used:
            first, *others = (tier.sell or Decimal(0) for tier in periods[number])
            if any(other != first for other in others):
                path = f"{self._fields.path('energyratestructure')}[{number}]"
                reason = "sell rates that differ between tiers: which energy counts up to the bounds is not said"
                self._result.refuse(path, reason)
        if len(self._result.refused) > refused:
            return []
        bands = bands_of(schedule, lambda number: [_open_tier(periods[number][0].sell or Decimal(0))])
        return [{"charge_id": "energy", "kind": "energy", "bands": bands}]

    def _fuel_charge(self) -> dict[str, Any] | None:
        name = "fueladjustmentsmonthly"
        values = self._fields.value(name)
        if values is None or values == []:
            return None
        if not isinstance(values, list) or len(values) != MONTHS:
            self._fields.refuse(name, f"{shown(values)} is not a list of {MONTHS} monthly adjustments")
            return None
        found = [
            self._fields.decimal(value, f"{self._fields.path(name)}[{month}]") for month, value in enumerate(values)
        ]
        rates = [rate or Decimal(0) for rate in found]
        if not any(rates):
            return None
        distinct = sorted(set(rates))
        schedule = monthly([distinct.index(rate) for rate in rates])
        bands = bands_of(schedule, lambda number: [_open_tier(distinct[number])])
        return {"charge_id": "fuel-adjustment", "kind": "energy", "bands": bands}

    def _amount(self, kind: str, with_units: tuple[str, str], monthly_name: str) -> dict[str, Any] | None:
        """Return a charge from the field that has units, or from the older one by the month."""
        name, units_name = with_units
        older, amount = self._fields.number(monthly_name), self._fields.number(name)
        units = self._fields.value(units_name)
        per = _PER.get(units) if isinstance(units, str) else None
        if amount is None:
            amount, name, per = older, monthly_name, "month"
        elif older is not None and (older, "month") != (amount, per):
            self._fields.refuse(monthly_name, f"{rate_text(older)} a month beside {name}, which says something else")
            return None
        if amount is None:
            return None
        if per is None:
            self._fields.refuse(units_name, f"{shown(units)} is not a unit of charges (expected {', '.join(_PER)})")
            return None
        if per == "year":
            per, amount = "month", self._twelfth(kind, name, amount)
        if amount is None:
            return None
        return {"charge_id": kind, "kind": kind, "per": per, "amount": rate_text(amount)}

    def _twelfth(self, kind: str, name: str, amount: Decimal) -> Decimal | None:
        """Return the monthly part of a yearly charge, as SAM splits it; None (and it is named): it cannot be split."""
        if kind == "minimum":
            self._fields.refuse(name, REFUSED_NUMBERS["annualmincharge"])
            return None
        try:
            return EXACT.divide(amount, Decimal(MONTHS))
        except Inexact:
            self._fields.refuse(name, f"{rate_text(amount)} a year is no exact amount a month")
            return None

    def _demand_charges(self) -> list[dict[str, Any]]:
        flat = self._flat_demand()
        periods = self._fields.structure("demandratestructure")
        schedule = self._fields.schedule("demand", periods) if periods else None
        charges = []
        if flat is not None:
            charges.append(self._demand_charge("flat-demand", "flatdemandunit", *flat))
        if periods and schedule:
            charges.append(self._demand_charge("demand", "demandrateunit", schedule, periods))
        found = [charge for charge in charges if charge is not None]
        for name in _REFUSED_FOR_DEMAND if found else ():
            if not_zero(self._fields.value(name)):
                self._fields.refuse(name, _REFUSED_FOR_DEMAND[name])
        window = self._fields.number("demandwindow")
        if found and window not in INTERVAL_MINUTES:
            stated = "not said" if window is None else f"{rate_text(window)} minutes"
            expected = f"expected one of {INTERVAL_MINUTES} minutes"
            self._fields.refuse("demandwindow", f"{stated} ({expected}): the demand charges are not taken over")
            return []
        return [{**charge, "measurement_minutes": int(window or 0)} for charge in found]

    def _flat_demand(self) -> tuple[Schedule, Periods] | None:
        periods, months = self._fields.structure("flatdemandstructure"), self._fields.value("flatdemandmonths")
        if not periods:
            return None
        if months is None and len(periods) == 1:
            months = [0] * MONTHS
        if not isinstance(months, list) or len(months) != MONTHS:
            self._fields.refuse("flatdemandmonths", f"{shown(months)} is not a schedule (expected {MONTHS} months)")
            return None
        wrong = [(at, period) for at, period in enumerate(months) if not is_period(period, len(periods))]
        for at, period in wrong:
            path = f"{self._fields.path('flatdemandmonths')}[{at}]"
            self._result.refuse(path, f"{shown(period)} is not a period (expected 0 to {len(periods) - 1})")
        return None if wrong else (monthly(months), periods)

    def _demand_charge(
        self, charge_id: str, unit_name: str, schedule: Schedule, periods: Periods
    ) -> dict[str, Any] | None:
        """Return a demand charge by the month without its window; periods that cost nothing are holes in it."""
        costly = [number for number in schedule.used if any(tier.rate for tier in periods[number])]
        if not costly:
            return None
        refused = len(self._result.refused)
        unit = self._fields.value(unit_name)
        if unit not in (None, "", "kW"):
            self._fields.refuse(unit_name, f"{shown(unit)} is not a unit in which we charge demand (expected kW)")
        for number in costly:
            self._check_bounds(periods[number])
        if len(self._result.refused) > refused:
            return None
        names = {number: f"period-{number}" for number in costly}
        bands = [
            {"name": name, "when": windows_of(schedule, number), "tiers": _tiers(periods[number], "up_to_kw")}
            for number, name in names.items()
        ]
        return {"charge_id": charge_id, "kind": "demand", "measured_over": "month", "per": "month", "bands": bands}


def _tiers(tiers: Sequence[Tier], field: str) -> list[dict[str, Any]]:
    bounded = [{field: rate_text(tier.bound or Decimal(0)), "rate": rate_text(tier.rate)} for tier in tiers[:-1]]
    last = {"rate": rate_text(tiers[-1].rate)}
    return [*bounded, {"up_to_kw" if field == "up_to_kw" else "up_to_kwh": None, **last}]


def _open_tier(rate: Decimal) -> dict[str, Any]:
    return {"up_to_kwh": None, "rate": rate_text(rate)}
