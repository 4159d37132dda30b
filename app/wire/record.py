"""Messages of `meter.records` <-> records: bytes in, records or the exact reason of a refusal out.

A message is one record or an array of them. Decoding a good message is one call of a typed decoder; what that refuses is
looked at again field by field, so that the reason names the field, the value and what was expected.
"""

from typing import Any, Final, get_args

import msgspec

from app.domain.records import (
    BATCH_LIMIT,
    EnergyFlow,
    MeterRecord,
    Rejected,
    TariffDirection,
    Units,
)

decode_record: Final = msgspec.json.Decoder(MeterRecord).decode
decode_batch: Final = msgspec.json.Decoder(list[MeterRecord]).decode
_decode_slices: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_any: Final = msgspec.json.Decoder().decode

UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError, OverflowError)
"""What a decoder raises for bytes that are not the JSON that it expects."""

Read = tuple[bytes, MeterRecord | Rejected]
_SHOWN: Final = 80


def read_message(value: bytes | None) -> list[Read]:
    """Return the raw bytes of each record in a message with what was read: the slow, total path.

    A message that cannot be read, or that holds too many records, counts as one record.
    """
    if value is None:
        return [(b"", Rejected("malformed_json", "the message has no value (expected a JSON object or array)"))]
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
        return decode_record(raw)
    except UNREADABLE as error:
        try:
            value = _decode_any(raw)
        except UNREADABLE as cause:
            return Rejected("malformed_json", f"the record is not JSON: {_sentence(cause)}")
        return _explain(value) or Rejected("invalid_value", f"the record cannot be read: {_sentence(error)}")


def _sentence(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return str(error)


def _explain(value: Any) -> Rejected | None:
    """Return the first field that makes a JSON value no record."""
    if not isinstance(value, dict):
        return Rejected("malformed_json", f"the record is {_kind(value)} (expected a JSON object)")
    for field in ("location_id", "units", "value", "start_time", "end_time"):
        if field not in value or value[field] is None:
            return Rejected("missing_field", f"{field}: the field is missing (expected {_EXPECTED[field]})")
    for field, expected in _EXPECTED.items():
        given = value.get(field)
        if given is not None and not _fits(field, given):
            return Rejected("invalid_value", f"{field}: {_show(given)} is {_kind(given)} (expected {expected})")
    return None


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


def _show(given: Any) -> str:
    try:
        text = msgspec.json.encode(given).decode()
    except (msgspec.MsgspecError, RecursionError, OverflowError, ValueError):
        text = "a value"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


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
