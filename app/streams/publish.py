"""Publish people's readings and documents: every message is accepted by the broker, or comes back with the reason.

The worker does not publish with this (its outputs and its position go in one transaction); the commands and importers
do.

Batches are filled here and handed over whole: the producer's own `send` costs several times as much for each message.
"""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Awaitable, Mapping, Sequence
from functools import lru_cache, partial
from types import TracebackType
from typing import Any, Final, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError, MessageSizeTooLargeError

from app.domain.partitioning import partition_of_key
from app.streams.config import Compression

CONNECT_TIMEOUT_S: Final = 10.0
STALL_TIMEOUT_S: Final = 30.0
UNCONFIRMED_MAX_BYTES: Final = 64 * 1024 * 1024
"""Most bytes that wait for the broker's answer; `Publisher.send` waits beyond it."""
_RETRY_EVERY_S: Final = 0.5
_STOP_TIMEOUT_S: Final = 5.0
_YIELD_EVERY: Final = 500
"""Messages after which `Publisher.send` lets others run: a loop of it might never wait for anything."""
_OVERHEAD_BYTES: Final = 128
"""What a batch of one message has around its key and value, at most."""

Delivery = asyncio.Future[Any]
"""Done when the broker has answered. Messages of one batch share one: the result is the batch's `RecordMetadata`."""


class BrokerUnreachableError(ConnectionError):
    """No broker answered within the time that was given."""


class TopicMissingError(LookupError):
    """A topic does not exist. It is not created on the way: it would get the broker's defaults, which are not ours."""


class _Batch:
    """Messages of one partition that go together."""

    __slots__ = ("answered", "builder", "bytes", "partition", "submitted", "topic")

    def __init__(self, topic: str, partition: int, builder: Any) -> None:
        self.topic: Final = topic
        self.partition: Final = partition
        self.builder: Final = builder
        self.answered: Final[Delivery] = asyncio.get_running_loop().create_future()
        self.bytes = 0
        self.submitted = False


