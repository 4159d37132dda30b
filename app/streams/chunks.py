"""Chunks: what one fetch brings of one partition is one event of Faust, whose value is the list of Kafka records.

Faust spends 75 to 80 µs on a message whatever is in it. With thousands of records in a message that cost disappears, and the
agents still are Faust's. Faust's own bookkeeping of offsets is not used for these topics: positions are committed in the same
transaction as the outputs (see `shard`), so a chunk carries the epoch of its partition, and one that was fetched before the
partition was lost, or sought anew, is dropped on arrival.
"""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, ClassVar, Final, NamedTuple, cast

import aiokafka
import structlog
from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.topics import Topic
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from mode.threads import WorkerThread

from app.streams.config import StreamConfig
from app.streams.fetch import MANY, fetch_parsed
from app.streams.owners import Committed
from app.streams.security import security_options
from app.streams.timeouts import REQUEST_TIMEOUT_MS

FETCH_TIMEOUT_S: Final = 0.1
"""How long a fetch waits for records. Short, because partitions may become fetchable again meanwhile."""

FETCH_MAX_WAIT_MS: Final = 100
_IDLE_WAIT_S: Final = 0.5
_FEW: Final = 500
_ENDS_TIMEOUT_S: Final = 5.0
"""The consumer's thread has more to do than to wait for a broker that is away."""
EXIT_REFUSED: Final = 4
"""Exit status when a right is missing: at the start, and when it is taken away from a worker that reads."""

log = structlog.get_logger(__name__)


class Chunk(NamedTuple):
    """The records that one fetch brought of one partition, and the partition's epoch when the fetch began."""

    epoch: int
    records: list[Any]


def exit_for_rights(error: BaseException) -> None:
    """End the process at once: Kafka's client does not come back from some of these, and to go on would only look like work."""
    log.critical("right_lost", reason=str(error), action="the worker ends; nothing is lost, it is all in Kafka")
    os._exit(EXIT_REFUSED)


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


class Pace:
    """When to fetch again: not at once while each fetch brings a few records, which wait for their transaction anyway.

    A fetch, a chunk and what they wake cost the worker and the broker the same, however few records there are. Who is behind
    gets the next ones at once; so does who has brought nothing for a while.
    """

    def __init__(self, pause_s: float, chunk_max_records: int) -> None:
        """Let so long pass between fetches of a few records. Where a chunk may be full, there are more."""
        self._pause_s: Final = pause_s
        self._few: Final = min(_FEW, chunk_max_records // 4)
        self._next_s = 0.0

    def note(self, now_s: float, count: int) -> None:
        """Hear that a fetch has brought so many records."""
        self._next_s = now_s + self._pause_s if 0 < count < self._few else 0.0

    def rest_s(self, now_s: float) -> float:
        """Return how long the next fetch has to wait."""
        return max(self._next_s - now_s, 0.0)


class ChunkTopic(Topic):
    """A topic whose chunks pass through undecoded."""

    def _compile_decode(self) -> None:
        async def decode(message: Any, *, propagate: bool = False) -> Any:  # noqa: ARG001 - Faust's signature
            return self._create_event(None, message.value, None, message=message)

        self.decode = decode  # type: ignore[method-assign]


class _DaemonThread(WorkerThread):
    """A thread that the process does not wait for at its end: without a broker the client's own tasks do not end."""

    def __init__(self, service: Any, **kwargs: Any) -> None:
        super().__init__(service, **kwargs)
        self.daemon = True


class ChunkConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread of the consumer: read committed, short waits, no prefetch of changelogs."""

    logger = logging.getLogger("faust.transport")
    Worker: Any = _DaemonThread

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

    async def committed(self, tps: Iterable[TP]) -> dict[TP, Committed]:
        """Return the committed position of partitions, read from the broker now, and what was said with it."""
        return await self.call_thread(self._committed, [TopicPartition(*tp) for tp in tps])

    async def _committed(self, tps: list[TopicPartition]) -> dict[TP, Committed]:
        # The public method tells the offset alone, of one partition at a time.
        found = await self._ensure_consumer()._coordinator.fetch_committed_offsets(tps)  # noqa: SLF001
        return {TP(*tp): _as_committed(found.get(tp)) for tp in tps}

    async def begins(self, tps: Iterable[TP]) -> dict[TP, int]:
        """Return the first offset of partitions, asked of the brokers now."""
        return await self.call_thread(self._begins, [TopicPartition(*tp) for tp in tps])

    async def _begins(self, tps: list[TopicPartition]) -> dict[TP, int]:
        begins = await self._ensure_consumer().beginning_offsets(tps)
        return {TP(*tp): begin for tp, begin in begins.items()}

    async def seek_all(self, positions: Mapping[TP, int]) -> None:
        """Seek partitions to positions."""
        await self.call_thread(self._seek_all, dict(positions))

    async def _seek_all(self, positions: dict[TP, int]) -> None:
        consumer = self._ensure_consumer()
        for tp, offset in positions.items():
            consumer.seek(TopicPartition(*tp), offset)

    async def ends(self, tps: Iterable[TP]) -> dict[TP, int]:
        """Return the offset behind the last message or marker of partitions, asked of the brokers now."""
        return await self.call_thread(self._ends, list(tps))

    async def _ends(self, tps: list[TP]) -> dict[TP, int]:
        asked = self._ensure_consumer().end_offsets([TopicPartition(*tp) for tp in tps])
        ends = await asyncio.wait_for(asked, _ENDS_TIMEOUT_S)
        return {TP(*tp): end for tp, end in ends.items()}

    async def stop_reading(self, tps: Iterable[TP]) -> None:
        """Let the client fetch nothing of partitions that are assigned only so that they stay with the others."""
        await self.call_thread(self._stop_reading, list(tps))

    async def _stop_reading(self, tps: list[TP]) -> None:
        self._ensure_consumer().pause(*(TopicPartition(*tp) for tp in tps))

    async def read_from(self, tp: TP, offset: int) -> None:
        """Let the client fetch a partition, from an offset on."""
        await self.call_thread(self._read_from, TopicPartition(*tp), offset)

    async def _read_from(self, tp: TopicPartition, offset: int) -> None:
        consumer = self._ensure_consumer()
        consumer.seek(tp, offset)
        consumer.resume(tp)


def _as_committed(found: OffsetAndMetadata | None) -> Committed:
    """Return what a group coordinator said of a partition; it says -1 of one that nothing has been committed for."""
    return Committed(None, "") if found is None or found.offset < 0 else Committed(found.offset, found.metadata)


class ChunkConsumer(driver.Consumer):
    """A consumer whose messages are chunks of the partitions that the gate lets through."""

    logger = logging.getLogger("faust.transport")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Begin as Faust's consumer does."""
        super().__init__(*args, **kwargs)
        app: Any = self.app
        settings: StreamConfig = app.settings
        self._pace: Final = Pace(settings.fetch_pause_ms / 1000, settings.chunk_max_records)

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
        except (TopicAuthorizationFailedError, GroupAuthorizationFailedError) as error:
            exit_for_rights(error)
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
        rest_s = self._pace.rest_s(time.monotonic())
        if rest_s > 0:
            await asyncio.sleep(rest_s)
        epochs = gate.fetchable()
        if not epochs or not self.flow_active:
            await gate.wait(_IDLE_WAIT_S)
            return
        fetched = await self._getmany(active_partitions=set(epochs), timeout=FETCH_TIMEOUT_S)
        self._pace.note(time.monotonic(), sum(map(len, fetched.values())))
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
