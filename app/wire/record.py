"""Messages of `meter.records` <-> records: bytes in, records or the exact reason of a refusal out.

A message is one record or an array of them. Decoding a good message is one call of a typed decoder; what that refuses is
looked at again field by field, so that the reason names the field, the value and what was expected.
"""

import re
from itertools import accumulate
from typing import Any, Final, get_args, get_type_hints

import msgspec

from app.domain.records import (
    BATCH_LIMIT,
    EnergyFlow,
    MeterRecord,
    Rejected,
    TariffDirection,
    Units,
)

_decode_record: Final = msgspec.json.Decoder(MeterRecord).decode
_decode_batch: Final = msgspec.json.Decoder(list[MeterRecord]).decode
_decode_slices: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_any: Final = msgspec.json.Decoder().decode
_decode_fields: Final = msgspec.json.Decoder(
    msgspec.defstruct(
        "_Fields", [(field, msgspec.Raw, msgspec.Raw(b"null")) for field in MeterRecord.__struct_fields__]
    )
).decode
"""Takes an object apart, and looks neither into its known fields nor at its unknown ones."""

_DECODERS: Final = {field: msgspec.json.Decoder(kind).decode for field, kind in get_type_hints(MeterRecord).items()}

UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError, OverflowError)
"""What a decoder raises for bytes that are not the JSON that it expects."""

NESTING_LIMIT: Final = 500
"""How deep arrays and objects may be in each other, in fields that nobody reads. A decoder gives up at some depth, and at which
depends on how deep the call is: a worker and `price` could differ in it."""

_TOO_DEEP: Final = f"it is nested more than {NESTING_LIMIT} levels deep"
_TEXT: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_STEPS: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}

Read = tuple[bytes, MeterRecord | Rejected]
_SHOWN: Final = 80
_NULL: Final = b"null"


def decode_record(value: bytes) -> MeterRecord:
    """Return the record that a message is, or raise something. Hot."""
    if len(value) > NESTING_LIMIT and is_too_deep(value):
        raise ValueError(_TOO_DEEP)
    return _decode_record(value)


def decode_batch(value: bytes) -> list[MeterRecord]:
    """Return the records of a message that is an array of good ones, or raise something."""
    if is_too_deep(value):
        raise ValueError(_TOO_DEEP)
    return _decode_batch(value)


def is_too_deep(value: bytes) -> bool:
    """Tell whether arrays and objects are in each other more than `NESTING_LIMIT` times. A shorter message never is."""
    if len(value) <= NESTING_LIMIT or len(value.translate(None, _NOT_BRACKETS)) <= NESTING_LIMIT:
        return False
    outside = _TEXT.sub(b"", value) if b"\\" in value else b"".join(value.split(b'"')[::2])
    return max(accumulate(map(_STEPS.__getitem__, outside.translate(None, _NOT_BRACKETS))), default=0) > NESTING_LIMIT


def read_message(value: bytes | None) -> list[Read]:
    """Return the raw bytes of each record in a message with what was read: the slow, total path.

    A message that cannot be read, or that holds too many records, counts as one record.
    """
    if value is None:
        return [(b"", Rejected("malformed_json", "the message has no value (expected a JSON object or array)"))]
    if is_too_deep(value):
        return [(value, Rejected("malformed_json", f"the message is not read: {_TOO_DEEP}"))]
    if value.lstrip()[:1] != b"[":
        return [(value, read_record(value))]
    try:
        slices = _decode_slices(value)
    except UNREADABLE as error:
        return [(value, Rejected("malformed_json", f"the message is not JSON: {_sentence(error)}"))]
    if len(slices) > BATCH_LIMIT:
        message = f"the message holds {len(slices)} records (expected at most {BATCH_LIMIT})"
        return [(value, Rejected("batch_too_large", message))]
    return [(raw, read_record(raw)) for raw in map(bytes, slices)]


def batch_slices(value: bytes) -> list[bytes]:
    """Return the raw bytes of each element of a message that is an array."""
    return [bytes(raw) for raw in _decode_slices(value)]


def read_record(raw: bytes) -> MeterRecord | Rejected:
    """Return the record that the bytes hold, or why they hold none."""
    try:
        return _decode_record(raw)
    except UNREADABLE as error:
        return _explain(raw) or Rejected("invalid_value", f"the record cannot be read: {_sentence(error)}")


def _sentence(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return str(error)


def _explain(raw: bytes) -> Rejected | None:
    """Return the first field that makes bytes no record, or None where each is right as it is said last."""
    try:
        fields = _decode_fields(raw)
    except UNREADABLE as error:
        return Rejected("malformed_json", _not_an_object(raw) or f"the record is not JSON: {_sentence(error)}")
    said = {field: bytes(getattr(fields, field)) for field in _EXPECTED}
    for field, text in said.items():
        try:
            text.decode()
        except UnicodeDecodeError as error:
            return Rejected("malformed_json", f"the record is not JSON: {field}: {error}")
    for field in ("location_id", "units", "value", "start_time", "end_time"):
        if said[field] == _NULL:
            return Rejected("missing_field", f"{field}: the field is missing (expected {_EXPECTED[field]})")
    for field, text in said.items():
        problem = None if text == _NULL else _problem(field, text)
        if problem is not None:
            return Rejected("invalid_value", problem)
    return None


def _not_an_object(raw: bytes) -> str | None:
    """Return what the bytes are where they are JSON, but no object."""
    try:
        value = _decode_any(raw)
    except UNREADABLE:
        return None
    return None if isinstance(value, dict) else f"the record is {_kind(value)} (expected a JSON object)"


def _problem(field: str, text: bytes) -> str | None:
    """Return what is wrong with the value of a field, alone: of the wrong kind, or a number that no double holds."""
    try:
        _DECODERS[field](text)
    except UNREADABLE as error:
        cause = _sentence(error)
    else:
        return None
    try:
        given = _decode_any(text)
    except UNREADABLE:
        given = None
    if given is None or _fits(field, given):
        return f"{field}: {_cut(text)} cannot be read: {cause}"
    return f"{field}: {_cut(text)} is {_kind(given)} (expected {_EXPECTED[field]})"


_CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "units": get_args(Units),
    "energy_flow_direction": get_args(EnergyFlow),
    "tariff_direction": get_args(TariffDirection),
}
_NUMBERS: Final = ("value", "confidence")
_EXPECTED: Final[dict[str, str]] = {
    "location_id": "text",
    "units": "one of " + ", ".join(_CHOICES["units"]),
    "value": "a number",
    "start_time": "an RFC 3339 timestamp with an offset",
    "end_time": "an RFC 3339 timestamp with an offset",
    "device_id": "text or null",
    "session_reference_id": "text or null",
    "record_reference_id": "text or null",
    "energy_flow_direction": "one of " + ", ".join(_CHOICES["energy_flow_direction"]),
    "tariff_direction": "one of " + ", ".join(_CHOICES["tariff_direction"]),
    "confidence": "a number above 0, at most 1",
}


def _fits(field: str, given: Any) -> bool:
    if field in _CHOICES:
        return given in _CHOICES[field]
    if field in _NUMBERS:
        return isinstance(given, int | float) and not isinstance(given, bool)
    return isinstance(given, str)


def _cut(text: bytes) -> str:
    """Return the beginning of a value as it was written."""
    shown = text.decode()
    return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"


def _kind(given: Any) -> str:
    match given:
        case None:
            return "null"
        case bool():
            return "a truth value"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "an array"
        case _:
            return "an object"
