"""A shard: one partition of everything, owned by this worker: its producer, its store, its pipeline, its transactions.

Everything that some chunks cause on a partition, and the position in the input behind them, is one transaction: outputs,
refusals, changelogs and offsets are committed together or not at all. The local store is written after the commit. Whatever
goes wrong before it, the shard is thrown away with all that it had in memory, and opened again from what is committed.
"""

import asyncio
import contextlib
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import structlog
from aiokafka.structs import TopicPartition
from faust.types import TP

from app.domain.reference import Affected, ReferenceBook
from app.streams.backlog import Backlog
from app.streams.chunks import Gate
from app.streams.config import StreamConfig
from app.streams.faults import StoreCorruptError, StoreError
from app.streams.held import HeldMarks
from app.streams.outbox import Outbox
from app.streams.pipeline import Context, Pipeline, Stage
from app.streams.retention import AgeLimits
from app.streams.rights import transactional_id
from app.streams.security import client_options
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
from app.streams.timeouts import REQUEST_TIMEOUT_MS, RETRY_MS
from app.streams.topics import STATE_BYTES, TopicNames
from app.streams.transactions import TransactionalProducer
from app.streams.validate import reading_of
from app.streams.walks import Walk

log = structlog.get_logger(__name__)

TRANSACTION_TIMEOUT_MS: Final = 15_000
"""How long an open transaction of a worker that vanished may hold up readers of committed records."""

COMMIT_TIMEOUT_S: Final = 30.0
"""After so long without an answer the transaction is given up, and the shard opened anew when a broker answers."""

REPRICE_SLICE: Final = 100
"""How many intervals are priced again before others have their turn: a record takes some turns from the socket to the inbox."""

_REPRICE_MAX_S: Final = 0.2
"""A transaction in which there is repricing is not older: its commit takes time too, in which chunks wait."""

INBOX_RECORDS: Final = 6_000
_CLOSE_TIMEOUT_S: Final = 5.0
_YIELD_S: Final = 0


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


