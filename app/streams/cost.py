"""Cost: a published interval becomes a priced record, when that says anything new."""

from typing import NamedTuple, Protocol

from app.streams.validate import instants
from app.wire.interval import decode_interval, message_energy_uwh, message_parts
from app.wire.priced import PricedState, encode_body, read_state, with_tail
from app.domain.reference import ReferenceBook


class PricedTable(Protocol):
    """Where the priced records of one partition are kept, by interval id."""

    def get(self, interval_id: str) -> bytes | None:
        """Return the last published record of an interval, or None."""

    def put(self, interval_id: str, value: bytes) -> None:
        """Publish a record: output and state are one write."""


class Outcome(NamedTuple):
    """What pricing one interval led to: whether something was published, and with a price or pending."""

    interval_id: str
    published: bool
    status: str


class Pricer:
    """Prices the intervals of one partition with the documents that are in force now."""

    def __init__(self, table: PricedTable, book: ReferenceBook) -> None:
        """Work on a table, with a book of reference."""
        self._table = table
        self._book = book

    def price(self, value: bytes) -> Outcome:
        """Price one published interval.

        Raises:
            msgspec.MsgspecError: the bytes are no interval.

        """
        message = decode_interval(value)
        start_us, end_us = instants[message.start_time], instants[message.end_time]
        energy_uwh = message_energy_uwh(message, value)
        plan = self._book.plan(message.location_id, message.tariff_direction)
        price = plan.price(
            start_us, end_us, energy_uwh, lambda: message_parts(message, instants.__getitem__), message.energy_flow_direction
        )
        body = encode_body(value, price)
        before = self._table.get(message.interval_id)
        state = PricedState(b"", 0) if before is None else read_state(before)
        if state.body == body:
            return Outcome(message.interval_id, published=False, status=price.status)
        self._table.put(message.interval_id, with_tail(body, message.submitted_at, state.sequence + 1))
        return Outcome(message.interval_id, published=True, status=price.status)
