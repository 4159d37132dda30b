"""Intervals <-> bytes: the public form on `meter.intervals`, and the compact state in the table's changelog and store.

The public form is built from pieces of text, because everything about a meter but its numbers is known beforehand. Its
fields stand in a fixed order, `records` and `submitted_at` last: what stands before them is the beginning of the priced
record too, byte for byte.
"""

from typing import Any, Final

import msgspec

from app.domain.energy import parse_watt_hours_uwh, watt_hours_text
from app.domain.instants import format_instant
from app.domain.intervals import Interval
from app.domain.records import MeterId

RECORDS_MARK: Final = b',"records":['
"""Where an interval's records begin. A quotation mark inside a JSON text is escaped, so no identifier can contain this."""

_MEMO_LIMIT: Final = 50_000
_EXACT_IN_DOUBLE_WH: Final = 1e8
"""Below this many Wh (15 digits with six decimals) a double holds every µWh."""

encode_state: Final = msgspec.msgpack.Encoder().encode
decode_state: Final = msgspec.msgpack.Decoder(Interval).decode


class _InstantTexts(dict[int, str]):
    """Texts of instants by µs: thousands of meters share the same few."""

    def __missing__(self, at_us: int) -> str:
        if len(self) >= _MEMO_LIMIT:
            self.clear()
        text = self[at_us] = format_instant(at_us)
        return text


instant_texts: Final = _InstantTexts()


def json_text(text: str | None) -> str:
    """Return a JSON string, or null."""
    return msgspec.json.encode(text).decode()


class MeterText:
    """The texts of one meter: the beginning of its interval ids, and of its published intervals."""

    __slots__ = ("_after_id", "_before_id", "prefix")

    def __init__(self, meter: MeterId) -> None:
        """Prepare the pieces around an interval's own numbers."""
        self.prefix: Final = "|".join((*meter, ""))
        self._before_id = '{"interval_id":' + json_text(self.prefix)[:-1]
        self._after_id = (
            f'","location_id":{json_text(meter.location_id)},"device_id":{json_text(meter.device_id or None)},'
            f'"energy_flow_direction":"{meter.energy_flow_direction}","tariff_direction":"{meter.tariff_direction}",'
            '"start_time":"'
        )

    def interval_id(self, start_us: int) -> str:
        """Return the id of the interval of this meter that starts at an instant."""
        return self.prefix + instant_texts[start_us]

    def encode(self, interval: Interval) -> bytes:
        """Return the public form of an interval."""
        start = instant_texts[interval.start_us]
        covered_us = interval.covered_us()
        complete = "true" if covered_us == interval.end_us - interval.start_us else "false"
        return (
            f'{self._before_id}{start}{self._after_id}{start}","end_time":"{instant_texts[interval.end_us]}",'
            f'"energy_wh":{watt_hours_text(interval.energy_uwh())},"covered_seconds":{_seconds_text(covered_us)},'
            f'"complete":{complete},"confidence":{interval.confidence():.15g},"revision":{interval.revision},'
            f'"records":[{_records_text(interval)}],"submitted_at":"{instant_texts[interval.submitted_ms() * 1000]}"}}'
        ).encode()


def _seconds_text(duration_us: int) -> str:
    """Return µs as a JSON number of seconds."""
    seconds, micros = divmod(duration_us, 1_000_000)
    return f"{seconds}.{micros:06d}".rstrip("0") if micros else str(seconds)


def _records_text(interval: Interval) -> str:
    """Return the records of an interval, each clipped to it, as the inside of a JSON array."""
    texts = []
    start_us, end_us = interval.start_us, interval.end_us
    for r in interval.readings:
        reference, session = r.record_reference_id, r.session_reference_id
        texts.append(
            f'{{"record_reference_id":{"null" if reference is None else json_text(reference)},'
            f'"session_reference_id":{"null" if session is None else json_text(session)},'
            f'"start_time":"{instant_texts[max(r.start_us, start_us)]}",'
            f'"end_time":"{instant_texts[min(r.end_us, end_us)]}",'
            f'"energy_wh":{watt_hours_text(r.energy_between_uwh(start_us, end_us))},'
            f'"submitted_at":"{instant_texts[r.submitted_ms * 1000]}"}}'
        )
    return ",".join(texts)


class IntervalMessage(msgspec.Struct, gc=False):
    """What pricing needs of a published interval; the records stay unread until a tariff boundary asks for them."""

    interval_id: str
    location_id: str
    energy_flow_direction: str
    tariff_direction: str
    start_time: str
    end_time: str
    energy_wh: float
    records: msgspec.Raw
    submitted_at: str


class _RecordMessage(msgspec.Struct, gc=False):
    start_time: str
    end_time: str
    energy_wh: float


class _ExactEnergy(msgspec.Struct):
    energy_wh: msgspec.Raw


decode_interval: Final = msgspec.json.Decoder(IntervalMessage).decode
_decode_records: Final = msgspec.json.Decoder(list[_RecordMessage]).decode
_decode_exact: Final = msgspec.json.Decoder(_ExactEnergy).decode
_decode_exact_records: Final = msgspec.json.Decoder(list[_ExactEnergy]).decode


def message_energy_uwh(message: IntervalMessage, value: bytes) -> int:
    """Return the energy of a published interval in µWh, exactly."""
    if message.energy_wh < _EXACT_IN_DOUBLE_WH:
        return round(message.energy_wh * 1_000_000)
    return parse_watt_hours_uwh(bytes(_decode_exact(value).energy_wh).decode())


def message_parts(message: IntervalMessage, parse_us: Any) -> list[tuple[int, int, int]]:  # noqa: ANN401 - a callable
    """Return (start_us, end_us, energy_uwh) of each record of a published interval."""
    raw = bytes(message.records)
    records = _decode_records(raw)
    if any(record.energy_wh >= _EXACT_IN_DOUBLE_WH for record in records):
        energies = [parse_watt_hours_uwh(bytes(r.energy_wh).decode()) for r in _decode_exact_records(raw)]
    else:
        energies = [round(record.energy_wh * 1_000_000) for record in records]
    return [
        (parse_us(record.start_time), parse_us(record.end_time), energy_uwh)
        for record, energy_uwh in zip(records, energies, strict=True)
    ]
