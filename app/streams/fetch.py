"""Fetch records as the protocol's parser made them, whole batches at a time: the client's own way costs as much as JSON.

The parser is compiled code of ours where that was built (`app.wire.compiled`), with the processor's own CRC-32C, and the
client's where it was not.
"""

import asyncio
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from itertools import chain, islice
from typing import Any, Final

import aiokafka
from aiokafka import conn
from aiokafka.consumer import fetcher as client
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult
from aiokafka.errors import ConsumerStoppedError, CorruptRecordException
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from app.streams.frames import FrameConnection, FrameProtocol
from app.wire import compiled

MANY: Final = 1_000_000


def parser_of(data: bytes) -> Any:
    """Return what takes a fetch's bytes of one partition apart."""
    return MemoryRecords(data) if compiled.parts is None else compiled.parts.FetchedRecords(data)


# The client asks for them by these names, and has no setting.
client.MemoryRecords = parser_of
conn.AIOKafkaProtocol = FrameProtocol
conn.AIOKafkaConnection = FrameConnection


async def fetch_parsed(
    consumer: aiokafka.AIOKafkaConsumer,
    partitions: AbstractSet[tuple[str, int]],
    timeout_s: float,
    max_records: int = MANY,
) -> dict[TopicPartition, list[Any]]:
    """Return what has been fetched, as the records of the protocol's parser; wait for more where there is nothing.

    The client would wrap each record in an object of a dozen fields and step through a generator by hand: together that
    costs as much as decoding the JSON. The order of things is that of aiokafka's `Fetcher.fetched_records`.
    """
    fetcher = consumer._fetcher  # noqa: SLF001 - as in Faust's own method
    if consumer._closed or fetcher._closed:  # noqa: SLF001
        raise ConsumerStoppedError
    with fetcher._subscriptions.fetch_context():  # noqa: SLF001
        if fetcher._subscriptions.reassignment_in_progress:  # noqa: SLF001
            await fetcher._subscriptions.wait_for_assignment()  # noqa: SLF001
        fetched = _take_fetched(fetcher, partitions, max_records)
        if not fetched and timeout_s:
            waiter = fetcher._create_fetch_waiter()  # noqa: SLF001
            done, _ = await asyncio.wait([waiter], timeout=timeout_s)
            if not done:
                waiter.cancel()
                return {}
            waiter.result()
            fetched = _take_fetched(fetcher, partitions, max_records)
        return fetched


def _take_fetched(
    fetcher: Any, partitions: AbstractSet[tuple[str, int]], max_records: int
) -> dict[TopicPartition, list[Any]]:
    """Take up to so many records of each of the partitions, and let the client fetch on where all were taken."""
    taken: dict[TopicPartition, list[Any]] = {}
    waiting = fetcher._records  # noqa: SLF001 - the client has no public way to whole chunks
    for tp in list(waiting):
        if tp not in partitions:
            if not fetcher._subscriptions.is_assigned(tp):  # noqa: SLF001
                del waiting[tp]
            continue
        result = waiting[tp]
        if isinstance(result, FetchResult):
            records = _take_records(result, tp, max_records)
            if not result.has_more():
                del waiting[tp]
                fetcher._notify(fetcher._wait_consume_future)  # noqa: SLF001
            if records:
                taken[tp] = records
        elif not taken:
            del waiting[tp]
            fetcher._notify(fetcher._wait_consume_future)  # noqa: SLF001
            result.check_raise()
    return taken


def _take_records(result: FetchResult, tp: TopicPartition, max_records: int) -> list[Any]:
    """Do what aiokafka's `FetchResult.getall` does, for records as they were parsed."""
    if not result.has_more() or not result.check_assignment(tp):
        return []
    pages = result._partition_records  # noqa: SLF001
    if not isinstance(pages._records_iterator, chain):  # noqa: SLF001
        pages._records_iterator = chain.from_iterable(_committed_batches(pages))  # noqa: SLF001
    records = list(islice(pages._records_iterator, max_records))  # noqa: SLF001
    if len(records) == max_records:  # perhaps in the middle of a batch
        pages.next_fetch_offset = records[-1].offset + 1
    result._update_position()  # noqa: SLF001
    if len(records) < max_records:
        result._partition_records = None  # noqa: SLF001
    return records


def _committed_batches(pages: Any) -> Iterator[list[Any]]:
    """Yield the records of each batch that is not aborted, and move the position behind it.

    The order of things is that of aiokafka's `PartitionRecords._unpack_records`, which steps through the records one by one.
    """
    batches = pages._records  # noqa: SLF001
    while batches.has_next():
        batch = batches.next_batch()
        if pages._check_crcs and not batch.validate_crc():  # noqa: SLF001
            message = f"Invalid CRC - {pages._tp}"  # noqa: SLF001
            raise CorruptRecordException(message)
        aborted = False
        if pages._isolation_level == READ_COMMITTED and batch.producer_id is not None:  # noqa: SLF001
            pages._consume_aborted_up_to(batch.base_offset)  # noqa: SLF001
            if batch.is_control_batch and pages._contains_abort_marker(batch):  # noqa: SLF001
                pages._aborted_producers.discard(batch.producer_id)  # noqa: SLF001
            aborted = batch.is_transactional and batch.producer_id in pages._aborted_producers  # noqa: SLF001
        wanted_from = pages.next_fetch_offset
        pages.next_fetch_offset = batch.next_offset
        if aborted or batch.is_control_batch:
            continue
        records = list(batch)
        if records and records[0].offset < wanted_from:  # a fetch begins with a whole batch
            records = [record for record in records if record.offset >= wanted_from]
        yield records
        pages.next_fetch_offset = batch.next_offset  # compaction may have taken the last records of the batch
