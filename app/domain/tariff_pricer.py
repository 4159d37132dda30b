"""One tariff's rates by instant: its timeline, with the values of series and the bounds of tiers looked up."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from app.domain.rates import AmountMemory, Rates
from app.domain.series import SeriesTable, series_rate
from app.domain.tariffs import EnergyCharge, SeriesRate, Tariff
from app.domain.tiers import Counter, Graduated, TierPeriod, TierPeriods
from app.domain.timeline import ChargeRate, Timeline

_MAX_CELLS: Final = 1 << 13
_MAX_RATES: Final = 1 << 12


class Ladder(NamedTuple):
    """The tier period at an instant, and the counter and the bounds of each charge that is graduated there."""

    period: TierPeriod
    lines: tuple[tuple[Counter, tuple[int, ...]], ...]


class Cell(NamedTuple):
    """What holds at an instant: until when, the rates, and the ladder of a tariff that has graduated charges."""

    end_us: int
    rates: Rates
    ladder: Ladder | None


def counters_of(tariff: Tariff) -> frozenset[Counter]:
    """Return the counters that a tariff's graduated charges need."""
    return frozenset(
        Counter(charge.charge_id, band.name if charge.tier_scope == "band" else None)
        for charge in tariff.charges
        if isinstance(charge, EnergyCharge)
        for band in charge.bands
        if len(band.tiers) > 1
    )


class TariffPricer:
    """One tariff's rates by instant. `cells` remembers what holds at the instants asked for.

    `counted` are the counters of all versions of the tariff: what one of them prices counts towards the tiers of another.
    """

    __slots__ = (
        "_beside",
        "_cell",
        "_cell_us",
        "_memory",
        "_rates",
        "_tables",
        "_timeline",
        "cells",
        "counted",
        "counters",
        "periods",
        "tariff",
    )

    def __init__(self, tariff: Tariff, tables: Mapping[str, SeriesTable], memory: AmountMemory) -> None:
        """Compile a tariff; `tables` holds every series that it follows.

        Raises:
            ValueError: it asks for what cannot be priced.

        """
        self.tariff = tariff
        self.counters = counters_of(tariff)
        self.counted = self.counters
        self.periods = TierPeriods(tariff)
        self._beside: tuple[TierPeriods, ...] = ()
        self.cells: dict[int, Cell] = {}
        self._cell: Cell | None = None
        self._cell_us = 0
        self._timeline = Timeline(tariff)
        self._tables = {series_id: tables[series_id] for series_id in tariff.series_ids}
        self._rates: dict[tuple[ChargeRate, ...], Rates] = {}
        self._memory = memory

    def cell(self, at_us: int) -> Cell:
        """Return what holds at an instant, and remember it."""
        if len(self.cells) >= _MAX_CELLS:
            self.cells.clear()
        if self._cell is not None and self._cell_us <= at_us < self._cell.end_us:
            # Nothing changes before its end: who asks in order of time is soon answered.
            self.cells[at_us] = self._cell
            return self._cell
        segment = self._timeline.segment(at_us)
        end_us, charges = segment.end_us, segment.charges
        if self._tables:
            end_us, charges = self._looked_up(at_us, end_us, charges)
        rates = self._rates.get(charges)
        if rates is None:
            if len(self._rates) >= _MAX_RATES:
                self._rates.clear()
            rates = self._rates[charges] = Rates(self.tariff, charges, self._memory)
        ladder = None
        if self.counters:
            period = self.periods.around(at_us)
            end_us = min(end_us, period.end_us)
            ladder = Ladder(period, tuple((line.counter, line.bounds_uwh(period.days)) for line in rates.graduated))
        for periods in self._beside:
            end_us = min(end_us, periods.around(at_us).end_us)
        self._cell_us = at_us
        found = self._cell = self.cells[at_us] = Cell(end_us, rates, ladder)
        return found

    def stand_beside(self, versions: Sequence["TariffPricer"]) -> None:
        """Take all versions of the tariff: energy counts apart where a tier period of any of them begins."""
        self.counted = frozenset[Counter]().union(*(version.counters for version in versions))
        self._beside = tuple(version.periods for version in versions if version is not self and version.counters)
        self.forget()

    def counts_anew(self, at_us: int) -> bool:
        """Tell whether a tier period of another version begins at an instant."""
        return any(periods.around(at_us).start_us == at_us for periods in self._beside)

    def forget(self) -> None:
        """Forget what was looked up in series: one of them has changed."""
        self.cells.clear()
        self._cell = None

    def bounds_uwh(self, counter: Counter, days: int) -> set[int]:
        """Return every bound that a counter meets, in any band, in a tier period of so many local days."""
        return {
            bound
            for charge in self.tariff.charges
            if isinstance(charge, EnergyCharge) and charge.charge_id == counter.charge_id
            for band in charge.bands
            if counter.band in {None, band.name}
            for bound in Graduated(counter, band.tiers).bounds_uwh(days)
        }

    def _looked_up(
        self, at_us: int, end_us: int, charges: tuple[ChargeRate, ...]
    ) -> tuple[int, tuple[ChargeRate, ...]]:
        """Put the series' values at an instant in the place of the series."""
        unit = f"{self.tariff.currency}/kWh"
        found = []
        for charge in charges:
            rate = charge.rate
            if isinstance(rate, SeriesRate):
                until_us, value = self._tables[rate.series_id].point(at_us, unit)
                end_us = min(end_us, until_us)
                rate = None if value is None else series_rate(rate, value)
            found.append(charge._replace(rate=rate))
        return end_us, tuple(found)