class Shard:
    """One partition at work. `open` and `fence` before `start`; `close` at the end; `failed` is called once on a fault."""

    def __init__(
        self, partition: int, parts: ShardParts, feed: Feed, on_failed: Callable[["Shard", BaseException], None]
    ) -> None:
        """Prepare; nothing is opened yet."""
        self.partition: Final = partition
        self._feed: Final = feed
        self._parts: Final = parts
        self._on_failed: Final = on_failed
        settings, names = parts.settings, parts.names
        self._intervals: Final = TP(names.intervals, partition)
        self.tps: Final = (TP(names.records, partition), TP(names.records_by_location, partition), self._intervals)
        self._producer = TransactionalProducer(
            **client_options(settings),
            transactional_id=transactional_id(settings, partition),
            transaction_timeout_ms=max(TRANSACTION_TIMEOUT_MS, 5 * settings.transaction_max_ms),
            max_batch_size=settings.producer_max_batch_bytes,
            # Largest message that may go out: a refused one travels on in base64 inside JSON.
            max_request_size=max(4 * settings.max_record_bytes, STATE_BYTES) + settings.producer_max_batch_bytes,
            linger_ms=0,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            retry_backoff_ms=RETRY_MS,
        )
        self.store: PartitionStore
        self.backlog: Final = Backlog()
        self._look_back_at: int | None = None
        self._inbox: deque[tuple[TP, list[Any]]] = deque()
        self._inbox_records = 0
        self._reprice: deque[Work] = deque()
        self._walks: Iterator[Walk] | None = None
        self._walk: Walk | None = None
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self._committed_at_s = 0.0
        self._transactions = 0
        self._distrusted = False
        self.meta = Meta(lineage="")
        self.recent: Counter[str] = Counter()

    # Opening and closing

    async def fence(self) -> None:
        """Initialise the producer: from here on the owner before can commit nothing, and its last transaction has ended."""
        await self._producer.start()

    def open(self, data_dir: Path) -> None:
        """Open the local store."""
        names = self._parts.names
        identity = f"{names.intervals_changelog} {names.priced}"
        self.store = PartitionStore(data_dir / f"partition-{self.partition}", self._parts.cache, identity)

    def start(self) -> None:
        """Begin to work on what is delivered. The store is complete, and the backlog says what pricing has yet to see."""
        settings, names = self._parts.settings, self._parts.names
        value = self.store.get(META_KEY)
        self.meta = Meta(lineage=uuid.uuid4().hex) if value is None else decode_meta(value)
        limit = live_limit(settings.partitions)
        self._tables = Tables(self.store, limit)
        self._outbox = Outbox(self._producer, names, self.partition, settings.producer_max_batch_bytes)
        self.pipeline = Pipeline(
            Context(self.partition, settings.partitions, names.records),
            self._tables,
            self._parts.book,
            self._outbox,
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
        self._task = asyncio.create_task(self._run(), name=f"shard-{self.partition}")

    async def close(self) -> None:
        """Finish the open transaction if that is soon done, and let go of everything.

        Raises:
            StoreError: the disk does not take what the store has in memory. Everything else has been let go of.

        """
        self._closing = True
        self._wake.set()
        for tp in self.tps:
            self._parts.gate.close(tp)
        if self._task is not None:
            with contextlib.suppress(TimeoutError, Exception):
                await asyncio.wait_for(self._task, _CLOSE_TIMEOUT_S)
        with contextlib.suppress(TimeoutError, Exception):
            await asyncio.wait_for(self._producer.stop(), _CLOSE_TIMEOUT_S)
        if hasattr(self, "store"):
            self._close_store()

    def _close_store(self) -> None:
        try:
            if self._task is not None and not self._distrusted:
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
        return self._task is not None and not self._closing

    @property
    def has_committed(self) -> bool:
        """Tell whether a transaction of this shard has been committed."""
        return self._transactions > 0

    # Input

    def deliver(self, tp: TP, records: list[Any]) -> None:
        """Take the records of a chunk; the partition is not fetched further while there is enough to do."""
        self._inbox.append((tp, records))
        self._inbox_records += len(records)
        if self._inbox_records >= INBOX_RECORDS:
            for each in self.tps:
                self._parts.gate.set_full(each, full=True)
        self._wake.set()

    def follow(self, work: Work) -> None:
        """Price again what a change of the reference documents concerns."""
        self.pipeline.forget_locations(work.location_ids)
        self._reprice.append(work)
        self._wake.set()

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
        self._wake.set()

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

    # Work

    async def _run(self) -> None:
        try:
            while not self._closing:
                await self._wait_for_work()
                if self._look_back_at is not None:
                    next_at, self._look_back_at = self._look_back_at, None
                    if self.pipeline.prices_at_once and next_at == self.backlog.next_at:
                        await self._go_back()
                elif not self._closing:
                    await self._transaction()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is, the shard is of no use any more
            for tp in self.tps:
                self._parts.gate.close(tp)
            self._on_failed(self, error)

    def _has_work(self) -> bool:
        due_s = self.pipeline.due_at_s()
        due = due_s is not None and due_s <= time.monotonic()
        return bool(self._inbox) or self._has_repricing() or due or self._look_back_at is not None

    def _has_repricing(self) -> bool:
        return bool(self._reprice or self.pipeline.walks or self.pipeline.retention.is_sweeping)

    async def _wait_for_work(self) -> None:
        while not self._closing and not self._has_work():
            due_s = self.pipeline.due_at_s()
            timeout_s = None if due_s is None else max(due_s - time.monotonic(), 0.001)
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), timeout_s)

    async def _transaction(self) -> None:
        """Work until nothing is waiting, or the transaction is old enough; then commit all of it."""
        settings = self._parts.settings
        await self._producer.begin_transaction()
        began_s = time.monotonic()
        self._outbox.now_ms = time.time_ns() // 1_000_000
        not_before_s = self._committed_at_s + settings.commit_interval_ms / 1000
        not_after_s = began_s + settings.transaction_max_ms / 1000
        positions: dict[TP, int] = {}
        while True:
            worked = bool(self._inbox)
            if self._inbox:
                self._take_chunk(positions)
            # One slice after each chunk: neither waits for the other, however much of it there is.
            repricing = self._has_repricing()
            if repricing:
                self._reprice_slice()
                not_after_s = min(not_after_s, began_s + _REPRICE_MAX_S)
            rest_s = not_before_s - time.monotonic()
            # What came in meanwhile is committed as soon as ever: not when the last price is right.
            if rest_s <= 0 and not self._inbox and (positions if repricing else not worked):
                break
            if not repricing and not worked:
                if self._closing:
                    break
                self._wake.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), rest_s)
            await self._outbox.send_full()
            if time.monotonic() >= not_after_s:
                break
            await asyncio.sleep(_YIELD_S)
        worked_s = time.monotonic()
        caught_up = self._end_backlog()
        self.pipeline.settle(worked_s)
        # The client retries for ever when no broker answers; a shard that waits for it could not be closed.
        with self._producer.retrying_soon():
            await asyncio.wait_for(self._commit(positions), COMMIT_TIMEOUT_S)
        if caught_up and self.pipeline.prices_at_once:
            await self._feed.stop_reading([self._intervals])
        log.debug(
            "transaction",
            partition=self.partition,
            work_ms=round((worked_s - began_s) * 1000, 1),
            commit_ms=round((time.monotonic() - worked_s) * 1000, 1),
        )

    def _take_chunk(self, positions: dict[TP, int]) -> None:
        tp, records = self._inbox.popleft()
        if tp == self._intervals:
            self.pipeline.take_intervals(Log(*tp), records)
            self.backlog.taken_to = records[-1].offset + 1
        else:
            self.pipeline.take_records(Log(*tp), records)
        positions[tp] = records[-1].offset + 1
        self._inbox_records -= len(records)
        if self._inbox_records < INBOX_RECORDS // 2:
            for each in self.tps:
                self._parts.gate.set_full(each, full=False)

    def _reprice_slice(self) -> None:
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

    async def _commit(self, positions: dict[TP, int]) -> None:
        names, outbox = self._parts.names, self._outbox
        changes = self._tables.changes
        metrics = self.pipeline.metrics
        self._note_metrics(metrics)
        changelog, intervals = (names.intervals_changelog, self.partition), (names.intervals, self.partition)
        logged = changelog_entries(changes)
        outbox.extend(changelog, logged)
        self.meta.closed_us, self.meta.swept_us = self.pipeline.retention.closed_us, self.pipeline.retention.sure_us()
        meta = msgspec.json.encode(self.meta)
        outbox.append(changelog, META_KEY, meta)
        published, backlog, at_once = outbox.count(intervals), self.backlog, self.pipeline.prices_at_once
        if at_once and published:
            positions[self._intervals] = (
                backlog.next_at + published
            )  # as expected: nobody waits for the brokers' answer
        await outbox.send_all()
        await self._send_positions(positions)
        ends = await outbox.delivered()
        goes_back = False
        if published:
            expected = backlog.publish(ends[intervals], published)
            goes_back = at_once and (not expected or self.pipeline.awaits_intervals)
            if goes_back:
                await self._send_positions({self._intervals: backlog.taken_to})
            elif at_once:
                backlog.taken_to = backlog.known_to
        await self._producer.commit_transaction()
        entries = store_entries(logged, changes)
        entries += self._held.take(logged, self._changelog_to)
        known = {names.intervals_changelog: self._held.known_to(ends[changelog])}
        priced = (names.priced, self.partition)
        if priced in ends:
            known[names.priced] = ends[priced]
        self.store.write([*entries, (META_KEY, meta)], known)
        self._changelog_to = ends[changelog]
        self._tables.committed()
        self._transactions += 1
        self._committed_at_s = time.monotonic()
        if goes_back:
            await self._go_back()

    async def _send_positions(self, positions: dict[TP, int]) -> None:
        if positions:
            offsets = {TopicPartition(*tp): offset for tp, offset in positions.items()}
            await self._producer.send_offsets_to_transaction(offsets, self._parts.settings.app_id)

    def _note_metrics(self, metrics: Counter[Any]) -> None:
        """Add what this transaction decided to the partition's totals, which are committed with it."""
        totals = self.meta.metrics
        for name, count in metrics.items():
            totals[name] = totals.get(name, 0) + count
            self.recent[name] += count
        metrics.clear()
