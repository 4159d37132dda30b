"""A shard: one partition of everything, owned by this worker: its inbox, its pipeline, its store, its part of transactions.

Everything that some chunks cause on a partition, and the position in the input behind them, is in one transaction of its lane:
outputs, refusals, changelogs and offsets are committed together or not at all. The local store is written after the commit.
Whatever goes wrong before it, the shard is thrown away with all that it had in memory, and opened again from what is committed.
"""

import contextlib
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import structlog
from faust.types import TP

from app.domain.reference import Affected, ReferenceBook
from app.streams.backlog import Backlog
from app.streams.chunks import Gate
from app.streams.config import StreamConfig
from app.streams.faults import StoreCorruptError, StoreError
from app.streams.held import Entry, HeldMarks
from app.streams.outbox import Outbox
from app.streams.pipeline import Context, Pipeline, Stage
from app.streams.retention import AgeLimits
from app.streams.sources import Log
from app.streams.store import PartitionStore, StoreCache
from app.streams.tables import (
    META_KEY,
    Meta,
    Tables,
    changelog_entries,
    decode_meta,
    live_limit,
    store_entries,
)
from app.streams.topics import TopicNames
from app.streams.transactions import TransactionalProducer
from app.streams.validate import reading_of
from app.streams.walks import Walk

log = structlog.get_logger(__name__)

REPRICE_SLICE: Final = 100
"""How many intervals are priced again before others have their turn: a record takes some turns from the socket to the inbox."""

INBOX_RECORDS: Final = 3_000


class Work(NamedTuple):
    """A change of reference documents that prices of this partition have to follow; `positions` is what is then done."""

    affected: tuple[Affected, ...]
    location_ids: tuple[str, ...]
    positions: dict[str, dict[str, int]]


class ShardParts(NamedTuple):
    """What the shards of a worker share."""

    settings: StreamConfig
    names: TopicNames
    book: ReferenceBook
    gate: Gate
    cache: StoreCache
    validate: Stage = reading_of


class Feed(Protocol):
    """The part of the consumer that a shard needs: what it reads of `meter.intervals`, nearly always nothing."""

    async def read_from(self, tp: TP, offset: int) -> None:
        """Read a partition, from an offset on."""

    async def stop_reading(self, tps: Iterable[TP]) -> None:
        """Fetch nothing of some partitions, though they are assigned."""


class _Turn:
    """What a shard remembers of the open transaction."""

    __slots__ = ("at_once", "caught_up", "ends", "goes_back", "logged", "meta", "published")

    def __init__(self) -> None:
        self.caught_up = self.at_once = self.goes_back = False
        self.logged: list[Entry] = []
        self.meta = b""
        self.published = 0
        self.ends: dict[tuple[str, int], int] = {}


