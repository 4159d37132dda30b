"""Records as they are published, read slowly: what a message holds, and the code of the refusal of what breaks a rule.

Written from the definition, with the standard library's JSON; it shares no code with the product.
"""

import json
import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import cache
from math import isfinite
from typing import Any, Final

from tests.oracles.wall_clock import Document, energy_uwh, micros, month_around

_BATCH_LIMIT: Final = 10_000
_NESTING_LIMIT: Final = 500
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
_FIELDS: Final = frozenset((*_CHOICES, *_NUMBERS, *_TEXTS))

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DATE_TIME: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]+))?([Zz]|[+-][0-9]{2}:[0-9]{2})?"
)
_SURROGATE: Final = re.compile("[\\ud800-\\udfff]")
_LAST_HOUR: Final = 23
_LAST_MINUTE: Final = 59


def read_records(value: bytes | None) -> list[Document | str]:
    """Return the records of a message, or the code of the refusal of each that cannot be read.

    Bytes that are not UTF-8 are carried along as the code points U+DC80 to U+DCFF, and half of a surrogate pair is no text.
    """
    raw = value or b""
    if _depth(raw) > _NESTING_LIMIT:
        return ["malformed_json"]
    try:
        if b"\\u" in raw and _has_surrogates(_parsed(raw, "replace")):
            return ["malformed_json"]
        message = _parsed(raw, "surrogateescape")
    except (ValueError, RecursionError):
        return ["malformed_json"]
    if not isinstance(message, list):
        return [_read(message)]
    return [_read(one) for one in message] if len(message) <= _BATCH_LIMIT else ["batch_too_large"]


def _depth(raw: bytes) -> int:
    """Return how many arrays and objects are in each other where they are most, whatever else is wrong with a text."""
    if raw.count(b"[") + raw.count(b"{") <= _NESTING_LIMIT:
        return 0
    depth = deepest = 0
    in_text = False
    at = 0
    while at < len(raw):
        sign = raw[at : at + 1]
        if in_text:
            at += sign == b"\\"
            in_text = sign != b'"'
        elif sign == b'"':
            in_text = True
        elif sign in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif sign in b"]}":
            depth -= 1
        at += 1
    return deepest


def _parsed(raw: bytes, errors: str) -> Any:
    """Return what a text of JSON says: a number is the double next to it, and an object the pairs that it names."""
    return json.loads(raw.decode(errors=errors), parse_constant=_refuse, parse_int=float, object_pairs_hook=_Pairs)


class _Pairs(tuple[tuple[str, Any], ...]):
    """An object's fields as they stand there, also those that stand twice."""

    __slots__ = ()


def _refuse(constant: str) -> None:
    message = f"{constant} is not JSON"
    raise ValueError(message)


def _has_surrogates(said: Any) -> bool:
    waiting = [said]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list | tuple):
            waiting.extend(one)
        elif isinstance(one, str) and _SURROGATE.search(one):
            return True
    return False


def _read(record: Any) -> Document | str:
    if not isinstance(record, _Pairs):
        return "malformed_json"
    fields = {name: given for name, given in record if name in _FIELDS}
    if _has_surrogates(list(fields.values())):
        return "malformed_json"
    if any(fields.get(name) is None for name in _REQUIRED):
        return "missing_field"
    wrong = any(_is_wrong(name, given) for name, given in record if name in _FIELDS)
    return "invalid_value" if wrong else fields


def _is_wrong(name: str, given: Any) -> bool:
    """Tell whether a field cannot be read: each time that it stands there it has to be right, and the last time counts."""
    if given is None:
        return name in _REQUIRED
    if name in _NUMBERS:
        return not isinstance(given, float) or not isfinite(given)
    return not isinstance(given, str) or _has_surrogates(given) or given not in _CHOICES.get(name, (given,))


class _NoInstantError(Exception):
    """A text that names no instant, and the code of the refusal of a record that says it."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@cache
def instant_of(text: str) -> int:
    """Return the µs since 1970 of a `date-time` as RFC 3339 (section 5.6) defines it; nothing is finer than a µs.

    Raises:
        _NoInstantError: it is none, has no offset, or names no date, time of a day (of 86,400 seconds) or offset.

    """
    match = _DATE_TIME.fullmatch(text)
    if match is None:
        raise _NoInstantError("invalid_value")
    wall, fraction, offset = match.groups()
    if offset is None:
        raise _NoInstantError("naive_timestamp")
    micros = Fraction(f"0.{fraction or 0}") * 10**6
    hours, minutes = (0, 0) if offset in "Zz" else (int(offset[1:3]), int(offset[4:]))
    try:
        seconds = (datetime(*map(int, re.split("[^0-9]", wall)), tzinfo=UTC) - _EPOCH) // timedelta(seconds=1)  # type: ignore[misc, arg-type]
    except ValueError:
        raise _NoInstantError("invalid_value") from None
    if micros.denominator != 1 or hours > _LAST_HOUR or minutes > _LAST_MINUTE:
        raise _NoInstantError("invalid_value")
    east = -1 if offset.startswith("-") else 1
    return (seconds - east * 60 * (60 * hours + minutes)) * 10**6 + int(micros)


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
    try:
        start, end = instant_of(record["start_time"]), instant_of(record["end_time"])
    except _NoInstantError as error:
        return error.code
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
