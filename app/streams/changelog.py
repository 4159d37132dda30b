"""Restore: bring the stores of some partitions to the end of their changelogs."""

import asyncio
import contextlib
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from app.streams.config import StreamConfig
from app.streams.fetch import fetch_parsed
from app.streams.held import HELD_MARK, INTERVAL_MARK, Entry, held_keys, mark_of
from app.streams.progress import Progress
from app.streams.security import client_options
from app.streams.store import PartitionStore
from app.streams.tables import AFTER, META_KEY, PRICED_MARK, decode_meta
from app.streams.timeouts import REQUEST_TIMEOUT_MS
from app.streams.topics import TopicNames
from app.wire import compiled

log = structlog.get_logger(__name__)

POLL_MS: Final = 200
_FETCH_BYTES: Final = 1024 * 1024
"""Of one partition. Answers of many megabytes take fresh memory each time: an eighth more CPU with four."""

REPORT_EVERY_S: Final = 2.0
_YIELD_S: Final = 0
_KEY: Final = itemgetter(0)


@contextlib.asynccontextmanager
async def reader(settings: StreamConfig) -> AsyncIterator[AIOKafkaConsumer]:
    """Lend a consumer of committed records, without a group."""
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=_FETCH_BYTES,
        fetch_max_wait_ms=POLL_MS,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def spans(
    consumer: AIOKafkaConsumer, names: TopicNames, stores: Mapping[int, PartitionStore]
) -> dict[TopicPartition, tuple[int, int]]:
    """Return from where to where each changelog has to be read: offsets, of which there are more than records."""
    changelogs = _changelogs(names, stores)
    ends = await consumer.end_offsets(list(changelogs))
    begins = await consumer.beginning_offsets(list(changelogs))
    starts = {tp: max(store.position(tp.topic), begins[tp]) for tp, store in changelogs.items()}
    return {tp: (starts[tp], max(starts[tp], ends[tp])) for tp in changelogs}


async def restore(
    consumer: AIOKafkaConsumer, names: TopicNames, stores: Mapping[int, PartitionStore], progress: Progress
) -> None:
    """Apply the committed records that the stores do not have yet, and tell `progress` about it.

    A store that is ahead of its changelog belongs to other topics than these, and is begun anew. Transaction markers occupy
    offsets: a store is complete when the position has reached the end, not when the last record was seen.
    """
    changelogs = _changelogs(names, stores)
    consumer.assign(list(changelogs))
    ends = await consumer.end_offsets(list(changelogs))
    await _seek(consumer, changelogs, ends)
    for tp in changelogs:
        progress.begin(tp, await consumer.position(tp), ends[tp])
    try:
        await _apply(consumer, names, changelogs, ends, progress)
    finally:
        progress.end(list(changelogs))


def _changelogs(names: TopicNames, stores: Mapping[int, PartitionStore]) -> dict[TopicPartition, PartitionStore]:
    """Return the changelogs with the store that each of them is for."""
    return {
        TopicPartition(topic, partition): store
        for partition, store in stores.items()
        for topic in (names.intervals_changelog, names.priced)
    }


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
    progress: Progress,
) -> None:
    missing = {tp for tp in stores if stores[tp].position(tp.topic) < ends[tp]}
    held = {tp: _held_keys(stores[tp]) for tp in stores if tp.topic == names.intervals_changelog}
    reported_s = began_s = time.monotonic()
    written = {tp.partition: stores[tp] for tp in missing}
    for store in written.values():
        store.begin_bulk()
    while missing:
        fetched = await fetch_parsed(consumer, missing, POLL_MS / 1000)
        anew: set[int] = set()
        for tp, records in fetched.items():
            if tp.partition in anew:
                continue
            entries = newest_entries(records, PRICED_MARK if tp.topic == names.priced else b"")
            if tp in held and _is_of_another_lineage(stores[tp], entries):
                anew.add(tp.partition)
                held[tp] = set()
                missing.update(await _begin_anew(consumer, stores, tp.partition, ends, progress))
                continue
            if tp in held:
                entries += _changed_marks(entries, held[tp])
            stores[tp].write(entries, {tp.topic: records[-1].offset + 1})
            progress.reach(tp, records[-1].offset + 1, len(records))
            await asyncio.sleep(_YIELD_S)  # Heartbeats, and those who ask how far it is, have their turn.
        for tp in [tp for tp in missing if await consumer.position(tp) >= ends[tp]]:
            stores[tp].write((), {tp.topic: ends[tp]})
            progress.reach(tp, ends[tp])
            missing.discard(tp)
        now_s = time.monotonic()
        if now_s - reported_s > REPORT_EVERY_S and missing:
            reported_s = now_s
            report(progress, now_s - began_s)
    for store in written.values():
        store.end_bulk()


async def _begin_anew(
    consumer: AIOKafkaConsumer,
    stores: dict[TopicPartition, PartitionStore],
    partition: int,
    ends: dict[TopicPartition, int],
    progress: Progress,
) -> list[TopicPartition]:
    """Wipe a store that was made from other topics, and read these from their beginning; return what is read."""
    log.warning("store_of_other_topics", partition=partition, action="rebuild from the changelog")
    again = [tp for tp in stores if tp.partition == partition]
    stores[again[0]].wipe()
    stores[again[0]].begin_bulk()
    await consumer.seek_to_beginning(*again)
    for tp in again:
        progress.begin(tp, await consumer.position(tp), ends[tp])
    return again


def report(progress: Progress, seconds: float) -> None:
    """Log how far it is. Offsets give the percentage: how many records there are between them is known at the end only."""
    done, of_about = progress.total()
    percent = {partition: 100 * p.applied // max(p.of_about, 1) for partition, p in progress.by_partition().items()}
    log.info(
        "recovering",
        applied=progress.records,
        of_about=of_about,
        percent=round(100 * done / max(of_about, 1), 1),
        percent_of_partition=percent,
        seconds=round(seconds, 1),
    )


def _is_of_another_lineage(store: PartitionStore, entries: Sequence[Entry]) -> bool:
    """Tell whether a store was made from topics that have been deleted and created again since; the entries are in order."""
    kept = store.get(META_KEY)
    at = bisect_left(entries, META_KEY, key=_KEY)
    if kept is None or at == len(entries):
        return False
    key, value = entries[at]
    return key == META_KEY and value is not None and decode_meta(value).lineage != decode_meta(kept).lineage


def _held_keys(store: PartitionStore) -> set[bytes]:
    """Return the keys that say which of the stored intervals wait to be published: few, and mostly none."""
    return {key for key, _ in store.items(HELD_MARK, HELD_MARK + AFTER)}


def newest_entries(records: list[Any], mark: bytes) -> list[Entry]:
    """Return the newest value of each key, with a mark before the key, in the order of keys. Hot."""
    if compiled.parts is not None and (entries := compiled.parts.newest_entries(records, mark)) is not None:
        return entries
    return sorted({mark + record.key: record.value for record in records}.items(), key=_KEY)


def _changed_marks(entries: list[Entry], held: set[bytes]) -> list[Entry]:
    """Return what the newest entries of the intervals' changelog mean for the marks of intervals that wait. Hot.

    `held` are the keys under `HELD_MARK` that the store has; what is not among them needs no deletion.
    """
    waiting = [mark_of(key) for key in held_keys(entries)]
    gone: set[bytes] = set()
    if held:
        gone = held.intersection(mark_of(key) for key, _ in entries if key.startswith(INTERVAL_MARK)).difference(
            waiting
        )
    held.difference_update(gone)
    held.update(waiting)
    return [*((mark, None) for mark in gone), *((mark, b"") for mark in waiting)]
