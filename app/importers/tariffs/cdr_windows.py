"""Time of use windows of a Consumer Data Right plan: what their ends mean, and whether they tile the week.

The standard gives a window days, `startTime` and `endTime`, and says neither whether the end belongs to the window nor
which day the part after midnight belongs to. Publishers differ: "20:59" ends where "21:00" begins in one plan, "21:00"
does in another. So each reading is tried, and the one holds by which the windows of a tariff period price every moment
of a week exactly once. "00:00" as an end is midnight in all of them.

Windows are cut at midnight: a tariff period ends with a day, and a window that ran on would take its price along.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

from app.domain.tariffs import DAY_NAMES, HOLIDAY, MINUTES_PER_DAY, WEEKDAYS, DayName
from app.importers.tariffs.cdr_fields import WHOLE_YEAR, Season, cover_whole_year, refuse_unknown
from app.importers.tariffs.common import Part
from app.wire.documents import shown

EVERY_WEEKDAY: Final = frozenset(WEEKDAYS)
EVERY_DAY: Final = frozenset(DAY_NAMES)
_DAYS: Final[dict[str, DayName]] = {**{name: name for name in WEEKDAYS}, "PUBLIC_HOLIDAYS": HOLIDAY}
_CLOCK: Final = re.compile(r"T?(\d{1,2}):(\d{2})(?::(00|59))?", re.ASCII)
_WINDOW_FIELDS: Final = frozenset({"days", "startTime", "endTime", "additionalInfo", "additionalInfoUri"})
_ROUND_MINUTES: Final = 5


class Window(NamedTuple):
    """A window as it is written: `end` is the minute that the plan names, whatever that means."""

    days: frozenset[DayName]
    start: int
    end: int


class Slot(NamedTuple):
    """A span [start, end) of minutes within each of some days."""

    days: frozenset[DayName]
    start: int
    end: int


class Reading(NamedTuple):
    """What the end of a window means, and whether its part after midnight belongs to the next day."""

    inclusive: bool
    into_next_day: bool

    def __str__(self) -> str:
        """Return it as words."""
        end = "ends read as inclusive minutes" if self.inclusive else "ends read as exclusive"
        return f"{end}, parts after midnight on the {'next' if self.into_next_day else 'same'} day"


Bands = Sequence[Sequence[Window]]
"""The windows of each rate of a tariff period."""

WHOLE_DAY: Final = Slot(EVERY_DAY, 0, MINUTES_PER_DAY)
_READINGS: Final = tuple(Reading(inclusive, into) for into in (True, False) for inclusive in (True, False))


# --- Reading ---------------------------------------------------------------------------------------------------------


def read_window(item: Mapping[str, Any], path: str, refused: list[Part], *, days_needed: bool = True) -> Window | None:
    """Return a window; times that are absent are the ends of the day. None, and refusals, where it is none."""
    before = len(refused)
    refuse_unknown(item, _WINDOW_FIELDS, f"{path}.", refused)
    if item.get("startTime") is None and item.get("endTime") is None and item.get("additionalInfo"):
        reason = f"the plan does not say when, but in words: {shown(item['additionalInfo'])}"
        refused.append(Part(f"{path}.additionalInfo", reason))
    days = read_days(item.get("days"), f"{path}.days", refused, needed=days_needed)
    start = read_clock(item.get("startTime"), f"{path}.startTime", refused)
    end = read_clock(item.get("endTime"), f"{path}.endTime", refused)
    return Window(days, start % MINUTES_PER_DAY, end) if len(refused) == before else None


def read_days(value: Any, path: str, refused: list[Part], *, needed: bool) -> frozenset[DayName]:
    """Return the days of a list; every weekday where there may be no list."""
    if not value and not needed:
        return EVERY_WEEKDAY
    if not isinstance(value, list) or not value:
        refused.append(Part(path, f"{shown(value)}: the plan does not say on which days (expected such as ['MON'])"))
        return frozenset()
    for number, name in enumerate(value):
        if not isinstance(name, str) or name not in _DAYS:
            refused.append(Part(f"{path}[{number}]", f"{shown(name)} is not a day (expected one of {[*_DAYS]})"))
    return frozenset(_DAYS[name] for name in value if isinstance(name, str) and name in _DAYS)


def read_clock(value: Any, path: str, refused: list[Part]) -> int:
    """Return the minute of the day that a local time names; absent is midnight."""
    if value is None:
        return 0
    match = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    if match and int(match[2]) < 60:  # noqa: PLR2004 - minutes of an hour
        minute = int(match[1]) * 60 + int(match[2])
        if minute <= MINUTES_PER_DAY:
            return minute
    refused.append(Part(path, f"{shown(value)} is not a local time (expected HH:MM)"))
    return 0


# --- Readings --------------------------------------------------------------------------------------------------------


def names_holidays(bands: Bands) -> bool:
    """Tell whether windows price public holidays in their own way."""
    windows = list(chain.from_iterable(bands))
    return any(HOLIDAY in window.days for window in windows) and any(window.days != EVERY_DAY for window in windows)


def slots(window: Window, reading: Reading) -> tuple[Slot, ...]:
    """Return the slots of a window by one reading."""
    end = window.end % MINUTES_PER_DAY
    end = MINUTES_PER_DAY if end == 0 else end + reading.inclusive
    if window.start < end:
        return (Slot(window.days, window.start, end),)
    after = _next_days(window.days) if reading.into_next_day else window.days
    return Slot(window.days, window.start, MINUTES_PER_DAY), Slot(after, 0, end)


def _next_days(days: frozenset[DayName]) -> frozenset[DayName]:
    following = {WEEKDAYS[(WEEKDAYS.index(name) + 1) % len(WEEKDAYS)] for name in days if name != HOLIDAY}
    return frozenset(following | (days & {HOLIDAY}))


def tile(bands: Bands) -> list[tuple[Slot, ...]] | str:
    """Return the slots of each rate by the reading under which they tile the week; else a sentence why none does."""
    with_holidays = names_holidays(bands)
    faults: list[str] = []
    tilings: dict[tuple[tuple[tuple[int, int], ...], ...], list[tuple[Slot, ...]]] = {}
    for reading in _READINGS:
        if reading.into_next_day and not _can_run_on(bands, with_holidays=with_holidays):
            continue  # what follows a holiday is no day of the week that our windows could name
        read = [tuple(chain.from_iterable(slots(window, reading) for window in windows)) for windows in bands]
        fault = next(faults_of(read, with_holidays=with_holidays), None)
        if fault is None:
            tilings.setdefault(_picture(read, with_holidays=with_holidays), read)
        elif f"{fault} ({reading})" not in faults:
            faults.append(f"{fault} ({reading})")
    if len(tilings) == 1:
        return next(iter(tilings.values()))
    if tilings:
        return "the windows tile the week in more than one way; the plan does not say which is meant"
    return f"no reading of the windows tiles the week: {'; '.join(faults)}"


def _can_run_on(bands: Bands, *, with_holidays: bool) -> bool:
    return not with_holidays or all(
        window.days == EVERY_DAY or window.start < (window.end % MINUTES_PER_DAY or MINUTES_PER_DAY)
        for window in chain.from_iterable(bands)
    )


def cut(bands: Bands) -> list[tuple[Slot, ...]] | str:
    """Return the slots of windows that need not tile the week (export, demand); else a sentence why that is not clear.

    Where they do tile it, by that reading. Otherwise an end such as 20:59 is a minute of the window, and a round one
    such as 21:00 is not.
    """
    tiled = tile(bands)
    if not isinstance(tiled, str):
        return tiled
    found = []
    for windows in bands:
        read: list[Slot] = []
        for window in windows:
            end = _clock(window.end)
            if (window.end + 1) % _ROUND_MINUTES and window.end % _ROUND_MINUTES:
                return f"{end} is neither a round time nor the minute before one: it may be inclusive or not"
            reading = Reading(inclusive=window.end % _ROUND_MINUTES != 0, into_next_day=False)
            of_window = slots(window, reading)
            if len(of_window) > 1 and window.days not in {EVERY_DAY, EVERY_WEEKDAY}:
                return f"{_clock(window.start)} to {end} runs past midnight; the plan does not say on which days"
            read += of_window
        found.append(tuple(read))
    return found


def faults_of(bands: Sequence[Sequence[Slot]], *, with_holidays: bool) -> Iterator[str]:
    """Yield a sentence for each moment at which a day, or a rate, begins to have no price or several."""
    for day in DAY_NAMES if with_holidays else WEEKDAYS:
        at, last = 0, -1
        for start, end, band in _spans(bands, day):
            if start > at:
                yield f"no rate at {day} {_clock(at)}"
            elif start < at and band != last:
                yield f"two rates at {day} {_clock(start)}"
            if end > at:
                at, last = end, band
        if at < MINUTES_PER_DAY:
            yield f"no rate at {day} {_clock(at)}"


def overlap_of(bands: Sequence[Sequence[Slot]]) -> tuple[str, int, int] | None:
    """Return the first moment ("MON 15:00") at which two rates hold, and the numbers of both; None where none is."""
    for day in DAY_NAMES:
        at, last = 0, -1
        for start, end, band in _spans(bands, day):
            if start < at and band != last:
                return f"{day} {_clock(start)}", last, band
            if end > at:
                at, last = end, band
    return None


def _spans(bands: Sequence[Sequence[Slot]], day: DayName) -> list[tuple[int, int, int]]:
    return sorted(
        (slot.start, slot.end, number) for number, band in enumerate(bands) for slot in band if day in slot.days
    )


def _picture(bands: Sequence[Sequence[Slot]], *, with_holidays: bool) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Return what a tiling prices, so that two can be told apart: (start, rate) of each change on each day."""
    days = DAY_NAMES if with_holidays else WEEKDAYS
    pictures = []
    for day in days:
        changes: list[tuple[int, int]] = []
        for start, _, band in _spans(bands, day):
            if not changes or changes[-1][1] != band:
                changes.append((start, band))
        pictures.append(tuple(changes))
    return tuple(pictures)


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


# --- Ours ------------------------------------------------------------------------------------------------------------


def when_documents(pieces: Sequence[tuple[Season, Slot]], *, with_holidays: bool) -> list[dict[str, Any]]:
    """Return windows of our documents for slots in seasons; nothing is said that holds always."""
    seasons: dict[Slot, list[Season]] = {}
    for season, slot in pieces:
        if season not in seasons.setdefault(slot, []):
            seasons[slot].append(season)
    return [
        season.document() | _slot_document(slot, with_holidays=with_holidays)
        for slot, of_slot in seasons.items()
        for season in ([WHOLE_YEAR] if cover_whole_year(of_slot) else of_slot)
    ]


def _slot_document(slot: Slot, *, with_holidays: bool) -> dict[str, Any]:
    document: dict[str, Any] = {}
    if slot.days != EVERY_DAY and (with_holidays or slot.days != EVERY_WEEKDAY):
        document["days"] = [name for name in DAY_NAMES if name in slot.days]
    return document | {"start": _clock(slot.start), "end": _clock(slot.end)}
