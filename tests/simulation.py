"""One partition without Kafka: a log of records, a pipeline, and transactions that commit whole or are lost whole.

What is committed here is what a broker and a disk would keep: outputs, changelog, the position in the log, the store.
What a pipeline has in memory is lost with a crash, as in a worker.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from app.domain.intervals import Interval
from app.domain.reference import ReferenceBook
from app.streams.held import INTERVAL_MARK, HeldMarks, is_held, mark_of
from app.streams.outputs import Output
from app.streams.pipeline import Context, Pipeline
from app.streams.retention import NO_LIMITS, AgeLimits
from app.streams.sources import Log, OfflineMessage
from app.streams.tables import (
    MemoryStore,
    Tables,
    changelog_entries,
    priced_entry,
    store_entries,
)
from app.streams.walks import Walk
from app.wire.interval import decode_state
from app.wire.location import parse_location
from app.wire.tariff import parse_tariff
from tests.making import body_of, sequence_of

RECORDS = Log("meter.records", 0)
INTERVALS = Log("meter.intervals", 0)


def message(
    value: bytes | None,
    offset: int = 0,
    *,
    timestamp_ms: int | None = None,
    key: bytes | None = None,
    headers: Sequence[tuple[str, bytes | None]] = (),
) -> OfflineMessage:
    """Return a message; unless it says otherwise it was submitted a second after the one before it."""
    return OfflineMessage(offset, offset * 1000 if timestamp_ms is None else timestamp_ms, key, value, headers)


class Sent(NamedTuple):
    """An output of a pipeline."""

    output: Output
    key: bytes | None
    value: bytes | None
    partition: int | None
    headers: Sequence[tuple[str, bytes]]


def interval_entries(key: bytes, value: bytes | None) -> list[tuple[bytes, bytes | None]]:
    """Return what one record of the intervals' changelog means for a store of which nobody knows the marks."""
    entries: list[tuple[bytes, bytes | None]] = [(key, value)]
    if key.startswith(INTERVAL_MARK):
        entries.append((mark_of(key), b"" if is_held(key, value) else None))
    return entries


