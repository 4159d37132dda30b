"""Windows that earlier bands hide. Bands are tried in order, so that a window behind another one may hold less than it says.

That is how a peak is cut out of a day, and no error; it is also how a misplaced band never prices anything.
"""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Final, NamedTuple

from app.domain.tariffs import (
    WEEKDAYS,
    Band,
    DayName,
    DemandBand,
    DemandCharge,
    EnergyCharge,
    SessionBand,
    SessionCharge,
    Tariff,
    When,
)
from app.domain.windows import WindowSet, first_of, members

_YEARS: Final = (2024, 2023)
"""A leap year and a common one."""

_Day = tuple[date, DayName]


class _Window(NamedTuple):
    """A window of a band, and where it stands. A band without any has one that holds always."""

    band: int
    path: str
    when: When
    is_rest: bool


class _Hidden(NamedTuple):
    """The first moment at which a window holds and an earlier band prices."""

    band: str
    moment: str


def overlaps(tariff: Tariff) -> list[str]:
    """Return a sentence, with its path, for each window that an earlier band of its charge hides partly or wholly.

    It names the first day and time at which that happens, and the band that prices it then. Windows of one band may
    lie over each other. A band without windows takes what is left, and is named only behind another one of the kind.
    Every date of a common and of a leap year is tried as each weekday, and the tariff's holidays with the days after.
    """
    problems = []
    for number, charge in enumerate(tariff.charges):
        if isinstance(charge, EnergyCharge | DemandCharge | SessionCharge):
            path = f"charges[{number}]"
            problems += [f"{path}.{problem}" for problem in _of_bands(tariff, charge.bands)]
    return problems


def _of_bands(tariff: Tariff, bands: Sequence[Band | DemandBand | SessionBand]) -> Iterator[str]:
    windows = list(_windows(bands))
    bits = WindowSet([window.when for window in windows])
    hidden: dict[int, _Hidden] = {}
    prices: set[int] = set()
    seen = set()
    for today, eve in _days(tariff, bits):
        key = bits.starting(*today), bits.starting(*eve)
        if key in seen:
            continue
        seen.add(key)
        before, own = 0, 0  # the minutes of the bands before a window's, and of its own up to it
        held: dict[int, int] = {}
        for number in members(key[0] | key[1]):
            minutes, band = bits.minutes(number, *key), windows[number].band
            if band not in held:
                before, own = before | own, 0
            held[band] = own = own | minutes
            if minutes & ~before:
                prices.add(number)
            if minutes & before and number not in hidden:
                minute = first_of(minutes & before)
                pricing = next(other for other, of_other in held.items() if of_other >> minute & 1)
                hidden[number] = _Hidden(bands[pricing].name, _moment(today, minute))
    first_rest = next((window.band for window in windows if window.is_rest), len(bands))
    for number, found in sorted(hidden.items()):
        window = windows[number]
        if window.is_rest and window.band == first_rest:
            continue
        if number in prices:
            yield f"{window.path}: hidden in part by the band {found.band!r} before it, first on {found.moment}"
        else:
            yield f"{window.path}: never holds, the band {found.band!r} before it does, first on {found.moment}"


def _windows(bands: Sequence[Band | DemandBand | SessionBand]) -> Iterator[_Window]:
    for number, band in enumerate(bands):
        if not band.when:
            yield _Window(number, f"bands[{number}]", When(), is_rest=True)
        for position, when in enumerate(band.when):
            yield _Window(number, f"bands[{number}].when[{position}]", when, is_rest=False)


def _days(tariff: Tariff, windows: WindowSet) -> Iterator[tuple[_Day, _Day]]:
    """Yield (day, its eve): the first date of each pair of seasons as every weekday; the holidays and the days after."""
    dates = [date(year, 1, 1) + timedelta(days=day) for year in _YEARS for day in range(366)]
    seen = set()
    for today in sorted(dates, key=lambda on: (on.month, on.day, on.year)):
        eve = today - timedelta(days=1)
        seasons = windows.in_season(today), windows.in_season(eve)
        if seasons in seen:
            continue
        seen.add(seasons)
        for number, name in enumerate(WEEKDAYS):
            yield (today, name), (eve, WEEKDAYS[number - 1])
    for holiday in sorted(tariff.holidays):
        for today in (holiday, holiday + timedelta(days=1)) if holiday < date.max else (holiday,):
            eve = today - timedelta(days=1) if today > date.min else today
            yield (today, tariff.day_name(today)), (eve, tariff.day_name(eve))


def _moment(today: _Day, minute: int) -> str:
    on, name = today
    return f"{name} {minute // 60:02d}:{minute % 60:02d} in season {on.month:02d}-{on.day:02d}"
