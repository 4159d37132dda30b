"""Instants: RFC 3339 texts outside, integer microseconds since the Unix epoch (UTC) inside.

Sources: RFC 3339 (https://www.rfc-editor.org/rfc/rfc3339), section 5.6. A text without an offset ("naive") is refused, because
which instant it means depends on who reads it. A leap second (":60") is refused: the Unix time scale has no place for it.
"""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, Literal

US_PER_SECOND: Final = 1_000_000
US_PER_MINUTE: Final = 60 * US_PER_SECOND
US_PER_HOUR: Final = 3600 * US_PER_SECOND

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339: Final = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[Tt ](\d{2}):(\d{2}):(\d{2})(?:\.(\d+))?(?:([Zz])|([+-])(\d{2}):(\d{2}))?",
    re.ASCII,
)
_MICROSECOND_DIGITS: Final = 6
_SHOWN: Final = 80


class InstantError(ValueError):
    """A text that is not an instant. `reason` is "naive" (no offset) or "malformed"."""

    def __init__(self, reason: Literal["naive", "malformed"], message: str) -> None:
        """Keep the reason beside the sentence."""
        super().__init__(message)
        self.reason = reason


def parse_instant_us(text: str) -> int:
    """Return the instant that an RFC 3339 text names, in µs since 1970-01-01T00:00:00Z.

    Digits of a fraction beyond the sixth must be zero: nothing is rounded silently.

    Raises:
        InstantError: `text` has no offset, is not RFC 3339, or names no real date or time.

    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        message = f"{text[:_SHOWN]!r} is not a timestamp (expected RFC 3339, such as 2025-03-01T00:00:00Z)"
        raise InstantError("malformed", message)
    year, month, day, hour, minute, second, fraction, zulu, sign, off_hour, off_minute = match.groups()
    if zulu is None and sign is None:
        message = f"{text!r} has no UTC offset (expected one, such as 2025-03-01T00:00:00Z or …+01:00)"
        raise InstantError("naive", message)
    micros = 0
    if fraction is not None:
        if fraction[_MICROSECOND_DIGITS:].strip("0"):
            message = f"{text!r} is finer than a microsecond"
            raise InstantError("malformed", message)
        micros = int(fraction[:_MICROSECOND_DIGITS].ljust(_MICROSECOND_DIGITS, "0"))
    try:
        wall = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), micros, tzinfo=UTC)
        offset = timedelta()
        if sign is not None:
            offset = _offset(text, sign, int(off_hour), int(off_minute))
    except ValueError as error:
        message = f"{text!r} is not a timestamp ({error})"
        raise InstantError("malformed", message) from None
    return (wall - _EPOCH - offset) // timedelta(microseconds=1)


def _offset(text: str, sign: str, hours: int, minutes: int) -> timedelta:
    """Return a numeric offset, east positive; RFC 3339 allows 23:59 at the most."""
    if hours > 23 or minutes > 59:  # noqa: PLR2004 - the clock's own limits
        message = f"{text!r} is not a timestamp (the offset must be within ±23:59)"
        raise InstantError("malformed", message)
    offset = timedelta(hours=hours, minutes=minutes)
    return -offset if sign == "-" else offset


def format_instant(at_us: int) -> str:
    """Return the RFC 3339 text of an instant in UTC ("…Z"), with a fraction only where there is one.

    Raises:
        OverflowError: the instant lies outside the years 1 to 9999.

    """
    seconds, micros = divmod(at_us, US_PER_SECOND)
    if micros:
        return f"{_second_text(seconds)}.{micros:06d}".rstrip("0") + "Z"
    return f"{_second_text(seconds)}Z"


@lru_cache(maxsize=4096)
def _second_text(seconds: int) -> str:
    """Return the text of a second, which many records are published in."""
    days, second_of_day = divmod(seconds, 86_400)
    minutes, second = divmod(second_of_day, 60)
    hour, minute = divmod(minutes, 60)
    date = (_EPOCH + timedelta(days=days)).date().isoformat()
    return f"{date}T{hour:02d}:{minute:02d}:{second:02d}"
