"""The pipeline of one partition: records in, intervals and priced records out, over tables and a sink. No Kafka, no clock.

The same object serves a worker's partition, pricing from files and simulations. Nothing here waits, and nothing that a record
can contain stops it: a record whose handling raises is tried once more by itself, then refused as `internal_error`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import takewhile
from typing import Any, Final, NamedTuple

import structlog

from app.domain.instants import US_PER_HOUR
from app.domain.intervals import Interval, Verdict
from app.domain.records import BATCH_LIMIT, MeterId, MeterRecord, Reading, Rejected
from app.domain.reference import ReferenceBook
from app.domain.rules import Window
from app.domain.timeline import BEGINNING_US, END_US
from app.streams.bucket import Bucketer
from app.streams.cost import Outcome, Pricer
from app.streams.faults import StoreError
from app.streams.outputs import Metric, Sink
from app.streams.retention import NO_LIMITS, AgeLimits, Retention
from app.streams.sources import Log, Origin, SourceMessage, origin_of, submitted_ms
from app.streams.tables import Tables
from app.streams.usual import usual
from app.streams.validate import Meter, NamedIn, Place, meter_id_of, named_in, reading_of
from app.streams.walks import Walk, Walks
from app.wire.compiled import PublishedInterval
from app.wire.partition import owner_of
from app.wire.record import batch_slices, decode_batch, decode_record, read_message
from app.wire.rejected import Position, encode_rejected

events = structlog.get_logger(__name__)


class Context(NamedTuple):
    """Where a pipeline stands: its partition of so many, and the name of the topic that records are published to."""

    partition: int
    partitions: int
    records_topic: str


_LONGEST_US: Final = (31 * 24 + 1) * US_PER_HOUR
"""A month of 31 days in which clocks go back."""

_LONGEST_ON_GRID_US: Final = US_PER_HOUR
"""The longest interval but for whole months: intervals are stepped in UTC."""

_HOMELESS_S: Final = 1.0
"""How often an interval whose location is unknown is looked at again, at most."""

Stage = Callable[[MeterRecord, Meter, Place, Window | None], Reading | Rejected]


class Pipeline:
    """Decides every record of one partition once, and prices its intervals."""

    def __init__(
        self,
        context: Context,
        tables: Tables,
        book: ReferenceBook,
        sink: Sink,
        *,
        emit_every_s: float = 0.0,
        validate: Stage = reading_of,
        limits: AgeLimits = NO_LIMITS,
    ) -> None:
        """Put the stages together; `validate` can be another function in tests that force a fault."""
        self.context: Final = context
        self.tables: Final = tables
        self.metrics: Final[Counter[Metric]] = Counter()
        self.bucketer: Final = Bucketer(tables.intervals, book.location)
        self.retention: Final = Retention(limits, book.longest_tier_days)
        self._book = book
        self._sink = sink
        self._emit_every_s = emit_every_s
        self._validate = validate
        self._pricer = Pricer(tables.priced, book)
        self.prices_at_once = False
        """Whether an interval is priced when it is published; otherwise when it comes back from its topic."""
        self._held_since_s: dict[str, float] = {}
        self._in_flight: dict[str, int] = {}
        self._log = Log(context.records_topic, context.partition)
        self._source = 2 * context.partition
        self._accepted = 0
        self._meters: dict[NamedIn, Meter] = {}

    def forget_locations(self, location_ids: Iterable[str]) -> None:
        """Look the documents of locations up again: they, or what they link to, have changed."""
        self._meters.clear()
        for location_id in location_ids:
            self.bucketer.forget_location(location_id)

    # Records

    def take_records(self, log: Log, messages: Iterable[SourceMessage]) -> None:
        """Decide the records of some messages of `meter.records` or `meter.records-by-location`."""
        self._log = log
        self._source = 2 * log.partition + (log.topic != self.context.records_topic)
        compiled = usual() if self._validate is reading_of else None
        if compiled is None:
            for message in messages:
                self._take(message)
            return
        given = messages if isinstance(messages, list) else list(messages)
        at, how = 0, (self._source, self._meters, self._find_meter, self.tables, self.retention)
        while at < len(given):
            end, duplicates = compiled.take(given, at, *how)
            self._accepted += end - at - duplicates
            if duplicates:
                self.metrics["input"] += duplicates
                self.metrics["duplicate"] += duplicates
            if end < len(given):
                self._take(given[end])
            at = end + 1

    def _take(self, message: SourceMessage) -> None:
        """Decide the records of a message."""
        value: Any = message.value
        origin = origin_of(message) if message.headers else None
        try:
            record = decode_record(value)  # None raises like anything that is no record
        except Exception:  # noqa: BLE001 - whatever is wrong, the slow path finds out and says so
            self._take_slowly(message, value, origin)
        else:
            self._decide(record, value, 0, message, origin)

    def _take_slowly(self, message: SourceMessage, value: bytes | None, origin: Origin | None) -> None:
        """Decide a message that is not one good record: a batch, or something to refuse."""
        if value is not None and value[:1] == b"[":
            try:
                records = decode_batch(value)
                slices = batch_slices(value)
            except Exception:  # noqa: BLE001, S110 - the batch is read record by record below
                pass
            else:
                if len(records) <= BATCH_LIMIT:
                    for record_num, (record, raw) in enumerate(zip(records, slices, strict=True)):
                        self._decide(record, raw, record_num, message, origin)
                    return
        try:
            pieces = read_message(value)
        except Exception as error:  # noqa: BLE001 - a fault of ours must not cost the record
            self._reject(_internal(error), value, 0, message, origin)
            return
        for record_num, (raw, read) in enumerate(pieces):
            if isinstance(read, Rejected):
                self._reject(read, raw if value is not None else None, record_num, message, origin)
            else:
                self._decide(read, raw, record_num, message, origin)

    def _decide(
        self, record: MeterRecord, raw: bytes, record_num: int, message: SourceMessage, origin: Origin | None
    ) -> None:
        """Decide one record; when that raises, once more, and then refuse it: the chunk goes on."""
        try:
            self._decide_once(record, raw, record_num, message, origin)
        except StoreError:
            raise  # No record is to blame for a fault of the disk.
        except Exception:  # noqa: BLE001 - the body must be total
            try:
                self._decide_once(record, raw, record_num, message, origin)
            except StoreError:
                raise
            except Exception as error:  # noqa: BLE001
                events.exception("record_failed", partition=self.context.partition, offset=message.offset)
                self._reject(_internal(error), raw, record_num, message, origin)

    def _decide_once(
        self, record: MeterRecord, raw: bytes, record_num: int, message: SourceMessage, origin: Origin | None
    ) -> None:
        meter = self._meters.get(named_in(record)) or self._find_meter(record)
        if isinstance(meter, Rejected):
            self._reject(meter, raw, record_num, message, origin)
            return
        if isinstance(meter, int):
            self._forward(meter, record.location_id, raw, self._first_published(message, record_num, origin))
            return
        place = (
            (submitted_ms(message.timestamp), self._source, message.offset, record_num)
            if origin is None
            else self._place_of(origin)
        )
        retention = self.retention
        reading = self._validate(record, meter, place, retention.window)
        if not isinstance(reading, Reading):
            self._reject(reading, raw, record_num, message, origin)
            return
        if reading.end_us >= retention.next_us and retention.note(place[0], reading.end_us):
            self.bucketer.closed_us = retention.closed_us
        verdict = self.bucketer.place(reading, meter)
        if verdict is Verdict.ACCEPTED:
            self._accepted += 1
        elif isinstance(verdict, Verdict):
            self.metrics["input"] += 1
            self.metrics[verdict.value] += 1
        else:
            self._reject(verdict, raw, record_num, message, origin)

    def _find_meter(self, record: MeterRecord) -> Meter | Rejected | int:
        """Return the meter of a record, and remember what names it; or why there is none, or which partition it is of."""
        meter_id = meter_id_of(record)
        if isinstance(meter_id, Rejected):
            return meter_id
        owner = owner_of(meter_id.location_id, self.context.partitions)
        if owner != self.context.partition:
            return owner
        meter = self.bucketer.meter(meter_id)
        if meter is None:
            sentence = f"location_id: {record.location_id!r} is not known (expected a location in meter.locations)"
            return Rejected("unknown_location", sentence)
        self._meters[named_in(record)] = meter
        return meter

    def _place_of(self, origin: Origin) -> Place:
        """Return the place of a record that was forwarded: where it was first published."""
        at = origin.position
        source = 2 * at.partition + (at.topic != self.context.records_topic)
        return (at.timestamp_ms, source, at.offset, origin.record_num)

    def _first_published(self, message: SourceMessage, record_num: int, origin: Origin | None) -> Origin:
        """Return where a record was first published: where it was forwarded from, or where it stands."""
        if origin is not None:
            return origin
        at_ms = submitted_ms(message.timestamp)
        return Origin(Position(*self._log, message.offset, at_ms), record_num, message.key)

    def _forward(self, owner: int, location_id: str, raw: bytes, origin: Origin) -> None:
        """Send a record to its location's own partition, with its place and time in the log, so that it is ordered by those.

        The message's own time is that of forwarding: retention of an old record's message counts from then.
        """
        self._sink.emit(
            "records_by_location",
            location_id.encode(),
            raw,
            partition=owner,
            headers=[origin.header()],
        )
        self.metrics["forwarded"] += 1

    def _reject(
        self, rejected: Rejected, raw: bytes | None, record_num: int, message: SourceMessage, origin: Origin | None
    ) -> None:
        """Publish a refusal with the raw bytes and the place where the record was first published."""
        position, number, key = self._first_published(message, record_num, origin)
        self._sink.emit("rejected", key, encode_rejected(rejected, raw, number, position))
        self.metrics["input"] += 1
        self.metrics["rejected"] += 1

    # Intervals and prices

    def take_intervals(self, log: Log, messages: Iterable[SourceMessage]) -> None:
        """Price the messages of `meter.intervals`."""
        for message in messages:
            if message.value is None:
                continue
            if message.key is not None:
                self._landed(message.key.decode(errors="replace"), message.value)
            try:
                self._price(message.value)
            except StoreError:
                raise
            except Exception:  # noqa: BLE001 - the body must be total
                self._pricer.ledger.forget()  # it may have been left in the middle of counting
                try:
                    self._price(message.value)
                except StoreError:
                    raise
                except Exception as error:  # noqa: BLE001
                    events.exception("interval_failed", partition=self.context.partition, offset=message.offset)
                    position = Position(*log, message.offset, submitted_ms(message.timestamp))
                    self._sink.emit(
                        "rejected", message.key, encode_rejected(_internal(error), message.value, 0, position)
                    )

    def _landed(self, interval_id: str, value: bytes) -> None:
        left = self._in_flight.pop(interval_id, 0) - 1
        if left > 0 and not self._is_newest(interval_id, value):
            self._in_flight[interval_id] = left

    def _is_newest(self, interval_id: str, value: bytes) -> bool:
        """Tell whether a published form of an interval is the last one: those before it may have been compacted away."""
        interval, meter = self.tables.interval(interval_id), self.bucketer.meter(_meter_of(interval_id))
        return interval is not None and meter is not None and meter.text.encode(interval) == value

    def _price(self, value: bytes) -> None:
        self._publish_price(self._pricer.price(value))

    def _publish_price(self, outcome: Outcome) -> None:
        if outcome.value is not None:
            # Output and state are one write: the topic is the table's changelog.
            self._sink.emit("priced", outcome.interval_id.encode(), outcome.value)
            self.tables.put_priced(outcome.interval_id, outcome.value)
            self.metrics[outcome.status] += 1

    @property
    def awaits_intervals(self) -> bool:
        """Tell whether published intervals have to come back from their topic to be priced."""
        return bool(self._in_flight)

    def expect(self, interval_ids: Iterable[str]) -> None:
        """Hear of intervals that were published before this pipeline began, and are still on their way to pricing."""
        for interval_id in interval_ids:
            self._in_flight[interval_id] = self._in_flight.get(interval_id, 0) + 1

    def walks_over(self, location_id: str, start_us: int | None, end_us: int | None) -> Iterator[Walk]:
        """Yield the walks over a location's intervals that may overlap [start_us, end_us), meter by meter.

        None: without that end. Whoever takes them may let others work in between.
        """
        before_us = END_US if end_us is None else end_us
        for prefix in self.tables.prefixes(location_id):
            meter = self.bucketer.meter(_meter_of(prefix))
            longest_us = _LONGEST_US if meter is None or meter.has_months else _LONGEST_ON_GRID_US
            yield Walk(prefix, BEGINNING_US if start_us is None else start_us - longest_us + 1, before_us)

    def reprice(self, walk: Walk, limit: int) -> tuple[int, Walk | None]:
        """Price at most `limit` intervals of a walk again, with the documents in force now.

        Return how many there were, and what is left of the walk. An interval whose last change is not published yet, or is
        still on its way to pricing, is left: it will be priced then. One that is closed keeps its price.
        """
        meter = self.bucketer.meter(_meter_of(walk.prefix))
        passing = self.tables.passing(*walk, limit)
        if meter is not None:
            in_flight, closed_us = self._in_flight, self.retention.closed_us
            for interval_id, interval, before in passing:
                if not interval.held and interval_id not in in_flight and interval.end_us > closed_us:
                    self._reprice(interval_id, interval, before, meter)
        count = len(passing)
        return count, walk._replace(start_us=passing[-1][1].start_us + 1) if count == limit else None

    def _reprice(self, interval_id: str, interval: Interval, before: bytes | None, meter: Meter) -> None:
        try:
            outcome = self._pricer.price_state(interval_id, interval, meter, before)
        except StoreError:
            raise
        except Exception:  # noqa: BLE001 - a partition that could not get past it would be at a stand for good
            self._pricer.ledger.forget()
            events.exception("interval_failed", partition=self.context.partition, interval_id=interval_id)
        else:
            self._publish_price(outcome)

    @property
    def walks(self) -> Walks:
        """Return the stretches in which intervals may have come into other tiers."""
        return self._pricer.ledger.walks

    def walk(self, limit: int) -> None:
        """Price again what may have come into another tier, about `limit` intervals of it."""
        walks = self.walks
        while walks and limit > 0:
            count, rest = self.reprice(walks.pop(), limit)
            if rest is not None:
                walks.add(*rest)
            limit -= count + 1

    # Retention

    def restore(self, closed_us: int, swept_us: int) -> None:
        """Take up which intervals were closed, and which deleted, when the last transaction was committed."""
        self.retention.restore(closed_us, swept_us)
        self.bucketer.closed_us = closed_us

    def sweep(self, limit: int) -> None:
        """Delete what is older than what is kept, about `limit` meters and intervals of it."""
        for interval_id, _, _ in self.retention.sweep(self.tables, limit):
            if self._delete(interval_id):
                self.retention.missed.discard(interval_id)
            else:
                self.retention.missed.add(interval_id)

    def _delete(self, interval_id: str) -> bool:
        """Delete an interval and its price; not while it waits to be published, or is on its way to pricing: tell which."""
        if interval_id in self.tables.changes.deleted:
            return True  # the store has it until the transaction is committed
        interval = self.tables.interval(interval_id)
        waits = interval is not None and interval.held and self.bucketer.meter(_meter_of(interval_id)) is not None
        if waits or interval_id in self._in_flight:
            return False
        key = interval_id.encode()
        self._sink.emit("intervals", key, None)
        if self.tables.priced_value(interval_id) is not None:
            self._sink.emit("priced", key, None)
        self.tables.delete(interval_id)
        self._held_since_s.pop(interval_id, None)
        self.metrics["deleted"] += 1
        return True

    # The end of a transaction

    def wait_for(self, interval_ids: Iterable[str], since_s: float) -> None:
        """Take up the intervals whose last change was held back, as of an instant of the monotonic clock."""
        for interval_id in interval_ids:
            self._held_since_s.setdefault(interval_id, since_s)

    def due_at_s(self) -> float | None:
        """Return when, on the monotonic clock, the first of the intervals held back is due; None when none is held."""
        first_s = next(iter(self._held_since_s.values()), None)
        return None if first_s is None else first_s + self._emit_every_s

    def settle(self, now_s: float) -> None:
        """Publish what has to be published: complete intervals at once, incomplete ones when they are due.

        Called once, at the end of a transaction, however many records touched an interval in it.
        """
        self.metrics["input"] += self._accepted
        self.metrics["accepted"] += self._accepted
        self._accepted = 0
        self._settle_due(now_s)
        waiting = list(self.tables.changes.intervals.items())
        settle = partial(self._settle_one, now_s)
        compiled = usual() if self.prices_at_once else None
        if compiled is None:
            for interval_id, (interval, meter) in waiting:
                settle(interval_id, interval, meter)
        else:
            at_once, held = self._emit_every_s == 0, self._held_since_s
            count = compiled.publish(
                waiting, self._sink.emit_all, settle, at_once, now_s, held, self._pricer, self.tables
            )
            self.metrics["intervals"] += count
            self.metrics["priced"] += count
        missed = self.retention.missed
        for interval_id in sorted(missed):
            if self._delete(interval_id):
                missed.discard(interval_id)
        self._pricer.ledger.settle()
        for prefix, walks in self.walks.take_changes():
            self.tables.put_walks(prefix, walks)

    def _settle_one(self, now_s: float, interval_id: str, interval: Interval, meter: Meter) -> None:
        """Publish an interval that this transaction has changed, or note that it waits."""
        if not interval.held:
            return
        complete = interval.is_complete()
        if complete or self._emit_every_s == 0 or not interval.readings:
            self._held_since_s.pop(interval_id, None)
            put = self.tables.put_complete if complete else self.tables.put_interval
            self._publish(interval_id, interval, meter, put)
        else:
            self._held_since_s.setdefault(interval_id, now_s)

    def _settle_due(self, now_s: float) -> None:
        """Publish those that have waited long enough."""
        held, latest_s = self._held_since_s, now_s - self._emit_every_s
        for interval_id in list(takewhile(lambda known: held[known] <= latest_s, held)):
            del held[interval_id]
            # First the meter, which may have to be cut anew; then the interval, as it is after that.
            meter = self.bucketer.meter(_meter_of(interval_id))
            interval = self.tables.interval(interval_id)
            if interval is None or not interval.held:
                continue
            if meter is None:
                # Its location's document was deleted: it waits until there is one again.
                held[interval_id] = now_s + max(_HOMELESS_S - self._emit_every_s, 0)
            else:
                self._publish(interval_id, interval, meter, self.tables.put_interval)

    def _publish(
        self, interval_id: str, interval: Interval, meter: Meter, put: Callable[[str, Interval, Meter], None]
    ) -> None:
        """Publish an interval's state, note that it has been, and price it."""
        published = meter.text.publish(interval)
        self._sink.emit("intervals", interval_id.encode(), published[0])
        put(interval_id, interval.published(), meter)
        self.metrics["intervals"] += 1
        if not (self.prices_at_once and self._price_at_once(interval_id, interval, meter, published)):
            self._in_flight[interval_id] = self._in_flight.get(interval_id, 0) + 1

    def _price_at_once(self, interval_id: str, interval: Interval, meter: Meter, published: PublishedInterval) -> bool:
        """Price an interval that is just being published. False where that raises: who reads it then decides what it is."""
        try:
            outcome = self._pricer.price_published(interval_id, interval, meter, published)
        except StoreError:
            raise
        except Exception:  # noqa: BLE001 - told of when it comes back from its topic and raises once more
            self._pricer.ledger.forget()  # it may have been left in the middle of counting
            return False
        self._publish_price(outcome)
        return True


def _meter_of(interval_id: str) -> MeterId:
    """Return the meter of an interval, by its id or the beginning of it."""
    location_id, device_id, flow, direction, _ = interval_id.split("|")
    return MeterId(location_id, device_id, flow, direction)  # type: ignore[arg-type]


def _internal(error: BaseException) -> Rejected:
    return Rejected("internal_error", f"the record could not be handled: {type(error).__name__}: {error}")