class Publisher:
    """Sends messages to the partition of their key, as the Java client would, with all replicas' acknowledgement.

    An async context manager: entering connects (`BrokerUnreachableError` after ``connect_timeout_s``), leaving waits
    for what is in flight. Idempotent: a message whose acknowledgement was lost is not written twice. Messages of one
    key keep their order.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        linger_ms: int = 2,
        max_batch_bytes: int = 1_048_576,
        max_message_bytes: int = 1_048_576,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        stall_timeout_s: float = STALL_TIMEOUT_S,
        compression: Compression | None = None,
        security: Mapping[str, Any] | None = None,
    ) -> None:
        """Connect to nothing yet; ``stall_timeout_s`` bounds how long messages may wait while none is acknowledged.

        ``security`` is what `app.streams.security.security_options` makes of the settings.
        """
        self._servers = bootstrap_servers
        self._options = {
            "bootstrap_servers": bootstrap_servers,
            "acks": "all",
            "enable_idempotence": True,
            "max_batch_size": max_batch_bytes,
            "compression_type": compression,
            "request_timeout_ms": int(stall_timeout_s * 1000),
            **(security or {}),
        }
        self._linger_s = linger_ms / 1000
        self._max_message_bytes = max_message_bytes
        self._connect_timeout_s = connect_timeout_s
        self._stall_timeout_s = stall_timeout_s
        self._producer: Any = None
        self._partitions: dict[str, int] = {}
        self._open: dict[tuple[str, int], _Batch] = {}
        self._locks: defaultdict[tuple[str, int], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._lingering: set[asyncio.Task[None]] = set()
        self._unanswered: set[_Batch] = set()
        self._unconfirmed_bytes = 0
        self._answer = asyncio.Event()
        self._answered_at_s = 0.0
        self._broken: BrokerUnreachableError | None = None
        self._sent = 0

    async def __aenter__(self) -> Self:
        """Connect. Raises `BrokerUnreachableError`."""
        try:
            await asyncio.wait_for(self._connect(), self._connect_timeout_s)
        except TimeoutError:
            message = f"no Kafka broker answered at {self._servers} within {self._connect_timeout_s:g} s"
            raise BrokerUnreachableError(message) from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Wait for what is in flight (unless an error ends the block) and disconnect."""
        try:
            if kind is None:
                await self.flush()
        finally:
            await self._disconnect()

    async def send(
        self, topic: str, key: bytes, value: bytes | None, headers: Sequence[tuple[str, bytes]] | None = None
    ) -> Delivery:
        """Hand one message over and return the future of its delivery. Waits while too much is in flight.

        A message that the broker would not take (too large, say) has a future that holds the error. ``value`` None
        deletes the key in a compacted topic. Raises `TopicMissingError` and `BrokerUnreachableError`, which concern
        every message.
        """
        partitions = self._partitions.get(topic) or await self._partitions_of(topic)
        size_bytes = len(key) + len(value or b"") + _OVERHEAD_BYTES
        if size_bytes > self._max_message_bytes:
            return _refused(size_bytes, self._max_message_bytes)
        place = (topic, _partition_of_key(key, partitions))
        while True:
            batch = self._open.get(place) or self._begin(place)
            if batch.builder.append(timestamp=None, key=key, value=value, headers=headers or []) is not None:
                break
            await self._submit(batch)
        batch.bytes += size_bytes
        self._unconfirmed_bytes += size_bytes
        self._sent += 1
        if self._unconfirmed_bytes > UNCONFIRMED_MAX_BYTES:
            await self._make_room()
        elif self._sent % _YIELD_EVERY == 0:
            await asyncio.sleep(0)
        return batch.answered

    async def flush(self) -> None:
        """Wait for the answer to every message. Raises `BrokerUnreachableError` when no more answers come."""
        for batch in list(self._open.values()):
            await self._submit(batch)
        while self._unanswered:
            await self._next_answer()

    async def _make_room(self) -> None:
        """Wait until much of what is in flight is confirmed."""
        for batch in list(self._open.values()):
            await self._submit(batch)
        while self._unconfirmed_bytes > UNCONFIRMED_MAX_BYTES // 2:
            await self._next_answer()

    def _begin(self, place: tuple[str, int]) -> _Batch:
        """Open a batch; it is submitted when it is full or has lingered long enough."""
        batch = _Batch(*place, self._producer.create_batch())
        if not self._unanswered:
            self._answered_at_s = time.monotonic()
        self._open[place] = batch
        self._unanswered.add(batch)
        asyncio.get_running_loop().call_later(self._linger_s, self._on_lingered, batch)
        return batch

    def _on_lingered(self, batch: _Batch) -> None:
        """Submit a batch that waited long enough."""
        if batch.submitted or self._producer is None:
            return
        task = asyncio.create_task(self._submit(batch))
        self._lingering.add(task)
        task.add_done_callback(self._on_submitted)

    def _on_submitted(self, task: asyncio.Task[None]) -> None:
        """Forget a task. What went wrong in it is raised to the next one that submits or waits."""
        self._lingering.discard(task)
        if not task.cancelled():
            task.exception()

    async def _submit(self, batch: _Batch) -> None:
        """Give a batch to the producer. Raises `BrokerUnreachableError` when it takes no more."""
        place = (batch.topic, batch.partition)
        async with self._locks[place]:
            if batch.submitted:
                return
            if self._broken is not None:
                raise self._broken
            # Until here the batch was open and took more messages, while the one before it was on its way.
            batch.submitted = True
            batch.builder.close()
            del self._open[place]
            hand_over = self._producer.send_batch(batch.builder, batch.topic, partition=batch.partition)
            try:
                delivery = await self._unless_stalled(hand_over)
            except KafkaError as error:
                self._settle(batch, error, None)
                return
        delivery.add_done_callback(partial(self._on_answer, batch))

    def _on_answer(self, batch: _Batch, delivery: Delivery) -> None:
        """Pass an answer on."""
        error = KafkaError("disconnected") if delivery.cancelled() else delivery.exception()
        self._settle(batch, error, None if error else delivery.result())

    def _settle(self, batch: _Batch, error: BaseException | None, metadata: Any) -> None:
        """Answer for every message of a batch."""
        self._answered_at_s = time.monotonic()
        self._unanswered.discard(batch)
        self._unconfirmed_bytes -= batch.bytes
        self._answer.set()
        if batch.answered.done():
            return
        if error is None:
            batch.answered.set_result(metadata)
        else:
            batch.answered.set_exception(error)
            batch.answered.exception()  # who does not look does not get a warning

    async def _next_answer(self) -> None:
        """Wait until the broker answered for some batch. Raises `BrokerUnreachableError` when nothing comes."""
        self._answer.clear()
        await self._unless_stalled(self._answer.wait())

    async def _unless_stalled(self, what: Awaitable[Any]) -> Any:
        """Wait for ``what``. Raises `BrokerUnreachableError` when it takes so long that the broker must be gone."""
        try:
            return await asyncio.wait_for(what, self._stall_timeout_s)
        except TimeoutError:
            silent_s = time.monotonic() - self._answered_at_s
            message = (
                f"Kafka at {self._servers} has not answered for {silent_s:.0f} s; {len(self._unanswered)} batches wait"
            )
            self._broken = BrokerUnreachableError(message)
            raise self._broken from None

    async def _partitions_of(self, topic: str) -> int:
        """Count a topic's partitions, without asking for it by name: that would create it on many brokers."""
        metadata = await self._producer.client.fetch_all_metadata()
        partitions = metadata.partitions_for_topic(topic)
        if not partitions:
            message = f"topic {topic} does not exist at {self._servers}; `meterstream topics create` creates it"
            raise TopicMissingError(message)
        self._partitions[topic] = len(partitions)
        return len(partitions)

    async def _connect(self) -> None:
        """Start a producer; again until it succeeds."""
        while True:
            producer = AIOKafkaProducer(**self._options)
            try:
                await producer.start()
            except KafkaConnectionError:
                await producer.stop()
                await asyncio.sleep(_RETRY_EVERY_S)
            except BaseException:
                await producer.stop()
                raise
            else:
                self._producer = producer
                return

    async def _disconnect(self) -> None:
        """Stop the producer, which would wait for a dead broker for ever, in bounded time."""
        producer, self._producer = self._producer, None
        for task in list(self._lingering):
            task.cancel()
        try:
            await asyncio.wait_for(producer.stop(), _STOP_TIMEOUT_S if self._broken is None else 0.1)
        except (TimeoutError, KafkaError):
            with contextlib.suppress(KafkaError):
                await producer.client.close()


@lru_cache(maxsize=1 << 16)
def _partition_of_key(key: bytes, partitions: int) -> int:
    """Remember the partitions of many keys: the hash is slow in Python."""
    return partition_of_key(key, partitions)


def _refused(size_bytes: int, limit_bytes: int) -> Delivery:
    """Answer for a message that is not even offered to the broker."""
    refused: Delivery = asyncio.get_running_loop().create_future()
    refused.set_exception(
        MessageSizeTooLargeError(f"the message has {size_bytes} bytes, more than the {limit_bytes} allowed")
    )
    refused.exception()
    return refused