class Shard:
    """One partition at work. `open`, then `start`; `close` at the end."""

    def __init__(self, partition: int, parts: ShardParts, feed: Feed) -> None:
        """Prepare; nothing is opened yet."""
        self.partition: Final = partition
        self._feed: Final = feed
        self._parts: Final = parts
        names = parts.names
        self._intervals: Final = TP(names.intervals, partition)
        self.tps: Final = (TP(names.records, partition), TP(names.records_by_location, partition), self._intervals)
        self.store: PartitionStore
        self.backlog: Final = Backlog()
        self._look_back_at: int | None = None
        self._inbox: deque[tuple[TP, list[Any]]] = deque()
        self._inbox_records = 0
        self._reprice: deque[Work] = deque()
        self._walks: Iterator[Walk] | None = None
        self._walk: Walk | None = None
        self._wake: Callable[[], None] | None = None
        self._closing = False
        self._distrusted = False
        self.stands: dict[TP, int] = {}
        self.positions: dict[TP, int] = {}
        self._turn = _Turn()
        self.meta = Meta(lineage="")
        self.recent: Counter[str] = Counter()

    # Opening and closing

    def open(self, data_dir: Path) -> None:
        """Open the local store."""
        names = self._parts.names
        identity = f"{names.intervals_changelog} {names.priced}"
        self.store = PartitionStore(data_dir / f"partition-{self.partition}", self._parts.cache, identity)

    def start(self, stands: Mapping[TP, int], producer: TransactionalProducer, wake: Callable[[], None]) -> None:
        """Begin to work on what is delivered, with the producer of a lane, which is woken when there is something to do.

        The store is complete, and the backlog says what pricing has yet to see.
        """
        self.stands.update(stands)
        settings, names = self._parts.settings, self._parts.names
        value = self.store.get(META_KEY)
        self.meta = Meta(lineage=uuid.uuid4().hex) if value is None else decode_meta(value)
        limit = live_limit(settings.partitions)
        self._tables = Tables(self.store, limit)
        self.outbox = Outbox(producer, names, self.partition, settings.producer_max_batch_bytes, settings.compression)
        self.pipeline = Pipeline(
            Context(self.partition, settings.partitions, names.records),
            self._tables,
            self._parts.book,
            self.outbox,
            emit_every_s=settings.emit_every_s,
            validate=self._parts.validate,
            limits=AgeLimits(settings.intervals_retention_days, settings.future_tolerance_s),
        )
        self.pipeline.restore(self.meta.closed_us, self.meta.swept_us)
        held = self._tables.held_ids()
        self._held = HeldMarks(held, limit)
        self._changelog_to = self.store.position(names.intervals_changelog)
        self.pipeline.wait_for(held, time.monotonic() - settings.emit_every_s)
        self.pipeline.expect(self.backlog.counts.elements())
        self.pipeline.prices_at_once = self.backlog.is_empty()
        self.pipeline.walks.restore(self._tables.walks())
        self._wake = wake

    def move(self, producer: TransactionalProducer, wake: Callable[[], None]) -> None:
        """Go on with another lane's producer, between two transactions."""
        self.outbox.producer = producer
        self._wake = wake

    def close(self) -> None:
        """Take no more work, and let go of the store: the lane has ended.

        Raises:
            StoreError: the disk does not take what the store has in memory. Everything else has been let go of.

        """
        self.stop_work()
        if hasattr(self, "store"):
            self._close_store()

    def stop_work(self) -> None:
        """Take no more work; what has been delivered may still be done."""
        self._closing = True
        for tp in self.tps:
            self._parts.gate.close(tp)

    def _close_store(self) -> None:
        try:
            if self._wake is not None and not self._distrusted:
                self._mark_all()
            self.store.close()
        except StoreCorruptError as error:
            log.warning("store_corrupt", reason=str(error), action="rebuild from the changelog")
            self._distrusted = True
        except StoreError:
            if not self._distrusted:
                raise
        if self._distrusted:
            self.store.remove()

    def _mark_all(self) -> None:
        """Spare whoever opens the store next to read the changelog again for what waits; where the disk is full, it is read."""
        marks = self._held.set_all()
        if marks:
            with contextlib.suppress(StoreError):
                self.store.write(marks, {self._parts.names.intervals_changelog: self._changelog_to})

    def distrust_store(self) -> None:
        """Let the local store be removed when the shard is closed: the next owner builds it anew from the changelog."""
        self._distrusted = True

    @property
    def is_running(self) -> bool:
        """Tell whether the shard takes work."""
        return self._wake is not None and not self._closing

    # Input

    def deliver(self, tp: TP, records: list[Any]) -> None:
        """Take the records of a chunk; the partition is not fetched further while there is enough to do."""
        self._inbox.append((tp, records))
        self._inbox_records += len(records)
        if self._inbox_records >= INBOX_RECORDS:
            for each in self.tps:
                self._parts.gate.set_full(each, full=True)
        self._call_lane()

    def follow(self, work: Work) -> None:
        """Price again what a change of the reference documents concerns."""
        self.pipeline.forget_locations(work.location_ids)
        self._reprice.append(work)
        self._call_lane()

    def _call_lane(self) -> None:
        if self._wake is not None:
            self._wake()

    # Pricing at once, or through `meter.intervals`

    @property
    def prices_at_once(self) -> bool:
        """Tell whether each interval is priced as it is published, and nothing is read of `meter.intervals`."""
        return self.is_running and self.pipeline.prices_at_once

    def look_back(self, next_at: int) -> None:
        """Read `meter.intervals` again: somebody else has written where this shard's next message was to be.

        Nothing happens where the shard has written one meanwhile: it has seen then where that was.
        """
        self._look_back_at = next_at
        self._call_lane()

    def _end_backlog(self) -> bool:
        """Price at once from now on, if all that is known to have been published has been priced; tell whether it is so."""
        if self.pipeline.prices_at_once or self.pipeline.awaits_intervals or not self.backlog.is_empty():
            return False
        if any(tp == self._intervals for tp, _ in self._inbox):
            return False
        self._parts.gate.close(self._intervals)
        self.pipeline.prices_at_once = True
        return True

    async def _go_back(self) -> None:
        """Price what `meter.intervals` has behind what has been priced, before anything is priced at once again."""
        self.pipeline.prices_at_once = False
        log.info("intervals_read_back", partition=self.partition, offset=self.backlog.taken_to)
        await self._feed.read_from(self._intervals, self.backlog.taken_to)
        if not self._closing:
            self._parts.gate.open(self._intervals)

    # Work, as a member of a lane

    def has_work(self) -> bool:
        """Tell whether there is anything to do."""
        due_s = self.pipeline.due_at_s()
        due = due_s is not None and due_s <= time.monotonic()
        return bool(self._inbox) or self.has_repricing() or due or self._look_back_at is not None

    def due_at_s(self) -> float | None:
        """Return when the first interval that waits is due to be published as it is; None: none waits."""
        return self.pipeline.due_at_s()

    def chunks(self) -> int:
        """Return how many chunks have been delivered and not taken."""
        return len(self._inbox)

    def has_repricing(self) -> bool:
        """Tell whether there are prices to be made again, or old intervals to be deleted."""
        return bool(self._reprice or self.pipeline.walks or self.pipeline.retention.is_sweeping)

    async def look_around(self) -> None:
        """Read `meter.intervals` again where somebody else has written to it."""
        if self._look_back_at is None:
            return
        next_at, self._look_back_at = self._look_back_at, None
        if self.pipeline.prices_at_once and next_at == self.backlog.next_at:
            await self._go_back()

    def begin(self, now_ms: int) -> None:
        """Begin to be part of a transaction."""
        self.outbox.now_ms = now_ms
        self.positions = {}
        self._turn = _Turn()

    def take_chunk(self) -> bool:
        """Take the first chunk, if there is one: tell whether there was."""
        if not self._inbox:
            return False
        tp, records = self._inbox.popleft()
        if tp == self._intervals:
            self.pipeline.take_intervals(Log(*tp), records)
            self.backlog.taken_to = records[-1].offset + 1
        else:
            self.pipeline.take_records(Log(*tp), records)
        self.positions[tp] = records[-1].offset + 1
        self._inbox_records -= len(records)
        if self._inbox_records < INBOX_RECORDS // 2:
            for each in self.tps:
                self._parts.gate.set_full(each, full=False)
        return True

    def reprice_slice(self) -> None:
        """Price some of the affected intervals again, or else what walks are left; and delete some of what is old."""
        if not self._reprice:
            self.pipeline.walk(REPRICE_SLICE)
            self.pipeline.sweep(REPRICE_SLICE)
            return
        if self._walks is None:
            self._walks = self._affected_walks(self._reprice[0])
        left = REPRICE_SLICE
        while left > 0:
            walk = self._walk or next(self._walks, None)
            if walk is None:
                self._walks = None
                self.meta.reference = self._reprice.popleft().positions
                return
            count, self._walk = self.pipeline.reprice(walk, left)
            left -= count + 1  # to look at a meter without any costs something too

    def _affected_walks(self, work: Work) -> Iterator[Walk]:
        """Yield the walks over this partition's intervals that a change concerns."""
        for affected in work.affected:
            for location_id in sorted(affected.location_ids):
                yield from self.pipeline.walks_over(location_id, affected.start_us, affected.end_us)

    def settle(self, now_s: float) -> None:
        """Publish what is to be published, and put everything into the outbox that is committed with it."""
        turn, pipeline, backlog, outbox = self._turn, self.pipeline, self.backlog, self.outbox
        turn.caught_up = self._end_backlog()
        pipeline.settle(now_s)
        self._note_metrics(pipeline.metrics)
        changelog = (self._parts.names.intervals_changelog, self.partition)
        turn.logged = changelog_entries(self._tables.changes)
        outbox.extend(changelog, turn.logged)
        self.meta.closed_us, self.meta.swept_us = pipeline.retention.closed_us, pipeline.retention.sure_us()
        turn.meta = msgspec.json.encode(self.meta)
        outbox.append(changelog, META_KEY, turn.meta)
        turn.published = outbox.count(self._intervals)
        turn.at_once = pipeline.prices_at_once
        if turn.at_once and turn.published:
            # As expected: nobody waits for the brokers' answer.
            self.positions[self._intervals] = backlog.next_at + turn.published

    async def delivered(self) -> dict[TP, int]:
        """Wait until the brokers have everything; return the position in `meter.intervals` if it has to be another."""
        turn, backlog = self._turn, self.backlog
        turn.ends = await self.outbox.delivered()
        if not turn.published:
            return {}
        expected = backlog.publish(turn.ends[self._intervals], turn.published)
        turn.goes_back = turn.at_once and (not expected or self.pipeline.awaits_intervals)
        if turn.goes_back:
            self.positions[self._intervals] = backlog.taken_to
            return {self._intervals: backlog.taken_to}
        if turn.at_once:
            backlog.taken_to = backlog.known_to
        return {}

    def committed(self) -> None:
        """Write to the store what has been committed."""
        names, turn = self._parts.names, self._turn
        changelog, priced = (names.intervals_changelog, self.partition), (names.priced, self.partition)
        entries = store_entries(turn.logged, self._tables.changes)
        entries += self._held.take(turn.logged, self._changelog_to)
        known = {names.intervals_changelog: self._held.known_to(turn.ends[changelog])}
        if priced in turn.ends:
            known[names.priced] = turn.ends[priced]
        self.store.write([*entries, (META_KEY, turn.meta)], known)
        self._changelog_to = turn.ends[changelog]
        self._tables.committed()
        self.stands.update(self.positions)
        turn.logged = []

    async def after_commit(self) -> None:
        """Read `meter.intervals` again, or no more, where that has turned out."""
        if self._turn.goes_back:
            await self._go_back()
        if self._turn.caught_up and self.pipeline.prices_at_once:
            await self._feed.stop_reading([self._intervals])

    def _note_metrics(self, metrics: Counter[Any]) -> None:
        """Add what this transaction decided to the partition's totals, which are committed with it."""
        totals = self.meta.metrics
        for name, count in metrics.items():
            totals[name] = totals.get(name, 0) + count
            self.recent[name] += count
        metrics.clear()
