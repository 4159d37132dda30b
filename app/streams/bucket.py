"""Bucket: a reading is put into the intervals of its meter, over whatever table holds them."""

from collections.abc import Iterable
from typing import Protocol

from app.domain.intervals import Bounds, Interval, Touched, Verdict, place, place_across, recut
from app.domain.records import MeterId, Reading, Rejected
from app.streams.validate import FindLocation, Meter
from app.wire.interval import instant_texts


class IntervalTable(Protocol):
    """Where the intervals of one partition are kept, by interval id; ids sort by time within a meter."""

    def get(self, interval_id: str) -> Interval | None:
        """Return the state of an interval, or None."""

    def put(self, interval_id: str, interval: Interval, meter: Meter) -> None:
        """Replace the state of an interval."""

    def note_first(self, interval_id: str) -> None:
        """Hear that an interval was never there before."""

    def newest_start_us(self, prefix: str) -> int | None:
        """Return the latest start among a meter's intervals, or None where it has none."""

    def scan(self, prefix: str, start_us: int, end_us: int) -> Iterable[Interval]:
        """Return a meter's intervals that start in [start_us, end_us), in order."""

    def grid_of(self, prefix: str) -> str | None:
        """Return the name of the grid on which a meter's intervals were cut, or None."""

    def put_grid(self, prefix: str, grid: str) -> None:
        """Remember the grid of a meter."""


_ALWAYS_US = (-(2**62), 2**62)


class Bucketer:
    """Puts the readings of one partition into its intervals, and keeps its meters at hand."""

    def __init__(self, table: IntervalTable, find_location: FindLocation) -> None:
        """Work on a table, with the locations that are known."""
        self._table = table
        self._find_location = find_location
        self.closed_us = 0
        """Intervals that end by then are closed: they stay as they are until they are deleted."""
        self._meters: dict[MeterId, Meter] = {}
        self._meters_of: dict[str, list[MeterId]] = {}

    def meter(self, meter_id: MeterId) -> Meter | None:
        """Return a meter, or None where its location is not known.

        A meter whose intervals were cut on another grid (its location's interval length or time zone has changed since) is
        cut again before it is used.
        """
        meter = self._meters.get(meter_id)
        if meter is None:
            location = self._find_location(meter_id.location_id)
            if location is None:
                return None
            meter = Meter(meter_id, location)
            self._settle(meter)
            self._meters[meter_id] = meter
            self._meters_of.setdefault(meter_id.location_id, []).append(meter_id)
        return meter

    def forget_location(self, location_id: str) -> None:
        """Look a location's document up again at the next record of it."""
        for meter_id in self._meters_of.pop(location_id, ()):
            del self._meters[meter_id]

    def place(self, reading: Reading, meter: Meter) -> Verdict | Rejected:
        """Place a reading, and put what changed into the table: all of it, or nothing."""
        bounds = meter.grid.bounds(reading.start_us)
        if reading.end_us <= bounds[1] and not meter.has_months:
            start_us = bounds[0]
            interval_id = meter.text.prefix + instant_texts[start_us]
            newest_us = meter.newest_start_us
            if newest_us is None or start_us > newest_us:
                # Beyond the meter's newest interval there is none, and the store is not asked.
                self._table.note_first(interval_id)
                self._table.put(interval_id, Interval(start_us, bounds[1], 1, True, (reading,)), meter)
                meter.newest_start_us = start_us
                return Verdict.ACCEPTED
            verdict, states = place(reading, bounds, self._table.get(interval_id))
            for changed in states:
                self._table.put(interval_id, changed, meter)
            return verdict
        verdict, states = place_across(reading, self._touched(reading, meter))
        for changed in states:
            self._table.put(meter.text.interval_id(changed.start_us), changed, meter)
            if meter.newest_start_us is None or changed.start_us > meter.newest_start_us:
                meter.newest_start_us = changed.start_us
            if not meter.has_months and changed.end_us - changed.start_us > meter.grid.interval_us:
                meter.has_months = True
                self._table.put_grid(meter.text.prefix, _grid_name(meter))
        return verdict

    def _touched(self, reading: Reading, meter: Meter) -> list[Touched]:
        """Return every interval that a reading takes part in, and every other one that it could take readings from."""
        table, text = self._table, meter.text
        if reading.end_us - reading.start_us > _DAY_US and meter.grid.month(reading.start_us, reading.end_us):
            bounds = (reading.start_us, reading.end_us)
            others = [i for i in table.scan(text.prefix, *bounds) if i.start_us != reading.start_us]
            return [(bounds, table.get(text.interval_id(reading.start_us))), *((None, other) for other in others)]
        touched: list[Touched] = []
        months: dict[int, Interval] = {}
        for bounds in self._bounds_of(meter, reading.start_us, reading.end_us):
            month = self._month_around(meter, bounds[0])
            if month is not None:
                months[month.start_us] = month
            if month is None or month.start_us != bounds[0]:
                touched.append((bounds, table.get(text.interval_id(bounds[0]))))
        if months and reading.start_us == reading.end_us:
            # An instant takes no time from the month that is one interval; it is in there like any other. What came before
            # the month's record, and is newer than that, is still where it was.
            return [
                *(((month.start_us, month.end_us), month) for month in months.values()),
                *((None, state) for _, state in touched),
            ]
        return touched + [(None, month) for month in months.values()]

    def _month_around(self, meter: Meter, at_us: int) -> Interval | None:
        """Return the interval that is the whole local month around an instant, where there is one."""
        if not meter.has_months:
            return None
        month_us, _ = meter.grid.calendar.month_bounds_us(at_us)
        state = self._table.get(meter.text.interval_id(month_us))
        return state if state is not None and state.end_us - state.start_us > meter.grid.interval_us else None

    @staticmethod
    def _bounds_of(meter: Meter, start_us: int, end_us: int) -> list[Bounds]:
        """Return the bounds of the intervals that a period touches; a whole local month is one interval of its own."""
        if end_us - start_us > _DAY_US and meter.grid.month(start_us, end_us):
            return [(start_us, end_us)]
        bounds = [meter.grid.bounds(start_us)]
        while bounds[-1][1] < end_us:
            bounds.append(meter.grid.bounds(bounds[-1][1]))
        return bounds

    def _settle(self, meter: Meter) -> None:
        """Bring a meter's stored intervals onto its location's grid, and learn how far they reach."""
        table, text = self._table, meter.text
        grid = _grid_name(meter)
        known = table.grid_of(text.prefix)
        if known is not None and known.endswith(_MONTHS):
            meter.has_months = True
            known = known.removesuffix(_MONTHS)
        if known is not None and known != grid:
            states = [state for state in table.scan(text.prefix, *_ALWAYS_US) if state.end_us > self.closed_us]
            for changed in recut(states, lambda start_us, end_us: self._bounds_of(meter, start_us, end_us)):
                table.put(text.interval_id(changed.start_us), changed, meter)
        if known != grid:
            table.put_grid(text.prefix, _grid_name(meter))
        # A meter without a grid has no intervals, for the two are put together; an iterator of the store would find none.
        meter.newest_start_us = None if known is None else table.newest_start_us(text.prefix)


def _grid_name(meter: Meter) -> str:
    """Return the name of a meter's grid, which changes when its intervals have to be cut again."""
    name = f"{meter.location.timezone}/{meter.location.interval_minutes}"
    return name + _MONTHS if meter.has_months else name


_MONTHS = "/months"
_DAY_US = 26 * 3_600_000_000
