"""The producer's transactions on real brokers, in both versions that a cluster may have."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import CoordinationType
from aiokafka.errors import ConcurrentTransactions, ProducerFenced
from aiokafka.producer.transaction_manager import PidAndEpoch

import app.streams.fetch  # noqa: F401 - puts our connection in place of the client's
from app.local.broker import LocalBroker
from app.local.java import Java
from app.local.resolve import BOOTSTRAP_VARIABLE
from app.streams.frames import FrameConnection
from app.streams.outbox import batch_kind
from app.streams.transactions import REQUEST_BYTES, TransactionalProducer
from app.streams.txn_requests import EndTransaction
from tests.cluster import create_topic

pytestmark = pytest.mark.broker

_numbers = count()
_MARKERS_S = 30.0


@pytest.fixture(scope="module")
def first_version(java: Java, kafka_jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap servers of a cluster that has not agreed on the second version of transactions."""
    environ = {name: value for name, value in os.environ.items() if name != BOOTSTRAP_VARIABLE}
    folder = tmp_path_factory.mktemp("first-version")
    options = ["--feature=transaction.version=1"]
    with LocalBroker(folder, java=java, jars=kafka_jars, environ=environ, format_options=options) as broker:
        yield broker.bootstrap_servers


@pytest.fixture(params=["first", "second"])
def servers(request: pytest.FixtureRequest) -> str:
    """Bootstrap servers of a cluster of either version."""
    return str(request.getfixturevalue("kafka" if request.param == "second" else "first_version"))


async def new_topic(servers: str, partitions: int = 1) -> TopicPartition:
    topic = f"transactions-{os.getpid()}-{next(_numbers)}"
    await create_topic(servers, topic, partitions)
    return TopicPartition(topic, 0)


@asynccontextmanager
async def producer(servers: str, at: TopicPartition) -> AsyncIterator[TransactionalProducer]:
    """Start a producer whose transactional id and group are named after a topic."""
    one = TransactionalProducer(bootstrap_servers=servers, transactional_id=at.topic, transaction_timeout_ms=60_000)
    await one.start()
    try:
        yield one
    finally:
        await asyncio.wait_for(one.stop(), 10)


async def put(one: TransactionalProducer, at: TopicPartition, *values: bytes) -> int:
    """Send a batch, and return the offset of its first message."""
    now_ms = time.time_ns() // 1_000_000  # brokers look every five minutes for what is older than a week, and delete it
    batch = batch_kind()(1_000_000, now_ms, transactional=True)
    for value in values:
        batch.add(None, value, ())
    batch.close()
    metadata = await (await one.send_batch(batch, at.topic, partition=at.partition))
    return int(metadata.offset)


async def commit(one: TransactionalProducer, at: TopicPartition, *values: bytes) -> None:
    """Commit a transaction that puts out one batch."""
    await one.begin_transaction()
    await put(one, at, *values)
    await one.commit_transaction()


async def committed(servers: str, at: TopicPartition, least: int = 0) -> tuple[list[bytes], int | None]:
    """Read what is committed of a topic, and the position of the group that is named after it.

    Wait until there are so many values at least: brokers write a transaction's markers after they have answered that it ends.
    """
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers, group_id=at.topic, enable_auto_commit=False, isolation_level="read_committed"
    )
    await consumer.start()
    try:
        consumer.assign([at])
        await consumer.seek_to_beginning(at)
        end = (await consumer.end_offsets([at]))[at]
        values: list[bytes] = []
        until_s = time.monotonic() + _MARKERS_S
        while await consumer.position(at) < end or (len(values) < least and time.monotonic() < until_s):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                values += [record.value for record in records if record.value is not None]
        return values, await consumer.committed(at)
    finally:
        await consumer.stop()


def who(one: TransactionalProducer) -> tuple[int, int]:
    """Return a producer's id and epoch."""
    return one._txn_manager.producer_id, one._txn_manager.producer_epoch


def test_what_a_transaction_puts_out_and_its_position_are_there_together_or_not_at_all(servers: str) -> None:
    async def scenario() -> None:
        at = await new_topic(servers)
        async with producer(servers, at) as one:
            await one.begin_transaction()
            await put(one, at, b"a", b"b")
            await one.send_offsets_to_transaction({at: 2}, at.topic)
            assert await committed(servers, at) == ([], None)
            await one.commit_transaction()
            await one.begin_transaction()
            await put(one, at, b"never")
            await one.send_offsets_to_transaction({at: 3}, at.topic)
            await one.abort_transaction()
            await one.begin_transaction()
            await put(one, at, b"c")
            await put(one, at, b"d")
            await one.send_offsets_to_transaction({at: 4}, at.topic)
            await one.commit_transaction()
            await one.begin_transaction()
            await one.commit_transaction()
        assert await committed(servers, at, 4) == ([b"a", b"b", b"c", b"d"], 4)

    asyncio.run(scenario())


