"""A tariff for people: what it says, and a week of each energy charge as a picture in letters and colours."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from string import ascii_lowercase, ascii_uppercase, digits
from typing import Final, NamedTuple

from rich.console import Group, RenderableType
from rich.text import Text

from app.domain.calendar import US_PER_DAY, day_of_date
from app.domain.instants import US_PER_MINUTE, format_instant
from app.domain.tariffs import (
    HOLIDAY,
    MINUTES_PER_DAY,
    WEEKDAYS,
    Band,
    Charge,
    DayName,
    DemandBand,
    DemandCharge,
    EnergyCharge,
    FixedCharge,
    MinimumCharge,
    SeriesRate,
    SessionBand,
    SessionCharge,
    Tariff,
    Tier,
    When,
    in_season,
)
from app.domain.timeline import Timeline
from app.domain.windows import WindowSet
from app.importers.tariffs.common import rate_text

_CELL_MINUTES: Final = 30
_CELLS: Final = MINUTES_PER_DAY // _CELL_MINUTES
_LETTERS: Final = ascii_uppercase + ascii_lowercase + digits
_NO_RATE: Final = "."
_MIXED: Final = "*"
_COLOURS: Final = ("red", "green", "blue", "magenta", "cyan", "yellow", "bright_red", "bright_green", "bright_blue")
_YEARS: Final = range(2023, 2051)
"""Years enough for each date to be each weekday; the first is a common year and the second a leap year."""

_MAX_SEASONS: Final = 24
"""Twice the months: more pictures than that nobody looks at."""

_MAX_HOLIDAYS: Final = 12
_TIER_PERIODS: Final = {"P1D": "a day", "P1M": "a month", "P1Y": "a year", "BILLING": "a billing period"}


class Season(NamedTuple):
    """Days of the year, both inclusive as (month, day), on which the same windows are in season."""

    first: tuple[int, int]
    last: tuple[int, int]

    def __str__(self) -> str:
        """Return the days as documents write them."""
        return f"{_month_day(self.first)} to {_month_day(self.last)}"


def _month_day(at: tuple[int, int]) -> str:
    return f"{at[0]:02d}-{at[1]:02d}"


# --- What it says ----------------------------------------------------------------------------------------------------


def summary(tariff: Tariff) -> Group:
    """Return what a tariff says, a line for each thing, and the pictures of its energy charges."""
    lines: list[RenderableType] = [Text(line) for line in _head(tariff)]
    for charge in tariff.charges:
        lines += [Text(line) for line in _charge_lines(tariff, charge)]
        if isinstance(charge, EnergyCharge) and charge.bands:
            lines.append(picture(tariff, charge))
    return Group(*lines)


def _head(tariff: Tariff) -> Iterator[str]:
    yield f"{tariff.tariff_id}  version {tariff.version}  {tariff.direction}  {tariff.currency}  {tariff.timezone}"
    since = "" if tariff.valid_from_us is None else f" from {format_instant(tariff.valid_from_us)}"
    until = "" if tariff.valid_to_us is None else f" until {format_instant(tariff.valid_to_us)}"
    yield f"  valid:{since + until or ' always'}"
    if tariff.holidays:
        dates = sorted(tariff.holidays)
        more = f", and {len(dates) - _MAX_HOLIDAYS} more" if len(dates) > _MAX_HOLIDAYS else ""
        yield "  holidays: " + ", ".join(on.isoformat() for on in dates[:_MAX_HOLIDAYS]) + more
    included = "included in the prices" if tariff.prices_include_tax else "added to the prices"
    for tax in tariff.taxes:
        where = "" if tax.charges is None else f", on {', '.join(sorted(tax.charges))}"
        yield f"  tax: {tax.name} {rate_text(tax.rate * 100)} %, {included}{where}"
    if tariff.tier_period != "P1M" or tariff.billing_period is not None:
        billing = tariff.billing_period
        anchor = "" if billing is None else f" (of {billing.months} months, from day {billing.anchor_day})"
        yield f"  tiers are counted for {_TIER_PERIODS[tariff.tier_period]}{anchor}"


def _charge_lines(tariff: Tariff, charge: Charge) -> Iterator[str]:
    currency = tariff.currency
    match charge:
        case EnergyCharge(charge_id=name, series=SeriesRate() as series):
            yield f"  energy charge {name!r}: follows the series {series_text(series, currency)}"
        case EnergyCharge(charge_id=name, tier_scope=scope):
            counted = ", tiers counted for each band" if scope == "band" else ""
            yield f"  energy charge {name!r}{counted}:"
        case FixedCharge(charge_id=name, per=per, amount=amount, first=first, last=last):
            season = "" if (first, last) == ((1, 1), (12, 31)) else f", {Season(first, last)}"
            yield f"  fixed charge {name!r}: {_number(amount)} {currency} a {per}{season}"
        case MinimumCharge(charge_id=name, per=per, amount=amount):
            yield f"  minimum charge {name!r}: {_number(amount)} {currency} a {per}"
        case DemandCharge(charge_id=name):
            least = f", at least {_number(charge.minimum_kw)} kW" if charge.minimum_kw else ""
            yield (
                f"  demand charge {name!r}: a {charge.per}, the highest {charge.measurement_minutes} minutes of the "
                f"{charge.measured_over}{least}"
            )
            for band in charge.bands:
                yield f"    {band.name}  {demand_text(band, currency)}  {_windows_text(band.when)}"
        case SessionCharge(charge_id=name):
            hours = "an hour of charging" if charge.counted == "charging" else "an hour"
            yield f"  session charge {name!r}: for {hours if charge.per == 'hour' else 'each session'}"
            for session_band in charge.bands:
                text = session_text(charge, session_band, currency)
                yield f"    {session_band.name}  {text}  {_windows_text(session_band.when)}"


def rates_text(tiers: Sequence[Tier], currency: str, period: str) -> str:
    """Return the rates of an energy band."""
    if len(tiers) == 1:
        return f"{_number(tiers[0].rate)} {currency}/kWh"
    parts = []
    for tier in tiers:
        bound = ""
        if tier.up_to_kwh is not None:
            bound = f" up to {_number(tier.up_to_kwh)} kWh {period}"
        elif tier.up_to_kwh_per_day is not None:
            bound = f" up to {_number(tier.up_to_kwh_per_day)} kWh times the days of {period}"
        parts.append(f"{_number(tier.rate)}{bound}")
    return f"{currency}/kWh: {', then '.join(parts)}"


def demand_text(band: DemandBand, currency: str) -> str:
    """Return the rates of a demand band."""
    parts = [
        _number(tier.rate) + ("" if tier.up_to_kw is None else f" up to {_number(tier.up_to_kw)} kW")
        for tier in band.tiers
    ]
    return f"{', then '.join(parts)} {currency}/kW"


def session_text(charge: SessionCharge, band: SessionBand, currency: str) -> str:
    """Return the amount of a session band."""
    steps = "" if band.step_seconds == 1 else f" in steps of {band.step_seconds} s"
    return f"{_number(band.amount)} {currency}/{charge.per}{steps}"


def series_text(rate: SeriesRate, currency: str) -> str:
    """Return how a rate follows a series."""
    text = repr(rate.series_id)
    if rate.multiplier != 1:
        text += f" * {_number(rate.multiplier)}"
    if rate.adder:
        text += f" {'-' if rate.adder < 0 else '+'} {_number(abs(rate.adder))}"
    if rate.cap is not None:
        text += f", at most {_number(rate.cap)}"
    if rate.floor is not None:
        text += f", at least {_number(rate.floor)}"
    return f"{text} ({currency}/kWh)"


def tier_period_text(tariff: Tariff) -> str:
    """Return what a tier's bound is for: "a month"."""
    return _TIER_PERIODS[tariff.tier_period]


