"""Cost: a published interval becomes a priced record, when that says anything new."""

from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Final, Protocol, cast

from msgspec import Struct

from app.domain.intervals import Interval
from app.domain.pricing import PricePlan
from app.domain.rates import Status
from app.domain.records import EnergyFlow
from app.domain.reference import ReferenceBook
from app.domain.tariffs import Direction
from app.streams.ledger import TierLedger, prefix_of
from app.streams.validate import Meter, instants
from app.wire.compiled import PublishedInterval
from app.wire.interval import (
    IntervalMessage,
    decode_interval,
    instant_texts,
    message_energy_uwh,
    message_parts,
)
from app.wire.priced import encode_body, has_body, head_of, sequence_of, with_tail


class PricedTable(Protocol):
    """Where the priced records of one partition are kept, by interval id."""

    def get(self, interval_id: str) -> bytes | None:
        """Return the last published record of an interval, or None."""

    def scan(self, prefix: str, start_us: int, end_us: int) -> Iterable[tuple[int, bytes]]:
        """Yield (start_us, value) of a meter's records that start in [start_us, end_us), in order."""

    def last_before(self, prefix: str, before_us: int) -> tuple[int, bytes] | None:
        """Return (start_us, value) of a meter's last record that starts before an instant, or None."""


class Outcome(Struct, frozen=True, gc=False):
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


class _LazyState(Struct, frozen=True, gc=False):
    """The parts of a stored interval, cut only where a tariff boundary cuts it."""

    interval: Interval

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        return iter(self.interval.parts())

    def __bool__(self) -> bool:
        return bool(self.interval.readings)


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
        interval_id = message.interval_id
        return self._price(
            prefix_of(interval_id),
            interval_id,
            self.plan(message.location_id, message.tariff_direction),
            head_of(value),
            (instants[message.start_time], instants[message.end_time], message_energy_uwh(message, value)),
            cast("list[tuple[int, int, int]]", _LazyParts(message)),  # pricing only iterates over it
            message.energy_flow_direction,
            message.submitted_at,
            self._table.get(interval_id),
        )

    def price_published(
        self, interval_id: str, interval: Interval, meter: Meter, published: PublishedInterval
    ) -> Outcome:
        """Price an interval that is just being published. Hot."""
        of, readings = meter.meter_id, interval.readings
        start_us, end_us = interval.start_us, interval.end_us
        _, head, energy_uwh, submitted_at = published
        parts: Sequence[tuple[int, int, int]] = ()
        if len(readings) != 1 or readings[0].start_us != start_us or readings[0].end_us != end_us:
            parts = cast("list[tuple[int, int, int]]", _LazyState(interval))
        return self._price(
            meter.text.prefix,
            interval_id,
            self.plan(of.location_id, of.tariff_direction),
            head,
            (start_us, end_us, energy_uwh),
            parts,
            of.energy_flow_direction,
            submitted_at,
            self._table.get(interval_id),
        )

    def price_state(self, interval_id: str, interval: Interval, meter: Meter, before: bytes | None) -> Outcome:
        """Price a stored interval as if it were published again; `before` is its last priced record (None: none yet). Hot."""
        of, text = meter.meter_id, meter.text
        start_us, end_us, readings = interval.start_us, interval.end_us, interval.readings
        if len(readings) == 1 and readings[0].start_us == start_us and readings[0].end_us == end_us:
            # As nearly always: one record of the same period, which is the interval's only part.
            (whole,) = readings
            energy_uwh, covered_us, submitted_ms = whole.energy_uwh, end_us - start_us, whole.submitted_ms
            parts: Sequence[tuple[int, int, int]] = ()
        else:
            energy_uwh, covered_us, submitted_ms = interval.energy_uwh(), interval.covered_us(), interval.submitted_ms()
            parts = cast("list[tuple[int, int, int]]", _LazyState(interval))
        return self._price(
            text.prefix,
            interval_id,
            self.plan(of.location_id, of.tariff_direction),
            text.head(interval, energy_uwh, covered_us),
            (start_us, end_us, energy_uwh),
            parts,
            of.energy_flow_direction,
            instant_texts[submitted_ms * 1000],
            before,
        )

    def terms(self) -> tuple[dict[tuple[str, str], PricePlan], Container[str]]:
        """Return the plans that have been asked for, by location and direction, and the meters whose tiers are followed."""
        if self._generation != self._book.tariff_generation:
            self._count_anew()
        return self._book.plans, self.ledger.followed

    def plan(self, location_id: str, direction: Direction) -> PricePlan:
        """Return how a location's energy of one direction is priced now."""
        if self._generation != self._book.tariff_generation:
            self._count_anew()
        return self._book.plan(location_id, direction)

    def _count_anew(self) -> None:
        self.ledger.forget()
        self._generation = self._book.tariff_generation

    def _price(  # noqa: PLR0913, PLR0917 - hot: keywords cost more than the names would help
        self,
        prefix: str,
        interval_id: str,
        plan: PricePlan,
        head: bytes,
        whole: tuple[int, int, int],
        parts: Sequence[tuple[int, int, int]],
        flow: EnergyFlow,
        submitted_at: str,
        before: bytes | None,
    ) -> Outcome:
        start_us, end_us, energy_uwh = whole
        if plan.is_graduated:
            counts = self.ledger.meter(prefix)
            price = plan.price(start_us, end_us, energy_uwh, parts, flow, counts)
        else:
            counts = None
            self.ledger.forget_meter(prefix)
            price = plan.price(start_us, end_us, energy_uwh, parts, flow)
        body = encode_body(head, price)
        sequence = 1
        if before is not None:
            if has_body(before, body):
                return Outcome(interval_id, None, price.status)
            sequence = sequence_of(before) + 1
        if counts is not None:
            self.ledger.put(counts, start_us, end_us, before, price)
        return Outcome(interval_id, with_tail(body, submitted_at, sequence), price.status)
