"""Series: prices and carbon over time, known by UTC date, looked up by instant. A gap is a gap, never a neighbour's value."""

from bisect import bisect_right
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow
from typing import Final

from app.domain.calendar import US_PER_DAY
from app.domain.tariffs import SeriesDay, SeriesRate

_EXACT: Final = Context(prec=400, traps=[Inexact, InvalidOperation, Overflow])
"""Wide enough for every product of rates that documents may hold; anything inexact would raise."""


class SeriesTable:
    """The points known of one series, by UTC date."""

    __slots__ = ("_days",)

    def __init__(self) -> None:
        """Begin with no points."""
        self._days: dict[int, tuple[SeriesDay, list[int]]] = {}

    def put(self, day: SeriesDay) -> None:
        """Take the points of one UTC date in place of those known."""
        self._days[day.day] = (day, [point.start_us for point in day.points])

    def remove(self, day: SeriesDay) -> None:
        """Forget the points of one UTC date."""
        self._days.pop(day.day, None)

    def point(self, at_us: int, unit: str) -> tuple[int, Decimal | None]:
        """Return (until when, value) at an instant; a gap or another unit is None: never a neighbour's value."""
        number = at_us // US_PER_DAY
        day_end = (number + 1) * US_PER_DAY
        known = self._days.get(number)
        if known is None or known[0].unit != unit:
            return day_end, None
        day, starts = known
        index = bisect_right(starts, at_us)
        if index and at_us < day.points[index - 1].end_us:
            return day.points[index - 1].end_us, day.points[index - 1].value
        return (starts[index] if index < len(starts) else day_end), None


def series_rate(rule: SeriesRate, value: Decimal) -> Decimal:
    """Return the rate that a value means: value * multiplier + adder, at most the cap, then at least the floor."""
    rate = _EXACT.add(_EXACT.multiply(value, rule.multiplier), rule.adder)
    if rule.cap is not None:
        rate = min(rate, rule.cap)
    if rule.floor is not None:
        rate = max(rate, rule.floor)
    return rate