def _windows_text(whens: Sequence[When]) -> str:
    """Return windows in a line, as documents write them."""
    return "; ".join(_window_text(when) for when in whens) or "whenever no band before it holds"


def _window_text(when: When) -> str:
    days = [name for name in (*WEEKDAYS, HOLIDAY) if name in when.days]
    season = "" if (when.first, when.last) == ((1, 1), (12, 31)) else f" {Season(when.first, when.last)}"
    return f"{' '.join(days)} {_clock(when.start_minute)}-{_clock(when.end_minute)}{season}"


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _number(value: Decimal) -> str:
    """Return a number with the digits that its document has."""
    return f"{value:f}"


# --- A week ----------------------------------------------------------------------------------------------------------


def picture(tariff: Tariff, charge: EnergyCharge) -> Group:
    """Return a week of an energy charge: a row for each day, a letter for each half hour; a picture for each season."""
    letters = {band.name: _LETTERS[number % len(_LETTERS)] for number, band in enumerate(charge.bands)}
    styles = {letter: _COLOURS[number % len(_COLOURS)] for number, letter in enumerate(letters.values())}
    weeks: dict[tuple[tuple[str, str], ...], list[Season]] = {}
    of_year = seasons(charge.bands)
    for season in of_year[:_MAX_SEASONS]:
        weeks.setdefault(tuple(_week(tariff, charge, season, letters)), []).append(season)
    lines: list[Text] = []
    for week, of_seasons in weeks.items():
        if len(weeks) > 1:
            lines.append(Text(f"    season {', '.join(map(str, of_seasons))}"))
        lines.append(Text("        " + "".join(f"{hour:<4}" for hour in range(0, 24, 2)).rstrip()))
        lines += [_row(name, cells, styles) for name, cells in week]
    if len(of_year) > _MAX_SEASONS:
        lines.append(
            Text(f"    and {len(of_year) - _MAX_SEASONS} more seasons, from {_month_day(of_year[_MAX_SEASONS].first)}")
        )
    shown = {cell for week in weeks for _, cells in week for cell in cells}
    period = tier_period_text(tariff)
    for band in charge.bands:
        letter = letters[band.name]
        unknown = _MIXED in shown or len(of_year) > _MAX_SEASONS
        never = "" if letter in shown or unknown else "  (never: bands before it hide it)"
        text = f"  {band.name}  {rates_text(band.tiers, tariff.currency, period)}{never}"
        lines.append(Text.assemble("    ", (letter, styles[letter]), text))
    if _MIXED in shown:
        lines.append(Text(f"    {_MIXED}  several within the half hour"))
    if _NO_RATE in shown:
        lines.append(Text(f"    {_NO_RATE}  no rate"))
    return Group(*lines)


