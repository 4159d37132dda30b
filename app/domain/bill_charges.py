"""Charges that no interval carries and dates decide: fixed, demand and minimum charges. Session charges go by instants.

A date belongs to the tariff that holds at its first instant by the clock of the tariff's zone: the link of the location,
and of the tariff's versions the highest that is valid. A month's charge is due for the part of its days. What such
charges ask for is a cost in every direction: only energy is credited.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from fractions import Fraction
from functools import lru_cache
from typing import Final, NamedTuple, assert_never

from app.domain.bill_lines import DemandPeak, Entry, Ledger, LineKey
from app.domain.bill_records import DIRECTIONS, TariffKey
from app.domain.calendar import LocalCalendar, calendar_for, date_of_day, day_of_date
from app.domain.demand import DemandMeter, InTier, Measured, Peak, in_tiers, longest_us
from app.domain.instants import US_PER_MINUTE
from app.domain.locations import Location, TariffLink
from app.domain.tariffs import (
    DemandBand,
    DemandCharge,
    Direction,
    EnergyCharge,
    FixedCharge,
    MinimumCharge,
    Per,
    SessionCharge,
    Tariff,
)
from app.domain.timeline import BEGINNING_US, END_US

_DECEMBER: Final = 12


class TariffDays(NamedTuple):
    """The local days, by number and in order, on which a tariff's charges are due within a bill."""

    tariff: Tariff
    days: list[int]

    @property
    def key(self) -> TariffKey:
        """Return the tariff's id and version."""
        return self.tariff.tariff_id, self.tariff.version

    def months(self) -> Iterator[tuple[str, list[int]]]:
        """Yield each local month ("2025-03") with those of the days that are in it."""
        found: dict[str, list[int]] = {}
        for day in self.days:
            found.setdefault(month_of(day), []).append(day)
        yield from found.items()


def month_of(day: int) -> str:
    """Return the month of a local day, such as "2025-03"."""
    return date_of_day(day).isoformat()[:7]


