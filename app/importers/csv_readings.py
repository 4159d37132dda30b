"""CSV of three columns, ``metering_point,period_start,quantity``, with energy in kWh.

How long a period is follows from the whole file. It is read twice: first for its granularity (5, 10, 15,
30 or 60 minutes, or local calendar months), then for its rows.
"""

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

from app.domain.instants import US_PER_MINUTE, InstantError, format_instant, parse_instant_us
from app.importers.rows import DIRECTION_FIELDS, Direction, FileError, Locations, Row, json_text

Granularity = Literal["5", "10", "15", "30", "60", "month"]
COLUMNS: Final = ("metering_point", "period_start", "quantity")
_STEPS_US: Final[Mapping[int, Granularity]] = {
    5 * US_PER_MINUTE: "5",
    10 * US_PER_MINUTE: "10",
    15 * US_PER_MINUTE: "15",
    30 * US_PER_MINUTE: "30",
    60 * US_PER_MINUTE: "60",
}
_MONTH_MIN_US: Final = 27 * 24 * 60 * US_PER_MINUTE
_RUN_THAT_COUNTS: Final = 3
"""So many equal steps in a row are a granularity of their own, not a gap."""
_TIMES_MAX: Final = 1 << 17
"""Most texts of times that are remembered, a year of 5 minutes among them: metering points share their times."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_JSON_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d{0,29})(?:\.\d{1,30})?", re.ASCII)
_NAIVE: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.0+)?)?", re.ASCII)
_QUANTITY_DIGITS_MAX: Final = 30


@dataclass(frozen=True, slots=True)
class CsvOptions:
    """What the file itself does not tell.

    ``timezone`` (IANA) is the zone of times without an offset and of months; ``granularity`` overrides what the file's
    steps tell; ``direction`` is that of all its readings.
    """

    direction: Direction = "import"
    timezone: str | None = None
    granularity: Granularity | None = None


class _Reading(NamedTuple):
    """A line as it stands: which instants its start may mean (two in an autumn's double hour), or what is wrong."""

    number: int
    point: str
    starts_us: tuple[int, ...]
    quantity: str
    problem: str | None = None


def read_csv(path: Path, options: CsvOptions, locations: Locations) -> Iterator[Row]:
    """Yield a row for each line after the header. Raises `FileError` when the file cannot be understood."""
    zone = _zone(options.timezone)
    granularity = options.granularity or _infer(path, zone)
    if granularity == "month" and zone is None:
        message = (
            f"{path}: monthly readings need a timezone: a month is one of the local calendar (--timezone Europe/Berlin)"
        )
        raise FileError(message)
    yield from _rows(path, zone, granularity, options.direction, locations)


def _zone(name: str | None) -> ZoneInfo | None:
    """Return a zone by its IANA name. Raises `FileError`."""
    if name is None:
        return None
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        message = f"{name!r} is no timezone; expected an IANA name such as Europe/Berlin"
        raise FileError(message) from None


def _readings(path: Path, zone: ZoneInfo | None) -> Iterator[_Reading]:
    """Yield the lines after the header. Raises `FileError` for another header and for a file that is no text."""
    times: dict[str, tuple[int, ...]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, strict=True)
            at_point, at_start, at_quantity, width = _columns(path, next(lines, []))
            for cells in lines:
                if not cells or not any(cells):
                    continue
                number = lines.line_num
                if len(cells) != width:
                    yield _Reading(number, "", (), "", f"expected {width} fields, got {len(cells)}")
                    continue
                point, start, quantity = cells[at_point].strip(), cells[at_start].strip(), cells[at_quantity].strip()
                if not point:
                    yield _Reading(number, "", (), "", "metering_point is empty")
                    continue
                starts_us = times.get(start)
                if starts_us is None:
                    try:
                        starts_us = _starts_us(start, zone)
                    except InstantError as error:
                        yield _Reading(number, point, (), quantity, f"period_start {error}")
                        continue
                    if len(times) >= _TIMES_MAX:
                        times.clear()
                    times[start] = starts_us
                yield _Reading(number, point, starts_us, quantity)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        message = f"{path}: cannot be read as CSV: {error}"
        raise FileError(message) from None


def _columns(path: Path, header: list[str]) -> tuple[int, int, int, int]:
    """Return where our columns are, and how many there are. Raises `FileError`."""
    names = [name.strip().lower() for name in header]
    missing = [name for name in COLUMNS if names.count(name) != 1]
    if missing:
        hint = "; the separator must be a comma" if len(names) == 1 and re.search("[;\t|]", names[0]) else ""
        message = f"{path}: expected a header with {','.join(COLUMNS)}; {', '.join(missing)} is not in it once{hint}"
        raise FileError(message)
    return names.index(COLUMNS[0]), names.index(COLUMNS[1]), names.index(COLUMNS[2]), len(names)


def _starts_us(text: str, zone: ZoneInfo | None) -> tuple[int, ...]:
    """Return the instants that a start may mean, earliest first. Raises `InstantError`."""
    if not _NAIVE.fullmatch(text):
        return (parse_instant_us(text),)
    if zone is None:
        message = (
            f"{text!r} has no UTC offset: give one (2025-03-01T00:00:00Z, …+01:00), or the file's zone with --timezone"
        )
        raise InstantError("naive", message)
    try:
        wall = datetime.fromisoformat(text)
    except ValueError as error:
        message = f"{text!r} is not a timestamp ({error})"
        raise InstantError("malformed", message) from None
    found = {_to_us(wall.replace(fold=fold, tzinfo=zone)) for fold in (0, 1)}
    real = sorted(at_us for at_us in found if _wall(at_us, zone) == wall)
    if not real:
        message = f"{text!r} does not exist in {zone.key}: the clock was put forward over it"
        raise InstantError("malformed", message)
    return tuple(real)


def _to_us(at: datetime) -> int:
    return (at.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)


def _wall(at_us: int, zone: ZoneInfo) -> datetime:
    """Return the local wall clock, without a zone."""
    return (_EPOCH + timedelta(microseconds=at_us)).astimezone(zone).replace(tzinfo=None, fold=0)


@dataclass(slots=True)
class _Steps:
    """Steps between consecutive starts of one metering point."""

    start_us: int
    step_us: int = 0
    run: int = 0
    smallest_us: int = 0

    def go_to(self, start_us: int) -> None:
        """Count the step to the next start; a start that stands twice is a correction and no step."""
        step_us = abs(start_us - self.start_us)
        if not step_us:
            return
        self.start_us = start_us
        self.run = self.run + 1 if step_us == self.step_us else 1
        self.step_us = step_us
        self.smallest_us = min(step_us, self.smallest_us or step_us)


def _infer(path: Path, zone: ZoneInfo | None) -> Granularity:
    """Return the granularity that the whole file has. Raises `FileError` when there is none, or more than one."""
    points: dict[str, _Steps] = {}
    regular: dict[int, int] = {}
    for reading in _readings(path, zone):
        if len(reading.starts_us) != 1:
            continue
        start_us = reading.starts_us[0]
        steps = points.get(reading.point)
        if steps is None:
            points[reading.point] = _Steps(start_us)
            continue
        steps.go_to(start_us)
        if steps.run == _RUN_THAT_COUNTS:
            regular.setdefault(steps.step_us, reading.number)
    smallest_us = min((steps.smallest_us for steps in points.values() if steps.smallest_us), default=0)
    if not smallest_us:
        message = (
            f"{path}: no metering point has two different starts, so nothing tells how long a period is; "
            "give --granularity"
        )
        raise FileError(message)
    granularity = _named(smallest_us)
    if granularity is None:
        message = (
            f"{path}: the smallest step between two starts is {_minutes(smallest_us)} minutes; "
            "expected 5, 10, 15, 30 or 60 minutes, or a month"
        )
        raise FileError(message)
    _check_only_one(path, granularity, points, regular)
    return granularity


def _check_only_one(
    path: Path, granularity: Granularity, points: Mapping[str, _Steps], regular: Mapping[int, int]
) -> None:
    """Require one granularity in all of the file: half an hour taken for 15 minutes would be priced wrongly."""
    for step_us, number in regular.items():
        if _named(step_us) not in {granularity, None}:
            message = (
                f"{path}: steps of {granularity_text(granularity)}, but of {_minutes(step_us)} minutes up to line "
                f"{number}; a file must have one granularity: split it, or give --granularity if these are gaps"
            )
            raise FileError(message)
    for point, steps in points.items():
        if steps.smallest_us and _named(steps.smallest_us) not in {granularity, None}:
            message = (
                f"{path}: steps of {granularity_text(granularity)}, but of {_minutes(steps.smallest_us)} minutes at "
                f"metering point {point!r}; a file must have one granularity: "
                "split it, or give --granularity if these are gaps"
            )
            raise FileError(message)


def granularity_text(granularity: Granularity) -> str:
    """Say a granularity in words."""
    return "a month" if granularity == "month" else f"{granularity} minutes"


def _named(step_us: int) -> Granularity | None:
    """Return which granularity a step is, if it is one."""
    return "month" if step_us >= _MONTH_MIN_US else _STEPS_US.get(step_us)


def _minutes(step_us: int) -> str:
    return f"{step_us / US_PER_MINUTE:g}"


def _rows(
    path: Path, zone: ZoneInfo | None, granularity: Granularity, direction: Direction, locations: Locations
) -> Iterator[Row]:
    """Yield the rows, with periods of a known length."""
    step_us = 0 if granularity == "month" else int(granularity) * US_PER_MINUTE
    latest_us: dict[str, int] = {}
    residue_us: dict[str, int] = {}
    before: dict[str, tuple[str, str]] = {}
    periods: dict[int, tuple[str, str]] = {}
    for reading in _readings(path, zone):
        if reading.problem is not None:
            yield Row(reading.number, problem=reading.problem)
            continue
        point = reading.point
        try:
            start_us = _resolve(reading, latest_us.get(point), step_us)
            latest_us[point] = start_us
            if step_us:
                _check_multiple(start_us % step_us, residue_us.setdefault(point, start_us % step_us), granularity)
            if point not in before:
                before[point] = _prefix(point, locations.of(point), direction)
            if start_us not in periods:
                if len(periods) >= _TIMES_MAX:
                    periods.clear()
                periods[start_us] = _period(start_us, step_us, zone)
            value = _number(reading.quantity)
        except (ValueError, LookupError) as error:
            yield Row(reading.number, problem=str(error))
            continue
        location_id, prefix = before[point]
        start, end = periods[start_us]
        record = f'{prefix}@{start}","units":"KWH","value":{value},"start_time":"{start}","end_time":"{end}"}}'
        yield Row(reading.number, location_id, record.encode())


def _resolve(reading: _Reading, latest_us: int | None, step_us: int) -> int:
    """Return which instant a start means; in the hour that an autumn night has twice, the order of the rows tells.

    Raises `ValueError` when it does not tell.
    """
    if len(reading.starts_us) == 1 or not step_us:
        return reading.starts_us[0]
    first_us, second_us = reading.starts_us
    if latest_us is not None:
        if first_us - latest_us == step_us:
            return first_us
        if first_us <= latest_us < second_us:
            return second_us
    message = (
        "period_start is in the hour that the clock has twice, and the row before does not tell which; give UTC offsets"
    )
    raise ValueError(message)


def _check_multiple(residue_us: int, first_residue_us: int, granularity: Granularity) -> None:
    """Require whole steps from a metering point's first start. Raises `ValueError`."""
    if residue_us != first_residue_us:
        message = (
            f"period_start is not whole steps of {granularity_text(granularity)} after the metering point's first one"
        )
        raise ValueError(message)


def _prefix(point: str, location_id: str, direction: Direction) -> tuple[str, str]:
    """Return the location and the part of its records that is always the same, up to within the reference."""
    reference = json_text(point)[:-1]
    return (
        location_id,
        f'{{"location_id":{json_text(location_id)},{DIRECTION_FIELDS[direction]},"record_reference_id":{reference}',
    )


def _period(start_us: int, step_us: int, zone: ZoneInfo | None) -> tuple[str, str]:
    """Return the texts of start and end. Raises `ValueError` when a month does not begin there."""
    if step_us or zone is None:
        return format_instant(start_us), format_instant(start_us + step_us)
    wall = _wall(start_us, zone)
    if wall != wall.replace(day=1, hour=0, minute=0, second=0, microsecond=0):
        message = f"period_start is {wall.isoformat()} in {zone.key}, not the beginning of a month"
        raise ValueError(message)
    next_month = (wall + timedelta(days=31)).replace(day=1, tzinfo=zone)
    return format_instant(start_us), format_instant(_to_us(next_month))


def _number(text: str) -> str:
    """Return a quantity as a JSON number, digit for digit. Raises `ValueError`."""
    if _JSON_NUMBER.fullmatch(text):
        return text
    if not text:
        message = "quantity is empty (missing is not zero)"
        raise ValueError(message)
    try:
        value = Decimal(text)
        exact = format(value, "f") if value.is_finite() and abs(value.adjusted()) < _QUANTITY_DIGITS_MAX else ""
    except InvalidOperation:
        exact = ""
    if not _JSON_NUMBER.fullmatch(exact):
        hint = "; the decimal sign must be a point" if "," in text else ""
        message = f"quantity {text!r} is not a number{hint}"
        raise ValueError(message)
    return exact
