"""NEM12, the interval metering format of the Australian market, through the package ``nemreader``.

Source: AEMO, Meter Data File Format Specification NEM12 & NEM13. Times are Australian Eastern Standard Time (UTC+10)
the whole year and in every state. Channel (NMI suffix) E* is what flows from the grid (import), B* what flows to it
(export). Channels of the number 1 are the location's own meter; others (E2, a controlled load, say) are devices of it
named ``NMI/suffix``, because two channels under one name would overwrite each other.

Quality flags: A (actual) has confidence 1; F (final substitute) 0.9; S (substitute) 0.8; E (forward estimate) 0.7;
N (no value) is skipped.
"""

import logging
import math
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from app.importers.rows import DIRECTION_FIELDS, Direction, FileError, Locations, Row, json_text

_DIRECTION_OF: Final[Mapping[str, Direction]] = {"E": "import", "B": "export"}
_CONFIDENCE_OF: Final = {"A": "1", "F": "0.9", "S": "0.8", "E": "0.7"}
_UNITS: Final = {"KWH": "KWH", "WH": "WH", "MWH": "KWH"}
_OWN_METER: Final = "1"


def read_nem12(path: Path, locations: Locations) -> Iterator[Row]:
    """Yield a row for every interval of every channel, numbered from 1. Raises `FileError` when it is not NEM12.

    Within a channel rows come in the order of the file, so that a day that stands twice is corrected by its later
    version.
    """
    readings, complaints = _parse(path)
    number = 0
    for nmi, channels in readings.items():
        for suffix, channel in channels.items():
            for row in _channel(nmi, suffix, channel, locations):
                number += 1
                yield row._replace(number=number)
    for complaint in complaints:
        number += 1
        yield Row(number, problem=complaint)


def _parse(path: Path) -> tuple[Mapping[str, Mapping[str, list[Any]]], list[str]]:
    """Let nemreader read the file; what it only logs (days that it left out, a missing end) is returned too."""
    from nemreader import NEMFile  # noqa: PLC0415 - brings pandas, which takes a second to import

    reader = NEMFile(str(path), strict=True)
    with _complaints("nemreader.nem_reader") as complaints:
        try:
            if zipfile.is_zipfile(path):
                data: Any = reader.nem_data()
            else:
                with path.open(encoding="utf-8-sig", newline="") as file:
                    data = reader.parse_nem_file(file, file_name=path.name)
        except (ValueError, OSError, AttributeError, TypeError, IndexError) as error:
            cause = f" ({error.__cause__})" if error.__cause__ else ""
            message = f"{path}: not a NEM12 file: {_lines_of_the_file(str(error))}{cause}"
            raise FileError(message) from None
    version = reader.header.version_header
    if version != "NEM12":
        message = f"{path}: {version} has accumulated readings, and no intervals to price; expected NEM12"
        raise FileError(message)
    return data.readings, complaints


def _lines_of_the_file(text: str) -> str:
    """Correct the numbers of lines in what nemreader says: it counts from the line after the header."""
    return re.sub(r"\b(line|row) (\d+)", lambda found: f"line {int(found[2]) + 1}", text)


@contextmanager
def _complaints(logger_name: str) -> Iterator[list[str]]:
    """Collect what a logger warns of, instead of printing it."""
    found: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            """Keep the sentence, unless it is seen elsewhere (no value) or harmless (several files in one)."""
            text = record.getMessage()
            if "is not a number" not in text and "multiple end of data" not in text and "indicator 100 " not in text:
                found.append(_lines_of_the_file(text))

    logger = logging.getLogger(logger_name)
    handler = Collect(level=logging.WARNING)
    propagated = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield found
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagated


def _channel(nmi: str, suffix: str, readings: list[Any], locations: Locations) -> Iterator[Row]:
    """Yield the rows of one channel, numbered 0."""
    direction = _DIRECTION_OF.get(suffix[:1].upper())
    if direction is None:
        yield from (Row(0, skipped=f"channel {suffix} is neither import (E) nor export (B)") for _ in readings)
        return
    try:
        location_id = locations.of(nmi)
    except LookupError as error:
        yield from (Row(0, problem=str(error)) for _ in readings)
        return
    device = "" if suffix[1:] == _OWN_METER else f'"device_id":{json_text(f"{nmi}/{suffix}")},'
    before = f'{{"location_id":{json_text(location_id)},{device}{DIRECTION_FIELDS[direction]},"record_reference_id":'
    reference = f"{nmi}/{suffix}@"
    for reading in readings:
        yield _row(reading, location_id, before, reference)


def _row(reading: Any, location_id: str, before: str, reference: str) -> Row:
    """Make a record of one reading, or tell why it is none."""
    if reading.t_start is None:
        return Row(0, problem="the day is not a date")
    flag = (reading.quality_method or "").strip().upper()[:1]
    start, end = _aest(reading.t_start), _aest(reading.t_end)
    if flag == "N":
        return Row(0, skipped="quality N: there is no value")
    confidence = _CONFIDENCE_OF.get(flag)
    if confidence is None:
        return Row(0, problem=f"{start}: quality {reading.quality_method!r} is none of A, E, F, N, S")
    if reading.read_value is None or not math.isfinite(reading.read_value):
        return Row(0, problem=f"{start}: there is no number, and the quality is not N")
    unit = reading.uom.strip().upper()
    units = _UNITS.get(unit)
    if units is None:
        return Row(0, skipped=f"unit {reading.uom} is not energy in Wh, kWh or MWh")
    # The shortest text that gives the float again is the text that stood in the file, up to 15 digits.
    value = repr(reading.read_value) if unit != "MWH" else format(Decimal(repr(reading.read_value)) * 1000, "f")
    record = (
        f'{before}{json_text(reference + start)},"units":"{units}","confidence":{confidence},"value":{value},'
        f'"start_time":"{start}","end_time":"{end}"}}'
    )
    return Row(0, location_id, record.encode())


@lru_cache(maxsize=1 << 15)
def _aest(at: datetime) -> str:
    """Write a time of the file as RFC 3339; channels share their times, so most were written before."""
    return f"{at.isoformat()}+10:00"
