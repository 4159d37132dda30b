"""Publish people's readings and documents: every message is accepted by the broker, or comes back with the reason.

The worker does not publish with this (its outputs and its position go in one transaction); the commands and importers do.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError, MessageSizeTooLargeError

CONNECT_TIMEOUT_S: Final = 10.0
STALL_TIMEOUT_S: Final = 30.0
IN_FLIGHT_MAX: Final = 50_000
_RETRY_EVERY_S: Final = 0.5
_STOP_TIMEOUT_S: Final = 5.0

Delivery = asyncio.Future[Any]
"""Done when the broker has answered for one message: its `RecordMetadata`, or the error for which it was not taken."""


class BrokerUnreachableError(ConnectionError):
    """No broker answered within the time that was given."""


class TopicMissingError(LookupError):
    """A topic does not exist. It is not created on the way: it would get the broker's defaults, which are not ours."""


class Publisher:
    """Sends messages to the partition of their key, as the Java client would, with all replicas' acknowledgement.

    An async context manager: entering connects (`BrokerUnreachableError` after ``connect_timeout_s``), leaving waits for what
    is in flight. Idempotent: a message whose acknowledgement was lost is not written twice.
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
    ) -> None:
        """Connect to nothing yet. ``stall_timeout_s`` bounds how long messages may wait while none at all is acknowledged."""
        self._bootstrap_servers = bootstrap_servers
        self._options = {
            "bootstrap_servers": bootstrap_servers,
            "acks": "all",
            "enable_idempotence": True,
            "linger_ms": linger_ms,
            "max_batch_size": max_batch_bytes,
            "max_request_size": max_message_bytes,
            "request_timeout_ms": int(stall_timeout_s * 1000),
        }
        self._connect_timeout_s = connect_timeout_s
        self._stall_timeout_s = stall_timeout_s
        self._producer: Any = None
        self._topics: set[str] = set()
        self._slots = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._answered_at_s = 0.0

    async def __aenter__(self) -> Self:
        """Connect. Raises `BrokerUnreachableError`."""
        try:
            await asyncio.wait_for(self._connect(), self._connect_timeout_s)
        except TimeoutError:
            message = f"no Kafka broker answered at {self._bootstrap_servers} within {self._connect_timeout_s:g} s"
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
        try:
            await asyncio.wait_for(producer.stop(), _STOP_TIMEOUT_S)
        except (TimeoutError, KafkaError):
            with contextlib.suppress(KafkaError):
                await producer.client.close()

    async def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]] | None = None
    ) -> Delivery:
        """Hand one message over and return the future of its delivery. Waits while too much is in flight.

        A message that cannot be handed over (too large, say) has a future that holds the error. ``value`` None deletes the key
        in a compacted topic. Raises `TopicMissingError` and `BrokerUnreachableError`, which concern every message.
        """
        if topic not in self._topics:
            await self._require(topic)
        if self._slots.locked():
            await self._wait_for_slot()
        else:
            await self._slots.acquire()
        try:
            delivery: Delivery = await self._producer.send(topic, value, key, headers=headers)
        except (MessageSizeTooLargeError, KafkaError) as error:
            self._slots.release()
            delivery = asyncio.get_running_loop().create_future()
            delivery.set_exception(error)
            return delivery
        except BaseException:
            self._slots.release()
            raise
        if self._in_flight == 0:
            self._idle.clear()
            self._answered_at_s = time.monotonic()
        self._in_flight += 1
        delivery.add_done_callback(self._on_answer)
        return delivery

    async def flush(self) -> None:
        """Wait until the broker answered for every message. Raises `BrokerUnreachableError` when no more answers come."""
        while self._in_flight:
            await self._wait_unless_stalled(self._idle.wait())

    def _on_answer(self, _delivery: Delivery) -> None:
        """Count an answer, be it good or bad."""
        self._answered_at_s = time.monotonic()
        self._slots.release()
        self._in_flight -= 1
        if self._in_flight == 0:
            self._idle.set()

    async def _wait_for_slot(self) -> None:
        """Wait until fewer messages are in flight."""
        acquired = False
        while not acquired:
            acquired = bool(await self._wait_unless_stalled(self._slots.acquire()))

    async def _wait_unless_stalled(self, what: Any) -> Any:  # noqa: ANN401 - passed through
        """Wait for ``what``; None when it takes long but answers come. Raises `BrokerUnreachableError` when none come."""
        try:
            return await asyncio.wait_for(what, self._stall_timeout_s)
        except TimeoutError:
            silent_s = time.monotonic() - self._answered_at_s
            if silent_s >= self._stall_timeout_s:
                message = (
                    f"Kafka at {self._bootstrap_servers} has not answered for {silent_s:.0f} s; {self._in_flight} not confirmed"
                )
                raise BrokerUnreachableError(message) from None
            return None

    async def _require(self, topic: str) -> None:
        """Look whether a topic exists, without asking for it by name: that would create it on many brokers."""
        metadata = await self._producer.client.fetch_all_metadata()
        self._topics = set(metadata.topics())
        if topic not in self._topics:
            message = f"topic {topic} does not exist at {self._bootstrap_servers}; `meterstream topics create` creates it"
            raise TopicMissingError(message)
