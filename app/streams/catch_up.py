"""Catch up: what a partition needs to have before it goes on where its owner before stopped."""

import time
from collections.abc import Mapping, Sequence
from typing import Protocol

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from app.streams.backlog import Backlog
from app.streams.changelog import POLL_MS, reader, restore, spans
from app.streams.config import StreamConfig
from app.streams.fetch import fetch_parsed
from app.streams.progress import Progress
from app.streams.rebuild import missing_of, processes_for, rebuild
from app.streams.store import PartitionStore
from app.streams.topics import TopicNames

log = structlog.get_logger(__name__)


class Owner(Protocol):
    """A partition whose producer has been initialised: nobody else writes to its changelogs any more."""

    @property
    def partition(self) -> int:
        """Return its number."""

    @property
    def store(self) -> PartitionStore:
        """Return its store, open."""

    @property
    def backlog(self) -> Backlog:
        """Return what is on its way to pricing, to be filled in."""


async def catch_up(
    settings: StreamConfig,
    names: TopicNames,
    owners: Sequence[Owner],
    priced_to: Mapping[int, int | None],
    progress: Progress | None = None,
) -> int:
    """Apply the committed records that the stores do not have yet, and return how many there were.

    Also learn what is on its way to pricing: what `meter.intervals` has behind `priced_to`, pricing's committed position in
    each partition. `progress` is told how far it is. Stores that are far behind are rebuilt in several processes.
    """
    progress = progress or Progress()
    before, began_s = progress.records, time.monotonic()
    stores = {owner.partition: owner.store for owner in owners}
    async with reader(settings) as consumer:
        unread = await spans(consumer, names, stores)
        processes = processes_for(settings.recovery_processes, missing_of(unread))
        if processes > 1:
            await rebuild(settings, names, stores, unread, progress, processes=processes)
        await restore(consumer, names, stores, progress)  # also what a process of its own could not do
        seconds, applied = time.monotonic() - began_s, progress.records - before
        if applied:
            per_second = round(applied / max(seconds, 1e-6))
            log.info(
                "recovered", applied=applied, seconds=round(seconds, 2), per_second=per_second, processes=processes
            )
        await _find_backlog(consumer, names, owners, priced_to)
    return applied


async def _find_backlog(
    consumer: AIOKafkaConsumer, names: TopicNames, owners: Sequence[Owner], priced_to: Mapping[int, int | None]
) -> None:
    """Find the published intervals that pricing has not taken yet, for each owner, and where its next one will be."""
    waiting = {TopicPartition(names.intervals, owner.partition): owner for owner in owners}
    consumer.assign(list(waiting))
    ends = await consumer.end_offsets(list(waiting))
    begins = await consumer.beginning_offsets(list(waiting))
    unread = set()
    for tp, owner in waiting.items():
        start = max(priced_to.get(tp.partition) or 0, begins[tp])
        consumer.seek(tp, start)
        owner.backlog.taken_to = owner.backlog.known_to = start
        owner.backlog.next_at = ends[tp]
        if start < ends[tp]:
            unread.add(tp)
    while unread:
        fetched = await fetch_parsed(consumer, unread, POLL_MS / 1000)
        for tp, records in fetched.items():
            for record in records:
                if record.offset < ends[tp]:
                    waiting[tp].backlog.find(record)
        for tp in list(unread):
            if await consumer.position(tp) >= ends[tp]:
                unread.discard(tp)
