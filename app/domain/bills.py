"""A bill: what a location's energy and its tariffs' other charges come to between two local midnights.

Everything is summed exactly from published prices, and rounded once, on the line (`bill_lines`). Which meters are
billed is `bill_records`' affair, what a bill should have had and has not is `bill_coverage`'s, charges that no
interval carries are `bill_charges`', and those for charging sessions `bill_sessions`'.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import chain
from typing import Final, NamedTuple

from app.domain.bill_charges import (
    TariffDays,
    check_kinds,
    measured_for,
    month_of,
    post_demand,
    post_fixed,
    post_minimum,
    tariff_days,
)
from app.domain.bill_coverage import Problem, Sorted, expected, sort_out
from app.domain.bill_lines import (
    KINDS,
    ChargeKind,
    CurrencyTotal,
    Entry,
    Ledger,
    Line,
    LineKey,
    settle,
    totals,
    with_tax,
)
from app.domain.bill_records import (
    DIRECTIONS,
    Choice,
    Inspector,
    NotBilled,
    PricedInterval,
    TariffKey,
    by_key,
    choose_meters,
    components_inside,
    credited,
    inside_uwh,
    meter_order,
)
from app.domain.bill_sessions import post_sessions, unknown_sessions
from app.domain.calendar import LocalCalendar, calendar_for, date_of_day, day_of_date, grid_for
from app.domain.locations import Location, links_within
from app.domain.records import MeterId
from app.domain.sessions import SessionPart, sessions_of
from app.domain.tariffs import Direction, EnergyCharge, Tariff

MAX_DAYS: Final = 3660
"""Longest bill: ten years."""

_UWH_PER_KWH: Final = 10**9


class BilledMeter(NamedTuple):
    """A meter of the location, its energy in the bill, and why it is not billed (None: it is)."""

    meter: MeterId
    energy_uwh: int
    not_billed: NotBilled | None


class BandTotal(NamedTuple):
    """What one band of an energy charge (None: a series) came to: energy in µWh, and its exact cost with tax."""

    direction: Direction
    charge_id: str
    band: str | None
    currency: str
    energy_uwh: int
    cost: Fraction


class PeriodTotal(NamedTuple):
    """A local day or month: energy in µWh by billed meter; exact costs with tax by currency and kind, and by band.

    What is paid by the month is spread evenly over the month's days in the bill.
    """

    name: str
    energy: dict[MeterId, int]
    costs: dict[str, dict[ChargeKind, Fraction]]
    bands: tuple[BandTotal, ...]


@dataclass(frozen=True, slots=True)
class Bill:
    """A bill of [start_us, end_us), the local midnights at which `first` and `end` begin."""

    location_id: str
    timezone: str
    first: date
    end: date
    start_us: int
    end_us: int
    device_id: str | None
    meters: tuple[BilledMeter, ...]
    lines: tuple[Line, ...]
    totals: tuple[CurrencyTotal, ...]
    months: tuple[PeriodTotal, ...]
    days: tuple[PeriodTotal, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Tell whether every interval that should be on it is, read in full and priced."""
        return not self.problems


def make_bill(
    location: Location,
    tariffs: Mapping[str, Sequence[Tariff]],
    intervals: Iterable[PricedInterval],
    period: tuple[date, date],
    device_id: str | None = None,
    *,
    sessions: Sequence[SessionPart] | None = None,
) -> Bill:
    """Return the bill of a location from the first of two local dates until the second begins.

    `intervals` are its priced records, one for each interval, in any order; those before the period tell which meters
    there are, those after it do not matter.
    `tariffs` holds all versions of each tariff, by its id. With `device_id` only that device's energy and sessions are
    billed, and none of the charges that the location as a whole has to pay. `sessions` is what its records tell of
    charging sessions, as far as `REACH_US` around the period; None: that is not known.

    Raises:
        ValueError: the period is empty, or longer than MAX_DAYS.

    """
    first, end = period
    if not first < end <= first + timedelta(days=MAX_DAYS):
        message = f"{first} to {end} is not a billing period (expected at least 1 day, and at most {MAX_DAYS})"
        raise ValueError(message)
    calendar = calendar_for(location.timezone)
    bill = calendar.day_start_us(first), calendar.day_start_us(end)
    choice, found = _sorted_out(location, by_key(tariffs), intervals, (*bill, device_id))
    ledger, energies = _post_energy(found, by_key(tariffs), calendar, bill)
    notes = []
    post_sessions(ledger, location, tariffs, sessions_of(sessions or (), device_id), bill)
    problems = [problem for meter in choice.billed for problem in found[meter].problems]
    if sessions is None:
        problems += unknown_sessions(location, tariffs, bill, device_id)
    if device_id is None:
        notes = _post_charges(ledger, tariff_days(location, tariffs, first, end), found)
        notes += _unknown_tariffs(location, tariffs, bill)
    known = by_key(tariffs)
    ledger = {key: ledger[key] for key in _in_order(ledger, known)}
    lines = tuple(settle(key, entry, known[key.tariff_id, key.tariff_version]) for key, entry in ledger.items())
    all_days = range(day_of_date(first), day_of_date(end))
    days = _day_totals(ledger, known, energies, all_days)
    return Bill(
        location_id=location.location_id,
        timezone=location.timezone,
        first=first,
        end=end,
        start_us=bill[0],
        end_us=bill[1],
        device_id=device_id,
        meters=_meter_totals(choice, energies),
        lines=lines,
        totals=totals(lines),
        months=_month_totals(days, _places(ledger, known)),
        days=tuple(days[day] for day in sorted(days)),
        problems=tuple(problems),
        notes=tuple(dict.fromkeys(notes)),
    )