class ListSink:
    """Outputs in the order in which they were emitted."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []

    def emit(
        self,
        output: Output,
        key: bytes | None,
        value: bytes | None,
        *,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        self.sent.append(Sent(output, key, value, partition, headers))

    def emit_all(self, output: Output, entries: Sequence[tuple[bytes, bytes | None]]) -> None:
        for key, value in entries:
            self.emit(output, key, value)

    def values(self, output: Output) -> list[bytes]:
        """Return the values that were put out; what deletes has none."""
        return [sent.value for sent in self.sent if sent.output == output and sent.value is not None]


def flat_tariff(tariff_id: str = "flat", rate: str = "0.20", direction: str = "IMPORT", **more: Any) -> dict[str, Any]:
    """Return the document of a tariff with one rate."""
    bands = [{"name": "all-day", "when": [], "tiers": [{"up_to_kwh": None, "rate": rate}]}]
    return {
        "tariff_id": tariff_id,
        "direction": direction,
        "currency": "GBP",
        "timezone": "Europe/London",
        "charges": [{"charge_id": "energy", "kind": "energy", "bands": bands}],
    } | more


def book_of(*locations: dict[str, Any], tariffs: Iterable[dict[str, Any]] = ()) -> ReferenceBook:
    """Return a book of tariffs and locations: in London, half-hourly, on the tariff "flat", unless they say otherwise."""
    book = ReferenceBook()
    for tariff in tariffs:
        book.put_tariff(parse_tariff(tariff))
    links = [{"direction": "IMPORT", "tariff_id": "flat"}]
    for location in locations:
        book.put_location(parse_location({"timezone": "Europe/London", "tariffs": links} | location))
    return book


class SimulatedPartition:
    """A pipeline over a log, with everything that a transaction commits. Time is the number of the transaction."""

    def __init__(
        self,
        log: Sequence[OfflineMessage],
        book: ReferenceBook,
        *,
        emit_every_s: float = 0.0,
        limits: AgeLimits = NO_LIMITS,
    ) -> None:
        self.log = log
        self.book = book
        self.emit_every_s = emit_every_s
        self.limits = limits
        self.closed = (0, 0)
        self.records_to = 0
        self.intervals_to = 0
        self.intervals: list[tuple[bytes, bytes | None]] = []
        self.priced: list[tuple[bytes, bytes | None]] = []
        self.rejected: list[bytes] = []
        self.changelog: list[tuple[bytes, bytes | None]] = []
        self.counts: Counter[str] = Counter()
        self.now_s = 0.0
        self.store = MemoryStore()
        self._known_to = 0
        self.open()

    def open(self) -> None:
        """Begin with what is committed and nothing else, as a worker does that has just been given this partition."""
        self.sink = ListSink()
        for key, value in self.changelog[self._known_to :]:
            self.store.write(interval_entries(key, value))
        self.tables = Tables(self.store, live_limit=4)
        self.pipeline = Pipeline(
            Context(0, 1, RECORDS.topic),
            self.tables,
            self.book,
            self.sink,
            emit_every_s=self.emit_every_s,
            limits=self.limits,
        )
        self.pipeline.restore(*self.closed)
        held = self.tables.held_ids()
        self._held = HeldMarks(held, limit=3)
        self.pipeline.wait_for(held, self.now_s - self.emit_every_s)
        self.pipeline.walks.restore(self.tables.walks())
        waiting = self.intervals[self.intervals_to :]
        self.pipeline.expect(key.decode() for key, value in waiting if value is not None)
        self._ahead = (self.records_to, self.intervals_to)

    def lose_the_store(self) -> None:
        """Rebuild the store from the changelog and from `meter.priced`, and open again."""
        self.store = MemoryStore()
        self._known_to = 0
        self.store.write(priced_entry(key, value) for key, value in self.priced)
        self.open()

    def take(self, records: int, intervals: int) -> None:
        """Work on the next records and on the next published intervals, without committing."""
        at, priced_at = self._ahead
        self.pipeline.take_records(RECORDS, self.log[at : at + records])
        waiting = self.intervals[priced_at : priced_at + intervals]
        messages = (message(value, priced_at + at, key=key) for at, (key, value) in enumerate(waiting))
        self.pipeline.take_intervals(INTERVALS, messages)
        self._ahead = (min(at + records, len(self.log)), priced_at + len(waiting))

    def commit(self) -> None:
        """End the transaction: everything since the last one becomes true together."""
        self.now_s += 1
        self.pipeline.settle(self.now_s)
        for output, key, value, *_ in self.sink.sent:
            if output == "rejected":
                self.rejected.append(value or b"")
            else:
                {"intervals": self.intervals, "priced": self.priced}[output].append((key or b"", value))
        changes = self.tables.changes
        logged = changelog_entries(changes)
        self.store.write([*store_entries(logged, changes), *self._held.take(logged, len(self.changelog))])
        self.changelog += logged
        self._known_to = self._held.known_to(len(self.changelog))
        self.closed = (self.pipeline.retention.closed_us, self.pipeline.retention.sure_us())
        self.records_to, self.intervals_to = self._ahead
        self.counts.update(self.pipeline.metrics)
        self.pipeline.metrics.clear()
        self.tables.committed()
        self.sink.sent.clear()

    def finish(self) -> None:
        """Work until nothing is left to do."""
        self.take(len(self.log), 0)
        self.commit()
        self.now_s += self.emit_every_s
        self.commit()
        self.take(0, len(self.intervals))
        self.commit()
        while self.pipeline.walks:
            self.pipeline.walk(2)
            self.commit()
        while self.pipeline.retention.is_sweeping:
            self.pipeline.sweep(2)
            self.commit()

    def reprice(
        self, location_id: str, start_us: int | None = None, end_us: int | None = None, at_once: int = 3
    ) -> None:
        """Price a location's intervals again that may overlap [start_us, end_us), a few at once."""
        for walk in self.pipeline.walks_over(location_id, start_us, end_us):
            rest: Walk | None = walk
            while rest is not None:
                _, rest = self.pipeline.reprice(rest, at_once)

    # What is true in the end

    def states(self) -> dict[str, Interval]:
        """Return the stored intervals by their ids."""
        return {key[1:].decode(): decode_state(value) for key, value in self.store.items(b"i", b"j")}

    def facts(self) -> dict[str, tuple[Any, ...]]:
        """Return what each interval says, whenever its readings were submitted."""
        return {
            interval_id: (
                interval.end_us,
                interval.revision,
                interval.energy_uwh(),
                [(r.start_us, r.end_us, r.energy_uwh, r.confidence, r.record_reference_id) for r in interval.readings],
            )
            for interval_id, interval in self.states().items()
        }

    def final_bodies(self) -> dict[bytes, bytes]:
        """Return the last published price of each interval that was not deleted, without its sequence."""
        newest = dict(self.priced)
        return {key: body_of(value) for key, value in newest.items() if value is not None}

    def published_bodies(self) -> dict[bytes, list[tuple[int, bytes]]]:
        """Return (sequence, body) of everything that was published for each interval, in order."""
        found: dict[bytes, list[tuple[int, bytes]]] = defaultdict(list)
        for key, value in self.priced:
            if value is not None:
                found[key].append((sequence_of(value), body_of(value)))
        return found
