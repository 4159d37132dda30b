"""Published intervals back into what a bill reads of charging sessions: which records name one, and when they were."""

from decimal import Decimal
from typing import Final

import msgspec

from app.domain.instants import InstantError, parse_instant_us
from app.domain.records import TariffDirection
from app.domain.sessions import REACH_US, SessionPart

_NAMES_ONE: Final = b'"session_reference_id":"'
"""In an interval without this no record names a session: most are soon done with."""


class IntervalError(ValueError):
    """Bytes that are no published interval; the message says why."""


class _Head(msgspec.Struct, gc=False):
    interval_id: str
    location_id: str


class _Record(msgspec.Struct, gc=False):
    session_reference_id: str | None
    start_time: str
    end_time: str
    energy_wh: Decimal


class _Interval(msgspec.Struct, gc=False):
    interval_id: str
    location_id: str
    device_id: str | None
    tariff_direction: TariffDirection
    records: list[_Record]


_decode_head: Final = msgspec.json.Decoder(_Head).decode
_decode_interval: Final = msgspec.json.Decoder(_Interval).decode


class NewestSessions:
    """Keeps what the newest message of each interval of one location tells of sessions, in and around a bill."""

    def __init__(self, location_id: str, start_us: int, end_us: int) -> None:
        """Keep nothing yet."""
        self._location_id = location_id
        self._from_us = start_us - REACH_US
        self._to_us = end_us + REACH_US
        self._parts: dict[str, tuple[SessionPart, ...]] = {}

    def take(self, value: bytes) -> None:
        """Look at an interval, of any location; it takes the place of the one of its key.

        Raises:
            IntervalError: it is no published interval.

        """
        try:
            if _NAMES_ONE not in value:
                self.forget(_decode_head(value).interval_id)
                return
            interval = _decode_interval(value)
            if interval.location_id != self._location_id:
                return
            parts = tuple(
                SessionPart(
                    record.session_reference_id,
                    interval.tariff_direction,
                    interval.device_id or "",
                    parse_instant_us(record.start_time),
                    parse_instant_us(record.end_time),
                    record.energy_wh > 0,
                )
                for record in interval.records
                if record.session_reference_id is not None
            )
        except (msgspec.MsgspecError, InstantError, ValueError) as error:
            raise IntervalError(str(error)) from None
        inside = tuple(part for part in parts if part.start_us < self._to_us and self._from_us < part.end_us)
        if inside:
            self._parts[interval.interval_id] = inside
        else:
            self.forget(interval.interval_id)

    def forget(self, interval_id: str) -> None:
        """Let go of an interval: it was deleted, or no record in it names a session any more."""
        self._parts.pop(interval_id, None)

    def parts(self) -> list[SessionPart]:
        """Return what was kept."""
        return [part for parts in self._parts.values() for part in parts]
