"""Priced records: their public form, which is also the state of the table `priced`.

A priced record begins with its interval's own fields, byte for byte, and ends with `submitted_at` and `sequence`. What
stands between says what the energy is and what it costs; a record is published again when that differs, and `sequence`
counts it.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from app.domain.energy import parse_watt_hours_uwh, watt_hours_text
from app.domain.instants import parse_instant_us
from app.domain.rates import Component, IntervalPrice
from app.wire import compiled
from app.wire.interval import EXACT_IN_DOUBLE_WH, RECORDS_MARK, Texts, instant_texts, json_text

_TAIL_MARK: Final = b',"submitted_at":"'
_SEQUENCE_MARK: Final = b',"sequence":'


def head_of(interval: bytes) -> bytes:
    """Return the part of a published interval with which its priced record begins."""
    return interval[: interval.index(RECORDS_MARK)]


def encode_body(head: bytes, price: IntervalPrice) -> bytes:
    """Return a priced record without its tail: the published interval's own fields, then the price. Hot."""
    parts = compiled.parts
    if parts is not None and (body := parts.encode_body(head, price)) is not None:
        return body
    return head + _price_text(price).encode()


def with_tail(body: bytes, submitted_at: str, sequence: int) -> bytes:
    """Return the whole record. Hot."""
    parts = compiled.parts
    if parts is not None and (whole := parts.with_tail(body, submitted_at, sequence)) is not None:
        return whole
    return body + f',"submitted_at":"{submitted_at}","sequence":{sequence}}}'.encode()


def has_body(value: bytes, body: bytes) -> bool:
    """Tell whether a published record says what a body says: they may differ in when it was submitted, and in sequence."""
    return value.startswith(body) and value.startswith(_TAIL_MARK, len(body))


def sequence_of(value: bytes) -> int:
    """Return the sequence of a published record.

    Raises:
        ValueError: the bytes are no priced record of this project's making.

    """
    return int(value[value.rindex(_SEQUENCE_MARK) + len(_SEQUENCE_MARK) : -1])


class Counted(msgspec.Struct, frozen=True, gc=False):
    """What a component of a published record counts: its charge, its band, when it begins, and how much energy."""

    charge_id: str
    band: str | None
    start_us: int
    energy_uwh: int
    tariff_id: str | None


class PricedCounts(msgspec.Struct, frozen=True, gc=False):
    """What a published record counts, and when its interval ends."""

    tariff_id: str | None
    end_us: int
    counted: list[Counted]


NOTHING_SAID: Final = PricedCounts(None, -1, [])
"""What a record that does not exist counts."""

_COVERS_NOTHING: Final = b',"covered_seconds":0,'


def is_empty(value: bytes) -> bool:
    """Tell whether a published record is of an interval in which no time is covered: it has lost its records."""
    return _COVERS_NOTHING in value


class _ComponentMessage(msgspec.Struct, gc=False):
    charge_id: str
    band: str | None
    start_time: str
    energy_wh: float
    tariff_id: str | None = None


class _PricedMessage(msgspec.Struct, gc=False):
    end_time: str
    tariff_id: str | None
    components: list[_ComponentMessage]


class _ExactEnergy(msgspec.Struct):
    energy_wh: msgspec.Raw


class _ExactEnergies(msgspec.Struct):
    components: list[_ExactEnergy]


_decode_priced: Final = msgspec.json.Decoder(_PricedMessage).decode
_decode_exact: Final = msgspec.json.Decoder(_ExactEnergies).decode


def read_counted(value: bytes, parse_us: Callable[[str], int] = parse_instant_us) -> PricedCounts:
    """Return what a published record's components count.

    Raises:
        msgspec.MsgspecError: the bytes are no priced record.

    """
    record = _decode_priced(value)
    counted = []
    for c in record.components:
        energy_wh = c.energy_wh
        if energy_wh >= EXACT_IN_DOUBLE_WH:
            counted = _counted_exactly(value, record, parse_us)
            break
        counted.append(Counted(c.charge_id, c.band, parse_us(c.start_time), round(energy_wh * 1_000_000), c.tariff_id))
    return PricedCounts(record.tariff_id, parse_us(record.end_time), counted)


def _counted_exactly(value: bytes, record: _PricedMessage, parse_us: Callable[[str], int]) -> list[Counted]:
    """Read energies of which a double would not hold every µWh."""
    return [
        Counted(
            c.charge_id,
            c.band,
            parse_us(c.start_time),
            parse_watt_hours_uwh(bytes(exact.energy_wh).decode()),
            c.tariff_id,
        )
        for c, exact in zip(record.components, _decode_exact(value).components, strict=True)
    ]


_texts: Final[Texts[str | None]] = Texts(json_text, limit=10_000)
"""The JSON of identifiers: tariffs have few charges and bands."""


def _price_text(price: IntervalPrice) -> str:
    """Return what stands between an interval's own fields and the tail. Hot."""
    if price.cost is None:
        amounts = '"cost":null,"cost_excluding_tax":null,"tax":null'
    else:
        amounts = f'"cost":"{price.cost}","cost_excluding_tax":"{price.cost_excluding_tax}","tax":"{price.tax}"'
    carbon_g, version = price.carbon_g, price.tariff_version
    reason = "null" if price.reason is None else f'"{price.reason}"'
    return (
        f',"status":"{price.status}","reason":{reason},"currency":{_texts[price.currency]},{amounts},'
        f'"carbon_g":{"null" if carbon_g is None else carbon_g},"tariff_id":{_texts[price.tariff_id]},'
        f'"tariff_version":{"null" if version is None else version},'
        f'"components":[{",".join([_component_text(component) for component in price.components])}]'
    )


def _component_text(c: Component) -> str:
    """Return one component; its tariff is named where it is not the record's. Hot."""
    tariff = "" if c.tariff_id is None else f',"tariff_id":{_texts[c.tariff_id]},"tariff_version":{c.tariff_version}'
    return (
        f'{{"charge_id":{_texts[c.charge_id]},"band":{_texts[c.band]},"tier":{"null" if c.tier is None else c.tier},'
        f'"start_time":"{instant_texts[c.start_us]}","end_time":"{instant_texts[c.end_us]}",'
        f'"energy_wh":{watt_hours_text(c.energy_uwh)},"rate":"{c.rate}","cost":"{c.cost}",'
        f'"cost_excluding_tax":"{c.cost_excluding_tax}"{tariff}}}'
    )
