"""Read what a bill is made from out of Kafka: one location's priced records and sessions, its document, and tariffs.

Committed records only, up to the end that a topic has when it is asked; no consumer group, nothing is written. Intervals
and priced records of a location are in one partition, the only one that is read. Documents may be in any: whoever publishes them
chooses. A document that cannot be used does not count, and the one before it stays, as in a worker.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Collection
from typing import Any, Final, Self, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaConnectionError

from app.domain.bill_records import PricedInterval
from app.domain.locations import Location
from app.domain.partitioning import partition_for
from app.domain.sessions import SessionPart
from app.domain.tariffs import Tariff
from app.streams.config import StreamConfig
from app.streams.publish import BrokerUnreachableError, TopicMissingError
from app.streams.security import client_options
from app.streams.topics import topic_names
from app.wire.bill import NewestPriced, PricedRecordError
from app.wire.documents import DocumentError, version_key
from app.wire.location import parse_location
from app.wire.session import IntervalError, NewestSessions
from app.wire.tariff import parse_tariff

_POLL_MS: Final = 200
_SILENCE_MAX_S: Final = 10.0
"""After so long without a record or progress the broker is taken for gone."""

T = TypeVar("T")


class PricedReader:
    """Reads topics to their ends. An async context manager; `problems` names messages that could not be used."""

    def __init__(self, settings: StreamConfig) -> None:
        """Connect to nothing yet."""
        self._settings = settings
        self._names = topic_names(settings)
        self._consumer: Any = None
        self.problems: list[str] = []

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            BrokerUnreachableError: no broker answers.

        """
        self._consumer = AIOKafkaConsumer(
            **client_options(self._settings),
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        try:
            await self._consumer.start()
        except KafkaConnectionError as error:
            await self._consumer.stop()
            raise BrokerUnreachableError(str(error)) from None
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self._consumer.stop()

    async def location(self, location_id: str) -> Location | None:
        """Return a location as its newest usable document has it, or None."""
        found = None
        async for record in self._to_end(self._names.locations):
            if record.key != location_id.encode():
                continue
            try:
                found = None if record.value is None else parse_location(record.value)
            except DocumentError as error:
                self._refuse(record, error.problems)
        return found

    async def tariffs(self, tariff_ids: Collection[str]) -> dict[str, list[Tariff]]:
        """Return all versions of some tariffs that the topic holds, by tariff_id, the highest last."""
        found: dict[str, Tariff] = {}
        async for record in self._to_end(self._names.tariffs):
            key = (record.key or b"").decode(errors="replace")
            if key not in tariff_ids and key.rpartition("/")[0] not in tariff_ids:
                continue
            if record.value is None:
                found.pop(key, None)
                continue
            try:
                tariff = parse_tariff(record.value)
            except DocumentError as error:
                self._refuse(record, error.problems)
                continue
            if key in {tariff.tariff_id, version_key(tariff)}:  # under another key a worker does not take it
                found[key] = tariff
        versions: dict[str, list[Tariff]] = {}
        for tariff in sorted(found.values(), key=lambda tariff: tariff.version):
            versions.setdefault(tariff.tariff_id, []).append(tariff)
        return versions

    async def priced(self, location_id: str, start_us: int, end_us: int) -> list[PricedInterval]:
        """Return the newest priced record of each of a location's intervals that touch [start_us, end_us).

        Of each meter that was heard before there is one record more.
        """
        newest = NewestPriced(location_id, start_us, end_us)
        await self._take_own(self._names.priced, location_id, newest)
        return newest.intervals()

    async def sessions(self, location_id: str, start_us: int, end_us: int) -> list[SessionPart]:
        """Return what a location's intervals tell of its charging sessions in and around [start_us, end_us)."""
        newest = NewestSessions(location_id, start_us, end_us)
        await self._take_own(self._names.intervals, location_id, newest)
        return newest.parts()

    async def _take_own(self, topic: str, location_id: str, newest: NewestPriced | NewestSessions) -> None:
        """Show every record of a location's intervals to whoever keeps the newest of each; tell which it cannot take."""
        async for record in self._own(topic, location_id):
            if record.value is None:
                newest.forget((record.key or b"").decode(errors="replace"))
                continue
            try:
                newest.take(record.value)
            except (PricedRecordError, IntervalError) as error:
                self._refuse(record, [str(error)])

    async def _own(self, topic: str, location_id: str) -> AsyncIterator[Any]:
        """Yield the records of a topic whose keys are a location's interval ids: of its own partition alone."""
        partitions = await self._partitions(topic)
        own = TopicPartition(topic, partition_for(location_id, len(partitions)))
        begins_with = f"{location_id}|".encode()
        async for record in self._to_end(topic, [own]):
            if (record.key or b"").startswith(begins_with):  # else another location's: a partition may hold very many
                yield record

    async def _partitions(self, topic: str) -> list[TopicPartition]:
        """Return all partitions of a topic. Raises `TopicMissingError`."""
        # All topics are asked for, because a question for one name would create it on many brokers.
        metadata = await self._answer(topic, self._consumer._client.fetch_all_metadata())  # noqa: SLF001 - not in public
        numbers = sorted(metadata.partitions_for_topic(topic) or ())
        if not numbers:
            where = self._settings.bootstrap_servers
            raise TopicMissingError(f"topic {topic} does not exist at {where}; `meterstream topics create` creates it")
        return [TopicPartition(topic, number) for number in numbers]

    async def _to_end(self, topic: str, partitions: list[TopicPartition] | None = None) -> AsyncIterator[Any]:
        """Yield the records that are in a topic now. Raises `BrokerUnreachableError` when the broker falls silent."""
        consumer = self._consumer
        chosen = partitions if partitions is not None else await self._partitions(topic)
        consumer.assign(chosen)
        ends = await self._answer(topic, consumer.end_offsets(chosen))
        begins = await self._answer(topic, consumer.beginning_offsets(chosen))
        await self._answer(topic, consumer.seek_to_beginning(*chosen))
        waiting = {partition for partition in chosen if ends[partition] > begins[partition]}
        positions: dict[TopicPartition, int] = {}
        progress_at_s = time.monotonic()
        while waiting:
            for partition, records in (await consumer.getmany(*waiting, timeout_ms=_POLL_MS)).items():
                for record in records:
                    if record.offset < ends[partition]:
                        yield record
            for partition in list(waiting):
                # The position, because markers of transactions have offsets too and are never seen as records.
                position = await self._answer(topic, consumer.position(partition))
                if positions.get(partition) != position:
                    positions[partition] = position
                    progress_at_s = time.monotonic()
                if position >= ends[partition]:
                    waiting.discard(partition)
            if waiting and time.monotonic() - progress_at_s > _SILENCE_MAX_S:
                raise self._silence(topic)

    async def _answer(self, topic: str, question: Awaitable[T]) -> T:
        """Wait for what the broker says. Raises `BrokerUnreachableError` when that takes too long."""
        try:
            return await asyncio.wait_for(question, _SILENCE_MAX_S)
        except TimeoutError:
            raise self._silence(topic) from None

    def _silence(self, topic: str) -> BrokerUnreachableError:
        """Say that not all was read: what is missing must not look like what is not there."""
        where = self._settings.bootstrap_servers
        return BrokerUnreachableError(
            f"Kafka at {where} has not answered for {_SILENCE_MAX_S:g} s; {topic} was read only in part"
        )

    def _refuse(self, record: Any, problems: Collection[str]) -> None:
        at = f"{record.topic}, partition {record.partition}, offset {record.offset}"
        self.problems += [f"{at}: {problem}" for problem in problems]
