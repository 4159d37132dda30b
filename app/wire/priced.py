"""Priced records: their public form, which is also the state of the table `priced`.

A priced record begins with its interval's own fields, byte for byte, and ends with `submitted_at` and `sequence`. What
stands between says what the energy is and what it costs; a record is published again when that differs, and `sequence`
counts it.
"""

from typing import Final, NamedTuple

from app.domain.energy import watt_hours_text
from app.domain.rates import IntervalPrice
from app.wire.interval import RECORDS_MARK, instant_texts, json_text

_TAIL_MARK: Final = b',"submitted_at":"'
_SEQUENCE_MARK: Final = b',"sequence":'


class PricedState(NamedTuple):
    """What the last published record of an interval says, apart from when it was submitted; and its sequence."""

    body: bytes
    sequence: int


def encode_body(interval: bytes, price: IntervalPrice) -> bytes:
    """Return a priced record without its tail: the published interval's own fields, then the price."""
    head = interval[: interval.index(RECORDS_MARK)]
    return head + _price_text(price).encode()


def with_tail(body: bytes, submitted_at: str, sequence: int) -> bytes:
    """Return the whole record."""
    return body + f',"submitted_at":"{submitted_at}","sequence":{sequence}}}'.encode()


def read_state(value: bytes) -> PricedState:
    """Return the body and the sequence of a published record.

    Raises:
        ValueError: the bytes are no priced record of this project's making.

    """
    tail = value.rindex(_TAIL_MARK)
    at = value.index(_SEQUENCE_MARK, tail)
    return PricedState(value[:tail], int(value[at + len(_SEQUENCE_MARK) : -1]))


_texts: Final[dict[str | None, str]] = {None: "null"}
_TEXTS_LIMIT: Final = 10_000


def _text(text: str | None) -> str:
    """Return the JSON of an identifier, remembered: tariffs have few charges and bands."""
    known = _texts.get(text)
    if known is None:
        if len(_texts) >= _TEXTS_LIMIT:
            _texts.clear()
            _texts[None] = "null"
        known = _texts[text] = json_text(text)
    return known


def _amount(text: str | None) -> str:
    return "null" if text is None else f'"{text}"'


def _price_text(price: IntervalPrice) -> str:
    components = ",".join(
        [
            f'{{"charge_id":{_text(c.charge_id)},"band":{_text(c.band)},"tier":{"null" if c.tier is None else c.tier},'
            f'"start_time":"{instant_texts[c.start_us]}","end_time":"{instant_texts[c.end_us]}",'
            f'"energy_wh":{watt_hours_text(c.energy_uwh)},"rate":"{c.rate}","cost":"{c.cost}",'
            f'"cost_excluding_tax":"{c.cost_excluding_tax}"}}'
            for c in price.components
        ]
    )
    version = price.tariff_version
    return (
        f',"status":"{price.status}","reason":{_amount(price.reason)},"currency":{_text(price.currency)},'
        f'"cost":{_amount(price.cost)},"cost_excluding_tax":{_amount(price.cost_excluding_tax)},"tax":{_amount(price.tax)},'
        f'"carbon_g":{"null" if price.carbon_g is None else price.carbon_g},"tariff_id":{_text(price.tariff_id)},'
        f'"tariff_version":{"null" if version is None else version},"components":[{components}]'
    )
