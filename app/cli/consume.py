"""Read a topic without a consumer group, for people who look at it: committed records only."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, Final, Literal

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaConnectionError

from app.cli.access import require_access
from app.cli.errors import InputError, NoBrokerError
from app.settings import Settings
from app.streams.rights import Need
from app.streams.security import client_options

_POLL_MS: Final = 200
_SILENCE_MAX_S: Final = 10.0
"""After so long without a record or progress the broker is taken for gone."""


@asynccontextmanager
async def _consumer(
    settings: Settings, topic: str, begin: Literal["earliest", "latest"]
) -> AsyncIterator[tuple[Any, list[TopicPartition]]]:
    """Connect a consumer with all partitions of a topic. Raises `NoBrokerError`, and `InputError` without a topic."""
    await require_access(settings, needs=[Need("Topic", topic, "Read")])
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        isolation_level="read_committed",
        enable_auto_commit=False,
        # Not by a seek: the consumer looks up this position by itself, and whichever of the two came later would hold.
        auto_offset_reset=begin,
        max_partition_fetch_bytes=settings.fetch_max_bytes,
    )
    try:
        try:
            await consumer.start()
        except KafkaConnectionError as error:
            raise NoBrokerError(str(error)) from None
        # All topics are asked for, because a question for one name would create it on many brokers.
        metadata = await consumer._client.fetch_all_metadata()  # noqa: SLF001 - in public there is only that question
        partitions = [TopicPartition(topic, number) for number in sorted(metadata.partitions_for_topic(topic) or ())]
        if not partitions:
            where = settings.bootstrap_servers
            raise InputError(f"topic {topic} does not exist at {where}; `meterstream topics create` creates it")
        consumer.assign(partitions)
        yield consumer, partitions
    finally:
        await consumer.stop()


async def follow(settings: Settings, topic: str, *, from_start: bool) -> AsyncGenerator[Any, None]:
    """Yield records as they come, for ever; those that are there already only with ``from_start``."""
    async with _consumer(settings, topic, "earliest" if from_start else "latest") as (consumer, _):
        while True:
            for records in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
                for record in records:
                    yield record


async def read_to_end(settings: Settings, topic: str) -> AsyncGenerator[Any, None]:
    """Yield the records that are in a topic now, all of them. Raises `NoBrokerError` when the broker falls silent."""
    async with _consumer(settings, topic, "earliest") as (consumer, partitions):
        ends = await _answer(settings, topic, consumer.end_offsets(partitions))
        begins = await _answer(settings, topic, consumer.beginning_offsets(partitions))
        waiting = {partition for partition in partitions if ends[partition] > begins[partition]}
        progress_at_s = time.monotonic()
        positions: dict[TopicPartition, int] = {}
        while waiting:
            for partition, records in (await consumer.getmany(*waiting, timeout_ms=_POLL_MS)).items():
                for record in records:
                    if record.offset < ends[partition]:
                        yield record
            for partition in list(waiting):
                # The position, because markers of transactions have offsets too and are never seen as records.
                position = await _answer(settings, topic, consumer.position(partition))
                if positions.get(partition) != position:
                    positions[partition] = position
                    progress_at_s = time.monotonic()
                if position >= ends[partition]:
                    waiting.discard(partition)
            if waiting and time.monotonic() - progress_at_s > _SILENCE_MAX_S:
                raise _silence(settings, topic)


async def _answer(settings: Settings, topic: str, question: Awaitable[Any]) -> Any:
    """Wait for what the broker says. Raises `NoBrokerError` when that takes too long."""
    try:
        return await asyncio.wait_for(question, _SILENCE_MAX_S)
    except TimeoutError:
        raise _silence(settings, topic) from None


def _silence(settings: Settings, topic: str) -> NoBrokerError:
    """Say that not all was read: what is missing must not look like what is not there."""
    where = settings.bootstrap_servers
    return NoBrokerError(f"Kafka at {where} has not answered for {_SILENCE_MAX_S:g} s; {topic} was read only in part")