Energies = dict[tuple[MeterId, int], int]
"""Energy in µWh by meter and local day."""


def _sorted_out(
    location: Location,
    tariffs: Mapping[TariffKey, Tariff],
    intervals: Iterable[PricedInterval],
    bill: tuple[int, int, str | None],
) -> tuple[Choice, dict[MeterId, Sorted]]:
    """Choose the meters, and sort out the intervals of those that are billed."""
    start_us, end_us, device_id = bill
    by_meter: dict[MeterId, list[PricedInterval]] = {}
    before = set()
    for interval in intervals:
        if interval.empty or interval.start_us >= end_us:
            continue
        if interval.end_us <= start_us:
            before.add(interval.meter)
        else:
            by_meter.setdefault(interval.meter, []).append(interval)
    linked = dict.fromkeys(link.direction for link in links_within(location, start_us, end_us))
    for meter in expected(
        MeterId(location.location_id, device_id or "", "INBOUND", "IMPORT"), by_meter, before, linked
    ):
        by_meter.setdefault(meter, [])
    choice = choose_meters(by_meter, device_id)
    inspector = Inspector(tariffs)
    grid = grid_for(location.timezone, location.interval_minutes)
    found = {}
    for meter in choice.billed:
        inspected = ((one, inspector.problem(one, start_us, end_us)) for one in by_meter[meter])
        found[meter] = sort_out(meter, inspected, grid, (start_us, end_us))
    return choice, found


def _post_energy(
    found: Mapping[MeterId, Sorted],
    tariffs: Mapping[TariffKey, Tariff],
    calendar: LocalCalendar,
    bill: tuple[int, int],
) -> tuple[Ledger, Energies]:
    """Post what the components ask for; and return the energy of each meter by day, priced or not."""
    series = {
        (key, charge.charge_id)
        for key, tariff in tariffs.items()
        for charge in tariff.charges
        if isinstance(charge, EnergyCharge) and charge.series is not None
    }
    energies: Energies = {}
    posted: dict[tuple[LineKey, Decimal, int], int] = {}
    for meter, sorted_out in found.items():
        for interval in chain(sorted_out.billed, sorted_out.unpriced):
            for start_us, end_us, energy_uwh in _parts(interval, bill):
                for day, share_uwh in by_day(start_us, end_us, energy_uwh, calendar):
                    energies[meter, day] = energies.get((meter, day), 0) + share_uwh
        for interval in sorted_out.billed:
            for c in components_inside(interval, *bill):
                rate = None if (c.tariff, c.charge_id) in series else c.rate
                line = LineKey("energy", meter.tariff_direction, meter, *c.tariff, c.charge_id, c.band, c.tier, rate)
                for day, share_uwh in by_day(c.start_us, c.end_us, c.energy_uwh, calendar):
                    at = (line, c.rate, day)
                    posted[at] = posted.get(at, 0) + share_uwh
    ledger: Ledger = {}
    for (line, rate, day), energy_uwh in posted.items():
        entry = ledger.setdefault(line, Entry("kWh"))
        earns = credited(line.direction, line.meter.energy_flow_direction if line.meter else "")
        kwh = Fraction(energy_uwh, _UWH_PER_KWH)
        entry.post(day, kwh, kwh * Fraction(rate) * (-1 if earns else 1))
        entry.energy_by_day[day] = entry.energy_by_day.get(day, 0) + energy_uwh
    return ledger, energies


