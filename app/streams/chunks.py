"""Chunks: what one fetch brings of one partition is one event of Faust, whose value is the list of Kafka records.

Faust spends 75 to 80 µs on a message whatever is in it. With thousands of records in a message that cost disappears, and the
agents still are Faust's. Faust's own bookkeeping of offsets is not used for these topics: positions are committed in the same
transaction as the outputs (see `shard`), so a chunk carries the epoch of its partition, and one that was fetched before the
partition was lost, or sought anew, is dropped on arrival.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any, ClassVar, Final, NamedTuple, cast

import aiokafka
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult
from aiokafka.errors import ConsumerStoppedError, CorruptRecordException
from aiokafka.structs import TopicPartition
from faust.topics import Topic
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from app.streams.config import StreamConfig
from app.streams.security import security_options
from app.streams.timeouts import REQUEST_TIMEOUT_MS

FETCH_TIMEOUT_S: Final = 0.1
"""How long a fetch waits for records. Short, because partitions may become fetchable again meanwhile."""

FETCH_MAX_WAIT_MS: Final = 100
_IDLE_WAIT_S: Final = 0.5
MANY: Final = 1_000_000


class Chunk(NamedTuple):
    """The records that one fetch brought of one partition, and the partition's epoch when the fetch began."""

    epoch: int
    records: list[Any]


class Gate:
    """Which partitions may be fetched: those that are open, and whose owner has room for more.

    Everything here happens in the application's event loop; nothing is shared with the consumer's thread.
    """

    def __init__(self) -> None:
        """Begin with every partition closed."""
        self._epochs: dict[TP, int] = {}
        self._full: set[TP] = set()
        self._last_epoch = 0
        self._changed = asyncio.Event()

    def open(self, tp: TP) -> None:
        """Let a partition be fetched, in a new epoch: call it after the seek."""
        self._last_epoch += 1
        self._epochs[tp] = self._last_epoch
        self._full.discard(tp)
        self._changed.set()

    def close(self, tp: TP) -> None:
        """Fetch a partition no more, and drop what is on its way: call it before the seek."""
        self._epochs.pop(tp, None)
        self._full.discard(tp)

    def set_full(self, tp: TP, *, full: bool) -> None:
        """Tell whether the owner of a partition has enough to do for now."""
        if full:
            self._full.add(tp)
        elif tp in self._full:
            self._full.discard(tp)
            self._changed.set()

    def fetchable(self) -> dict[TP, int]:
        """Return the partitions to fetch now, with their epochs."""
        return {tp: epoch for tp, epoch in self._epochs.items() if tp not in self._full}

    def is_current(self, tp: TP, epoch: int) -> bool:
        """Tell whether a chunk fetched in an epoch still belongs to its partition."""
        return self._epochs.get(tp) == epoch

    async def wait(self, timeout_s: float) -> None:
        """Wait until a partition opens or has room again, or the time is over."""
        self._changed.clear()
        try:
            await asyncio.wait_for(self._changed.wait(), timeout_s)
        except TimeoutError:
            return


class ChunkTopic(Topic):
    """A topic whose chunks pass through undecoded."""

    def _compile_decode(self) -> None:
        async def decode(message: Any, *, propagate: bool = False) -> Any:  # noqa: ARG001 - Faust's signature
            return self._create_event(None, message.value, None, message=message)

        self.decode = decode  # type: ignore[method-assign]


