"""Catch up: bring the stores of some partitions to the end of their changelogs."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from app.streams.config import StreamConfig
from app.streams.security import client_options
from app.streams.store import PartitionStore
from app.streams.tables import META_KEY, Entry, decode_meta, interval_entries, priced_entry
from app.streams.timeouts import REQUEST_TIMEOUT_MS
from app.streams.topics import TopicNames

log = structlog.get_logger(__name__)

_POLL_MS: Final = 200
_FETCH_BYTES: Final = 4 * 1024 * 1024
_REPORT_EVERY_S: Final = 2.0


class Owner(Protocol):
    """A partition whose producer has been initialised: nobody else writes to its changelogs any more."""

    @property
    def partition(self) -> int:
        """Return its number."""

    @property
    def store(self) -> PartitionStore:
        """Return its store, open."""

    @property
    def in_flight(self) -> Counter[str]:
        """Return the count of each interval on its way to pricing, to be filled in."""


async def catch_up(
    settings: StreamConfig, names: TopicNames, owners: Sequence[Owner], priced_to: Mapping[int, int | None]
) -> int:
    """Apply the committed records that the stores do not have yet, and return how many there were.

    Also learn which intervals are on their way: those on `meter.intervals` behind `priced_to`, pricing's committed position
    in each partition.

    A store that is ahead of its changelog belongs to other topics than these, and is begun anew. Transaction markers occupy
    offsets: a store is complete when the position has reached the end, not when the last record was seen.
    """
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=_FETCH_BYTES,
        fetch_max_wait_ms=_POLL_MS,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
    )
    await consumer.start()
    try:
        stores = {
            TopicPartition(topic, owner.partition): owner.store
            for owner in owners
            for topic in (names.intervals_changelog, names.priced)
        }
        consumer.assign(list(stores))
        ends = await consumer.end_offsets(list(stores))
        await _seek(consumer, stores, ends)
        applied = await _apply(consumer, names, stores, ends)
        await _find_in_flight(consumer, names, owners, priced_to)
        return applied
    finally:
        await consumer.stop()


async def _seek(
    consumer: AIOKafkaConsumer, stores: dict[TopicPartition, PartitionStore], ends: dict[TopicPartition, int]
) -> None:
    """Begin where each store ends; wipe the stores that cannot be of these topics."""
    for tp, store in stores.items():
        if store.position(tp.topic) > ends[tp]:
            log.warning("store_ahead", topic=tp.topic, partition=tp.partition, action="rebuild from the changelog")
            store.wipe()
    begins = await consumer.beginning_offsets(list(stores))
    for tp, store in stores.items():
        consumer.seek(tp, max(store.position(tp.topic), begins[tp]))


async def _apply(
    consumer: AIOKafkaConsumer,
    names: TopicNames,
    stores: dict[TopicPartition, PartitionStore],
    ends: dict[TopicPartition, int],
) -> int:
    behind = {tp for tp in stores if stores[tp].position(tp.topic) < ends[tp]}
    total = sum(ends[tp] - stores[tp].position(tp.topic) for tp in behind)
    applied, began_s = 0, time.monotonic()
    reported_s = began_s
    while behind:
        fetched = await consumer.getmany(*behind, timeout_ms=_POLL_MS)
        for partition in _of_another_lineage(names, stores, fetched):
            log.warning("store_of_other_topics", partition=partition, action="rebuild from the changelog")
            again = [tp for tp in stores if tp.partition == partition]
            stores[again[0]].wipe()
            await consumer.seek_to_beginning(*again)
            behind.update(again)
            fetched = {tp: records for tp, records in fetched.items() if tp.partition != partition}
        for tp, records in fetched.items():
            entries = _entries(tp.topic == names.priced, records)
            stores[tp].write(entries, {tp.topic: records[-1].offset + 1})
            applied += len(records)
        for tp in list(behind):
            if await consumer.position(tp) >= ends[tp]:
                stores[tp].write((), {tp.topic: ends[tp]})
                behind.discard(tp)
        now_s = time.monotonic()
        if now_s - reported_s > _REPORT_EVERY_S and behind:
            reported_s = now_s
            log.info("recovering", applied=applied, of_about=total, seconds=round(now_s - began_s, 1))
    if applied:
        seconds = time.monotonic() - began_s
        log.info(
            "recovered", applied=applied, seconds=round(seconds, 2), per_second=round(applied / max(seconds, 1e-6))
        )
    return applied


def _of_another_lineage(
    names: TopicNames, stores: dict[TopicPartition, PartitionStore], fetched: dict[TopicPartition, list[Any]]
) -> set[int]:
    """Return the partitions whose store was made from topics that have been deleted and created again since."""
    found = set()
    for tp, records in fetched.items():
        kept = stores[tp].get(META_KEY)
        if tp.topic != names.intervals_changelog or kept is None:
            continue
        lineage = decode_meta(kept).lineage
        if any(r.key == META_KEY and r.value is not None and decode_meta(r.value).lineage != lineage for r in records):
            found.add(tp.partition)
    return found


def _entries(priced: bool, records: list[Any]) -> Iterator[Entry]:  # noqa: FBT001 - which of the two changelogs it is
    for record in records:
        if priced:
            yield priced_entry(record.key, record.value)
        else:
            yield from interval_entries(record.key, record.value)


async def _find_in_flight(
    consumer: AIOKafkaConsumer, names: TopicNames, owners: Sequence[Owner], priced_to: Mapping[int, int | None]
) -> None:
    """Count the published intervals that pricing has not taken yet, for each owner."""
    waiting = {TopicPartition(names.intervals, owner.partition): owner for owner in owners}
    consumer.assign(list(waiting))
    ends = await consumer.end_offsets(list(waiting))
    begins = await consumer.beginning_offsets(list(waiting))
    behind = set()
    for tp in waiting:
        start = max(priced_to.get(tp.partition) or 0, begins[tp])
        consumer.seek(tp, start)
        if start < ends[tp]:
            behind.add(tp)
    while behind:
        fetched = await consumer.getmany(*behind, timeout_ms=_POLL_MS)
        for tp, records in fetched.items():
            for record in records:
                if record.key is not None and record.offset < ends[tp]:
                    waiting[tp].in_flight[record.key.decode(errors="replace")] += 1
        for tp in list(behind):
            if await consumer.position(tp) >= ends[tp]:
                behind.discard(tp)