def _parts(interval: PricedInterval, bill: tuple[int, int]) -> Iterator[tuple[int, int, int]]:
    """Yield (start_us, end_us, energy_uwh) of an interval within the bill."""
    if interval.start_us >= bill[0] and interval.end_us <= bill[1]:
        yield interval.start_us, interval.end_us, interval.energy_uwh
        return
    inside = list(components_inside(interval, *bill))
    left_uwh = inside_uwh(interval, *bill)
    for charge_id in dict.fromkeys(component.charge_id for component in inside):
        mine = [component for component in inside if component.charge_id == charge_id]
        if sum(component.energy_uwh for component in mine) == left_uwh:
            yield from ((component.start_us, component.end_us, component.energy_uwh) for component in mine)
            return


def by_day(start_us: int, end_us: int, energy_uwh: int, calendar: LocalCalendar) -> Iterator[tuple[int, int]]:
    """Cut energy at local midnights, at constant power; yield (day, energy). The parts sum to the whole exactly."""
    at_us, given_uwh = start_us, 0
    while True:
        day = calendar.day_number(at_us)
        until_us = calendar.day_start_us(date_of_day(day + 1))
        if until_us >= end_us:
            yield day, energy_uwh - given_uwh
            return
        upto_uwh = energy_uwh * (until_us - start_us) // (end_us - start_us)
        yield day, upto_uwh - given_uwh
        at_us, given_uwh = until_us, upto_uwh


def _post_charges(ledger: Ledger, due: Sequence[TariffDays], found: Mapping[MeterId, Sorted]) -> list[str]:
    """Post what no interval carries. Return what a reader of the bill should know."""
    measured = [
        (meter.tariff_direction, meter.energy_flow_direction, (one.start_us, one.end_us, one.energy_uwh))
        for meter, sorted_out in found.items()
        for one in chain(sorted_out.billed, sorted_out.unpriced)
    ]
    notes: list[str] = []
    for tariff in due:
        check_kinds(tariff.tariff)
        energy = _energy_by_month(ledger, tariff.key)
        post_fixed(ledger, tariff)
        notes += post_demand(ledger, tariff, measured_for(tariff.tariff.direction, measured))
        post_minimum(ledger, tariff, energy)
    return notes


def _energy_by_month(ledger: Ledger, key: TariffKey) -> dict[str, Fraction]:
    """Return what a tariff's energy charges come to by month, in the terms of its document."""
    found: dict[str, Fraction] = {}
    for line, entry in ledger.items():
        if line.kind == "energy" and (line.tariff_id, line.tariff_version) == key:
            for day, amount in entry.by_day.items():
                found[month_of(day)] = found.get(month_of(day), Fraction(0)) + amount
    return found


def _unknown_tariffs(
    location: Location, tariffs: Mapping[str, Sequence[Tariff]], bill: tuple[int, int]
) -> Iterator[str]:
    """Name the links of which no tariff is known: what they ask for besides energy is not on the bill."""
    for link in links_within(location, *bill):
        directions = {tariff.direction for tariff in tariffs.get(link.tariff_id, ())}
        if link.direction not in directions:
            what = f"is for {' and '.join(sorted(directions))}" if directions else "is not known"
            yield f"tariff {link.tariff_id}, linked for {link.direction}, {what}: its charges are not on this bill"


def _in_order(ledger: Ledger, tariffs: Mapping[TariffKey, Tariff]) -> list[LineKey]:
    """Put lines in order: by direction, tariff (the one that is due first) and meter; then as the document has them."""
    begins: dict[TariffKey, int] = {}
    for key, entry in ledger.items():
        of = key.tariff_id, key.tariff_version
        begins[of] = min(begins.get(of, sys.maxsize), *entry.by_day)

    def place(key: LineKey) -> tuple[object, ...]:
        tariff = tariffs[key.tariff_id, key.tariff_version]
        meter = ("", "", "") if key.meter is None else tuple(map(str, meter_order(key.meter)))
        names = [charge.charge_id for charge in tariff.charges]
        bands = _bands(tariff, key.charge_id)
        return (
            DIRECTIONS.index(key.direction),
            begins[key.tariff_id, key.tariff_version],
            key.tariff_id,
            key.tariff_version,
            KINDS.index(key.kind) > 0,  # energy first, meter by meter; then what is the location's
            meter,
            names.index(key.charge_id) if key.charge_id in names else len(names),
            key.month or "",
            bands.index(key.band) if key.band in bands else -1,
            key.tier or 0,
            key.rate or Decimal(0),
        )

    return sorted(ledger, key=place)


