"""Tariff documents (topic `meter.tariffs`): JSON to `Tariff` and back."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from app.domain.calendar import INTERVAL_MINUTES
from app.domain.instants import format_instant
from app.domain.tariffs import (
    BillingPeriod,
    Charge,
    Counted,
    DemandCharge,
    Direction,
    EnergyCharge,
    FixedCharge,
    MinimumCharge,
    Per,
    Rounding,
    RoundingMode,
    SeriesRate,
    SessionCharge,
    SessionPer,
    Tariff,
    Tax,
    TierPeriod,
)
from app.domain.timeline import holes, unsupported
from app.wire.documents import (
    Currency,
    DateText,
    Document,
    DocumentError,
    Identifier,
    Instant,
    Integer,
    MonthDay,
    Problems,
    Rate,
    Timezone,
    check,
    check_after,
    check_some,
    shown,
)
from app.wire.documents import field_names as names_of
from app.wire.tariff_bands import (
    BandFields,
    Problem,
    TierFields,
    WhenFields,
    band_document,
    check_bands,
    demand_band_document,
    month_day,
    not_negative,
    optional,
    positive,
    repeated,
    session_band_document,
)

MAX_CHARGES: Final = 50
MAX_BANDS: Final = 100
MAX_WINDOWS_IN_ALL: Final = 2000
"""Of all charges together: each kind of day of the year is tried against each window."""

MAX_TAXES: Final = 20
MAX_HOLIDAYS: Final = 2000
DEFAULT_MEASUREMENT_MINUTES: Final = 30
MONTHS_PER_YEAR: Final = 12
MAX_DAY_OF_MONTH: Final = 31
BILLING_MONTHS: Final = (1, 2, 3, 4, 6, 12)
"""Billing periods divide the year, so that they begin in the same months of each."""


def _measurable(minutes: int) -> int:
    if minutes not in INTERVAL_MINUTES:
        raise ValueError(f"{minutes} is not a measurement window (expected one of {INTERVAL_MINUTES} minutes)")
    return minutes


def _from_one(version: int) -> int:
    if version < 1:
        raise ValueError(f"{version} is not a version (expected 1 or more)")
    return version


class _SeriesRate(Document):
    series_id: Identifier
    multiplier: Rate = Decimal(1)
    adder: Rate = Decimal(0)
    cap: Rate | None = None
    floor: Rate | None = None

    @model_validator(mode="after")
    def _floor_below_cap(self) -> "_SeriesRate":
        if self.cap is not None and self.floor is not None and self.cap < self.floor:
            raise Problems([("cap", f"'{self.cap}' is below the floor ('{self.floor}')")])
        return self


_FIELDS_OF_KIND: Final[dict[str, frozenset[str]]] = {
    "energy": frozenset({"tier_scope", "bands", "series"}),
    "fixed": frozenset({"per", "amount", "first", "last"}),
    "demand": frozenset({"bands", "measurement_minutes", "measured_over", "per", "minimum_kw"}),
    "minimum": frozenset({"per", "amount"}),
    "session": frozenset({"per", "bands", "counted"}),
}
_NEEDED_BY_KIND: Final[dict[str, tuple[str, ...]]] = {
    "energy": (),
    "fixed": ("per", "amount"),
    "demand": ("bands",),
    "minimum": ("per", "amount"),
    "session": ("per", "bands"),
}
_ALIASES: Final = {"first": "from", "last": "to"}


class _Charge(Document):
    charge_id: Identifier
    kind: Literal["energy", "fixed", "demand", "minimum", "session"]
    tier_scope: Literal["charge", "band"] | None = None
    bands: (
        Annotated[tuple[BandFields, ...], Field(max_length=MAX_BANDS, strict=False), AfterValidator(check_bands)] | None
    ) = None
    series: _SeriesRate | None = None
    per: str | None = None
    amount: Rate | None = None
    first: MonthDay | None = Field(default=None, alias="from")
    last: MonthDay | None = Field(default=None, alias="to")
    measurement_minutes: Annotated[Integer, AfterValidator(_measurable)] | None = None
    measured_over: Per | None = None
    minimum_kw: Annotated[Rate, AfterValidator(not_negative)] | None = None
    counted: Counted | None = None

    @model_validator(mode="after")
    def _fields_of_kind(self) -> "_Charge":
        found = list(self._problems())
        if found:
            raise Problems(found)
        return self

    def _problems(self) -> Iterator[Problem]:
        article = "an" if self.kind == "energy" else "a"
        for name in sorted(frozenset().union(*_FIELDS_OF_KIND.values()) - _FIELDS_OF_KIND[self.kind]):
            if getattr(self, name) is not None:
                *owners, last = (kind for kind, fields in _FIELDS_OF_KIND.items() if name in fields)
                several = f"{', '.join(owners)} and {last}" if owners else last
                yield _ALIASES.get(name, name), f"belongs to {several} charges, not to {article} {self.kind} charge"
        needed = _NEEDED_BY_KIND[self.kind]
        for name in needed:
            if not getattr(self, name) and getattr(self, name) != 0:
                yield name, f"missing ({article} {self.kind} charge has {' and '.join(needed)})"
        yield from self._per_problems()
        if self.kind == "energy":
            yield from self._energy_problems()
        if self.kind == "minimum" and self.amount is not None and self.amount < 0:
            yield "amount", f"'{self.amount}' is negative (expected 0 or more)"
        for number, band in enumerate(self.bands or ()):
            for path, sentence in self._band_problems(band):
                yield f"bands[{number}].{path}", sentence

    def _per_problems(self) -> Iterator[Problem]:
        """Yield what is wrong with what the charge is paid by, and with what depends on that."""
        expected = get_args(SessionPer if self.kind == "session" else Per)
        if self.per and self.kind != "energy" and self.per not in expected:
            yield "per", f"{shown(self.per)} is not one of {' or '.join(map(repr, expected))}"
        elif self.kind == "demand" and self.measured_over == "day" and self.per != "day":
            yield "per", "'month' with demand measured over the day (expected 'day')"
        elif self.kind == "session" and self.per == "session" and self.counted is not None:
            yield "counted", "belongs to session charges per hour (only time is counted)"

    def _band_problems(self, band: BandFields) -> Iterator[Problem]:
        match self.kind:
            case "demand":
                yield from band.demand_problems()
            case "session":
                yield from band.session_problems(self.per)
            case _:
                yield from band.energy_problems()

    def _energy_problems(self) -> Iterator[Problem]:
        if self.bands == () and self.series is None:
            yield "bands", "empty (expected at least one band)"
        elif bool(self.bands) == (self.series is not None):
            yield "", "an energy charge has either bands or a series (expected exactly one of them)"

    def to_domain(self) -> Charge:
        per: Per = "day" if self.per == "day" else "month"
        amount, bands = self.amount or Decimal(0), self.bands or ()
        match self.kind:
            case "fixed":
                return FixedCharge(self.charge_id, per, amount, self.first or (1, 1), self.last or (12, 31))
            case "minimum":
                return MinimumCharge(self.charge_id, per, amount)
            case "demand":
                return DemandCharge(
                    self.charge_id,
                    tuple(band.to_demand() for band in bands),
                    self.measurement_minutes or DEFAULT_MEASUREMENT_MINUTES,
                    self.measured_over or "month",
                    per,
                    self.minimum_kw or Decimal(0),
                )
            case "session":
                of: SessionPer = "hour" if self.per == "hour" else "session"
                session_bands = tuple(band.to_session() for band in bands)
                return SessionCharge(self.charge_id, of, session_bands, self.counted or "connected")
            case "energy":
                series = None
                if self.series is not None:
                    rate = self.series
                    series = SeriesRate(rate.series_id, rate.multiplier, rate.adder, rate.cap, rate.floor)
                return EnergyCharge(
                    self.charge_id, tuple(band.to_energy() for band in bands), series, self.tier_scope or "charge"
                )


def _check_charges(charges: tuple[_Charge, ...]) -> tuple[_Charge, ...]:
    found = list(repeated([charge.charge_id for charge in charges], "charge_id"))
    if found:
        raise Problems(found)
    return charges


class _Tax(Document):
    name: Identifier
    rate: Annotated[Rate, AfterValidator(not_negative)]
    charges: Annotated[tuple[Identifier, ...], Field(max_length=MAX_CHARGES, strict=False)] | None = None


def _months(months: int) -> int:
    if months not in BILLING_MONTHS:
        raise ValueError(f"{months} is not a length of billing periods (expected one of {BILLING_MONTHS} months)")
    return months


def _day_of_month(day: int) -> int:
    if not 1 <= day <= MAX_DAY_OF_MONTH:
        raise ValueError(f"{day} is not a day of the month (expected 1 to {MAX_DAY_OF_MONTH})")
    return day


def _month(month: int) -> int:
    if not 1 <= month <= MONTHS_PER_YEAR:
        raise ValueError(f"{month} is not a month (expected 1 to {MONTHS_PER_YEAR})")
    return month


class _BillingPeriod(Document):
    months: Annotated[Integer, AfterValidator(_months)] = 1
    anchor_day: Annotated[Integer, AfterValidator(_day_of_month)] = 1
    anchor_month: Annotated[Integer, AfterValidator(_month)] = 1


class _LineRounding(Document):
    quantum: Annotated[Rate, AfterValidator(positive)] = Decimal("0.01")
    mode: RoundingMode = "HALF_UP"


class _Rounding(Document):
    line: _LineRounding = _LineRounding()


class _Tariff(Document):
    tariff_id: Identifier
    version: Annotated[Integer, AfterValidator(_from_one)] = 1
    direction: Direction
    currency: Currency
    timezone: Timezone
    valid_from: Instant | None = None
    valid_to: Instant | None = None
    prices_include_tax: bool = False
    taxes: Annotated[tuple[_Tax, ...], Field(max_length=MAX_TAXES, strict=False)] = ()
    holidays: Annotated[tuple[DateText, ...], Field(max_length=MAX_HOLIDAYS, strict=False)] = ()
    tier_period: TierPeriod = "P1M"
    billing_period: _BillingPeriod | None = None
    charges: Annotated[
        tuple[_Charge, ...],
        Field(max_length=MAX_CHARGES, strict=False),
        AfterValidator(check_some),
        AfterValidator(_check_charges),
    ]
    rounding: _Rounding = _Rounding()

    @field_validator("valid_to")
    @classmethod
    def _in_order(cls, valid_to: int | None, info: ValidationInfo) -> int | None:
        check_after(valid_to, "valid_from", info)
        return valid_to

    @model_validator(mode="after")
    def _fits_together(self) -> "_Tariff":
        known = [charge.charge_id for charge in self.charges]
        found = [
            (f"taxes[{number}].charges[{position}]", f"{name!r} is no charge of this tariff (expected one of {known})")
            for number, tax in enumerate(self.taxes)
            for position, name in enumerate(tax.charges or ())
            if name not in known
        ]
        windows = sum(len(band.when) for charge in self.charges for band in charge.bands or ())
        if windows > MAX_WINDOWS_IN_ALL:
            found.append(("charges", f"{windows} windows in all (expected at most {MAX_WINDOWS_IN_ALL})"))
        if self.tier_period == "BILLING" and self.billing_period is None:
            found.append(("billing_period", "missing (tier_period BILLING needs it, such as {'anchor_day': 15})"))
        if found:
            raise Problems(found)
        return self


_NAMES: Final = names_of(
    _Tariff, _Charge, BandFields, WhenFields, TierFields, _SeriesRate, _Tax, _BillingPeriod, _Rounding, _LineRounding
)


def parse_tariff(raw: bytes | str | Mapping[str, Any]) -> Tariff:
    """Return the tariff that a document describes, which can be priced and leaves no hole.

    Raises:
        DocumentError: with every problem of the document.

    """
    found = check(_Tariff, raw, _NAMES)
    tariff = Tariff(
        tariff_id=found.tariff_id,
        version=found.version,
        direction=found.direction,
        currency=found.currency,
        timezone=found.timezone,
        charges=tuple(charge.to_domain() for charge in found.charges),
        valid_from_us=found.valid_from,
        valid_to_us=found.valid_to,
        prices_include_tax=found.prices_include_tax,
        taxes=tuple(
            Tax(tax.name, tax.rate, None if tax.charges is None else frozenset(tax.charges)) for tax in found.taxes
        ),
        holidays=frozenset(found.holidays),
        tier_period=found.tier_period,
        billing_period=None if found.billing_period is None else BillingPeriod(**found.billing_period.model_dump()),
        rounding=Rounding(found.rounding.line.quantum, found.rounding.line.mode),
    )
    problems = unsupported(tariff) or holes(tariff)
    if problems:
        raise DocumentError(problems)
    return tariff


def to_document(tariff: Tariff) -> dict[str, Any]:
    """Return a tariff as the JSON object that `parse_tariff` reads, with every default written out."""
    return {
        "tariff_id": tariff.tariff_id,
        "version": tariff.version,
        "direction": tariff.direction,
        "currency": tariff.currency,
        "timezone": tariff.timezone,
        "valid_from": None if tariff.valid_from_us is None else format_instant(tariff.valid_from_us),
        "valid_to": None if tariff.valid_to_us is None else format_instant(tariff.valid_to_us),
        "prices_include_tax": tariff.prices_include_tax,
        "taxes": [_tax_document(tax) for tax in tariff.taxes],
        "holidays": [on.isoformat() for on in sorted(tariff.holidays)],
        "tier_period": tariff.tier_period,
        "billing_period": None if tariff.billing_period is None else asdict(tariff.billing_period),
        "charges": [_charge_document(charge) for charge in tariff.charges],
        "rounding": {"line": {"quantum": f"{tariff.rounding.line_quantum:f}", "mode": tariff.rounding.line_mode}},
    }


def _tax_document(tax: Tax) -> dict[str, Any]:
    charges = None if tax.charges is None else sorted(tax.charges)
    return {"name": tax.name, "rate": f"{tax.rate:f}", "charges": charges}


def _charge_document(charge: Charge) -> dict[str, Any]:
    document: dict[str, Any] = {"charge_id": charge.charge_id}
    match charge:
        case FixedCharge():
            document |= {"kind": "fixed", "per": charge.per, "amount": f"{charge.amount:f}"}
            return document | {"from": month_day(charge.first), "to": month_day(charge.last)}
        case MinimumCharge():
            return document | {"kind": "minimum", "per": charge.per, "amount": f"{charge.amount:f}"}
        case DemandCharge():
            return document | {
                "kind": "demand",
                "measurement_minutes": charge.measurement_minutes,
                "measured_over": charge.measured_over,
                "per": charge.per,
                "minimum_kw": f"{charge.minimum_kw:f}",
                "bands": [demand_band_document(band) for band in charge.bands],
            }
        case SessionCharge():
            document |= {"kind": "session", "per": charge.per}
            document |= {"counted": charge.counted} if charge.per == "hour" else {}
            return document | {"bands": [session_band_document(band, charge.per) for band in charge.bands]}
        case EnergyCharge():
            document |= {"kind": "energy", "tier_scope": charge.tier_scope}
            if charge.series is None:
                return document | {"bands": [band_document(band) for band in charge.bands]}
            return document | {"series": _series_document(charge.series)}


def _series_document(rate: SeriesRate) -> dict[str, Any]:
    return {
        "series_id": rate.series_id,
        "multiplier": f"{rate.multiplier:f}",
        "adder": f"{rate.adder:f}",
        "cap": optional(rate.cap),
        "floor": optional(rate.floor),
    }