def _row(name: str, cells: str, styles: dict[str, str]) -> Text:
    row = Text(f"    {name:<4}")
    for cell in cells:
        row.append(cell, styles.get(cell))
    return row


def _week(tariff: Tariff, charge: EnergyCharge, season: Season, letters: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield (day, its half hours as letters) as the engine prices them, without changes of the clock."""
    plain = replace(tariff, timezone="UTC", charges=(charge,))
    timeline = Timeline(plain)
    names: tuple[DayName, ...] = (*WEEKDAYS, HOLIDAY) if tariff.holidays else WEEKDAYS
    for name in names:
        on = _find_day(plain, season, name)
        if on is not None:
            yield name, _half_hours(timeline, day_of_date(on) * US_PER_DAY, letters)


def _half_hours(timeline: Timeline, midnight_us: int, letters: dict[str, str]) -> str:
    cells = [set[str]() for _ in range(_CELLS)]
    for segment in timeline.segments(midnight_us, midnight_us + US_PER_DAY):
        band = segment.charges[0].band if segment.charges else None
        letter = _NO_RATE if band is None else letters[band]
        first = max(0, (segment.start_us - midnight_us) // (_CELL_MINUTES * US_PER_MINUTE))
        last = min(_CELLS, -(-(segment.end_us - midnight_us) // (_CELL_MINUTES * US_PER_MINUTE)))
        for cell in cells[first:last]:
            cell.add(letter)
    return "".join(cell.pop() if len(cell) == 1 else _MIXED for cell in cells)


def _find_day(tariff: Tariff, season: Season, name: DayName) -> date | None:
    """Return a date in a season that counts as a kind of day, with its eve in the season too if there is one."""
    if name == HOLIDAY:
        days = (on for on in sorted(tariff.holidays) if in_season(season.first, season.last, on))
        return next(days, None)
    found = None
    for year in _YEARS:
        on = date(year, 1, 1) + timedelta(days=(WEEKDAYS.index(name) - date(year, 1, 1).weekday()) % 7)
        while on.year == year:
            if in_season(season.first, season.last, on) and tariff.day_name(on) == name:
                found = found or on
                if in_season(season.first, season.last, on - timedelta(days=1)):
                    return on
            on += timedelta(days=7)
    return found


def seasons(bands: Sequence[Band]) -> list[Season]:
    """Return the year in parts in which the same windows are in season, a part over new year in one piece."""
    windows = WindowSet([when for band in bands for when in band.when])
    parts: list[tuple[int, Season]] = []
    for on in (date(2024, 1, 1) + timedelta(days=day) for day in range(366)):
        key = windows.in_season(on)
        at = (on.month, on.day)
        if parts and parts[-1][0] == key:
            parts[-1] = key, Season(parts[-1][1].first, at)
        else:
            parts.append((key, Season(at, at)))
    if len(parts) > 1 and parts[0][0] == parts[-1][0]:
        parts = [(parts[0][0], Season(parts[-1][1].first, parts[0][1].last)), *parts[1:-1]]
    return [season for _, season in parts]
