"""Intervals <-> bytes: the public form on `meter.intervals`, and the compact state in the table's changelog and store.

The public form is built from pieces of text, because everything about a meter but its numbers is known beforehand. Its
fields stand in a fixed order, `records` and `submitted_at` last: what stands before them is the beginning of the priced
record too, byte for byte.
"""

from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from app.domain.energy import parse_watt_hours_uwh, watt_hours_text
from app.domain.instants import format_instant
from app.domain.intervals import Interval
from app.domain.records import EnergyFlow, MeterId, TariffDirection
from app.wire import compiled
from app.wire.compiled import Packed, PublishedInterval

RECORDS_MARK: Final = b',"records":['
"""Where an interval's records begin. A quotation mark inside a JSON text is escaped, so no identifier can contain this."""

_MEMO_LIMIT: Final = 50_000
EXACT_IN_DOUBLE_WH: Final = 1e8
"""Below this many Wh (15 digits with six decimals) a double holds every µWh."""

_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder(Interval).decode
HELD: Final = b"h"
_PUBLISHED: Final = b"."

K = TypeVar("K", bound=Hashable)


def encode_state(interval: Interval) -> bytes:
    """Return the compact form of a state; its first byte tells, without decoding, whether it waits to be published. Hot."""
    parts = compiled.parts
    if parts is not None and (state := parts.encode_state(interval)) is not None:
        return state
    return (HELD if interval.held else _PUBLISHED) + _pack(interval)


def encode_states(
    mark: bytes, intervals: Mapping[str, tuple[Interval, Any] | Packed]
) -> list[tuple[bytes, bytes | None]]:
    """Return the ids, with a mark before them, and the states of intervals, each of which comes with something else. Hot."""
    parts = compiled.parts
    if parts is not None:
        return parts.encode_states(mark, intervals, encode_state)
    return [(mark + interval_id.encode(), encode_state(interval)) for interval_id, (interval, _) in intervals.items()]


def marked_entries(mark: bytes, values: Mapping[str, bytes | None]) -> list[tuple[bytes, bytes | None]]:
    """Return the ids of intervals, with a mark before them, and what there is of each. Hot."""
    parts = compiled.parts
    if parts is not None:
        return parts.marked_entries(mark, values)
    return [(mark + interval_id.encode(), value) for interval_id, value in values.items()]


def decode_state(value: bytes) -> Interval:
    """Return the state that `encode_state` wrote."""
    return _unpack(value[1:])


class Texts(dict[K, str]):
    """Texts of values, remembered: thousands of meters share the same few instants, lengths and names."""

    def __init__(self, text_of: Callable[[K], str], limit: int = _MEMO_LIMIT) -> None:
        """Remember what a function returns, for at most so many values."""
        super().__init__()
        self._text_of = text_of
        self._limit = limit

    def __missing__(self, value: K) -> str:
        """Ask the function."""
        if len(self) >= self._limit:
            self.clear()
        text = self[value] = self._text_of(value)
        return text


def _seconds_text(duration_us: int) -> str:
    """Return µs as a JSON number of seconds."""
    seconds, micros = divmod(duration_us, 1_000_000)
    return f"{seconds}.{micros:06d}".rstrip("0") if micros else str(seconds)


instant_texts: Final = Texts(format_instant)
_seconds_texts: Final = Texts(_seconds_text)


_encode_json: Final = msgspec.json.Encoder().encode


def json_text(text: str | None) -> str:
    """Return a JSON string, or null."""
    return _encode_json(text).decode()


