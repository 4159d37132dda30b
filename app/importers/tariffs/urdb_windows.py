"""URDB schedules, 12 months by 24 hours with the number of a period in each, as bands with windows of ours."""

from calendar import monthrange
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

MONTHS: Final = 12
HOURS: Final = 24
_LEAP_YEAR: Final = 2024
_WEEK: Final[tuple[str, ...]] = ("MON", "TUE", "WED", "THU", "FRI")
_WEEKEND: Final[tuple[str, ...]] = ("SAT", "SUN", "HOL")

Month = Sequence[int]


class Schedule(NamedTuple):
    """The number of the period at each hour of each month, 12 by 24."""

    weekday: Sequence[Month]
    weekend: Sequence[Month]

    @property
    def used(self) -> list[int]:
        """Return the periods that stand in it, in order."""
        return sorted({period for days in self for month in days for period in month})


def monthly(periods: Month) -> Schedule:
    """Return the schedule of periods that hold for whole months."""
    table = [[period] * HOURS for period in periods]
    return Schedule(table, table)


def bands_of(schedule: Schedule, tiers_of: Callable[[int], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return a band for each period; the one that would need most windows comes last, and takes what is left."""
    windows = {number: windows_of(schedule, number) for number in schedule.used}
    rest = max(windows, key=lambda number: len(windows[number]))
    windows[rest] = []
    order = sorted(windows, key=lambda number: (number == rest, number))
    return [{"name": f"period-{number}", "when": windows[number], "tiers": tiers_of(number)} for number in order]


def windows_of(schedule: Schedule, period: int) -> list[dict[str, Any]]:
    """Return the windows in which a period holds: equal hours of adjoining months, and of all days, are one."""
    months_of: dict[tuple[int, int, tuple[str, ...]], set[int]] = {}
    for month in range(MONTHS):
        week = _runs(schedule.weekday[month], period)
        weekend = _runs(schedule.weekend[month], period)
        for days, runs in (((), week & weekend), (_WEEK, week - weekend), (_WEEKEND, weekend - week)):
            for start, end in runs:
                months_of.setdefault((start, end, days), set()).add(month)
    found = []
    for (start, end, days), months in months_of.items():
        for first, last in _seasons(months):
            window: dict[str, Any] = {}
            if (last + 1 - first) % MONTHS:
                _, last_day = monthrange(_LEAP_YEAR, last + 1)
                window |= {"from": f"{first + 1:02d}-01", "to": f"{last + 1:02d}-{last_day:02d}"}
            if days:
                window["days"] = list(days)
            found.append((first, days, start, {**window, "start": f"{start:02d}:00", "end": f"{end:02d}:00"}))
    return [window for *_, window in sorted(found, key=lambda item: item[:3])]


def _runs(hours: Month, period: int) -> set[tuple[int, int]]:
    """Return the stretches of a day, [start hour, end hour), in which a period holds."""
    held = [hour for hour in range(HOURS) if hours[hour] == period]
    starts = [hour for hour in held if hour - 1 not in held]
    ends = [hour + 1 for hour in held if hour + 1 not in held]
    return set(zip(starts, ends, strict=True))


def _seasons(months: set[int]) -> list[tuple[int, int]]:
    """Return stretches of adjoining months as (first, last), which may run over new year."""
    if len(months) == MONTHS:
        return [(0, MONTHS - 1)]
    found = []
    for first in sorted(month for month in months if (month - 1) % MONTHS not in months):
        last = first
        while (last + 1) % MONTHS in months:
            last = (last + 1) % MONTHS
        found.append((first, last))
    return found