async def fetch_parsed(
    consumer: aiokafka.AIOKafkaConsumer, partitions: set[TP], timeout_s: float, max_records: int = MANY
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


def _take_fetched(fetcher: Any, partitions: set[TP], max_records: int) -> dict[TopicPartition, list[Any]]:
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


class ChunkConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread of the consumer: read committed, short waits, no prefetch of changelogs."""

    logger = logging.getLogger("faust.transport")

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        conf = self.app.conf
        app: Any = self.app
        settings: StreamConfig = app.settings
        self._assignor = self.app.assignor
        return aiokafka.AIOKafkaConsumer(
            client_id=conf.broker_client_id,
            group_id=conf.id,
            group_instance_id=settings.instance_id,
            bootstrap_servers=driver.server_list(transport.url, transport.default_port),
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_poll_records=settings.chunk_max_records,
            max_partition_fetch_bytes=settings.fetch_max_bytes,
            fetch_max_bytes=8 * settings.fetch_max_bytes,
            fetch_max_wait_ms=FETCH_MAX_WAIT_MS,
            # The check of each batch's CRC is cheap in C, and a flipped bit would be billed.
            check_crcs=True,
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=settings.heartbeat_interval_ms,
            rebalance_timeout_ms=max(settings.session_timeout_ms, 10_000),
            # Work is polled by another thread, and a stuck one ends the process: no second watchdog.
            max_poll_interval_ms=86_400_000,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            retry_backoff_ms=100,
            metadata_max_age_ms=60_000,
            **security_options(settings),
        )

    async def _fetch_records(
        self,
        consumer: aiokafka.AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,  # noqa: ASYNC109 - Faust's signature
        max_records: int | None = None,
    ) -> dict[TopicPartition, list[Any]]:
        """Return what has been fetched, as the records of the protocol's parser; wait for more where there is nothing."""
        if not self.consumer.flow_active:
            return {}
        return await fetch_parsed(consumer, active_partitions, timeout or 0.0, max_records or MANY)

    async def committed(self, tps: Iterable[TP]) -> dict[TP, int | None]:
        """Return the committed position of partitions, read from the broker now."""
        return await self.call_thread(self._committed, list(tps))

    async def _committed(self, tps: list[TP]) -> dict[TP, int | None]:
        consumer = self._ensure_consumer()
        return {tp: await consumer.committed(TopicPartition(*tp)) for tp in tps}

    async def seek_all(self, positions: Mapping[TP, int | None]) -> None:
        """Seek partitions to positions; None is the beginning."""
        await self.call_thread(self._seek_all, dict(positions))

    async def _seek_all(self, positions: dict[TP, int | None]) -> None:
        consumer = self._ensure_consumer()
        for tp, offset in positions.items():
            if offset is not None:
                consumer.seek(TopicPartition(*tp), offset)
        unknown = [TopicPartition(*tp) for tp, offset in positions.items() if offset is None]
        if unknown:
            await consumer.seek_to_beginning(*unknown)

    async def stop_prefetch(self, tps: Iterable[TP]) -> None:
        """Let the client fetch nothing of partitions that are only assigned so that they stay with the others."""
        await self.call_thread(self._stop_prefetch, list(tps))

    async def _stop_prefetch(self, tps: list[TP]) -> None:
        self._ensure_consumer().pause(*(TopicPartition(*tp) for tp in tps))


class ChunkConsumer(driver.Consumer):
    """A consumer whose messages are chunks of the partitions that the gate lets through."""

    logger = logging.getLogger("faust.transport")

    def _new_consumer_thread(self) -> ChunkConsumerThread:
        return ChunkConsumerThread(self, loop=self.loop, beacon=self.beacon)

    @property
    def thread(self) -> ChunkConsumerThread:
        """The thread in which the Kafka client lives."""
        return cast("ChunkConsumerThread", self._thread)

    async def perform_seek(self) -> None:
        """Do nothing: each partition's owner seeks it, after it has fenced the owner before."""

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:  # noqa: ARG002, FBT001, FBT002
        """Do nothing: positions are committed with the outputs, and nothing else may touch them."""
        return False

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Do nothing: Faust's detector of stuck partitions would take the paused changelogs for stuck ones."""

    async def _drain_messages(self, fetcher: Any) -> None:
        """Fetch and deliver until stopped: Faust's loop, without its bookkeeping of single messages."""
        try:
            while not (self._stopped.is_set() or fetcher._stopped.is_set()):  # noqa: SLF001 - as Faust's own loop does
                async for message in self._chunks():
                    await self.callback(message)
        except self.consumer_stopped_errors:
            if not self.transport.app.should_stop:
                raise
        except asyncio.CancelledError:
            if not self.transport.app.should_stop:
                raise

    async def _chunks(self) -> AsyncIterator[ConsumerMessage]:
        """Yield a message for every partition that a fetch brought records of."""
        if not self.flow_active:
            resume: Any = self.can_resume_flow
            await self.wait(resume)
        app: Any = self.app
        gate: Gate = app.gate
        epochs = gate.fetchable()
        if not epochs or not self.flow_active:
            await gate.wait(_IDLE_WAIT_S)
            return
        fetched = await self._getmany(active_partitions=set(epochs), timeout=FETCH_TIMEOUT_S)
        for kafka_tp, records in fetched.items():
            tp = TP(kafka_tp.topic, kafka_tp.partition)
            if records and tp in epochs:
                yield self._chunk_message(tp, Chunk(epochs[tp], records))

    def _chunk_message(self, tp: TP, chunk: Chunk) -> ConsumerMessage:
        last = chunk.records[-1]
        value: Any = chunk
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            last.offset,
            last.timestamp / 1000.0,
            last.timestamp_type,
            None,
            None,
            value,
            None,
            None,
            None,
            tp,
            generation_id=self.app.consumer_generation_id,
        )


class ChunkTransport(driver.Transport):
    """Faust's aiokafka transport with a consumer of chunks."""

    Consumer: ClassVar[Any] = ChunkConsumer
