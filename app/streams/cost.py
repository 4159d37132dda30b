"""Cost: a published interval becomes a priced record, when that says anything new."""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, Protocol, cast

from app.domain.rates import Status
from app.domain.reference import ReferenceBook
from app.domain.tiers import NOTHING_COUNTED
from app.streams.ledger import TierLedger, prefix_of
from app.streams.validate import instants
from app.wire.interval import IntervalMessage, decode_interval, message_energy_uwh, message_parts
from app.wire.priced import encode_body, read_state, with_tail


class PricedTable(Protocol):
    """Where the priced records of one partition are kept, by interval id."""

    def get(self, interval_id: str) -> bytes | None:
        """Return the last published record of an interval, or None."""

    def scan(self, prefix: str, start_us: int, end_us: int) -> Iterable[tuple[int, bytes]]:
        """Yield (start_us, value) of a meter's records that start in [start_us, end_us), in order."""

    def last_before(self, prefix: str, before_us: int) -> tuple[int, bytes] | None:
        """Return (start_us, value) of a meter's last record that starts before an instant, or None."""


class Outcome(NamedTuple):
    """What pricing one interval led to: the record to publish (None: it says nothing new), priced or pending."""

    interval_id: str
    value: bytes | None
    status: Status


class _LazyParts:
    """The records of a published interval, read only where a tariff boundary cuts it."""

    __slots__ = ("_message", "_parts")

    def __init__(self, message: IntervalMessage) -> None:
        self._message = message
        self._parts: list[tuple[int, int, int]] | None = None

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        if self._parts is None:
            self._parts = message_parts(self._message, instants.__getitem__)
        return iter(self._parts)

    def __bool__(self) -> bool:
        return any(True for _ in self)


class Pricer:
    """Prices the intervals of one partition with the documents that are in force now."""

    def __init__(self, table: PricedTable, book: ReferenceBook) -> None:
        """Compare with a table, price by a book of reference."""
        self._table = table
        self._book = book
        self.ledger: Final = TierLedger(table, book)
        self._generation = book.tariff_generation

    def price(self, value: bytes) -> Outcome:
        """Price one published interval.

        Raises:
            msgspec.MsgspecError: the bytes are no interval.

        """
        message = decode_interval(value)
        book = self._book
        if self._generation != book.tariff_generation:
            self.ledger.forget()
            self._generation = book.tariff_generation
        plan = book.plan(message.location_id, message.tariff_direction)
        start_us, end_us = instants[message.start_time], instants[message.end_time]
        price = plan.price(
            start_us,
            end_us,
            message_energy_uwh(message, value),
            cast("list[tuple[int, int, int]]", _LazyParts(message)),  # pricing only iterates over it
            message.energy_flow_direction,
            self.ledger.meter(prefix_of(message.interval_id)) if plan.is_graduated else NOTHING_COUNTED,
        )
        body = encode_body(value, price)
        before = self._table.get(message.interval_id)
        sequence = 1
        if before is not None:
            state = read_state(before)
            if state.body == body:
                return Outcome(message.interval_id, None, price.status)
            sequence = state.sequence + 1
        if plan.is_graduated or (before is not None and book.has_tiers):
            self.ledger.put(prefix_of(message.interval_id), start_us, end_us, before, price)
        return Outcome(message.interval_id, with_tail(body, message.submitted_at, sequence), price.status)
