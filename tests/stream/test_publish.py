"""The publisher on a real broker: one answer for each message, order kept, a dead broker noticed."""

import asyncio
import os
import signal
from collections import defaultdict
from itertools import count
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import MessageSizeTooLargeError
from aiokafka.record.default_records import DefaultRecordBase

from app.domain.partitioning import partition_for
from app.local.broker import LocalBroker
from app.streams.config import Compression
from app.streams.publish import BrokerUnreachableError, Publisher, TopicMissingError
from tests.cluster import create_topic
from tests.codecs import codecs_of_fetches

pytestmark = pytest.mark.broker

PARTITIONS = 4
_numbers = count()


async def new_topic(servers: str, **configs: str) -> str:
    topic = f"publish-{os.getpid()}-{next(_numbers)}"
    await create_topic(servers, topic, PARTITIONS, **configs)
    return topic


async def read(servers: str, topic: str, expected: int) -> list[Any]:
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, number) for number in range(PARTITIONS)])
        found: list[Any] = []
        while len(found) < expected:
            fetched = await asyncio.wait_for(consumer.getmany(timeout_ms=10_000), 20)
            assert fetched, f"{len(found)} of {expected} messages are there"
            found += [record for records in fetched.values() for record in records]
        assert not await consumer.getmany(timeout_ms=300)
        return found
    finally:
        await consumer.stop()


def test_a_message_goes_to_the_partition_of_its_key_with_value_and_headers(kafka: str) -> None:
    async def scenario() -> None:
        topic = await new_topic(kafka)
        async with Publisher(kafka) as publisher:
            for number in range(20):
                await publisher.send(topic, f"loc_{number}".encode(), b"%d" % number, [("h", b"1")])
        for record in await read(kafka, topic, 20):
            assert record.partition == partition_for(record.key.decode(), PARTITIONS)
            assert record.key == b"loc_" + record.value
            assert record.headers == (("h", b"1"),)

    asyncio.run(scenario())


def test_messages_of_a_key_keep_their_order_however_many_tasks_send(kafka: str) -> None:
    async def scenario() -> None:
        topic = await new_topic(kafka)

        async def send(publisher: Publisher, key: bytes) -> None:
            for number in range(500):
                await publisher.send(topic, key, b"%d" % number)

        async with Publisher(kafka, max_batch_bytes=2000) as publisher:
            await asyncio.gather(*(send(publisher, b"loc_%d" % number) for number in range(20)))
        seen = defaultdict(list)
        for record in await read(kafka, topic, 10_000):
            seen[record.key].append(int(record.value))
        assert len(seen) == 20
        assert all(numbers == list(range(500)) for numbers in seen.values())

    asyncio.run(scenario())


@pytest.mark.parametrize(("compression", "codec"), [(None, 0), ("zstd", DefaultRecordBase.CODEC_ZSTD)])
def test_messages_are_compressed_where_that_is_asked_for(
    kafka: str, monkeypatch: pytest.MonkeyPatch, compression: Compression | None, codec: int
) -> None:
    async def scenario() -> None:
        topic = await new_topic(kafka)
        async with Publisher(kafka, compression=compression) as publisher:
            for number in range(200):
                await publisher.send(topic, b"loc_1", b"a value of some length, %d" % number)
        with codecs_of_fetches(monkeypatch) as codecs:
            found = await read(kafka, topic, 200)
        assert [record.value for record in found] == [b"a value of some length, %d" % number for number in range(200)]
        assert codecs == {codec}

    asyncio.run(scenario())


def test_a_lone_message_does_not_wait_for_others(kafka: str) -> None:
    async def scenario() -> None:
        topic = await new_topic(kafka)
        async with Publisher(kafka, linger_ms=1) as publisher:
            delivery = await publisher.send(topic, b"a", b"1")
            metadata = await asyncio.wait_for(delivery, 5)
            assert (metadata.topic, metadata.offset) == (topic, 0)

    asyncio.run(scenario())


def test_a_message_that_is_too_large_is_answered_and_the_others_go(kafka: str) -> None:
    async def scenario() -> None:
        topic = await new_topic(kafka)
        async with Publisher(kafka, max_message_bytes=1000) as publisher:
            large = await publisher.send(topic, b"a", b"x" * 1001)
            small = await publisher.send(topic, b"a", b"x")
            await publisher.flush()
            assert isinstance(large.exception(), MessageSizeTooLargeError)
            assert small.exception() is None

    asyncio.run(scenario())


def test_what_the_broker_refuses_comes_back_with_its_reason(kafka: str) -> None:
    async def scenario() -> None:
        topic = await new_topic(kafka, **{"max.message.bytes": "500"})
        async with Publisher(kafka) as publisher:
            refused = await publisher.send(topic, b"a", b"x" * 600)
            await publisher.flush()
            assert isinstance(refused.exception(), MessageSizeTooLargeError)

    asyncio.run(scenario())


def test_a_topic_that_is_missing_is_not_created(kafka: str) -> None:
    async def scenario() -> None:
        for _ in range(2):
            async with Publisher(kafka) as publisher:
                with pytest.raises(TopicMissingError, match="topic nowhere does not exist"):
                    await publisher.send("nowhere", b"a", b"1")

    asyncio.run(scenario())


def test_a_broker_that_is_not_there_is_told_in_bounded_time() -> None:
    async def scenario() -> None:
        with pytest.raises(BrokerUnreachableError, match=r"no Kafka broker answered at 127\.0\.0\.1:1 within 1 s"):
            async with Publisher("127.0.0.1:1", connect_timeout_s=1):
                pass

    asyncio.run(scenario())


def test_a_broker_that_falls_silent_is_told_in_bounded_time(own_broker: LocalBroker) -> None:
    async def send_for_ever(publisher: Publisher, topic: str) -> None:
        for number in count():
            await publisher.send(topic, b"loc_%d" % number, b"x" * 500)

    async def scenario() -> None:
        servers = own_broker.bootstrap_servers
        topic = await new_topic(servers)
        async with asyncio.timeout(60), Publisher(servers, stall_timeout_s=2) as publisher:
            await (await publisher.send(topic, b"a", b"1"))
            os.kill(own_broker.pid, signal.SIGSTOP)
            await send_for_ever(publisher, topic)

    try:
        with pytest.raises(BrokerUnreachableError, match="has not answered for"):
            asyncio.run(scenario())
    finally:
        os.kill(own_broker.pid, signal.SIGCONT)
