"""What the stages need to know of a consumed message: the names of aiokafka's records, without Kafka."""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from app.domain.records import BATCH_LIMIT
from app.domain.rules import LATEST_US
from app.wire.rejected import Position


class Log(NamedTuple):
    """The topic and partition that messages were read from."""

    topic: str
    partition: int


class SourceMessage(Protocol):
    """A message as it was consumed. `timestamp` is in ms since the Unix epoch."""

    @property
    def offset(self) -> int:
        """Return its place in the log."""

    @property
    def timestamp(self) -> int:
        """Return when it was submitted."""

    @property
    def key(self) -> bytes | None:
        """Return its key."""

    @property
    def value(self) -> bytes | None:
        """Return its value; None is a tombstone."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        """Return its headers."""


class OfflineMessage(NamedTuple):
    """A message that never was in Kafka: a line of a file, with its number as its offset."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


KEY_LIMIT = 1024
"""Longest key, in bytes, that a forwarded record carries along: our own keys are identifiers."""

ORIGIN_HEADER = "meterstream-origin"
"""On forwarded records: topic, partition, offset and record_num of the first publication, its key in hexadecimal, its ms."""

_LATEST_MS: Final = LATEST_US // 1000
_PARTS_WITHOUT_TIME: Final = 5


def submitted_ms(timestamp_ms: int) -> int:
    """Return when a message counts as submitted: its own time, or the nearest in the years that are supported.

    A topic with CreateTime takes what producers say, and -1 for nothing.
    """
    return timestamp_ms if 0 <= timestamp_ms <= _LATEST_MS else max(0, min(timestamp_ms, _LATEST_MS))


class Origin(NamedTuple):
    """Where a record was first published, before it was forwarded to its location's partition."""

    position: Position
    record_num: int
    key: bytes | None

    def header(self) -> tuple[str, bytes]:
        """Return the header that carries it; without a key that would make the forwarded message too large."""
        at = self.position
        key = "-" if self.key is None or len(self.key) > KEY_LIMIT else "x" + self.key.hex()
        text = f"{at.topic}/{at.partition}/{at.offset}/{self.record_num}/{key}/{at.timestamp_ms}"
        return (ORIGIN_HEADER, text.encode())


def origin_of(message: SourceMessage) -> Origin | None:
    """Return the origin that a forwarded message names; None for a message that was not forwarded.

    A header that cannot be read is no reason to refuse a record: it then counts as published where it stands.
    """
    for name, value in message.headers or ():
        if name == ORIGIN_HEADER and value is not None:
            try:
                parts = value.decode().split("/")
                if len(parts) == _PARTS_WITHOUT_TIME:
                    parts.append(str(message.timestamp))  # an earlier version forwarded with the time of the first
                topic, partition, offset, record_num, key, at_ms = parts
                at = Position(topic, _below(partition, 2**31), _below(offset, 2**63), submitted_ms(int(at_ms)))
                number = _below(record_num, BATCH_LIMIT)
                return Origin(at, number, bytes.fromhex(key[1:]) if key.startswith("x") else None)
            except ValueError:
                return None
    return None


def _below(text: str, end: int) -> int:
    """Return the number in [0, end) that a text says. Raises ValueError: it says none."""
    number = int(text)
    if not 0 <= number < end:
        message = f"{number} is no place in a log"
        raise ValueError(message)
    return number
