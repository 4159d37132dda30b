"""What every importer yields, and how rows become messages."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec

BUFFERED_MAX_ROWS: Final = 50_000
"""Most rows that wait for others of their location; beyond it all are sent."""
MESSAGE_MAX_BYTES: Final = 262_144
"""Rows are no longer put together beyond this size: far below what brokers take."""

Direction = Literal["import", "export"]
DIRECTION_FIELDS: Final[Mapping[Direction, str]] = {
    "import": '"energy_flow_direction":"INBOUND","tariff_direction":"IMPORT"',
    "export": '"energy_flow_direction":"OUTBOUND","tariff_direction":"EXPORT"',
}


class FileError(ValueError):
    """A file that cannot be imported at all; the message says why and what would help."""


class Row(NamedTuple):
    """One reading of a file: a record to send, or why there is none.

    ``number`` is the line (JSON Lines, CSV) or the running number of the reading (NEM12), from 1. With ``problem`` the
    reading is wrong or cannot be understood; with ``skipped`` it is fine and just not for us. Otherwise ``value`` is
    the record as JSON (or an array of ``records`` of them) of ``location_id``.
    """

    number: int
    location_id: str = ""
    value: bytes = b""
    records: int = 1
    problem: str | None = None
    skipped: str | None = None


class Message(NamedTuple):
    """What goes to the broker as one message, keyed by its location, and the rows that are in it."""

    location_id: str
    value: bytes
    records: int
    rows: tuple[int, ...]


def group(rows: Iterable[Row], rows_per_message: int, max_bytes: int = MESSAGE_MAX_BYTES) -> Iterator[Row | Message]:
    """Put rows of one location together into messages; pass rows without a record through.

    The order of a location's rows is kept. An array that is a row already stays a message of its own, and no rows are
    put together beyond ``max_bytes``.
    """
    waiting: dict[str, list[Row]] = {}
    sizes: dict[str, int] = {}
    buffered = 0
    for row in rows:
        if row.problem is not None or row.skipped is not None:
            yield row
            continue
        mates = waiting.setdefault(row.location_id, [])
        size_bytes = sizes.get(row.location_id, 0) + len(row.value)
        alone = rows_per_message <= 1 or row.value[:1] == b"["
        if mates and (alone or size_bytes > max_bytes):
            yield _message(waiting.pop(row.location_id))
            buffered -= len(mates)
            mates = waiting.setdefault(row.location_id, [])
            size_bytes = len(row.value)
        mates.append(row)
        buffered += 1
        sizes[row.location_id] = size_bytes
        if alone or len(mates) >= rows_per_message:
            yield _message(waiting.pop(row.location_id))
            buffered -= len(mates)
            sizes[row.location_id] = 0
        elif buffered >= BUFFERED_MAX_ROWS:
            yield from map(_message, waiting.values())
            waiting, sizes, buffered = {}, {}, 0
    yield from map(_message, waiting.values())


def _message(rows: list[Row]) -> Message:
    """Join rows of one location."""
    first = rows[0]
    if len(rows) == 1:
        return Message(first.location_id, first.value, first.records, (first.number,))
    value = b"[" + b",".join([row.value for row in rows]) + b"]"
    return Message(first.location_id, value, len(rows), tuple([row.number for row in rows]))


def json_text(text: str) -> str:
    """Write a text as JSON."""
    return msgspec.json.encode(text).decode()


class Locations:
    """Which location a metering point belongs to: by a map, by one location for all, or of the same name.

    Two points of one file at one location would overwrite each other's readings, so the second one is refused.
    """

    def __init__(self, by_point: Mapping[str, str] | None = None, everywhere: str | None = None) -> None:
        """Use ``by_point`` if given, else ``everywhere`` if given, else the point's own name."""
        self._by_point = by_point
        self._everywhere = everywhere
        self._point_at: dict[str, str] = {}

    def of(self, point: str) -> str:
        """Return the location of a metering point. Raises `LookupError` with a sentence."""
        location_id = self._everywhere or point
        if self._by_point is not None:
            if point not in self._by_point:
                message = f"metering point {point!r} is not in the map"
                raise LookupError(message)
            location_id = self._by_point[point]
        other = self._point_at.setdefault(location_id, point)
        if other != point:
            message = (
                f"metering points {other!r} and {point!r} are both at location {location_id!r} "
                "and would overwrite each other"
            )
            raise LookupError(message)
        return location_id


def read_map(path: Path) -> dict[str, str]:
    """Read which metering point is at which location: a JSON object, or CSV lines ``metering_point,location_id``.

    Raises `FileError`.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path}: cannot be read: {error}"
        raise FileError(message) from None
    pairs = _json_pairs(path, text) if text.lstrip().startswith("{") else _csv_pairs(path, text)
    found: dict[str, str] = {}
    for point, location_id in pairs:
        if found.setdefault(point, location_id) != location_id:
            message = f"{path}: metering point {point!r} is at {found[point]!r} and at {location_id!r}"
            raise FileError(message)
    return found


def _json_pairs(path: Path, text: str) -> list[tuple[str, str]]:
    """Pairs of a JSON object, doubles included."""
    try:
        pairs = json.loads(text, object_pairs_hook=list)
    except ValueError as error:
        message = f"{path}: not JSON: {error}"
        raise FileError(message) from None
    for pair in pairs:
        if not (isinstance(pair[1], str) and pair[0] and pair[1]):
            message = f"{path}: {pair[0]!r}: expected the name of a location, got {pair[1]!r}"
            raise FileError(message)
    return [(point, location_id) for point, location_id in pairs]


def _csv_pairs(path: Path, text: str) -> list[tuple[str, str]]:
    """Pairs of a CSV of two columns; a first line that names the columns is no pair."""
    pairs = []
    for number, fields in enumerate(csv.reader(io.StringIO(text)), start=1):
        cells = [field.strip() for field in fields]
        if not any(cells) or (number == 1 and cells == ["metering_point", "location_id"]):
            continue
        if len(cells) != 2 or not all(cells):  # noqa: PLR2004 - a pair
            message = f"{path}, line {number}: expected metering_point,location_id, got {','.join(fields)!r}"
            raise FileError(message)
        pairs.append((cells[0], cells[1]))
    return pairs
