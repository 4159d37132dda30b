"""Graduated tiers: the periods over which energy is counted, the bounds at which a rate ends, and where energy crosses them.

A counter belongs to one meter, one charge (or one band of it) and one tier period, and says how much energy was
charged so far. Energy is priced by where it lies between the bounds: [before, before + energy) falls into the first
tier up to its bound, into the second from there, and so on; the bound itself belongs to the lower tier.
"""

from bisect import bisect_left, bisect_right
from calendar import monthrange
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final, NamedTuple, Protocol, cast

from app.domain.calendar import calendar_for, date_of_day, day_of_date
from app.domain.tariffs import BillingPeriod, Tariff, Tier

BOUND_DECIMALS: Final = 9
"""A bound is a whole number of µWh: at most so many decimals of a kWh."""

_UWH_PER_KWH: Final[int] = 10**BOUND_DECIMALS
_MAX_PERIODS: Final = 1 << 12
_WHOLE_MONTH: Final = BillingPeriod()
_WHOLE_YEAR: Final = BillingPeriod(months=12)


class Counter(NamedTuple):
    """What counts together within a meter, a tariff and a tier period: a charge, or one band of it."""

    charge_id: str
    band: str | None


class Graduated(NamedTuple):
    """A rate that depends on how much a counter has counted."""

    counter: Counter
    tiers: tuple[Tier, ...]

    def bounds_uwh(self, days: int) -> tuple[int, ...]:
        """Return the bounds of all tiers but the last, in a tier period of so many local days."""
        return tuple(_bound_uwh(tier, days) for tier in self.tiers[:-1])


class TierPeriod(NamedTuple):
    """A tier period as UTC instants [start_us, end_us), and as numbers of local days [first_day, end_day)."""

    start_us: int
    end_us: int
    first_day: int
    end_day: int

    @property
    def days(self) -> int:
        """Return the number of local days in it."""
        return self.end_day - self.first_day


class Counts(Protocol):
    """How much energy a meter's other intervals have counted."""

    def before_uwh(self, tariff_id: str, period: TierPeriod, counter: Counter, start_us: int) -> int:
        """Return what intervals before the one that starts at `start_us` counted in a tier period."""


class NothingCounted:
    """Counts of a meter of which nothing is known: every interval is the first of its tier period."""

    def before_uwh(self, tariff_id: str, period: TierPeriod, counter: Counter, start_us: int) -> int:  # noqa: ARG002
        """Return 0."""
        return 0


NOTHING_COUNTED: Final = NothingCounted()


class TierPeriods:
    """The tier periods of one tariff by instant, remembered."""

    __slots__ = ("_billing", "_calendar", "_days", "_periods")

    def __init__(self, tariff: Tariff) -> None:
        """Take a tariff's zone and its `tier_period`."""
        self._calendar = calendar_for(tariff.timezone)
        self._periods: dict[int, TierPeriod] = {}
        self._days: dict[int, TierPeriod] = {}
        self._billing: BillingPeriod | None = None
        if tariff.tier_period != "P1D":
            named = {"P1M": _WHOLE_MONTH, "P1Y": _WHOLE_YEAR, "BILLING": tariff.billing_period or _WHOLE_MONTH}
            self._billing = named[tariff.tier_period]

    def around(self, at_us: int) -> TierPeriod:
        """Return the tier period that holds an instant. Hot: locations share few instants."""
        known = self._periods.get(at_us)
        if known is None:
            if len(self._periods) >= _MAX_PERIODS:
                self._periods.clear()
            known = self._periods[at_us] = self._find(self._calendar.day_number(at_us))
        return known

    def day(self, at_us: int) -> int:
        """Return the number of the local day that holds an instant."""
        return self._calendar.day_number(at_us)

    def day_start_us(self, day: int) -> int:
        """Return the first instant of a local day."""
        return self._calendar.day_start_us(date_of_day(day))

    def _find(self, day: int) -> TierPeriod:
        known = self._days.get(day)
        if known is not None:
            return known
        if len(self._days) >= _MAX_PERIODS:
            self._days.clear()
        first, end = (day, day + 1) if self._billing is None else billing_days(self._billing, date_of_day(day))
        found = TierPeriod(self.day_start_us(first), self.day_start_us(end), first, end)
        self._days[day] = found
        return found


def billing_days(billing: BillingPeriod, on: date) -> tuple[int, int]:
    """Return the billing period around a local date, as numbers of days [first, end)."""
    month = on.year * 12 + on.month - 1
    month -= (month - (billing.anchor_month - 1)) % billing.months
    if _anchored(billing, month) > day_of_date(on):
        month -= billing.months
    return _anchored(billing, month), _anchored(billing, month + billing.months)