class MeterText:
    """The texts of one meter: the beginning of its interval ids, and of its published intervals."""

    __slots__ = ("_after_id", "_before_id", "prefix")

    def __init__(self, meter: MeterId) -> None:
        """Prepare the pieces around an interval's own numbers."""
        self.prefix: Final = "|".join((*meter, ""))
        self._before_id = ('{"interval_id":' + json_text(self.prefix)[:-1]).encode()
        self._after_id = (
            f'","location_id":{json_text(meter.location_id)},"device_id":{json_text(meter.device_id or None)},'
            f'"energy_flow_direction":"{meter.energy_flow_direction}","tariff_direction":"{meter.tariff_direction}",'
            '"start_time":"'
        ).encode()

    def interval_id(self, start_us: int) -> str:
        """Return the id of the interval of this meter that starts at an instant."""
        return self.prefix + instant_texts[start_us]

    def encode(self, interval: Interval) -> bytes:
        """Return the public form of an interval."""
        return self.publish(interval)[0]

    def publish(self, interval: Interval) -> PublishedInterval:
        """Return the public form of an interval, with what is known of it by then. Hot."""
        parts = compiled.parts
        if parts is not None:
            published = parts.publish(self._before_id, self._after_id, interval)
            if published is not None:
                return published
        start_us, end_us, readings = interval.start_us, interval.end_us, interval.readings
        energy_uwh = covered_us = submitted_ms = 0
        texts = []
        for r in readings:
            begin_us, finish_us, amount_uwh = r.start_us, r.end_us, r.energy_uwh
            if begin_us < start_us or finish_us > end_us:
                amount_uwh = r.energy_between_uwh(start_us, end_us)
                begin_us, finish_us = max(begin_us, start_us), min(finish_us, end_us)
            energy_uwh += amount_uwh
            covered_us += finish_us - begin_us
            submitted_ms = max(submitted_ms, r.submitted_ms)
            reference, session = r.record_reference_id, r.session_reference_id
            texts.append(
                f'{{"record_reference_id":{"null" if reference is None else json_text(reference)},'
                f'"session_reference_id":{"null" if session is None else json_text(session)},'
                f'"start_time":"{instant_texts[begin_us]}","end_time":"{instant_texts[finish_us]}",'
                f'"energy_wh":{watt_hours_text(amount_uwh)},"submitted_at":"{instant_texts[r.submitted_ms * 1000]}"}}'
            )
        head = self.head(interval, energy_uwh, covered_us)
        submitted_at = instant_texts[submitted_ms * 1000]
        rest = f',"records":[{",".join(texts)}],"submitted_at":"{submitted_at}"}}'
        return head + rest.encode(), head, energy_uwh, submitted_at

    def head(self, interval: Interval, energy_uwh: int, covered_us: int) -> bytes:
        """Return the beginning of an interval's public form, up to its records, by its energy and the time they cover. Hot."""
        parts = compiled.parts
        if parts is not None:
            found = parts.head(self._before_id, self._after_id, interval, energy_uwh, covered_us)
            if found is not None:
                return found
        start_us, end_us = interval.start_us, interval.end_us
        start = instant_texts[start_us]
        complete = "true" if covered_us == end_us - start_us else "false"
        readings = interval.readings
        confidence = readings[0].confidence if len(readings) == 1 else interval.confidence()
        text = (
            f'{start}","end_time":"{instant_texts[end_us]}",'
            f'"energy_wh":{watt_hours_text(energy_uwh)},"covered_seconds":{_seconds_texts[covered_us]},'
            f'"complete":{complete},"confidence":{1 if confidence == 1 else f"{confidence:.15g}"},'
            f'"revision":{interval.revision}'
        )
        return b"".join((self._before_id, start.encode(), self._after_id, text.encode()))


class IntervalMessage(msgspec.Struct, gc=False):
    """What pricing needs of a published interval; the records stay unread until a tariff boundary asks for them."""

    interval_id: str
    location_id: str
    energy_flow_direction: EnergyFlow
    tariff_direction: TariffDirection
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
    if message.energy_wh < EXACT_IN_DOUBLE_WH:
        return round(message.energy_wh * 1_000_000)
    return parse_watt_hours_uwh(bytes(_decode_exact(value).energy_wh).decode())


def message_parts(message: IntervalMessage, parse_us: Callable[[str], int]) -> list[tuple[int, int, int]]:
    """Return (start_us, end_us, energy_uwh) of each record of a published interval."""
    raw = bytes(message.records)
    records = _decode_records(raw)
    if any(record.energy_wh >= EXACT_IN_DOUBLE_WH for record in records):
        energies = [parse_watt_hours_uwh(bytes(r.energy_wh).decode()) for r in _decode_exact_records(raw)]
    else:
        energies = [round(record.energy_wh * 1_000_000) for record in records]
    return [
        (parse_us(record.start_time), parse_us(record.end_time), energy_uwh)
        for record, energy_uwh in zip(records, energies, strict=True)
    ]
