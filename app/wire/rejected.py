"""Rejected records: why, where it stood, and the raw bytes, so that nothing is lost and it can be sent again."""

import base64
from typing import Final, NamedTuple

import msgspec

from app.domain.instants import format_instant
from app.domain.records import Rejected
from app.wire.record import is_too_deep


class Position(NamedTuple):
    """Where a message was first published: topic, partition, offset, and its Kafka timestamp in ms."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int


class RejectedRecord(msgspec.Struct):
    """The public form of a rejected record; `raw_encoding` is "text", or "base64" for bytes that are not UTF-8."""

    error: str
    message: str
    record_num: int
    record_reference_id: str | None
    location_id: str | None
    topic: str
    partition: int
    offset: int
    timestamp: str
    raw: str | None
    raw_encoding: str


class _Glimpse(msgspec.Struct):
    """The two fields by which a person looks for a record, as far as they can be read."""

    location_id: str | None = None
    record_reference_id: str | None = None


_LONGEST_MESSAGE: Final = 1000
_SHORT_BYTES: Final = 4096
_GROWTH_LIMIT: Final = 1.4
"""Beyond this growth by escapes, base64 (4/3) is shorter."""

_glimpse = msgspec.json.Decoder(_Glimpse).decode
encode = msgspec.json.Encoder().encode
decode_rejected = msgspec.json.Decoder(RejectedRecord).decode


def encode_rejected(rejected: Rejected, raw: bytes | None, record_num: int, position: Position) -> bytes:
    """Return the public form of a refusal."""
    location_id = reference = None
    try:
        # Whether a decoder gets to the bottom of what is too deep depends on how deep the call is.
        seen = _glimpse(b"" if raw is None or is_too_deep(raw) else raw)
        location_id, reference = _cut(seen.location_id), _cut(seen.record_reference_id)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        pass
    text, encoding = _raw_text(raw)
    return encode(
        RejectedRecord(
            error=rejected.error,
            message=_cut(rejected.message, _LONGEST_MESSAGE) or "",
            record_num=record_num,
            record_reference_id=reference,
            location_id=location_id,
            topic=position.topic,
            partition=position.partition,
            offset=position.offset,
            timestamp=format_instant(position.timestamp_ms * 1000),
            raw=text,
            raw_encoding=encoding,
        )
    )


def _raw_text(raw: bytes | None) -> tuple[str | None, str]:
    """Return raw bytes as text; in base64 where they are no text, or where JSON's escapes would blow the text up."""
    if raw is None:
        return None, "text"
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return base64.b64encode(raw).decode(), "base64"
    if len(raw) > _SHORT_BYTES and len(encode(text)) > _GROWTH_LIMIT * len(raw):
        return base64.b64encode(raw).decode(), "base64"
    return text, "text"


def _cut(text: str | None, limit: int = 200) -> str | None:
    """Return a text of bounded length: a refusal must never be too large to be published."""
    return text if text is None or len(text) <= limit else text[:limit] + "…"


def raw_bytes(record: RejectedRecord) -> bytes | None:
    """Return the bytes that were rejected."""
    if record.raw is None:
        return None
    return base64.b64decode(record.raw) if record.raw_encoding == "base64" else record.raw.encode()
