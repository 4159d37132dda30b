"""Records as they are published, read slowly: what a message holds, and the code of the refusal of what breaks a rule.

Written from the definition, with the standard library's JSON; it shares no code with the product.
"""

import json
from datetime import datetime
from fractions import Fraction
from typing import Any, Final

from tests.oracles.reference import Document, energy_uwh, micros, month_around

_BATCH_LIMIT: Final = 10_000
_ID_LIMIT: Final = 200
_DAY_AND_HOUR: Final = 25 * 3600 * 10**6
_LATEST: Final = micros("2200-01-01T00:00:00Z")
_MOST_UWH: Final = 10**15
_REQUIRED: Final = ("location_id", "units", "value", "start_time", "end_time")
_CHOICES: Final = {
    "units": ("W", "KW", "WH", "KWH"),
    "energy_flow_direction": ("INBOUND", "OUTBOUND"),
    "tariff_direction": ("IMPORT", "EXPORT", "LOCAL"),
}
_NUMBERS: Final = ("value", "confidence")
_TEXTS: Final = ("location_id", "device_id", "session_reference_id", "record_reference_id", "start_time", "end_time")


def read_records(value: bytes | None) -> list[Document | str]:
    """Return the records of a message, or the code of the refusal of each that cannot be read."""
    try:
        message = json.loads((value or b"").decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return ["malformed_json"]
    if not isinstance(message, list):
        return [_read(message)]
    return [_read(one) for one in message] if len(message) <= _BATCH_LIMIT else ["batch_too_large"]


def _refuse(constant: str) -> None:
    message = f"{constant} is not JSON"
    raise ValueError(message)


def _read(record: Any) -> Document | str:
    if not isinstance(record, dict):
        return "malformed_json"
    if any(record.get(name) is None for name in _REQUIRED):
        return "missing_field"
    for name, given in record.items():
        wrong = (
            (name in _CHOICES and given not in _CHOICES[name])
            or (name in _NUMBERS and (isinstance(given, bool) or not isinstance(given, int | float)))
            or (name in _TEXTS and not isinstance(given, str))
        )
        if given is not None and wrong:
            return "invalid_value"
    return record


def has_bad_ids(record: Document) -> bool:
    """Tell whether it cannot be said which meter a record is about: then it is refused wherever it stands."""
    ids = [record["location_id"], record.get("device_id") or None]
    return record["location_id"] == "" or any(_is_bad(one) or "|" in one for one in ids if one is not None)


def broken_rule(record: Document, location: Document | None) -> str | None:  # noqa: C901, PLR0911 - a case each
    """Return the code of the first rule that a record breaks."""
    names = [record.get(name) for name in ("record_reference_id", "session_reference_id")]
    if has_bad_ids(record):
        return "invalid_value"
    if location is None:
        return "unknown_location"
    times = []
    for name in ("start_time", "end_time"):
        try:
            naive = datetime.fromisoformat(record[name]).tzinfo is None
        except ValueError:
            return "invalid_value"
        if naive:
            return "naive_timestamp"
        times.append(micros(record[name]))
    start, end = times
    value, confidence = record["value"], record.get("confidence")
    if not 0 <= start <= _LATEST or not 0 <= end <= _LATEST:
        return "invalid_value"
    if end < start:
        return "end_before_start"
    if value < 0:
        return "negative_value"
    if start == end and value != 0 and record["units"] in {"WH", "KWH"}:
        return "zero_duration"
    if any(_is_bad(one) for one in names if one is not None) or (confidence is not None and not 0 < confidence <= 1):
        return "invalid_value"
    if value > _MOST_UWH or energy_uwh(value, record["units"], start, end) > _MOST_UWH:
        return "invalid_value"
    if end - start > _DAY_AND_HOUR and (start, end) != month_around(location["timezone"], start):
        return "period_too_long"
    return "implausible_power" if _is_implausible(record, end - start, location) else None


def _is_bad(text: str) -> bool:
    return len(text) > _ID_LIMIT or not text.isprintable()


def _is_implausible(record: Document, duration: int, location: Document) -> bool:
    limit_kw = location.get("max_power_kw")
    if limit_kw is None or (duration == 0 and record["units"] in {"WH", "KWH"}):
        return False
    value = Fraction(str(record["value"])) / (1 if record["units"].startswith("K") else 1000)
    power_kw = value * 3600 * 10**6 / duration if record["units"].endswith("H") else value
    return power_kw > Fraction(limit_kw) * Fraction(1_000_001, 1_000_000)
