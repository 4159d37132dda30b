"""Windows as bits: which of them may start on a day, and which minutes of a day they hold.

A set of windows is an integer with a bit for each, a day's minutes one with 1440 bits. So it takes a moment to look at
every kind of day of a tariff with thousands of windows: whoever publishes such a document holds up nobody.
"""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Final

from app.domain.tariffs import DAY_NAMES, MINUTES_PER_DAY, DayName, When, in_season

WHOLE_DAY: Final = (1 << MINUTES_PER_DAY) - 1
"""All minutes of a day."""


class WindowSet:
    """Windows by number, in the order in which they are given."""

    __slots__ = ("_after_midnight", "_before_midnight", "_of_day", "_of_season", "_on_date")

    def __init__(self, whens: Sequence[When]) -> None:
        """Take the windows."""
        self._of_day: dict[DayName, int] = dict.fromkeys(DAY_NAMES, 0)
        self._of_season: dict[tuple[tuple[int, int], tuple[int, int]], int] = {}
        self._on_date: dict[tuple[int, int], int] = {}
        self._before_midnight: list[int] = []
        self._after_midnight: list[int] = []
        for number, when in enumerate(whens):
            season = when.first, when.last
            self._of_season[season] = self._of_season.get(season, 0) | 1 << number
            for name in when.days:
                self._of_day[name] |= 1 << number
            end = MINUTES_PER_DAY if when.wraps else when.end_minute
            self._before_midnight.append(_minutes(when.start_minute, end))
            self._after_midnight.append(_minutes(0, when.end_minute) if when.wraps else 0)

    def in_season(self, on: date) -> int:
        """Return the windows in whose season a date is."""
        at = on.month, on.day
        found = self._on_date.get(at)
        if found is None:
            found = 0
            for (first, last), windows in self._of_season.items():
                if in_season(first, last, on):
                    found |= windows
            self._on_date[at] = found
        return found

    def starting(self, on: date, day_name: DayName) -> int:
        """Return the windows that may start on a date, which counts as `day_name`."""
        return self.in_season(on) & self._of_day[day_name]

    def minutes(self, number: int, today: int, eve: int) -> int:
        """Return the minutes of a day that a window holds; `today` and `eve` are the windows that start on each."""
        held = self._before_midnight[number] if today >> number & 1 else 0
        return held | self._after_midnight[number] if eve >> number & 1 else held


def members(bits: int) -> Iterator[int]:
    """Yield the numbers of the bits that are set, in order."""
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest


def first_of(bits: int) -> int:
    """Return the number of the lowest bit that is set, of some."""
    return (bits & -bits).bit_length() - 1


def _minutes(start: int, end: int) -> int:
    return (1 << end) - (1 << start)
