"""Workers in memory: the pure pipeline over a simulated broker, in the order in which a shard writes.

A shard is a generator that stops after each of its writes, so that a scheduler can end it between any two of them, or let
another owner come in between: outputs and changelog in a transaction, offsets in it, the commit, then the store.
"""

import json
import random
from collections import Counter, deque
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, Literal

import msgspec

from app.domain.locations import Location
from app.domain.reference import Affected, ReferenceBook
from app.domain.tariffs import SeriesDay, Tariff
from app.streams.backlog import Backlog
from app.streams.held import HeldMarks
from app.streams.pipeline import Context, Pipeline
from app.streams.reference import earlier
from app.streams.sources import Log, OfflineMessage
from app.streams.tables import (
    META_KEY,
    MemoryStore,
    Meta,
    Tables,
    changelog_entries,
    decode_meta,
    priced_entry,
    store_entries,
)
from app.streams.walks import Walk
from app.wire.reference import ReferenceDocument, parse_document
from tests.faults.cluster import At, Broker, Transaction
from tests.faults.generator import PARTITIONS, name_of
from tests.making import Json
from tests.simulation import ListSink, interval_entries

Fault = Literal[
    "store before commit",
    "offsets outside",
    "changelog skipped",
    "forwarded dropped",
    "revision from a clock",
    "sequence restarted",
    "documents taken for read",
    "backlog forgotten",
    "marks forgotten",
]
"""What can be broken on purpose, to see that the check finds it."""

RECORDS, BY_LOCATION, INTERVALS = "meter.records", "meter.records-by-location", "meter.intervals"
PRICED, REJECTED, CHANGELOG = "meter.priced", "meter.rejected", "changelog"
_TOPICS: Final = {"intervals": INTERVALS, "priced": PRICED, "rejected": REJECTED, "records_by_location": BY_LOCATION}
_SLICE: Final = 3


class Disk(MemoryStore):
    """A store without a log of its own: after a kill it may be as it was some writes ago, or not be there."""

    def __init__(self) -> None:
        super().__init__()
        self.positions: dict[str, int] = {}
        self._before: list[tuple[dict[bytes, bytes], dict[str, int]]] = []

    def keep(self) -> None:
        """Let the files on the disk have what there is now."""
        self._before = [*self._before[-4:], (dict(self._entries), dict(self.positions))]

    def go_back(self, choose: random.Random) -> None:
        """Lose what no file had."""
        if self._before:
            entries, positions = choose.choice(self._before)
            self._entries, self.positions = dict(entries), dict(positions)
        else:
            self.lose()

    def lose(self) -> None:
        """Begin empty."""
        self._entries, self.positions, self._before = {}, {}, []


class SimulatedWorker:
    """A process: the documents that it has heard of, its disk, its shards."""

    def __init__(self, broker: Broker) -> None:
        self.broker: Final = broker
        self.disks: Final = {partition: Disk() for partition in range(PARTITIONS)}
        self.shards: dict[int, SimulatedShard] = {}
        self.start()

    def start(self) -> None:
        """Begin with what is on the disk, and read all documents."""
        self.shards = {}
        self.book = ReferenceBook()
        self.heard = 0
        self.hear()

    def hear(self) -> None:
        """Read the documents that are new, and let the shards follow."""
        affected, locations = [], []
        for document in self.broker.documents[self.heard :]:
            affected.append(_put(self.book, document))
            if "timezone" in document and "location_id" in document:
                locations.append(document["location_id"])
        self.heard = len(self.broker.documents)
        for shard in self.shards.values():
            shard.follow(affected, locations, self.heard)

    def since(self, heard: int) -> list[Affected]:
        """Return what the documents concern that are newer than so many."""
        kinds = {"location_id": "location", "tariff_id": "tariff", "series": "series"}
        newest = {name_of(one): at for at, one in enumerate(self.broker.documents[: self.heard])}
        missed = [name.split("/", 1) for name, at in newest.items() if at >= heard]
        return [self.book.affected_by(kinds[kind], key) for kind, key in missed]  # type: ignore[arg-type]


@lru_cache(maxsize=64)
def document_of(text: str) -> ReferenceDocument:
    """Return what a document describes: each is read by every worker, each time that it begins."""
    return parse_document(text)


def _put(book: ReferenceBook, document: Json) -> Affected:
    match document_of(json.dumps(document)):
        case Location() as location:
            return book.put_location(location)
        case Tariff() as tariff:
            return book.put_tariff(tariff)
        case SeriesDay() as day:
            return book.put_series(day)


