"""Where a tariff's rates lie on the time line: wall-clock rules compiled into spans of UTC instants.

Time is stepped in UTC. A month is cut where its zone's offset changes; within each piece local time runs evenly, so
that a day's wall-clock bands are laid on it by one subtraction. A wall-clock time that spring skips thus begins at
the gap, and one that autumn repeats holds both times. Months are compiled when first asked for, and remembered.
"""

from bisect import bisect_right
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Final, NamedTuple

from app.domain.calendar import US_PER_DAY, calendar_for, date_of_day
from app.domain.instants import US_PER_MINUTE
from app.domain.tariffs import (
    MINUTES_PER_DAY,
    WEEKDAYS,
    Band,
    DayName,
    EnergyCharge,
    SeriesRate,
    Tariff,
    When,
)
from app.domain.tiers import Counter, Graduated, tier_problems
from app.domain.windows import WHOLE_DAY, WindowSet, first_of, members

BEGINNING_US: Final = -(1 << 62)
END_US: Final = 1 << 62
"""Bounds beyond every instant that a text can name."""

ONLY_TIER: Final = 1
_MAX_MONTHS: Final = 240
_MAX_DAY_SHAPES: Final = 4096
_MAX_DAYS: Final = 8192
_LEAP_YEAR: Final = 2024
_COMMON_YEAR: Final = 2023


class ChargeRate(NamedTuple):
    """What one charge asks for a kWh: a number, a series to look up, tiers; None where no band covers the moment."""

    charge_id: str
    band: str | None
    tier: int | None
    rate: Decimal | SeriesRate | Graduated | None


class Segment(NamedTuple):
    """A span of UTC in which every charge keeps its band. A charge that has none (export) is not among `charges`."""

    start_us: int
    end_us: int
    charges: tuple[ChargeRate, ...]


_DayShape = tuple[tuple[int, int, tuple[ChargeRate, ...]], ...]
"""A day by the wall clock: (start, end) in µs after local midnight, and what holds there."""

_Day = tuple[date, DayName]
"""A date and what it counts as."""


class Timeline:
    """One tariff's segments, compiled as they are asked for. Validity is not looked at here."""

    __slots__ = (
        "_always",
        "_calendar",
        "_energy_charges",
        "_months",
        "_required",
        "_shapes",
        "_starts",
        "_tariff",
        "_whens",
        "_windows",
    )

    def __init__(self, tariff: Tariff) -> None:
        """Take a tariff that `unsupported` has nothing against.

        Raises:
            ValueError: it asks for what cannot be priced.

        """
        problems = unsupported(tariff)
        if problems:
            raise ValueError("; ".join(problems))
        self._tariff = tariff
        self._required = tariff.direction != "EXPORT"
        self._calendar = calendar_for(tariff.timezone)
        self._energy_charges = tuple(charge for charge in tariff.charges if isinstance(charge, EnergyCharge))
        self._whens = tuple(when for charge in self._energy_charges for band in charge.bands for when in band.when)
        self._windows = WindowSet(self._whens)
        self._shapes: dict[tuple[int, int], _DayShape] = {}
        self._months: dict[int, tuple[list[int], list[Segment]]] = {}
        self._starts: dict[int, int] = {}
        self._always: Segment | None = None
        if not self._whens:
            ((_, _, charges),) = _lay_out(self._energy_charges, self._windows, 0, 0, required=self._required)
            self._always = Segment(BEGINNING_US, END_US, charges)

    def segment(self, at_us: int) -> Segment:
        """Return the segment around an instant; it ends where a charge changes, or with the local month."""
        if self._always is not None:
            return self._always
        starts, segments = self._month(at_us)
        return segments[bisect_right(starts, at_us) - 1]

    def segments(self, start_us: int, end_us: int) -> Iterator[Segment]:
        """Yield the segments that touch [start_us, end_us), whole, in order."""
        at = start_us
        while at < end_us:
            found = self.segment(at)
            yield found
            at = found.end_us

    def _month(self, at_us: int) -> tuple[list[int], list[Segment]]:
        start, end = self._calendar.month_bounds_us(at_us)
        month = self._months.get(start)
        if month is None:
            if len(self._months) >= _MAX_MONTHS:
                self._months.clear()
            segments = self._compile(start, end)
            month = self._months[start] = ([segment.start_us for segment in segments], segments)
        return month

    def _compile(self, start_us: int, end_us: int) -> list[Segment]:
        segments: list[Segment] = []
        for piece_start, piece_end, offset in self._calendar.pieces(start_us, end_us):
            first_day = (piece_start + offset) // US_PER_DAY
            last_day = (piece_end + offset - 1) // US_PER_DAY
            for day in range(first_day, last_day + 1):
                midnight = day * US_PER_DAY - offset
                for from_us, to_us, charges in self._day_shape(day):
                    start, end = max(midnight + from_us, piece_start), min(midnight + to_us, piece_end)
                    if start >= end:
                        continue
                    if segments and segments[-1].charges == charges:
                        segments[-1] = Segment(segments[-1].start_us, end, charges)
                    else:
                        segments.append(Segment(start, end, charges))
        return segments

    def _day_shape(self, day: int) -> _DayShape:
        """Return what a local date looks like by the clock, from the windows that start on it and on its eve."""
        key = (self._starting(day - 1), self._starting(day))
        shape = self._shapes.get(key)
        if shape is None:
            if len(self._shapes) >= _MAX_DAY_SHAPES:
                self._shapes.clear()
            eve, today = key
            shape = _lay_out(self._energy_charges, self._windows, today, eve, required=self._required)
            self._shapes[key] = shape
        return shape

    def _starting(self, day: int) -> int:
        """Return the windows that may start on a date."""
        starting = self._starts.get(day)
        if starting is None:
            if len(self._starts) >= _MAX_DAYS:
                self._starts.clear()
            on = date_of_day(day)
            starting = self._starts[day] = self._windows.starting(on, self._tariff.day_name(on))
        return starting


