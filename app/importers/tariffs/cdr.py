"""Plans of the Australian Consumer Data Right (CDR): Get Energy Plan Detail, version 3, as tariff documents.

Read is what `GET /cds-au/v1/energy/plans/{planId}` answers, with or without its envelope (`data`), for electricity. The
standard is the Consumer Data Standards' (https://consumerdatastandardsaustralia.github.io/standards/, schema
EnergyPlanDetailV3); what it leaves open is decided, or refused, in the module for that part of the plan:

- `cdr_windows`: which of "20:59" and "21:00" ends a window, by which reading tiles the week;
- `cdr_rates`: blocks, whose volumes are widths; `cdr_quota`: quota plans;
- `cdr_energy`: tariff periods as seasons, supply charges; `cdr_demand`: demand charges;
- `cdr_feed_in`: feed-in tariffs; `cdr_parts`: discounts, fees and all that ours does not hold.

A plan becomes a document for import, one for each controlled load, which is a circuit with a meter of its own, and one
or more for export. Prices are without GST; feed-in bears none. Where a part of a document is refused without which it
would have a hole, the document is not made.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final, NamedTuple

from app.importers.tariffs.cdr_demand import Demand, read_demand, without_overlaps
from app.importers.tariffs.cdr_energy import (
    Entry,
    Rates,
    Supply,
    energy_charge,
    read_rates,
    read_supply,
    stepped,
    supply_charges,
    whole_year,
)
from app.importers.tariffs.cdr_feed_in import read_feed_ins
from app.importers.tariffs.cdr_fields import (
    CURRENCY,
    WHOLE_YEAR,
    Season,
    Zones,
    objects,
    read_season,
    read_validity,
    refuse_unknown,
    to_leap_day,
)
from app.importers.tariffs.cdr_parts import name_other_parts
from app.importers.tariffs.cdr_quota import GST, Quota, read_quota
from app.importers.tariffs.cdr_rates import Blocks, tier_period
from app.importers.tariffs.cdr_windows import WHOLE_DAY
from app.importers.tariffs.common import Imported, ImportOptions, Part, expect_object, rate_text
from app.wire.documents import DocumentError, shown
from app.wire.tariff import parse_tariff

_CONTRACT: Final = "electricityContract"
_MODELS: Final = (
    "SINGLE_RATE", "SINGLE_RATE_CONT_LOAD", "TIME_OF_USE", "TIME_OF_USE_CONT_LOAD", "FLEXIBLE", "FLEXIBLE_CONT_LOAD",
    "QUOTA",
)  # fmt: skip
_DIRECTIONS: Final = (None, "IMPORT", "EXPORT")
_MAX_OBJECTS: Final = 5000
"""In one contract: published ones have a few hundred."""

_BLOCK_TYPES: Final = ("singleRate", "timeOfUseRates", "demandCharges")
_PERIOD_FIELDS: Final = frozenset({
    "bandedDailySupplyCharges", "dailySupplyCharge", "dailySupplyCharges", "dailySupplyChargeType", "demandCharges",
    "displayName", "endDate", "rateBlockUType", "singleRate", "startDate", "timeOfUseRates", "timeZone", "type",
})  # fmt: skip
_LOAD_FIELDS: Final = frozenset({
    "displayName", "endDate", "rateBlockUType", "singleRate", "startDate", "timeOfUseRates",
})  # fmt: skip
_PLAIN_TYPE: Final = "OTHER"
_TYPES: Final = ("ENVIRONMENTAL", "REGULATED", "NETWORK", "METERING", "RETAIL_SERVICE", "RCTI", _PLAIN_TYPE)
"""Types of charge of a tariff period; those of different types add up."""


def import_cdr(document: Any, options: ImportOptions) -> Imported:
    """Return the tariffs of a plan: for import, for each controlled load, and for feed-in.

    `tariff_id` is the plan's id unless another is named; the others append `-controlled-load` and `-feed-in`, numbered
    from the second on. `timezone` is needed where the plan says LOCAL and its distributors do not tell where that is;
    `holidays` where it prices public holidays. With `direction` IMPORT or EXPORT only those documents are made.

    Raises:
        DocumentError: the document is no electricity plan, or an option is missing or of no use.

    """
    plan = expect_object(document, "document")
    if "data" in plan:
        plan = expect_object(plan["data"], "data")
    contract = expect_object(plan.get(_CONTRACT), _CONTRACT)
    objects_in_it = _count_objects(contract)
    if objects_in_it > _MAX_OBJECTS:
        raise DocumentError([f"{_CONTRACT}: {objects_in_it} objects in it (expected at most {_MAX_OBJECTS})"])
    _check(plan, contract, options)
    return _Import(plan, contract, options).run()


def _count_objects(value: Any) -> int:
    count, left = 0, [value]
    while left:
        found = left.pop()
        if isinstance(found, Mapping):
            count += 1
            left += found.values()
        elif isinstance(found, list):
            left += found
    return count


def _check(plan: Mapping[str, Any], contract: Mapping[str, Any], options: ImportOptions) -> None:
    problems = []
    if contract.get("pricingModel") not in _MODELS:
        problems.append(
            f"{_CONTRACT}.pricingModel: {shown(contract.get('pricingModel'))} is not one of {', '.join(_MODELS)}"
        )
    if not isinstance(contract.get("tariffPeriod"), list):
        problems.append(f"{_CONTRACT}.tariffPeriod: {shown(contract.get('tariffPeriod'))} is not a list")
    if options.tariff_id is None and not isinstance(plan.get("planId"), str):
        problems.append(f"planId: {shown(plan.get('planId'))} is not a text (expected one, or the option tariff_id)")
    if options.currency not in {None, CURRENCY}:
        problems.append(f"currency: {options.currency!r} (plans are in {CURRENCY})")
    if options.direction not in _DIRECTIONS:
        problems.append(f"direction: {options.direction!r} is not one of 'IMPORT', 'EXPORT'")
    if problems:
        raise DocumentError(problems)


class _Period(NamedTuple):
    """A tariff period, as far as it can be read."""

    path: str
    kind: str
    season: Season
    timezone: str
    rates: Rates | None
    supply: Supply | None
    demand: list[Demand]
    quota: Quota | None


class _Import:
    """One plan being read."""

    def __init__(self, plan: Mapping[str, Any], contract: Mapping[str, Any], options: ImportOptions) -> None:
        self._plan = plan
        self._contract = contract
        self._options = options
        self._zones = Zones(plan, contract, options)
        self._result = Imported()
        self._refused = self._result.refused
        self._id = options.tariff_id or str(plan["planId"])
        self._has_hole = False

    def run(self) -> Imported:
        """Make all documents of the directions that are asked for."""
        if self._options.direction != "EXPORT":
            self._model()
            self._import()
            self._controlled_loads()
        if self._options.direction != "IMPORT":
            self._feed_ins()
        of_import = self._options.direction != "EXPORT"
        name_other_parts(self._plan, self._contract, self._result, of_import=of_import)
        return self._result

    def _model(self) -> None:
        model = str(self._contract["pricingModel"])
        if model.startswith("FLEXIBLE"):
            reason = "rates that vary with what is outside of the plan; taken are those that it states"
            self._result.refuse(f"{_CONTRACT}.pricingModel", f"{model}: {reason}")
        if model.endswith("_CONT_LOAD") and not self._contract.get("controlledLoad"):
            self._result.refuse(f"{_CONTRACT}.controlledLoad", f"missing, though pricingModel is {model}")

    # --- Import ------------------------------------------------------------------------------------------------------

    def _import(self) -> None:
        before = len(self._refused)
        found = [
            period
            for path, item in objects(self._contract, "tariffPeriod", f"{_CONTRACT}.", self._refused)
            if (period := self._period(path, item)) is not None
        ]
        priced = [period for period in found if period.rates is not None]
        zones = dict.fromkeys(period.timezone for period in priced)
        if len(zones) > 1:
            self._result.refuse(f"{_CONTRACT}.tariffPeriod", f"rates by the clocks of {' and '.join(zones)}")
        if self._has_hole or len(zones) > 1:
            return
        entries = self._entries(priced)
        if entries:
            self._import_document(found, entries, next(iter(zones)))
        elif len(self._refused) == before:
            self._result.refuse(f"{_CONTRACT}.tariffPeriod", "no rates of energy")

    def _period(self, path: str, item: Mapping[str, Any]) -> _Period | None:
        """Return a tariff period; None, and refusals, where it cannot be read."""
        refuse_unknown(item, _PERIOD_FIELDS, f"{path}.", self._refused)
        season = read_season(item, path, self._refused)
        block_type, kind = item.get("rateBlockUType"), item.get("type") or _PLAIN_TYPE
        for name, value, known in (("rateBlockUType", block_type, _BLOCK_TYPES), ("type", kind, _TYPES)):
            if value not in known:
                self._result.refuse(f"{path}.{name}", f"{shown(value)} is not one of {', '.join(known)}")
        if season is None or block_type not in _BLOCK_TYPES or kind not in _TYPES:
            self._has_hole |= block_type != "demandCharges"
            return None
        rates, quota = None, None
        if block_type == "demandCharges":
            self._no_rates_beside_demand(item, path)
        elif self._contract["pricingModel"] == "QUOTA":
            quota = self._quota(item, path)
            rates = None if quota is None else _quota_rates(quota, season)
        else:
            self._general_price(item, path)
            rates = read_rates(item, path, season, self._refused)
        if block_type != "demandCharges" and rates is None:
            self._has_hole = True
        supply = read_supply(item, path, season, self._refused)
        demand = read_demand(item, path, season, self._refused)
        return _Period(path, str(kind), season, self._zones.of(item, path), rates, supply, demand, quota)

    def _quota(self, item: Mapping[str, Any], path: str) -> Quota | None:
        single = item.get("singleRate")
        if not isinstance(single, Mapping):
            self._result.refuse(f"{path}.singleRate", f"{shown(single)} is not an object (QUOTA plans have one)")
            return None
        return read_quota(single, f"{path}.singleRate", self._refused)

    def _general_price(self, item: Mapping[str, Any], path: str) -> None:
        single = item.get("singleRate")
        if isinstance(single, Mapping) and single.get("generalUnitPrice") is not None:
            self._result.leave_out(f"{path}.singleRate.generalUnitPrice", "a price of QUOTA plans only")

    def _no_rates_beside_demand(self, item: Mapping[str, Any], path: str) -> None:
        for name in ("singleRate", "timeOfUseRates"):
            if item.get(name):
                self._result.refuse(f"{path}.{name}", "stands beside the demandCharges that rateBlockUType names")

    def _entries(self, priced: Sequence[_Period]) -> dict[str, list[Entry]] | None:
        """Return the rates of each type of charge, each for the whole year."""
        found: dict[str, list[Entry]] = {}
        for kind in dict.fromkeys(period.kind for period in priced):
            rates = [period.rates for period in priced if period.kind == kind and period.rates is not None]
            entries = whole_year(rates, f"{_CONTRACT}.tariffPeriod", self._refused)
            if entries is None:
                return None
            found[kind] = entries
        return found or None

    def _import_document(self, periods: Sequence[_Period], entries: Mapping[str, list[Entry]], timezone: str) -> None:
        blocks = stepped(entry for of_kind in entries.values() for entry in of_kind)
        demand = self._demand(periods, timezone)
        seasons = [period.season for period in periods if period.rates is not None and period.rates.names_holidays]
        demand = self._with_known_holidays(demand, periods, seasons)
        holidays = self._holidays([*seasons, *(one.season for one in demand if one.names_holidays)])
        charges = [
            energy_charge(_charge_id("energy", kind), of_kind, with_holidays=bool(holidays))
            for kind, of_kind in entries.items()
        ]
        charges += self._supply(periods)
        charges += self._quotas(periods)
        charges += [
            one.document("demand" if number == 1 else f"demand-{number}", with_holidays=bool(holidays))
            for number, one in enumerate(demand, start=1)
        ]
        self._add(self._id, "IMPORT", timezone, charges, blocks, holidays, {}, f"{_CONTRACT}.tariffPeriod")

    def _quotas(self, periods: Sequence[_Period]) -> list[dict[str, Any]]:
        """Return the fixed charges of quotas, each in its season."""
        quotas = [(period.quota, period.season) for period in periods if period.quota is not None]
        return [
            quota.charge | {"charge_id": "quota" if number == 1 else f"quota-{number}"} | season.document()
            for number, (quota, season) in enumerate(quotas, start=1)
        ]

    def _supply(self, periods: Sequence[_Period]) -> list[dict[str, Any]]:
        charges = []
        for kind in dict.fromkeys(period.kind for period in periods):
            supplies = [period.supply for period in periods if period.kind == kind and period.supply is not None]
            of_kind = supply_charges(supplies, self._refused)
            charges += [charge | {"charge_id": _charge_id(charge["charge_id"], kind)} for charge in of_kind]
        return charges

    def _demand(self, periods: Sequence[_Period], timezone: str) -> list[Demand]:
        found = []
        for period in periods:
            if period.timezone == timezone:
                found += period.demand
                continue
            reason = f"by the clock of {period.timezone}, and the rates by that of {timezone}"
            self._refused.extend(Part(one.path, reason) for one in period.demand)
        seasons = to_leap_day([one.season for one in found])
        return without_overlaps(
            [one._replace(season=season) for one, season in zip(found, seasons, strict=True)], self._refused
        )

    def _with_known_holidays(
        self, demand: Sequence[Demand], periods: Sequence[_Period], named: Sequence[Season]
    ) -> list[Demand]:
        """Refuse demand that knows public holidays in a season whose rates by time do not: there they are weekdays."""
        plain = [
            period.season
            for period in periods
            if period.rates is not None and period.rates.by_time and period.season not in named
        ]
        kept = []
        for one in demand:
            if one.names_holidays and any(one.season.days & season.days for season in plain):
                self._result.refuse(
                    f"{one.path}.days", "PUBLIC_HOLIDAYS, which are weekdays to the rates of the season"
                )
            else:
                kept.append(one)
        return kept

    # --- Controlled load ---------------------------------------------------------------------------------------------

    def _controlled_loads(self) -> None:
        for number, (path, item) in enumerate(
            objects(self._contract, "controlledLoad", f"{_CONTRACT}.", self._refused), start=1
        ):
            suffix = "-controlled-load" if number == 1 else f"-controlled-load-{number}"
            self._controlled_load(path, item, f"{self._id}{suffix}")

    def _controlled_load(self, path: str, item: Mapping[str, Any], tariff_id: str) -> None:
        refuse_unknown(item, _LOAD_FIELDS, f"{path}.", self._refused)
        if item.get("rateBlockUType") not in _BLOCK_TYPES[:2]:
            reason = f"{shown(item.get('rateBlockUType'))} is not one of {', '.join(_BLOCK_TYPES[:2])}"
            self._result.refuse(f"{path}.rateBlockUType", reason)
            return
        timezone = self._zones.of({}, path)
        validity = read_validity(item, timezone, path, self._refused)
        rates = read_rates(
            item,
            path,
            WHOLE_YEAR,
            self._refused,
            of_load=True,
        )
        if rates is None or validity is None:
            return
        holidays = self._holidays([WHOLE_YEAR] if rates.names_holidays else [])
        charges = [energy_charge("energy", rates.entries, with_holidays=bool(holidays))]
        charges += supply_charges(self._load_supplies(item, path), self._refused)
        self._add(tariff_id, "IMPORT", timezone, charges, stepped(rates.entries), holidays, validity, path)

    def _load_supplies(self, item: Mapping[str, Any], path: str) -> list[Supply]:
        parts = list(objects(item, str(item["rateBlockUType"]), f"{path}.", self._refused))
        found = [read_supply(part, at, WHOLE_YEAR, self._refused) for at, part in parts]
        return [supply for supply in found if supply is not None]

    # --- Feed-in -----------------------------------------------------------------------------------------------------

    def _feed_ins(self) -> None:
        if not self._contract.get("solarFeedInTariff"):
            return
        timezone = self._zones.of({}, _CONTRACT)
        for number, one in enumerate(read_feed_ins(self._contract, timezone, self._refused), start=1):
            tariff_id = f"{self._id}-feed-in" if number == 1 else f"{self._id}-feed-in-{number}"
            holidays = self._holidays([WHOLE_YEAR] if one.names_holidays else [])
            self._add(tariff_id, "EXPORT", timezone, list(one.charges), one.blocks, holidays, one.validity, one.path)

    # --- Documents ---------------------------------------------------------------------------------------------------

    def _holidays(self, seasons: Sequence[Season]) -> list[str]:
        """Return the holidays in seasons whose prices name them; in others, a holiday is the weekday that it is.

        Raises:
            DocumentError: they are named, and the option does not say when they are.

        """
        if not seasons:
            return []
        if not self._options.holidays:
            asked = "expected the option holidays, with their dates"
            raise DocumentError([f"holidays: missing; the plan has prices for PUBLIC_HOLIDAYS ({asked})"])
        try:
            dates = sorted(date.fromisoformat(text) for text in self._options.holidays)
        except ValueError as error:
            raise DocumentError([f"holidays: {error} (expected YYYY-MM-DD)"]) from None
        return [on.isoformat() for on in dates if any(on in season for season in seasons)]

    def _add(  # noqa: PLR0917 - the parts of a document, each of another kind
        self,
        tariff_id: str,
        direction: str,
        timezone: str,
        charges: list[dict[str, Any]],
        blocks: Sequence[Blocks],
        holidays: list[str],
        validity: dict[str, str],
        path: str,
    ) -> None:
        """Add a document, or refuse the part that it is of where it is none."""
        tiers = tier_period(blocks, self._refused, self._result.left_out)
        if tiers is None:
            return
        taxes = [{"name": "GST", "rate": rate_text(GST)}] if direction == "IMPORT" else []
        found = {
            "tariff_id": tariff_id,
            "direction": direction,
            "currency": CURRENCY,
            "timezone": timezone,
            **validity,
            "prices_include_tax": False,
            "taxes": taxes,
            "holidays": holidays,
            **tiers,
            "charges": charges,
        }
        try:
            parse_tariff(found)
        except DocumentError as error:
            self._refused.extend(Part(path, problem) for problem in error.problems)
        else:
            self._result.tariffs.append(found)


def _quota_rates(quota: Quota, season: Season) -> Rates:
    entry = Entry("anytime", quota.blocks, season, (WHOLE_DAY,))
    return Rates((entry,), season, names_holidays=False, by_time=False)


def _charge_id(name: str, kind: str) -> str:
    return name if kind == _PLAIN_TYPE else f"{name}-{kind.lower().replace('_', '-')}"
