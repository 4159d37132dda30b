"""Local time: where days and months begin and end, and the grid of intervals that hangs from local midnight.

Time is stepped in UTC; local time is only ever looked up. A local day has 23, 24 or 25 hours, in some places 23.5 or
24.5, its midnight may not exist (Beirut, Cairo, Santiago) or stand twice (Havana), and a whole date may be missing
(Apia, 2011-12-30). The rules are those of the `tzdata` package, not of the machine: two workers must agree on where a
day begins.
"""

from bisect import bisect_right
from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from typing import Final
from zoneinfo import ZoneInfo

from app.domain.instants import US_PER_MINUTE, US_PER_SECOND

US_PER_DAY: Final = 86_400 * US_PER_SECOND
INTERVAL_MINUTES: Final = (5, 10, 15, 30, 60)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()
_MAX_ORDINAL: Final = date.max.toordinal()
_FIRST_US: Final = (datetime(1, 1, 3, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_LAST_US: Final = (datetime(9999, 12, 28, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)

_BLOCK_DAYS: Final = 128
_BLOCK_US: Final = _BLOCK_DAYS * US_PER_DAY
_REACH_US: Final = 26 * 3600 * US_PER_SECOND
"""No zone is further from UTC than this."""

_MAX_BLOCKS: Final = 1 << 10
_MAX_DAYS: Final = 1 << 14
_MAX_INSTANTS: Final = 1 << 16


class UnknownTimezoneError(ValueError):
    """A text that names no zone of the IANA time zone database."""


@lru_cache(maxsize=1)
def timezones() -> frozenset[str]:
    """Return the names of all zones that the tzdata package knows."""
    return frozenset(files("tzdata").joinpath("zones").read_text(encoding="ascii").split())


def _load_zone(timezone: str) -> ZoneInfo:
    """Return the rules of a zone as the tzdata package has them.

    Raises:
        UnknownTimezoneError: there is no such zone.

    """
    if timezone not in timezones():
        message = f"{timezone!r} is not a time zone (expected a name such as 'Europe/London')"
        raise UnknownTimezoneError(message)
    with files("tzdata").joinpath("zoneinfo", *timezone.split("/")).open("rb") as rules:
        return ZoneInfo.from_file(rules, key=timezone)


def date_of_day(day: int) -> date:
    """Return the date of a day number (0 is 1970-01-01), held within the years 1 to 9999."""
    return date.fromordinal(min(max(day + _EPOCH_ORDINAL, 1), _MAX_ORDINAL))


def day_of_date(on: date) -> int:
    """Return the day number of a date (0 is 1970-01-01)."""
    return on.toordinal() - _EPOCH_ORDINAL


class LocalCalendar:
    """Days and months of one time zone as spans of UTC instants. Answers are remembered; the memory is bounded.

    Where clocks go back over midnight a date stands twice. A day is then the span from the first instant of its date
    to the first instant of the next one, so that days tile all of time; `local_date` still tells what the clock on
    the wall shows.
    """

    __slots__ = ("_blocks", "_day_starts", "_zone", "timezone")

    def __init__(self, timezone: str) -> None:
        """Load the zone's rules.

        Raises:
            UnknownTimezoneError: there is no such zone.

        """
        self.timezone = timezone
        self._zone = _load_zone(timezone)
        self._blocks: dict[int, tuple[list[int], list[int]]] = {}
        self._day_starts: dict[int, int] = {}

    def offset_us(self, at_us: int) -> int:
        """Return local time minus UTC at an instant, in µs (east is positive)."""
        starts, offsets = self._block(at_us // _BLOCK_US)
        return offsets[bisect_right(starts, at_us) - 1]

    def offset_changes(self, start_us: int, end_us: int) -> list[int]:
        """Return the instants inside (start_us, end_us) at which the offset changes, in order."""
        return [start for start, _, _ in self.pieces(start_us, end_us)[1:]]

    def pieces(self, start_us: int, end_us: int) -> list[tuple[int, int, int]]:
        """Return [start_us, end_us) as (start_us, end_us, offset_us), cut where the offset changes."""
        cuts: list[tuple[int, int]] = []
        for number in range(start_us // _BLOCK_US, -(-end_us // _BLOCK_US)):
            for start, offset in zip(*self._block(number), strict=True):
                if start <= start_us:
                    cuts = [(start_us, offset)]
                elif start < end_us and offset != cuts[-1][1]:
                    cuts.append((start, offset))
        ends = [start for start, _ in cuts[1:]] + [end_us]
        return [(start, end, offset) for (start, offset), end in zip(cuts, ends, strict=True) if start < end]

    def local_date(self, at_us: int) -> date:
        """Return the date on the wall at an instant."""
        return date_of_day((at_us + self.offset_us(at_us)) // US_PER_DAY)

    def day_start_us(self, on: date) -> int:
        """Return the first instant whose local date is `on` (or later, for a date that the zone skipped)."""
        return self._day_start_us(day_of_date(on))

    def day_bounds_us(self, at_us: int) -> tuple[int, int]:
        """Return the local day around an instant as [start_us, end_us)."""
        day = self.day_number(at_us)
        return self._day_start_us(day), self._day_start_us(day + 1)

    def month_bounds_us(self, at_us: int) -> tuple[int, int]:
        """Return the local calendar month around an instant as [start_us, end_us)."""
        on = date_of_day(self.day_number(at_us))
        first = on.replace(day=1)
        _, days_in_month = monthrange(first.year, first.month)
        return self.day_start_us(first), self._day_start_us(day_of_date(first) + days_in_month)

    def day_number(self, at_us: int) -> int:
        """Return the number of the day whose span holds an instant (0 is 1970-01-01)."""
        day = (at_us + self.offset_us(at_us)) // US_PER_DAY
        while self._day_start_us(day) > at_us:
            day -= 1
        while self._day_start_us(day + 1) <= at_us:
            day += 1
        return day

    def _day_start_us(self, day: int) -> int:
        start = self._day_starts.get(day)
        if start is None:
            if len(self._day_starts) >= _MAX_DAYS:
                self._day_starts.clear()
            start = self._day_starts[day] = self._find_day_start_us(day)
        return start

    def _find_day_start_us(self, day: int) -> int:
        """Return the first instant of date `day` or later: clocks may step over midnight, or back."""
        midnight = day * US_PER_DAY
        for start, end, offset in self.pieces(midnight - _REACH_US, midnight + _REACH_US):
            at = max(start, midnight - offset)
            if at < end:
                return at
        message = f"{self.timezone} has no midnight near day {day}"
        raise AssertionError(message)

    def _block(self, number: int) -> tuple[list[int], list[int]]:
        """Return (starts, offsets) of the spans of one offset in a block of days; the first starts with the block."""
        block = self._blocks.get(number)
        if block is None:
            if len(self._blocks) >= _MAX_BLOCKS:
                self._blocks.clear()
            block = self._blocks[number] = self._scan(number * _BLOCK_US)
        return block

    def _scan(self, start_us: int) -> tuple[list[int], list[int]]:
        """Find the offset changes of one block: a look at each day, and halving where two looks differ.

        Changes are seconds apart from no other change in any zone's history, so that one look a day misses none that
        matter.
        """
        starts, offsets = [start_us], [self._look(start_us)]
        for low in range(start_us, start_us + _BLOCK_US, US_PER_DAY):
            before, high = offsets[-1], low + US_PER_DAY
            if self._look(high) == before:
                continue
            while high - low > US_PER_SECOND:
                middle = (low + high) // 2 // US_PER_SECOND * US_PER_SECOND
                if self._look(middle) == before:
                    low = middle  # noqa: PLW2901 - the bracket closes in on the change
                else:
                    high = middle
            if high < start_us + _BLOCK_US:
                starts.append(high)
                offsets.append(self._look(high))
        return starts, offsets

    def _look(self, at_us: int) -> int:
        """Ask the zone for its offset, in µs. Outside the years 1 to 9999 it is that of the nearest instant inside."""
        at = _EPOCH + timedelta(microseconds=min(max(at_us, _FIRST_US), _LAST_US))
        offset = at.astimezone(self._zone).utcoffset() or timedelta()
        return offset // timedelta(microseconds=1)


class IntervalGrid:
    """The intervals of one zone and length: stepped in UTC from local midnight, the last cut at the next midnight."""

    __slots__ = ("_bounds", "calendar", "interval_minutes", "interval_us")

    def __init__(self, calendar: LocalCalendar, interval_minutes: int) -> None:
        """Take a calendar and one of the lengths in INTERVAL_MINUTES."""
        if interval_minutes not in INTERVAL_MINUTES:
            message = f"{interval_minutes} is not an interval length (expected one of {INTERVAL_MINUTES} minutes)"
            raise ValueError(message)
        self.calendar = calendar
        self.interval_minutes = interval_minutes
        self.interval_us = interval_minutes * US_PER_MINUTE
        self._bounds: dict[int, tuple[int, int]] = {}

    def bounds(self, at_us: int) -> tuple[int, int]:
        """Return the interval around an instant as [start_us, end_us). Hot: locations share few instants."""
        hit = self._bounds.get(at_us)
        return hit if hit is not None else self._find(at_us)

    def month(self, start_us: int, end_us: int) -> bool:
        """Tell whether a period is exactly one local calendar month."""
        return self.calendar.month_bounds_us(start_us) == (start_us, end_us)

    def _find(self, at_us: int) -> tuple[int, int]:
        if len(self._bounds) >= _MAX_INSTANTS:
            self._bounds.clear()
        day_start, day_end = self.calendar.day_bounds_us(at_us)
        start = at_us - (at_us - day_start) % self.interval_us
        found = self._bounds[at_us] = (start, min(start + self.interval_us, day_end))
        return found


@lru_cache(maxsize=1024)
def calendar_for(timezone: str) -> LocalCalendar:
    """Return the one calendar of a zone.

    Raises:
        UnknownTimezoneError: there is no such zone.

    """
    return LocalCalendar(timezone)


@lru_cache(maxsize=4096)
def grid_for(timezone: str, interval_minutes: int) -> IntervalGrid:
    """Return the one grid of a zone and an interval length, with all that it remembers.

    Raises:
        UnknownTimezoneError: there is no such zone.

    """
    return IntervalGrid(calendar_for(timezone), interval_minutes)