def _lay_out(
    charges: tuple[EnergyCharge, ...], windows: WindowSet, today: int, eve: int, *, required: bool
) -> _DayShape:
    """Lay the bands of all charges on one local date; `today` and `eve` are the windows that start on it and before it.

    A hole is left out, or None where a rate is `required`.
    """
    first, lines = 0, []
    for charge in charges:
        lines.append(_line(charge, windows, first, today, eve, required=required))
        first += sum(len(band.when) for band in charge.bands)
    # With midnight: a tariff without energy charges has days too.
    marks = sorted({start for line in lines for start, _ in line} | {0, MINUTES_PER_DAY})
    places = [0] * len(lines)
    shape: list[tuple[int, int, tuple[ChargeRate, ...]]] = []
    for start, end in pairwise(marks):
        for number, line in enumerate(lines):
            if places[number] + 1 < len(line) and line[places[number] + 1][0] <= start:
                places[number] += 1
        rates = (line[place][1] for line, place in zip(lines, places, strict=True))
        found = tuple(rate for rate in rates if rate is not None)
        start_us = start * US_PER_MINUTE
        if shape and shape[-1][2] == found:
            start_us = shape.pop()[0]
        shape.append((start_us, end * US_PER_MINUTE, found))
    return tuple(shape)


def _line(
    charge: EnergyCharge, windows: WindowSet, first: int, today: int, eve: int, *, required: bool
) -> list[tuple[int, ChargeRate | None]]:
    """Return (minute, rate) of each change of one charge within a day, from midnight; its windows begin at `first`."""
    if charge.series is not None:
        return [(0, ChargeRate(charge.charge_id, None, None, charge.series))]
    changes: list[tuple[int, ChargeRate | None]] = []
    left = WHOLE_DAY
    for band in charge.bands:
        held = 0 if band.when else WHOLE_DAY
        for number in range(first, first + len(band.when)):
            held |= windows.minutes(number, today, eve)
        changes += [(minute, _rate_in(charge, band)) for minute in _beginnings(held & left)]
        left &= ~held
        first += len(band.when)
    none = ChargeRate(charge.charge_id, None, None, None) if required else None
    changes += [(minute, none) for minute in _beginnings(left)]
    return sorted(changes, key=lambda change: change[0])


def _beginnings(minutes: int) -> Iterator[int]:
    """Yield the minutes at which a stretch of minutes begins."""
    yield from members(minutes & ~(minutes << 1))


