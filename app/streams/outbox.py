"""The outbox of one partition: messages are put into whole batches, which the producer sends as they are."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBase

from app.streams.config import Compression
from app.streams.held import Entry
from app.streams.outputs import Output
from app.streams.topics import TopicNames
from app.wire import compiled

CODECS: Final[Mapping[Compression, int]] = {"zstd": DefaultRecordBase.CODEC_ZSTD}
"""What Kafka's protocol calls them."""

_Target = tuple[str, int]
_Header = tuple[str, bytes]


class ClientBatch(BatchBuilder):
    """The messages that go to one partition in one piece, of one time: the client's own builder."""

    def __init__(self, limit_bytes: int, at_ms: int, *, transactional: bool, codec: int = 0) -> None:
        """Begin one of fewer bytes than so many: one message is taken in any case. Compressed by Kafka's codec; 0: as it is."""
        super().__init__(limit_bytes, codec, is_transactional=transactional)
        self._at_ms = at_ms

    def add(self, key: bytes | None, value: bytes | None, headers: Sequence[_Header]) -> bool:
        """Add a message, None for no key or no value. False: there is no room for it, and for no other."""
        return self.append(timestamp=self._at_ms, key=key, value=value, headers=list(headers)) is not None

    def add_from(self, entries: Sequence[Entry], at: int) -> int:
        """Add entries from a place on, as many as there is room for; return the place of the first that is left."""
        for place in range(at, len(entries)):
            if not self.add(*entries[place], ()):
                return place
        return len(entries)


def batch_kind() -> Any:
    """Return what batches are made with: compiled code where it is used."""
    return ClientBatch if compiled.parts is None else compiled.parts.RecordBatch


class Outbox:
    """Collects what a transaction puts out; every message has an explicit partition."""

    def __init__(
        self,
        producer: AIOKafkaProducer,
        names: TopicNames,
        partition: int,
        batch_bytes: int,
        compression: Compression | None = None,
    ) -> None:
        """Send through a producer, batches of at most so many bytes; the partition is that of messages that name no other.

        A batch is as many bytes before it is compressed.
        """
        self._batch_bytes: Final = batch_bytes
        self._codec: Final = 0 if compression is None else CODECS[compression]
        self.producer = producer
        """Another one between two transactions, when a partition comes to another lane."""
        self._partition: Final = partition
        self._topic_of: Final[Mapping[Output, str]] = {
            "intervals": names.intervals,
            "priced": names.priced,
            "rejected": names.rejected,
            "records_by_location": names.records_by_location,
        }
        self._own: Final[Mapping[Output, _Target]] = {
            output: (topic, partition) for output, topic in self._topic_of.items()
        }
        self._batches: dict[_Target, Any] = {}
        self._full: list[tuple[_Target, Any]] = []
        self._sent: list[tuple[_Target, int, asyncio.Future[Any]]] = []
        self.now_ms = 0

    def emit(
        self,
        output: Output,
        key: bytes | None,
        value: bytes | None,
        *,
        partition: int | None = None,
        headers: Sequence[_Header] = (),
    ) -> None:
        """Add an output; None deletes."""
        target = self._own[output] if partition is None else (self._topic_of[output], partition)
        self.append(target, key, value, headers)

    def emit_all(self, output: Output, entries: Sequence[Entry]) -> None:
        """Add outputs of the own partition, keys and values. Hot."""
        self.extend(self._own[output], entries)

    def append(self, target: _Target, key: bytes | None, value: bytes | None, headers: Sequence[_Header] = ()) -> None:
        """Add a message for a topic and partition; None deletes."""
        batch = self._batches.get(target)
        if batch is not None:
            if batch.add(key, value, headers):
                return
            self._full.append((target, batch))
        self._begin(target).add(key, value, headers)

    def extend(self, target: _Target, entries: Sequence[Entry]) -> None:
        """Add messages for a topic and partition, keys and values. Hot."""
        batch = self._batches.get(target)
        at = 0 if batch is None else batch.add_from(entries, 0)
        while at < len(entries):
            if batch is not None:
                self._full.append((target, batch))
            batch = self._begin(target)
            at = batch.add_from(entries, at)

    def _begin(self, target: _Target) -> Any:
        batch = batch_kind()(self._batch_bytes, self.now_ms, transactional=True, codec=self._codec)
        self._batches[target] = batch
        return batch

    def count(self, target: _Target) -> int:
        """Return how many messages there are for a target in this transaction so far, whether sent or not."""
        sent = sum(count for at, count, _ in self._sent if at == target)
        full = sum(batch.record_count() for at, batch in self._full if at == target)
        return sent + full + (self._batches[target].record_count() if target in self._batches else 0)

    async def send_full(self) -> None:
        """Hand the batches that are full to the producer."""
        full, self._full = self._full, []
        for target, batch in full:
            await self._send(target, batch)

    async def send_all(self) -> None:
        """Hand everything to the producer."""
        await self.send_full()
        batches, self._batches = self._batches, {}
        for target, batch in batches.items():
            await self._send(target, batch)

    async def _send(self, target: _Target, batch: Any) -> None:
        batch.close()
        count = batch.record_count()
        future = await self.producer.send_batch(batch, target[0], partition=target[1])
        # When the transaction fails nobody asks the other batches any more what became of them.
        future.add_done_callback(_hear)
        self._sent.append((target, count, future))

    async def delivered(self) -> dict[_Target, int]:
        """Wait until the brokers have everything, and return the offset after the last message of each target."""
        sent, self._sent = self._sent, []
        ends: dict[_Target, int] = {}
        for target, count, future in sent:
            metadata = await future
            ends[target] = metadata.offset + count
        return ends


def _hear(future: asyncio.Future[Any]) -> None:
    """Take note of a batch's fault, so that asyncio does not report it as unheard."""
    if not future.cancelled():
        future.exception()
