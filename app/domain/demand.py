"""Demand: the mean power of measurement windows, and the highest of them in each band.

A window is as long as the charge says, aligned to the local midnight of the tariff's zone; the last one of a day ends
with the day. Its mean power is the energy in it divided by its whole length: where readings are missing, what is there
counts. An interval that does not lie in one window gives each its share at constant power, so that one longer than a
window counts with its mean power.
"""

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple

from app.domain.band_times import BandTimes
from app.domain.calendar import IntervalGrid, date_of_day, grid_for
from app.domain.tariffs import DemandBand, DemandCharge, Tariff

_UWH_PER_KWH: Final = 10**9
_US_PER_HOUR: Final = 3_600_000_000

Measured = tuple[int, int, int]
"""An interval's start_us, end_us and energy_uwh."""


class Peak(NamedTuple):
    """The highest mean power in kW, and the start of the window that showed it first; None: nothing was measured."""

    kw: Fraction
    at_us: int | None


class InTier(NamedTuple):
    """The part of a demand that lies in one tier, by number from 1."""

    tier: int
    kw: Fraction
    rate: Decimal


NO_DEMAND: Final = Peak(Fraction(0), None)


def window_energies(measured: Iterable[Measured], grid: IntervalGrid) -> dict[int, Fraction]:
    """Return the energy in µWh of each window, by its start, in which there is any interval."""
    windows: dict[int, Fraction] = {}
    for start_us, end_us, energy_uwh in measured:
        at_us = start_us
        while at_us < end_us:
            window_start_us, window_end_us = grid.bounds(at_us)
            until_us = min(window_end_us, end_us)
            share = Fraction(energy_uwh * (until_us - at_us), end_us - start_us)
            windows[window_start_us] = windows.get(window_start_us, Fraction(0)) + share
            at_us = until_us
    return windows


def longest_us(measured: Iterable[Measured]) -> int:
    """Return the length of the longest interval, in µs."""
    return max((end_us - start_us for start_us, end_us, _ in measured), default=0)


class DemandMeter:
    """Measures one demand charge: the peak of each band over some local days."""

    __slots__ = ("_bands", "_calendar", "_energies", "_grid")

    def __init__(self, tariff: Tariff, charge: DemandCharge, measured: Sequence[Measured]) -> None:
        """Take the energies of the meters that the charge is for; where there are several they are added up."""
        self._grid = grid_for(tariff.timezone, charge.measurement_minutes)
        self._calendar = self._grid.calendar
        self._energies = window_energies(measured, self._grid)
        self._bands = BandTimes(tariff, charge.bands)

    def peaks(self, days: Iterable[int]) -> dict[int, Peak]:
        """Return the peak of each band, by its number, of which a window begins on one of the days (in order)."""
        found: dict[int, Peak] = {}
        for start_us, end_us in self._windows(days):
            band = self._bands.at(start_us)
            if band is None:
                continue
            best = found.setdefault(band, NO_DEMAND)
            energy_uwh = self._energies.get(start_us)
            if energy_uwh is None:
                continue
            kw = energy_uwh * _US_PER_HOUR / (_UWH_PER_KWH * (end_us - start_us))
            if best.at_us is None or kw > best.kw:
                found[band] = Peak(kw, start_us)
        return found

    def _windows(self, days: Iterable[int]) -> Iterator[tuple[int, int]]:
        for day in days:
            at_us = self._calendar.day_start_us(date_of_day(day))
            end_us = self._calendar.day_start_us(date_of_day(day + 1))
            while at_us < end_us:
                yield self._grid.bounds(at_us)
                _, at_us = self._grid.bounds(at_us)


def in_tiers(charge_band: DemandBand, kw: Fraction) -> list[InTier]:
    """Cut a demand at the bounds of a band's tiers; a bound belongs to the tier below it. No demand is in the first."""
    found = []
    below = Fraction(0)
    for number, tier in enumerate(charge_band.tiers, start=1):
        upto = kw if tier.up_to_kw is None else min(Fraction(tier.up_to_kw), kw)
        if upto > below or number == 1:
            found.append(InTier(number, upto - below, tier.rate))
        below = max(below, upto)
    return found