def test_batches_of_many_partitions_arrive_though_they_are_too_much_for_one_request(servers: str) -> None:
    """They are in one transaction: none of them is seen before it is committed."""
    partitions = 2 * REQUEST_BYTES // 1_000_000
    values = [number.to_bytes(2, "big") * 5_000 for number in range(90)]

    async def scenario() -> None:
        at = await new_topic(servers, partitions)
        tps = [TopicPartition(at.topic, partition) for partition in range(partitions)]
        async with producer(servers, at) as one:
            await one.begin_transaction()
            await asyncio.gather(*(put(one, tp, *values) for tp in tps))
            assert await committed(servers, tps[-1]) == ([], None)
            await one.commit_transaction()
        for tp in tps:
            assert (await committed(servers, tp, len(values)))[0] == values

    asyncio.run(scenario())


def test_a_batch_of_nearly_a_megabyte_arrives_as_it_was(servers: str) -> None:
    """It goes to the socket in pieces; what the socket does not take at once has to wait, and stays in order."""
    values = [number.to_bytes(2, "big") * 5_000 for number in range(90)]

    async def scenario() -> None:
        at = await new_topic(servers)
        async with producer(servers, at) as one:
            for _ in range(3):
                await commit(one, at, *values)
            assert all(isinstance(each, FrameConnection) for each in one.client._conns.values())
        assert await committed(servers, at, 3 * len(values)) == (values * 3, None)

    asyncio.run(scenario())


def test_whoever_takes_an_id_over_ends_the_open_transaction_of_the_owner_before(servers: str) -> None:
    async def scenario() -> None:
        at = await new_topic(servers)
        async with producer(servers, at) as before:
            await before.begin_transaction()
            await put(before, at, b"never")
            async with producer(servers, at) as after:
                await commit(after, at, b"after")
                with pytest.raises(ProducerFenced):
                    await before.commit_transaction()
        assert await committed(servers, at, 1) == ([b"after"], None)

    asyncio.run(scenario())


def test_partitions_are_announced_only_where_the_cluster_has_not_agreed_on_the_second_version(
    kafka: str, first_version: str
) -> None:
    """And the epoch rises with each transaction, committed or not, where it has."""

    async def epochs(servers: str) -> tuple[bool, list[int]]:
        at = await new_topic(servers)
        async with producer(servers, at) as one:
            seen = [who(one)[1]]
            for end in (one.commit_transaction, one.abort_transaction, one.commit_transaction):
                await one.begin_transaction()
                await put(one, at, b"x")
                await end()
                seen.append(who(one)[1])
            return one.announces, seen

    assert asyncio.run(epochs(first_version)) == (True, [0, 0, 0, 0])
    assert asyncio.run(epochs(kafka)) == (False, [0, 1, 2, 3])


def test_a_batch_that_is_late_on_its_way_does_not_become_part_of_the_next_transaction(kafka: str) -> None:
    async def scenario() -> None:
        at = await new_topic(kafka)
        async with producer(kafka, at) as one:
            late = who(one)
            await commit(one, at, b"in time")
            assert await committed(kafka, at) == ([b"in time"], None)  # its marker is written
            now = who(one)
            await one.begin_transaction()
            one._txn_manager._pid_and_epoch = PidAndEpoch(*late)
            one._txn_manager.increment_sequence_number(at, 1)  # behind the batch that was in time
            with pytest.raises(ProducerFenced):
                await put(one, at, b"late")
            one._txn_manager._pid_and_epoch = PidAndEpoch(*now)
            one._txn_manager._sequence_numbers.clear()
            await put(one, at, b"next")
            await one.commit_transaction()
        assert await committed(kafka, at, 2) == ([b"in time", b"next"], None)

    asyncio.run(scenario())


def test_an_end_that_is_asked_for_again_because_its_answer_was_lost_gets_the_same_answer(kafka: str) -> None:
    async def scenario() -> None:
        at = await new_topic(kafka)
        async with producer(kafka, at) as one:
            before = who(one)
            await commit(one, at, b"x")
            coordinator = await one.client.coordinator_lookup(CoordinationType.TRANSACTION, at.topic)
            again = await one.client.send(coordinator, EndTransaction(at.topic, before, committed=True))
            while again.error_code == ConcurrentTransactions.errno:  # the first is still being completed
                again = await one.client.send(coordinator, EndTransaction(at.topic, before, committed=True))
            assert again.error_code == 0
            assert (again.producer_id, again.producer_epoch) == who(one)
            await commit(one, at, b"y")
        assert await committed(kafka, at, 2) == ([b"x", b"y"], None)

    asyncio.run(scenario())