def _rate_in(charge: EnergyCharge, band: Band) -> ChargeRate:
    """Return what a charge asks in one of its bands."""
    if len(band.tiers) == 1:
        return ChargeRate(charge.charge_id, band.name, ONLY_TIER, band.tiers[0].rate)
    counter = Counter(charge.charge_id, band.name if charge.tier_scope == "band" else None)
    return ChargeRate(charge.charge_id, band.name, None, Graduated(counter, band.tiers))


def unsupported(tariff: Tariff) -> list[str]:
    """Return, each with its path, what a tariff asks for that cannot be priced: that fails, it never bills silently."""
    problems = []
    if tariff.tier_period == "BILLING" and tariff.billing_period is None:
        problems.append("billing_period: missing (tier_period BILLING needs it, such as {'anchor_day': 15})")
    for number, charge in enumerate(tariff.charges):
        if not isinstance(charge, EnergyCharge):
            continue
        path = f"charges[{number}]"
        if bool(charge.bands) == (charge.series is not None):
            problems.append(f"{path}: an energy charge has either bands or a series (expected exactly one of them)")
        for band_number, band in enumerate(charge.bands):
            problems += [
                f"{path}.bands[{band_number}].{field}: {sentence}" for field, sentence in tier_problems(band.tiers)
            ]
    return problems


def holes(tariff: Tariff) -> list[str]:
    """Return, each with its path, the first moment of each charge that none of its bands covers. Export may have holes.

    Every kind of day is tried that a calendar can bring: each season's edges in a common and in a leap year, with
    each weekday, and the holidays where they lie, each with its eve, whose windows may run past midnight.
    """
    if tariff.direction == "EXPORT":
        return []
    problems = []
    for number, charge in enumerate(tariff.charges):
        if isinstance(charge, EnergyCharge) and charge.bands:
            hole = _first_hole(tariff, charge)
            if hole is not None:
                problems.append(f"charges[{number}].bands: {hole}")
    return problems


def _first_hole(tariff: Tariff, charge: EnergyCharge) -> str | None:
    if any(not band.when for band in charge.bands):
        return None
    whens = [when for band in charge.bands for when in band.when]
    windows = WindowSet(whens)
    seen = set()
    for today, eve in _kinds_of_days(tariff, whens):
        key = windows.starting(*today), windows.starting(*eve)
        if key in seen:
            continue
        seen.add(key)
        held = 0
        for number in members(key[0] | key[1]):
            held |= windows.minutes(number, *key)
        if held != WHOLE_DAY:
            hour, minute = divmod(first_of(WHOLE_DAY & ~held), 60)
            on, day_name = today
            return f"no band covers {day_name} {hour:02d}:{minute:02d} in season {on.month:02d}-{on.day:02d}"
    return None


def _kinds_of_days(tariff: Tariff, whens: list[When]) -> Iterator[tuple[_Day, _Day]]:
    """Yield (day, its eve) so that every combination of season, weekday and holiday is among them."""
    dates = set()
    for year in (_LEAP_YEAR, _COMMON_YEAR):
        edges = {date(year, 1, 1)}
        for when in whens:
            last = _on_or_after(year, when.last)
            edges |= {_on_or_after(year, when.first), last, last + timedelta(days=1)}
        dates |= edges | {edge + timedelta(days=1) for edge in edges}
    for today in sorted(dates, key=lambda on: (on.month, on.day, on.year)):
        for number, day_name in enumerate(WEEKDAYS):
            yield (today, day_name), (today - timedelta(days=1), WEEKDAYS[number - 1])
    for holiday in sorted(tariff.holidays):
        for today in (holiday, min(holiday, date.max - timedelta(days=1)) + timedelta(days=1)):
            eve = max(today, date.min + timedelta(days=1)) - timedelta(days=1)
            yield (today, tariff.day_name(today)), (eve, tariff.day_name(eve))


def _on_or_after(year: int, at: tuple[int, int]) -> date:
    month, day = at
    if (month, day) == (2, 29) and year == _COMMON_YEAR:
        return date(year, 3, 1)
    return date(year, month, day)