def _bands(tariff: Tariff, charge_id: str) -> list[str]:
    return [
        band.name for charge in tariff.charges if charge.charge_id == charge_id for band in getattr(charge, "bands", ())
    ]


def _meter_totals(choice: Choice, energies: Energies) -> tuple[BilledMeter, ...]:
    sums: dict[MeterId, int] = {}
    for (meter, _), energy_uwh in energies.items():
        sums[meter] = sums.get(meter, 0) + energy_uwh
    billed = [BilledMeter(meter, sums.get(meter, 0), None) for meter in choice.billed]
    return (*billed, *(BilledMeter(meter, 0, reason) for meter, reason in choice.not_billed))


def _day_totals(
    ledger: Ledger, tariffs: Mapping[TariffKey, Tariff], energies: Energies, all_days: Iterable[int]
) -> dict[int, PeriodTotal]:
    """Return the totals of each local day, those without anything too."""
    places = _places(ledger, tariffs)
    bands: dict[int, list[BandTotal]] = {}
    found = {day: PeriodTotal(date_of_day(day).isoformat(), {}, {}, ()) for day in all_days}

    def of(day: int) -> PeriodTotal:
        return found.setdefault(day, PeriodTotal(date_of_day(day).isoformat(), {}, {}, ()))

    for (meter, day), energy_uwh in energies.items():
        of(day).energy[meter] = energy_uwh
    for key, entry in ledger.items():
        tariff = tariffs[key.tariff_id, key.tariff_version]
        for day, amount in entry.by_day.items():
            cost = with_tax(tariff, key.charge_id, amount)
            kinds = of(day).costs.setdefault(tariff.currency, {})
            kinds[key.kind] = kinds.get(key.kind, Fraction(0)) + cost
            if key.kind == "energy":
                total = BandTotal(
                    key.direction, key.charge_id, key.band, tariff.currency, entry.energy_by_day.get(day, 0), cost
                )
                bands.setdefault(day, []).append(total)
    return {day: total._replace(bands=_band_totals(bands.get(day, []), places)) for day, total in found.items()}


_BandKey = tuple[Direction, str, str | None, str]
"""What the parts of a band's total have in common: direction, charge, band and currency."""


def _places(ledger: Ledger, tariffs: Mapping[TariffKey, Tariff]) -> dict[_BandKey, int]:
    """Number the bands in the order in which the lines of a bill have them."""
    keys = (
        (key.direction, key.charge_id, key.band, tariffs[key.tariff_id, key.tariff_version].currency)
        for key in ledger
        if key.kind == "energy"
    )
    return {key: place for place, key in enumerate(dict.fromkeys(keys))}


def _band_totals(parts: Iterable[BandTotal], places: Mapping[_BandKey, int]) -> tuple[BandTotal, ...]:
    sums: dict[_BandKey, BandTotal] = {}
    for part in parts:
        key = part[:4]
        known = sums.get(key)
        if known is not None:
            part = part._replace(energy_uwh=known.energy_uwh + part.energy_uwh, cost=known.cost + part.cost)  # noqa: PLW2901
        sums[key] = part
    return tuple(sums[key] for key in sorted(sums, key=places.__getitem__))


def _month_totals(days: Mapping[int, PeriodTotal], places: Mapping[_BandKey, int]) -> tuple[PeriodTotal, ...]:
    """Sum up days by calendar month."""
    found: dict[str, PeriodTotal] = {}
    bands: dict[str, list[BandTotal]] = {}
    for day in sorted(days):
        month, of_day = month_of(day), days[day]
        total = found.setdefault(month, PeriodTotal(month, {}, {}, ()))
        for meter, energy_uwh in of_day.energy.items():
            total.energy[meter] = total.energy.get(meter, 0) + energy_uwh
        for currency, kinds in of_day.costs.items():
            mine = total.costs.setdefault(currency, {})
            for kind, cost in kinds.items():
                mine[kind] = mine.get(kind, Fraction(0)) + cost
        bands.setdefault(month, []).extend(of_day.bands)
    return tuple(total._replace(bands=_band_totals(bands[month], places)) for month, total in found.items())
