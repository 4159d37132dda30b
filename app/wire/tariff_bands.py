"""Bands of charges in tariff documents: windows, tiers and rates, and what is wrong with them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field

from app.domain.tariffs import (
    DAY_NAMES,
    MINUTES_PER_DAY,
    Band,
    DayName,
    DemandBand,
    DemandTier,
    SessionBand,
    SessionPer,
    Tier,
    When,
)
from app.domain.tiers import tier_problems
from app.wire.documents import Clock, Document, Identifier, Integer, MonthDay, Problems, Rate, check_some

MAX_WINDOWS: Final = 100
MAX_TIERS: Final = 20
MAX_STEP_SECONDS: Final = 86_400

Problem = tuple[str, str]
"""Where something is wrong, as a path, and what."""


def not_negative(value: Decimal) -> Decimal:
    """Require 0 or more. Raises `ValueError`."""
    if value < 0:
        raise ValueError(f"'{value}' is negative (expected 0 or more)")
    return value


def positive(value: Decimal) -> Decimal:
    """Require more than 0. Raises `ValueError`."""
    if value <= 0:
        raise ValueError(f"'{value}' is not positive (expected more than 0)")
    return value


def _step(seconds: int) -> int:
    if not 1 <= seconds <= MAX_STEP_SECONDS:
        raise ValueError(f"{seconds} is not a step (expected 1 to {MAX_STEP_SECONDS} seconds)")
    return seconds


def repeated(names: Sequence[str], field: str) -> Iterator[Problem]:
    """Yield a problem for each object whose name another one before it has."""
    seen: Counter[str] = Counter()
    for number, name in enumerate(names):
        if seen[name]:
            yield f"[{number}].{field}", f"{name!r} stands more than once (expected each once)"
        seen[name] += 1


class WhenFields(Document):
    """A window of a band."""

    first: MonthDay = Field(default=(1, 1), alias="from")
    last: MonthDay = Field(default=(12, 31), alias="to")
    days: Annotated[tuple[DayName, ...], Field(max_length=100, strict=False), AfterValidator(check_some)] = DAY_NAMES
    start: Clock = 0
    end: Clock = MINUTES_PER_DAY

    def to_domain(self) -> When:
        """Return the window that it describes."""
        return When(self.first, self.last, frozenset(self.days), self.start, self.end)


class TierFields(Document):
    """A tier of an energy band (kWh) or of a demand band (kW); the band sees that it has the right bound."""

    up_to_kwh: Annotated[Rate, AfterValidator(positive)] | None = None
    up_to_kwh_per_day: Annotated[Rate, AfterValidator(positive)] | None = None
    up_to_kw: Annotated[Rate, AfterValidator(positive)] | None = None
    rate: Rate


class BandFields(Document):
    """A band of any charge that has bands; what is wrong with it depends on the kind of charge."""

    name: Identifier
    when: Annotated[tuple[WhenFields, ...], Field(max_length=MAX_WINDOWS, strict=False)] = ()
    tiers: Annotated[tuple[TierFields, ...], Field(max_length=MAX_TIERS, strict=False)] | None = None
    amount: Rate | None = None
    step_seconds: Annotated[Integer, AfterValidator(_step)] | None = None

    def energy_problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the band of an energy charge."""
        yield from self._misplaced("energy")
        if self.tiers is None:
            return
        for number, tier in enumerate(self.tiers):
            if tier.up_to_kw is not None:
                yield f"tiers[{number}].up_to_kw", "belongs to demand charges (expected up_to_kwh)"
        yield from tier_problems(self.to_energy().tiers)

    def demand_problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the band of a demand charge."""
        yield from self._misplaced("demand")
        tiers = self.tiers or ()
        if self.tiers == ():
            yield "tiers", "empty (expected one tier with its rate)"
        above = Decimal(0)
        for number, tier in enumerate(tiers):
            path = f"tiers[{number}]"
            for field in ("up_to_kwh", "up_to_kwh_per_day"):
                if getattr(tier, field) is not None:
                    yield f"{path}.{field}", "belongs to energy charges (expected up_to_kw)"
            last = number == len(tiers) - 1
            if last and tier.up_to_kw is not None:
                yield f"{path}.up_to_kw", f"'{tier.up_to_kw}' bounds the last tier (expected null)"
            elif not last and tier.up_to_kw is None:
                yield f"{path}.up_to_kw", "null before the last tier (expected a bound)"
            elif tier.up_to_kw is not None and tier.up_to_kw <= above:
                yield f"{path}.up_to_kw", f"'{tier.up_to_kw}' is not above the tier before it ('{above}')"
            above = tier.up_to_kw or above

    def session_problems(self, per: str | None) -> Iterator[Problem]:
        """Yield what is wrong with the band of a session charge."""
        yield from self._misplaced("session")
        if self.step_seconds is not None and per != "hour":
            yield "step_seconds", "belongs to session charges per hour (only time is billed in steps)"

    def _misplaced(self, kind: str) -> Iterator[Problem]:
        """Yield what the band lacks, and what belongs to the bands of other kinds of charges."""
        if kind == "session":
            if self.tiers is not None:
                yield "tiers", "belongs to energy and demand charges (expected amount)"
            if self.amount is None:
                yield "amount", "missing (this field is required)"
            return
        if self.tiers is None:
            yield "tiers", "missing (this field is required)"
        for name in ("amount", "step_seconds"):
            if getattr(self, name) is not None:
                yield name, "belongs to session charges (expected tiers)"

    def to_energy(self) -> Band:
        """Return the band of an energy charge that it describes."""
        tiers = tuple(Tier(tier.up_to_kwh, tier.rate, tier.up_to_kwh_per_day) for tier in self.tiers or ())
        return Band(self.name, tuple(when.to_domain() for when in self.when), tiers)

    def to_demand(self) -> DemandBand:
        """Return the band of a demand charge that it describes."""
        tiers = tuple(DemandTier(tier.up_to_kw, tier.rate) for tier in self.tiers or ())
        return DemandBand(self.name, tuple(when.to_domain() for when in self.when), tiers)

    def to_session(self) -> SessionBand:
        """Return the band of a session charge that it describes."""
        windows = tuple(when.to_domain() for when in self.when)
        return SessionBand(self.name, windows, self.amount or Decimal(0), self.step_seconds or 1)


def check_bands(bands: tuple[BandFields, ...]) -> tuple[BandFields, ...]:
    """Require names that differ. Raises `Problems`."""
    found = list(repeated([band.name for band in bands], "name"))
    if found:
        raise Problems(found)
    return bands


def band_document(band: Band) -> dict[str, Any]:
    """Return the band of an energy charge as documents have it."""
    return {
        "name": band.name,
        "when": [_when_document(when) for when in band.when],
        "tiers": [_tier_document(tier) for tier in band.tiers],
    }


def _tier_document(tier: Tier) -> dict[str, Any]:
    if tier.up_to_kwh_per_day is not None:
        return {"up_to_kwh_per_day": f"{tier.up_to_kwh_per_day:f}", "rate": f"{tier.rate:f}"}
    return {"up_to_kwh": optional(tier.up_to_kwh), "rate": f"{tier.rate:f}"}


def demand_band_document(band: DemandBand) -> dict[str, Any]:
    """Return the band of a demand charge as documents have it."""
    return {
        "name": band.name,
        "when": [_when_document(when) for when in band.when],
        "tiers": [{"up_to_kw": optional(tier.up_to_kw), "rate": f"{tier.rate:f}"} for tier in band.tiers],
    }


def session_band_document(band: SessionBand, per: SessionPer) -> dict[str, Any]:
    """Return the band of a session charge as documents have it."""
    document = {"name": band.name, "when": [_when_document(when) for when in band.when], "amount": f"{band.amount:f}"}
    return document | ({"step_seconds": band.step_seconds} if per == "hour" else {})


def _when_document(when: When) -> dict[str, Any]:
    return {
        "from": month_day(when.first),
        "to": month_day(when.last),
        "days": [name for name in DAY_NAMES if name in when.days],
        "start": f"{when.start_minute // 60:02d}:{when.start_minute % 60:02d}",
        "end": f"{when.end_minute // 60:02d}:{when.end_minute % 60:02d}",
    }


def month_day(at: tuple[int, int]) -> str:
    """Return a day of the year as documents have it."""
    return f"{at[0]:02d}-{at[1]:02d}"


def optional(value: Decimal | None) -> str | None:
    """Return a decimal that may be left out as documents have it."""
    return None if value is None else f"{value:f}"