class SimulatedShard:
    """One partition at work."""

    def __init__(
        self,
        worker: SimulatedWorker,
        partition: int,
        choose: random.Random,
        emit_every_s: float,
        fault: Fault | None = None,
    ) -> None:
        """Fence the owner before, catch up with the changelogs, go to the committed positions: in this order."""
        self.broker: Final = worker.broker
        self.partition: Final = partition
        self._worker: Final = worker
        self._choose: Final = choose
        self._fault: Final = fault
        self._epoch = self.broker.initialise(partition)
        self._disk: Final = worker.disks[partition]
        self._catch_up()
        value = self._disk.get(META_KEY)
        self.meta = Meta(lineage="") if value is None else decode_meta(value)
        self._tables = Tables(self._disk, live_limit=4)
        self._sink = ListSink()
        context = Context(partition, PARTITIONS, RECORDS)
        self.pipeline: Final = Pipeline(context, self._tables, worker.book, self._sink, emit_every_s=emit_every_s)
        held = self._tables.held_ids()
        self._held: Final = HeldMarks(held, limit=4)
        self._changelog_to = self._disk.positions[CHANGELOG]
        self.pipeline.wait_for(held, self.now_s() - emit_every_s)
        self._find_backlog()
        self.pipeline.walks.restore(self._tables.walks())
        inputs = [(topic, partition) for topic in (RECORDS, BY_LOCATION, INTERVALS)]
        self._positions: Final[dict[At, int]] = {at: self.broker.offsets.get(at, 0) for at in inputs}
        self._reprice: deque[tuple[list[Affected], int]] = deque()
        self._walks: Iterator[Walk] | None = None
        self._walk: Walk | None = None
        self._follow_missed()
        self.steps: Final = self._work()

    def now_s(self) -> float:
        """Return the time of the monotonic clock."""
        return self.broker.now_ms / 1000

    def _catch_up(self) -> None:
        for topic in (CHANGELOG, PRICED):
            if topic == PRICED and self._fault == "sequence restarted":
                continue
            found, end = self.broker.read((topic, self.partition), self._disk.positions.get(topic, 0))
            for one in found:
                key = one.key or b""
                self._disk.write(
                    [priced_entry(key, one.value)] if topic == PRICED else interval_entries(key, one.value)
                )
            self._disk.positions[topic] = end

    # Pricing at once, or through the topic of intervals

    def _find_backlog(self) -> None:
        """Learn what is published and not priced; where there is nothing, price at once, or through the topic all the same."""
        self._intervals: Final = (INTERVALS, self.partition)
        self._backlog: Final = Backlog()
        start = self.broker.offsets.get(self._intervals, 0)
        waiting, self._backlog.next_at = self.broker.read(self._intervals, start)
        self._backlog.taken_to = self._backlog.known_to = start
        for one in waiting:
            self._backlog.find(one)
        self.pipeline.expect(self._backlog.counts.elements())
        self._end_backlog()

    def _end_backlog(self) -> None:
        waits = self.pipeline.awaits_intervals or not self._backlog.is_empty()
        if (not waits or self._fault == "backlog forgotten") and self._choose.random() < 0.8:
            self.pipeline.prices_at_once = True

    def _go_back(self) -> None:
        self.pipeline.prices_at_once = False
        self._positions[self._intervals] = self._backlog.taken_to

    def _look_back(self) -> None:
        """Read the topic again where somebody else has written what this shard did not read."""
        if self.pipeline.prices_at_once and self.broker.read(self._intervals, self._backlog.next_at)[0]:
            self._go_back()

    def _note_published(self, transaction: Transaction, count: int) -> bool:
        """Learn where this transaction's intervals are; tell whether the topic has to be read again."""
        backlog, at_once = self._backlog, self.pipeline.prices_at_once
        expected = backlog.publish(len(self.broker.logs[self._intervals]), count)
        if at_once and expected and not self.pipeline.awaits_intervals:
            backlog.taken_to = backlog.known_to
            return False
        if at_once:
            transaction.offsets[self._intervals] = backlog.taken_to
        return at_once

    # Documents

    def follow(self, affected: list[Affected], locations: list[str], heard: int) -> None:
        """Price again what a change concerns."""
        self.pipeline.forget_locations(locations)
        self._reprice.append((affected, heard))

    def _follow_missed(self) -> None:
        heard = self._worker.heard
        before = self.meta.reference.get("documents", {}).get("0")
        if before is None:
            self._note_heard(heard)
            return
        missed = self._worker.since(before)
        if self._fault != "documents taken for read":
            self.meta.reference = earlier(self.meta.reference, {"documents": {"0": heard}})
        if missed:
            self._reprice.append((missed, heard))

    def _note_heard(self, heard: int) -> None:
        self.meta.reference = {"documents": {"0": heard}}

    def _reprice_slice(self) -> None:
        if not self._reprice:
            self.pipeline.walk(_SLICE)
            return
        affected, heard = self._reprice[0]
        if self._walks is None:
            self._walks = (
                walk
                for one in affected
                for location_id in sorted(one.location_ids)
                for walk in self.pipeline.walks_over(location_id, one.start_us, one.end_us)
            )
        left = _SLICE
        while left > 0:
            walk = self._walk or next(self._walks, None)
            if walk is None:
                self._walks = None
                self._reprice.popleft()
                self._note_heard(heard)
                return
            count, self._walk = self.pipeline.reprice(walk, left)
            left -= count + 1

    # Work

    def has_work(self) -> bool:
        """Tell whether a transaction would have anything in it."""
        due_s = self.pipeline.due_at_s()
        is_due = due_s is not None and due_s <= self.now_s()
        return is_due or bool(self._reprice or self.pipeline.walks or self._waiting())

    def _waiting(self) -> list[At]:
        unread = {self._intervals} if self.pipeline.prices_at_once else set()
        return [
            at for at, position in self._positions.items() if at not in unread and self.broker.read(at, position, 1)[0]
        ]

    def _work(self) -> Iterator[str]:
        """Work for ever, one write at a time."""
        while True:
            self._look_back()
            if not self.has_work():
                yield "idle"
                continue
            transaction = self.broker.begin(self.partition, self._epoch)
            yield "began"
            for _ in range(self._choose.randint(1, 3)):
                self._take(transaction)
                if self._reprice or self.pipeline.walks:
                    self._reprice_slice()
                if self._choose.random() < 0.3:
                    yield from self._send(transaction)
            yield from self._commit(transaction)

    def _take(self, transaction: Transaction) -> None:
        """Take a chunk of one of the inputs."""
        waiting = self._waiting()
        if not waiting:
            return
        at = self._choose.choice(waiting)
        messages, position = self.broker.read(at, self._positions[at], self._choose.choice([1, 2, 5, 20]))
        self._positions[at] = transaction.offsets[at] = position
        if at[0] == INTERVALS:
            self.pipeline.take_intervals(Log(*at), messages)
            self._backlog.taken_to = messages[-1].offset + 1
        else:
            transaction.taken += [(at, one) for one in messages]
            self.pipeline.take_records(Log(*at), messages)
        if self._fault == "offsets outside":
            self.broker.offsets[at] = position

    def _send(self, transaction: Transaction) -> Iterator[str]:
        """Send the outputs that there are."""
        sent = list(self._sink.sent)
        self._sink.sent.clear()
        for output, key, value, partition, headers in sent:
            if output == "records_by_location" and self._fault == "forwarded dropped":
                continue
            given = value
            if output == "intervals" and self._fault == "revision from a clock":
                given = value.replace(b'"revision":', b'"revision":%d' % (self.broker.now_ms % 9 + 1), 1)
            at = (_TOPICS[output], self.partition if partition is None else partition)
            self.broker.append(at, key, given, transaction, headers=headers)
            yield f"sent {output}"

    def _commit(self, transaction: Transaction) -> Iterator[str]:
        self._end_backlog()
        self.pipeline.settle(self.now_s())
        published = sum(sent.output == "intervals" for sent in self._sink.sent)
        if self.pipeline.prices_at_once and published:
            transaction.offsets[self._intervals] = self._backlog.next_at + published
        for name, count in self.pipeline.metrics.items():
            self.meta.metrics[name] = self.meta.metrics.get(name, 0) + count
        self.pipeline.metrics.clear()
        yield from self._send(transaction)
        changes = self._tables.changes
        logged: list[tuple[bytes, bytes | None]] = changelog_entries(changes)
        meta = msgspec.json.encode(self.meta)
        for key, value in [*logged, (META_KEY, meta)]:
            if self._fault != "changelog skipped" or self._choose.random() < 0.7:
                self.broker.append((CHANGELOG, self.partition), key, value, transaction)
            yield "sent to the changelog"
        entries = [*store_entries(logged, changes), *self._held.take(logged, self._changelog_to)]
        if self._fault == "store before commit":
            self._disk.write([*entries, (META_KEY, meta)])
            yield "stored"
        goes_back = published > 0 and self._note_published(transaction, published)
        self.broker.commit(transaction)
        if goes_back:
            self._go_back()
        ends = {topic: len(self.broker.logs[topic, own]) for topic, own in transaction.touched if own == self.partition}
        yield "committed"
        self._disk.write([*entries, (META_KEY, meta)])
        self._changelog_to = ends.get(CHANGELOG, self._changelog_to)
        known_to = self._changelog_to if self._fault == "marks forgotten" else self._held.known_to(self._changelog_to)
        self._disk.positions |= {topic: ends[topic] for topic in ends if topic == PRICED} | {CHANGELOG: known_to}
        if self._choose.random() < 0.3:
            self._disk.keep()
        self._tables.committed()
        yield "stored"


def totals(broker: Broker) -> Counter[str]:
    """Return the partitions' committed totals, as their changelogs have them."""
    found: Counter[str] = Counter()
    for partition in range(PARTITIONS):
        metas = [one.value for one in broker.committed((CHANGELOG, partition)) if one.key == META_KEY]
        if metas and metas[-1] is not None:
            found.update(decode_meta(metas[-1]).metrics)
    return found


def last_by_key(broker: Broker, topic: str) -> dict[str, bytes]:
    """Return the last committed value of each key."""
    found: dict[str, Any] = {}
    for partition in range(PARTITIONS):
        found |= {(one.key or b"").decode(): one.value for one in broker.committed((topic, partition))}
    return found


def all_of(broker: Broker, topic: str) -> list[OfflineMessage]:
    """Return all that was ever committed on a topic, in order within each partition."""
    return [one for partition in range(PARTITIONS) for one in broker.ever_committed((topic, partition))]
