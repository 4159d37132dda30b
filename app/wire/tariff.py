"""Tariff documents (topic `meter.tariffs`): JSON to `Tariff` and back."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from app.domain.instants import format_instant
from app.domain.tariffs import (
    DAY_NAMES,
    MINUTES_PER_DAY,
    Band,
    Charge,
    DayName,
    Direction,
    EnergyCharge,
    FixedCharge,
    Rounding,
    RoundingMode,
    SeriesRate,
    Tariff,
    Tax,
    Tier,
    TierPeriod,
    When,
    tier_problem,
)
from app.domain.timeline import holes, unsupported
from app.wire.documents import (
    Clock,
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
)
from app.wire.documents import field_names as names_of

MAX_CHARGES: Final = 50
MAX_BANDS: Final = 100
MAX_WINDOWS: Final = 100
MAX_TIERS: Final = 20
MAX_TAXES: Final = 20
MAX_HOLIDAYS: Final = 2000

_Problem = tuple[str, str]


def _not_negative(value: Decimal) -> Decimal:
    if value < 0:
        raise ValueError(f"'{value}' is negative (expected 0 or more)")
    return value


def _positive(value: Decimal) -> Decimal:
    if value <= 0:
        raise ValueError(f"'{value}' is not positive (expected more than 0)")
    return value


def _from_one(version: int) -> int:
    if version < 1:
        raise ValueError(f"{version} is not a version (expected 1 or more)")
    return version


def _repeated(names: Sequence[str], field: str) -> Iterator[_Problem]:
    """Yield a problem for each object whose name another one before it has."""
    seen: Counter[str] = Counter()
    for number, name in enumerate(names):
        if seen[name]:
            yield f"[{number}].{field}", f"{name!r} stands more than once (expected each once)"
        seen[name] += 1


class _When(Document):
    first: MonthDay = Field(default=(1, 1), alias="from")
    last: MonthDay = Field(default=(12, 31), alias="to")
    days: Annotated[tuple[DayName, ...], Field(max_length=100, strict=False), AfterValidator(check_some)] = DAY_NAMES
    start: Clock = 0
    end: Clock = MINUTES_PER_DAY

    def to_domain(self) -> When:
        return When(self.first, self.last, frozenset(self.days), self.start, self.end)


class _Tier(Document):
    up_to_kwh: Annotated[Rate, AfterValidator(_positive)] | None = None
    rate: Rate


class _Band(Document):
    name: Identifier
    when: Annotated[tuple[_When, ...], Field(max_length=MAX_WINDOWS, strict=False)] = ()
    tiers: Annotated[tuple[_Tier, ...], Field(max_length=MAX_TIERS, strict=False)]

    @model_validator(mode="after")
    def _priceable(self) -> "_Band":
        problem = tier_problem(self.to_domain().tiers)
        if problem is not None:
            path, _, sentence = problem.partition(": ")
            raise Problems([(path, sentence)])
        return self

    def to_domain(self) -> Band:
        tiers = tuple(Tier(tier.up_to_kwh, tier.rate) for tier in self.tiers)
        return Band(self.name, tuple(when.to_domain() for when in self.when), tiers)


def _check_bands(bands: tuple[_Band, ...]) -> tuple[_Band, ...]:
    found = list(_repeated([band.name for band in bands], "name"))
    if found:
        raise Problems(found)
    return bands


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


class _Charge(Document):
    charge_id: Identifier
    kind: Literal["energy", "fixed"]
    tier_scope: Literal["charge", "band"] | None = None
    bands: (
        Annotated[tuple[_Band, ...], Field(max_length=MAX_BANDS, strict=False), AfterValidator(_check_bands)] | None
    ) = None
    series: _SeriesRate | None = None
    per: Literal["day", "month"] | None = None
    amount: Rate | None = None

    @model_validator(mode="after")
    def _fields_of_kind(self) -> "_Charge":
        found = list(self._energy_problems() if self.kind == "energy" else self._fixed_problems())
        if found:
            raise Problems(found)
        return self

    def _energy_problems(self) -> Iterator[_Problem]:
        if bool(self.bands) == (self.series is not None):
            yield "", "an energy charge has either bands or a series (expected exactly one of them)"
        for name in ("per", "amount"):
            if getattr(self, name) is not None:
                yield name, "belongs to fixed charges, not to an energy charge"

    def _fixed_problems(self) -> Iterator[_Problem]:
        for name in ("per", "amount"):
            if getattr(self, name) is None:
                yield name, "missing (a fixed charge has per and amount)"
        for name in ("bands", "series", "tier_scope"):
            if getattr(self, name) is not None:
                yield name, "belongs to energy charges, not to a fixed charge"

    def to_domain(self) -> Charge:
        if self.per is not None and self.amount is not None:
            return FixedCharge(self.charge_id, self.per, self.amount)
        series = None
        if self.series is not None:
            rate = self.series
            series = SeriesRate(rate.series_id, rate.multiplier, rate.adder, rate.cap, rate.floor)
        bands = tuple(band.to_domain() for band in self.bands or ())
        return EnergyCharge(self.charge_id, bands, series, self.tier_scope or "charge")


def _check_charges(charges: tuple[_Charge, ...]) -> tuple[_Charge, ...]:
    found = list(_repeated([charge.charge_id for charge in charges], "charge_id"))
    if found:
        raise Problems(found)
    return charges


class _Tax(Document):
    name: Identifier
    rate: Annotated[Rate, AfterValidator(_not_negative)]


class _LineRounding(Document):
    quantum: Annotated[Rate, AfterValidator(_positive)] = Decimal("0.01")
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


_NAMES: Final = names_of(_Tariff, _Charge, _Band, _When, _Tier, _SeriesRate, _Tax, _Rounding, _LineRounding)


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
        taxes=tuple(Tax(tax.name, tax.rate) for tax in found.taxes),
        holidays=frozenset(found.holidays),
        tier_period=found.tier_period,
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
        "taxes": [{"name": tax.name, "rate": f"{tax.rate:f}"} for tax in tariff.taxes],
        "holidays": [on.isoformat() for on in sorted(tariff.holidays)],
        "tier_period": tariff.tier_period,
        "charges": [_charge_document(charge) for charge in tariff.charges],
        "rounding": {"line": {"quantum": f"{tariff.rounding.line_quantum:f}", "mode": tariff.rounding.line_mode}},
    }


def _charge_document(charge: Charge) -> dict[str, Any]:
    document: dict[str, Any] = {"charge_id": charge.charge_id}
    if isinstance(charge, FixedCharge):
        return document | {"kind": "fixed", "per": charge.per, "amount": f"{charge.amount:f}"}
    document |= {"kind": "energy", "tier_scope": charge.tier_scope}
    if charge.series is None:
        return document | {"bands": [_band_document(band) for band in charge.bands]}
    rate = charge.series
    series = {
        "series_id": rate.series_id,
        "multiplier": f"{rate.multiplier:f}",
        "adder": f"{rate.adder:f}",
        "cap": _optional(rate.cap),
        "floor": _optional(rate.floor),
    }
    return document | {"series": series}


def _band_document(band: Band) -> dict[str, Any]:
    return {
        "name": band.name,
        "when": [_when_document(when) for when in band.when],
        "tiers": [{"up_to_kwh": _optional(tier.up_to_kwh), "rate": f"{tier.rate:f}"} for tier in band.tiers],
    }


def _when_document(when: When) -> dict[str, Any]:
    return {
        "from": f"{when.first[0]:02d}-{when.first[1]:02d}",
        "to": f"{when.last[0]:02d}-{when.last[1]:02d}",
        "days": [name for name in DAY_NAMES if name in when.days],
        "start": f"{when.start_minute // 60:02d}:{when.start_minute % 60:02d}",
        "end": f"{when.end_minute // 60:02d}:{when.end_minute % 60:02d}",
    }


def _optional(value: Decimal | None) -> str | None:
    return None if value is None else f"{value:f}"