def _anchored(billing: BillingPeriod, month: int) -> int:
    """Return the number of the day on which a period begins in a month (counted from year 0)."""
    year, month_index = divmod(month, 12)
    _, last_day = monthrange(year, month_index + 1)
    return day_of_date(date(year, month_index + 1, min(billing.anchor_day, last_day)))


def tier_of(bounds_uwh: Sequence[int], before_uwh: int, energy_uwh: int) -> int | None:
    """Return the number (from 0) of the tier that holds all of some energy; None where it crosses a bound.

    Energy of zero lies where the counter stands; a counter that stands on a bound is in the lower tier.
    """
    last = bisect_left(bounds_uwh, before_uwh + energy_uwh)
    if energy_uwh == 0 or last == bisect_right(bounds_uwh, before_uwh):
        return last
    return None


def tiers_of(bounds_uwh: Sequence[int], before_uwh: int, energy_uwh: int) -> list[tuple[int, int]]:
    """Return (number of the tier from 0, energy in it) of some energy, in the order in which it is counted."""
    only = tier_of(bounds_uwh, before_uwh, energy_uwh)
    if only is not None:
        return [(only, energy_uwh)]
    tier = bisect_right(bounds_uwh, before_uwh)
    end_uwh = before_uwh + energy_uwh
    found = []
    while before_uwh < end_uwh:
        upto_uwh = min(bounds_uwh[tier], end_uwh) if tier < len(bounds_uwh) else end_uwh
        found.append((tier, upto_uwh - before_uwh))
        before_uwh = upto_uwh
        tier += 1
    return found


def crossing_us(start_us: int, end_us: int, parts: Sequence[Any], energy_uwh: int) -> int:
    """Return when the energy of `parts` within [start_us, end_us) reaches an amount, at constant power in each part.

    `parts` are (start_us, end_us, energy_uwh, …) in order of time; what each gives up to an instant is rounded down,
    as where an interval is cut at a boundary.
    """
    at_us = start_us
    for part in parts:
        part_start_us, part_end_us, part_uwh = cast("tuple[int, int, int]", part[:3])
        if part_end_us <= start_us or part_start_us >= end_us or part_uwh == 0:
            continue
        duration_us = part_end_us - part_start_us
        from_us, to_us = max(part_start_us, start_us), min(part_end_us, end_us)
        given_uwh = part_uwh * (from_us - part_start_us) // duration_us
        held_uwh = part_uwh * (to_us - part_start_us) // duration_us - given_uwh
        if energy_uwh <= held_uwh:
            at_us = part_start_us + duration_us * (given_uwh + energy_uwh) // part_uwh
            return min(max(at_us, from_us), to_us)
        energy_uwh -= held_uwh
        at_us = to_us
    return at_us


def tier_problems(tiers: Sequence[Tier]) -> Iterator[tuple[str, str]]:
    """Yield (path in the band, sentence) for everything that is wrong with a band's tiers."""
    if not tiers:
        yield "tiers", "empty (expected one tier with its rate)"
    last = len(tiers) - 1
    for number, tier in enumerate(tiers):
        field, bound = _bound_of(tier)
        sentence = _bound_problem(tier, bound, is_last=number == last)
        if sentence is not None:
            yield f"tiers[{number}].{field}", sentence
    for number, (one, other) in enumerate(pairwise(tiers[:-1]), start=1):
        (before_field, before), (field, bound) = _bound_of(one), _bound_of(other)
        if before is None or bound is None:
            continue
        if field != before_field:
            yield (
                f"tiers[{number}].{field}",
                f"the tier before has {before_field} (expected the same for all of a band)",
            )
        elif bound <= before:
            yield f"tiers[{number}].{field}", f"'{bound}' is not above the tier before it ('{before}')"


def _bound_problem(tier: Tier, bound: Decimal | None, *, is_last: bool) -> str | None:
    if tier.up_to_kwh is not None and tier.up_to_kwh_per_day is not None:
        return "a tier has one bound (expected up_to_kwh or up_to_kwh_per_day, not both)"
    if bound is None:
        return None if is_last else "null before the last tier (expected a bound)"
    if is_last:
        return f"'{bound}' bounds the last tier (expected null)"
    if bound * _UWH_PER_KWH % 1 != 0:
        return f"'{bound}' has more than {BOUND_DECIMALS} decimals (expected whole µWh)"
    return None


def _bound_of(tier: Tier) -> tuple[str, Decimal | None]:
    if tier.up_to_kwh_per_day is not None:
        return "up_to_kwh_per_day", tier.up_to_kwh_per_day
    return "up_to_kwh", tier.up_to_kwh


def _bound_uwh(tier: Tier, days: int) -> int:
    if tier.up_to_kwh_per_day is not None:
        return int(tier.up_to_kwh_per_day * _UWH_PER_KWH) * days
    if tier.up_to_kwh is None:
        raise ValueError("only the last tier has no bound")
    return int(tier.up_to_kwh * _UWH_PER_KWH)