@lru_cache(maxsize=4096)
def days_of_month(timezone: str, month: str) -> int:
    """Return how many local days a month has; a date that a zone skipped is none."""
    first = date.fromisoformat(f"{month}-01")
    following = date(first.year + first.month // _DECEMBER, first.month % _DECEMBER + 1, 1)
    calendar = calendar_for(timezone)
    return sum(_exists(calendar, day) for day in range(day_of_date(first), day_of_date(following)))


def _exists(calendar: LocalCalendar, day: int) -> bool:
    return calendar.day_start_us(date_of_day(day)) < calendar.day_start_us(date_of_day(day + 1))


def share_of(per: Per, tariff: Tariff, month: str, days: int) -> Fraction:
    """Return how many of what a charge is paid by there are in some days of one month."""
    return Fraction(days) if per == "day" else Fraction(days, days_of_month(tariff.timezone, month))


def tariff_days(
    location: Location, tariffs: Mapping[str, Sequence[Tariff]], first: date, end: date
) -> list[TariffDays]:
    """Return the dates from `first` until `end` begins of every tariff that a location is linked to, by direction."""
    found: dict[TariffKey, TariffDays] = {}
    for direction in DIRECTIONS:
        links = [link for link in location.links if link.direction == direction]
        for link in sorted(links, key=lambda link: _from(link.valid_from_us)):
            versions = [one for one in tariffs.get(link.tariff_id, ()) if one.direction == direction]
            for tariff in sorted(versions, key=lambda tariff: tariff.version):
                days = list(_days(link, tariff, versions, range(day_of_date(first), day_of_date(end))))
                if days:
                    known = found.setdefault((tariff.tariff_id, tariff.version), TariffDays(tariff, []))
                    known.days.extend(days)
    return list(found.values())


def _days(link: TariffLink, tariff: Tariff, versions: Sequence[Tariff], dates: Iterable[int]) -> Iterator[int]:
    """Yield the dates at whose beginning, in the tariff's zone, the link holds and this version is the highest valid."""
    calendar = calendar_for(tariff.timezone)
    start_us = max(_from(link.valid_from_us), _from(tariff.valid_from_us))
    end_us = min(_to(link.valid_to_us), _to(tariff.valid_to_us))
    for day in dates:
        at_us = calendar.day_start_us(date_of_day(day))
        if start_us <= at_us < end_us and _exists(calendar, day):
            held = max(one.version for one in versions if _valid(one, at_us))
            if held == tariff.version:
                yield day


def _valid(tariff: Tariff, at_us: int) -> bool:
    return _from(tariff.valid_from_us) <= at_us < _to(tariff.valid_to_us)


def _from(at_us: int | None) -> int:
    return BEGINNING_US if at_us is None else at_us


def _to(at_us: int | None) -> int:
    return END_US if at_us is None else at_us


def check_kinds(tariff: Tariff) -> None:
    """Make the type checker object where a kind of charge is added that no bill has: it would be billed as nothing."""
    for charge in tariff.charges:
        match charge:
            case EnergyCharge() | FixedCharge() | DemandCharge() | MinimumCharge() | SessionCharge():
                pass
            case _:
                assert_never(charge)


def post_fixed(ledger: Ledger, found: TariffDays) -> None:
    """Post the fixed charges of a tariff: each day's amount, or its share of the month's, on days of the season."""
    tariff = found.tariff
    for charge in tariff.charges:
        if not isinstance(charge, FixedCharge):
            continue
        key = LineKey("fixed", tariff.direction, None, *found.key, charge.charge_id, rate=charge.amount)
        for day in found.days:
            if charge.due_on(date_of_day(day)):
                share = share_of(charge.per, tariff, month_of(day), 1)
                ledger.setdefault(key, Entry(charge.per)).post(day, share, share * Fraction(charge.amount))


def post_demand(ledger: Ledger, found: TariffDays, measured: Sequence[Measured]) -> Iterator[str]:
    """Post the demand charges of a tariff, by month, over the days. Yield what a reader of the bill should know."""
    for charge in found.tariff.charges:
        if not isinstance(charge, DemandCharge):
            continue
        if longest_us(measured) > charge.measurement_minutes * US_PER_MINUTE:
            yield (
                f"{charge.charge_id} of tariff {found.tariff.tariff_id}: some intervals are longer than the measurement "
                f"window of {charge.measurement_minutes} minutes; their mean power counts in each window"
            )
        meter = DemandMeter(found.tariff, charge, measured)
        for month, days in found.months():
            stretches = [days] if charge.measured_over == "month" else [[day] for day in days]
            for stretch in stretches:
                peaks = meter.peaks(stretch)
                share = share_of(charge.per, found.tariff, month, len(stretch))
                for number, peak in sorted(peaks.items()):
                    _post_band(ledger, found, charge, (number, peak), _Stretch(month, stretch, share))


class _Stretch(NamedTuple):
    """The days over which a demand is measured, all of one month; `share` is what its rate is multiplied by."""

    month: str
    days: list[int]
    share: Fraction


def _post_band(
    ledger: Ledger, found: TariffDays, charge: DemandCharge, of_band: tuple[int, Peak], stretch: _Stretch
) -> None:
    number, peak = of_band
    band = charge.bands[number]
    billed = peak if peak.kw >= Fraction(charge.minimum_kw) else Peak(Fraction(charge.minimum_kw), None)
    for part in in_tiers(band, billed.kw):
        entry = ledger.setdefault(
            _demand_key(found, charge, (band, part), stretch.month),
            Entry("kW day" if charge.per == "day" else "kW month"),
        )
        quantity = part.kw * stretch.share
        for day in stretch.days:
            entry.post(day, quantity / len(stretch.days), quantity * Fraction(part.rate) / len(stretch.days))
        if entry.peak is None or billed.kw > entry.peak.kw:
            entry.peak = DemandPeak(billed.kw, billed.at_us)


def _demand_key(found: TariffDays, charge: DemandCharge, of: tuple[DemandBand, InTier], month: str) -> LineKey:
    band, part = of
    tariff = found.tariff
    key = LineKey("demand", tariff.direction, None, *found.key, charge.charge_id, band.name, part.tier, part.rate)
    return key._replace(month=month)


def post_minimum(ledger: Ledger, found: TariffDays, energy: Mapping[str, Fraction]) -> None:
    """Post what each month lacks to a tariff's minimum charges; a later one counts what an earlier one asked for.

    `energy` is what the tariff's energy charges come to by month; what its fixed, demand and session charges
    do is in the ledger. All amounts are in the terms of the tariff's document.
    """
    tariff = found.tariff
    charges = [charge for charge in tariff.charges if isinstance(charge, MinimumCharge)]
    if not charges:
        return
    others = dict(energy)
    for key, entry in ledger.items():
        if key.kind in {"fixed", "demand", "session"} and (key.tariff_id, key.tariff_version) == found.key:
            for day, amount in entry.by_day.items():
                others[month_of(day)] = others.get(month_of(day), Fraction(0)) + amount
    for month, days in found.months():
        for charge in charges:
            share = share_of(charge.per, tariff, month, len(days))
            lacking = share * Fraction(charge.amount) - others.get(month, Fraction(0))
            if lacking <= 0:
                continue
            key = LineKey(
                "minimum", tariff.direction, None, *found.key, charge.charge_id, rate=charge.amount, month=month
            )
            others[month] = others.get(month, Fraction(0)) + lacking
            entry = ledger.setdefault(key, Entry(charge.per))
            for day in days:
                entry.post(day, share / len(days), lacking / len(days))


def measured_for(direction: Direction, intervals: Iterable[tuple[Direction, str, Measured]]) -> list[Measured]:
    """Return the energies that a direction's demand is measured on; local energy that flows out is no demand."""
    return [
        measured
        for of, flow, measured in intervals
        if of == direction and not (direction == "LOCAL" and flow == "OUTBOUND")
    ]
