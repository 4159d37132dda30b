"""The shards of a worker: opened when partitions are assigned, closed when they are revoked, opened anew after a fault."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any, Final, Protocol

import structlog
from aiokafka.errors import GroupAuthorizationFailedError, ProducerFenced
from faust.types import TP

from app.streams.catch_up import catch_up
from app.streams.chunks import Chunk, exit_for_rights
from app.streams.condition import PartitionCondition, PartitionState
from app.streams.faults import StoreCorruptError, StoreError
from app.streams.lane import Lane, transactional_producer
from app.streams.owners import Owners, Positions
from app.streams.progress import Progress
from app.streams.reference import Change, ReferenceReader, earlier
from app.streams.shard import Feed, Shard, ShardParts, Work

log = structlog.get_logger(__name__)

RETRY_FIRST_S: Final = 0.2
RETRY_MOST_S: Final = 2.0
"""Longest pause between two attempts: a broker that is back is used a few seconds later, however long it was away."""

EXIT_STORE: Final = 74
"""Exit status when the disk cannot be written: EX_IOERR of sysexits.h."""

JOIN_AFTER_S: Final = 5.0
"""How long partitions that a fault has taken apart have to commit by themselves before they share transactions again."""

_JOIN_EVERY_S: Final = 1.0
_REPORT_EVERY_S: Final = 10.0
_WATCH_EVERY_S: Final = 1.0


class Positioner(Feed, Positions, Protocol):
    """The part of the consumer that shards need: where the group stands, and to go there."""

    async def seek_all(self, positions: Mapping[TP, int]) -> None:
        """Seek."""

    async def ends(self, tps: Iterable[TP]) -> dict[TP, int]:
        """Return the offset behind the last message or marker of partitions, asked of the brokers now."""


class Shards:
    """All shards of this worker, by partition."""

    def __init__(self, parts: ShardParts, reference: ReferenceReader | None = None) -> None:
        """Open nothing yet. `reference` may be set later, before the first partition is opened."""
        self._parts: Final = parts
        self.reference = reference
        self._owners: Final = Owners(parts.settings, transactional_producer)
        self._shards: dict[int, Shard] = {}
        self._lanes: list[Lane] = []
        self._ending: set[asyncio.Task[None]] = set()
        self._assigned: list[int] | None = None
        self.progress: Final = Progress()
        self._retries: dict[int, asyncio.Task[None]] = {}
        self._failures: Counter[int] = Counter()
        self._positioner: Positioner | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def shard(self, partition: int) -> Shard | None:
        """Return the shard of a partition that is open here, or None."""
        return self._shards.get(partition)

    def open_shards(self) -> list[Shard]:
        """Return the shards that are open here."""
        return list(self._shards.values())

    # Assignment

    async def open(self, partitions: Iterable[int], positioner: Positioner) -> None:
        """Open partitions: take them over, catch up with their changelogs, go to their positions, begin.

        In this order: what the owners before commit until then is read, and afterwards they commit nothing.
        """
        self._positioner = positioner
        wanted = self._assigned = sorted(set(partitions))
        await self._close_all()
        if not wanted:
            return
        began_s = time.monotonic()
        delay_s = RETRY_FIRST_S
        while True:
            try:
                await self._open(wanted)
                break
            except StoreCorruptError as error:
                log.warning("store_corrupt", reason=str(error), action="rebuild from the changelog")
                for shard in self.open_shards():
                    shard.distrust_store()
                await self._close_all()
            except StoreError as error:
                exit_for_store(error)
            except Exception as error:  # noqa: BLE001 - the broker may be away: it comes back
                log.warning("open_failed", partitions=wanted, reason=repr(error), again_in_s=delay_s)
                await self._close_all()
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, RETRY_MOST_S)
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._report(), name="report"),
                asyncio.create_task(self._join_lanes(), name="join-lanes"),
                asyncio.create_task(self._watch_intervals(), name="watch-intervals"),
            ]
        log.info("partitions_opened", partitions=wanted, seconds=round(time.monotonic() - began_s, 2))

    async def _open(self, partitions: Iterable[int]) -> None:
        """Open partitions in one lane."""
        lane = Lane(self._parts.settings, self._on_failed)
        self._lanes.append(lane)
        try:
            await self._open_in(lane, partitions)
        except Exception:
            await self._end(lane, ())
            raise

    async def _open_in(self, lane: Lane, partitions: Iterable[int]) -> None:
        parts, positioner = self._parts, self._positioner
        assert positioner is not None  # noqa: S101 - set by every way in here
        shards = [Shard(partition, parts, positioner) for partition in partitions]
        for shard in shards:
            self._shards[shard.partition] = shard
        await lane.start()
        for shard in shards:
            shard.open(parts.settings.data_dir)
        stands = await self._owners.take_over({shard.partition: shard.tps for shard in shards}, lane.id, positioner)
        priced_to = {tp.partition: offset for tp, offset in stands.items() if tp.topic == parts.names.intervals}
        await catch_up(parts.settings, parts.names, shards, priced_to, self.progress)
        await positioner.seek_all(stands)
        await positioner.stop_reading([shard.tps[-1] for shard in shards if shard.backlog.is_empty()])
        for shard in shards:
            if not shard.backlog.is_empty():  # it may have been told not to read when it was opened last
                await positioner.read_from(shard.tps[-1], shard.backlog.taken_to)
        for shard in shards:
            shard.start({tp: stands[tp] for tp in shard.tps}, lane.producer, lane.wake)
            self._follow_missed(shard)
        lane.run(shards)
        for shard in shards:
            for tp in shard.tps[:-1] if shard.prices_at_once else shard.tps:
                parts.gate.open(tp)

    def _follow_missed(self, shard: Shard) -> None:
        """Let a shard price again what changed in the reference documents while it had no owner."""
        reference = self.reference
        if reference is None:
            return
        positions = reference.positions
        if not shard.meta.reference:
            shard.meta.reference = positions  # A partition without a past: every price will be made from today's book.
            return
        missed = reference.since(shard.meta.reference)
        # Until this worker has read what the owner before had, its prices are older ones: its successor has to know.
        shard.meta.reference = earlier(shard.meta.reference, positions)
        affected = [self._parts.book.affected_by(kind, key) for kind, key in missed]
        if missed:
            shard.follow(Work(tuple(affected), (), positions))

    async def close(self) -> None:
        """Close all shards: the partitions are revoked, or the worker stops."""
        self._assigned = None
        await self._close_all()

    async def _close_all(self) -> None:
        for task in self._retries.values():
            task.cancel()
        self._retries.clear()
        shards, self._shards = list(self._shards.values()), {}
        lanes, self._lanes = self._lanes, []
        for shard in shards:
            shard.stop_work()
        await asyncio.gather(*self._ending)
        await asyncio.gather(*(lane.close() for lane in lanes))
        for shard in shards:
            _close(shard)

    async def stop(self) -> None:
        """Close all shards for good."""
        await self.close()
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()

    # Faults

    def _on_failed(self, lane: Lane, error: BaseException) -> None:
        """Take a lane out of service, and open its partitions again unless they are somebody else's now."""
        self._end_for(lane, error)
        shards: list[Shard] = list(lane.members)
        for shard in shards:
            shard.stop_work()
        fenced = isinstance(error, ProducerFenced)
        ours = [shard for shard in shards if self._shards.get(shard.partition) is shard]
        # Who looks for what a worker did when it woke up finds it, also when the group was quicker.
        for shard in shards if fenced else ours:
            log.warning(
                "partition_fenced" if fenced else "partition_failed",
                partition=shard.partition,
                reason=str(error) or type(error).__name__,
                action="dropped what was in memory",
            )
        if not ours:
            return
        if not fenced:
            log.debug("partition_failed_how", exc_info=error)
        # Partitions that never committed would fail again at once: wait longer each time. A fenced owner waits until the group
        # has told it whether the partitions are still its own.
        for shard in ours:
            self._failures[shard.partition] = 1 if lane.has_committed else self._failures[shard.partition] + 1
        first_s = min(RETRY_FIRST_S * 2 ** (max(self._failures[shard.partition] for shard in ours) - 1), RETRY_MOST_S)
        if fenced:
            first_s = max(first_s, 2 * self._parts.settings.heartbeat_interval_ms / 1000)
        ended = asyncio.create_task(self._end(lane, ours))
        self._ending.add(ended)
        ended.add_done_callback(self._ending.discard)
        for shard in ours:
            self._retries[shard.partition] = asyncio.create_task(self._reopen(shard, ended, first_s))

    def _end_for(self, lane: Lane, error: BaseException) -> None:
        """End the process where it is no use to go on; remember which store is not to be trusted."""
        if isinstance(error, StoreCorruptError):
            for shard in lane.members:
                if lane.blamed in (None, shard):
                    shard.distrust_store()
        elif isinstance(error, StoreError):
            exit_for_store(error)
        elif isinstance(error, GroupAuthorizationFailedError):
            exit_for_rights(error)  # the consumer is out of the group for good, whatever rights it is given later

    async def _end(self, lane: Lane, shards: Iterable[Shard]) -> None:
        """Let go of a lane that has failed, and of the stores of its partitions."""
        await lane.close()
        if lane in self._lanes:
            self._lanes.remove(lane)
        for shard in shards:
            _close(shard)

    async def _reopen(self, shard: Shard, ended: Awaitable[None], delay_s: float) -> None:
        """Open a partition in a lane of its own, so that it does not wait for the others nor they for it."""
        await asyncio.shield(ended)
        while self._shards.get(shard.partition) is shard:
            await asyncio.sleep(delay_s)
            try:
                await self._open([shard.partition])
            except Exception as error:  # noqa: BLE001 - the broker may be away: it comes back
                if isinstance(error, StoreError) and not isinstance(error, StoreCorruptError):
                    exit_for_store(error)
                delay_s = min(delay_s * 2, RETRY_MOST_S)
                log.warning("reopen_failed", partition=shard.partition, reason=repr(error), again_in_s=delay_s)
                half_open = self._shards.get(shard.partition)
                if half_open is None:
                    break  # Revoked meanwhile, and closed by that.
                shard = half_open
                if isinstance(error, StoreCorruptError):
                    shard.distrust_store()
                _close(shard)
            else:
                log.info("partition_reopened", partition=shard.partition)
                break
        self._retries.pop(shard.partition, None)

    async def _join_lanes(self) -> None:
        """Bring together what a fault has taken apart, when it has gone well for a while."""
        while True:
            await asyncio.sleep(_JOIN_EVERY_S)
            self._lanes = [lane for lane in self._lanes if not lane.has_joined]
            if any(lane.is_joining for lane in self._lanes):
                continue
            well = [lane for lane in self._lanes if lane.works_for_s() >= JOIN_AFTER_S]
            if len(well) > 1:
                first = max(well, key=lambda lane: len(lane.members))
                for lane in well:
                    if lane is not first:
                        lane.join(first)
                log.info(
                    "partitions_joined", partitions=sorted(each.partition for lane in well for each in lane.members)
                )

    # Input

    def deliver(self, tp: TP, chunk: Chunk) -> None:
        """Hand a chunk to its shard; one of an earlier epoch is dropped: it will be fetched again by whoever owns it."""
        shard = self._shards.get(tp.partition)
        if shard is None or not self._parts.gate.is_current(tp, chunk.epoch):
            log.debug("stale_chunk_dropped", topic=tp.topic, partition=tp.partition, records=len(chunk.records))
            return
        shard.deliver(tp, chunk.records)

    async def _watch_intervals(self) -> None:
        """Look once a second whether somebody else has written to `meter.intervals` where nothing is read of it."""
        while True:
            await asyncio.sleep(_WATCH_EVERY_S)
            marks = {
                shard.tps[-1]: (shard, shard.backlog.next_at) for shard in self.open_shards() if shard.prices_at_once
            }
            if not marks or self._positioner is None:
                continue
            try:
                ends = await self._positioner.ends(marks)
            except Exception as error:  # noqa: BLE001 - the broker may be away: it is asked again
                log.debug("intervals_not_watched", reason=repr(error))
                continue
            for tp, (shard, next_at) in marks.items():
                if ends[tp] > next_at and self._shards.get(tp.partition) is shard:
                    shard.look_back(next_at)

    def on_reference_change(self, change: Change) -> None:
        """Let every shard work with the changed documents, and price again what they concern."""
        for shard in self._shards.values():
            if shard.is_running:
                shard.follow(Work(tuple(change.affected), tuple(change.location_ids), change.positions))

    # Numbers

    def condition(self) -> list[PartitionCondition] | None:
        """Return what each assigned partition does, or None when none has been assigned yet."""
        if self._assigned is None:
            return None
        recovering = self.progress.by_partition()
        found = []
        for partition in self._assigned:
            shard = self._shards.get(partition)
            state: PartitionState = "opening"
            if partition in recovering:
                state = "recovering"
            elif partition in self._retries:
                state = "reopening"
            elif shard is not None and shard.is_running:
                state = "open"
            totals = shard.meta.metrics if shard is not None and state == "open" else {}
            found.append(PartitionCondition(partition, state, *recovering.get(partition, (0, 0)), totals))
        return found

    def totals(self) -> Counter[str]:
        """Return the committed totals of the open shards, from the beginning of the topics."""
        totals: Counter[str] = Counter()
        for shard in self._shards.values():
            totals.update(shard.meta.metrics)
        return totals

    async def _report(self) -> None:
        """Log what was decided, every ten seconds in which there was anything."""
        last_s = time.monotonic()
        while True:
            await asyncio.sleep(_REPORT_EVERY_S)
            now_s = time.monotonic()
            recent: Counter[str] = Counter()
            for shard in self._shards.values():
                recent.update(shard.recent)
                shard.recent.clear()
            if recent:
                rate = recent["input"] / (now_s - last_s)
                totals = dict(sorted(self.totals().items()))
                log.info("throughput", records_per_second=round(rate), **dict(sorted(recent.items())), totals=totals)
            last_s = now_s


def _close(shard: Shard) -> None:
    try:
        shard.close()
    except StoreError as error:
        exit_for_store(error)


def exit_for_store(error: BaseException) -> Any:
    """End the process at once: going on without a store would only look like work. A supervisor starts it again."""
    log.critical("store_failed", reason=str(error), action="the worker ends; nothing is lost, it is all in Kafka")
    os._exit(EXIT_STORE)
