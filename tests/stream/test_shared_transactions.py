"""The partitions of a worker share transactions; a fault takes them apart, and they come together again."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from app.streams.rights import transactional_base
from tests.faults.mutants import Moments
from tests.harness import Stream
from tests.making import Json
from tests.sites import Site, sites
from tests.worker_process import Worker

pytestmark = pytest.mark.broker

PARTITIONS = 4


def one_in_each(stream: Stream) -> list[Site]:
    """Load locations, and return one for each partition."""
    found = {stream.partition_of(site.location_id): site for site in sites(stream, 30)}
    assert sorted(found) == list(range(PARTITIONS))
    return list(found.values())


def publish_to_all(one_each: list[Site], number: int) -> None:
    one_each[0].publish(*(site.record(30 * number, 30, 1.0) for site in one_each))
    for site in one_each:
        site.await_priced(30 * number)


def transactions(worker: Worker) -> list[list[int]]:
    """Return the partitions that each of a worker's transactions had."""
    return [sorted(entry["partitions"]) for entry in worker.logged("transaction")]


def between(log: list[Json], first: str, last: str) -> list[Json]:
    """Return what was logged between the first of an event and the first of another."""
    events = [entry.get("event") for entry in log]
    return log[events.index(first) : events.index(last)]


def owners(stream: Stream) -> set[Any]:
    """Return what the group's coordinator says with the positions in all inputs."""

    async def ask() -> set[Any]:
        names, settings = stream.names, stream.settings
        topics = (names.records, names.records_by_location, names.intervals)
        tps = [TopicPartition(topic, partition) for topic in topics for partition in range(PARTITIONS)]
        consumer = AIOKafkaConsumer(bootstrap_servers=settings.bootstrap_servers, group_id=settings.app_id)
        await consumer.start()
        try:
            found = await consumer._coordinator.fetch_committed_offsets(tps)
        finally:
            await consumer.stop()
        return {found[tp].metadata if tp in found else None for tp in tps}

    return asyncio.run(ask())


def test_the_partitions_of_a_worker_have_one_producer_and_one_transaction(new_stream: Callable[..., Stream]) -> None:
    stream = new_stream(partitions=PARTITIONS, emit_every_s=1, commit_interval_ms=200)
    one_each = one_in_each(stream)
    worker = stream.worker(log_level="debug")
    for number in range(4):
        publish_to_all(one_each, number)
    assert list(range(PARTITIONS)) in transactions(worker)
    assert len(transactions(worker)) < 4 * PARTITIONS
    (owner,) = owners(stream)
    assert owner.startswith(f"{transactional_base(stream.settings)}-")
    # The next worker has another producer, and begins with the id of this one: it could commit nothing any more.
    worker.kill()
    stream.worker()
    publish_to_all(one_each, 5)
    (successor,) = owners(stream)
    assert successor != owner
    stream.verify()


def test_a_fault_takes_them_apart_and_they_come_together_again(
    new_stream: Callable[..., Stream], tmp_path: Path
) -> None:
    """Whatever the fault was: one that cannot commit does not hold up the others, and those that can share again."""
    stream = new_stream(partitions=PARTITIONS, emit_every_s=1, commit_interval_ms=200)
    one_each = one_in_each(stream)
    moments = Moments.within(tmp_path)
    worker = stream.worker("-m", "tests.faults.mutants", "none", environ=moments.environ(), log_level="debug")
    publish_to_all(one_each, 0)
    (before,) = owners(stream)
    moments.at_commit.write_text("fail")
    for site in one_each:
        site.publish(site.record(30, 30, 1.0))
    worker.await_log("partition_reopened", times=PARTITIONS)
    for site in one_each:
        site.await_priced(30)
    publish_to_all(one_each, 2)
    # Perhaps not all at once: each has to have committed for some seconds.
    joined = lambda: [entry["partitions"] for entry in worker.logged("partitions_joined")]  # noqa: E731
    stream.wait(lambda: list(range(PARTITIONS)) in joined(), "all of them together again")
    apart = between(worker.log(), "partition_failed", "partitions_joined")
    assert {len(entry["partitions"]) for entry in apart if entry.get("event") == "transaction"} == {1}
    stream.wait(lambda: len(owners(stream)) == 1, "one owner of all")
    joined_at = len(transactions(worker))
    for number in range(3, 6):
        publish_to_all(one_each, number)
    assert list(range(PARTITIONS)) in transactions(worker)[joined_at:]
    assert owners(stream) != {before}
    assert len(worker.logged("partition_failed")) == PARTITIONS
    stream.verify()
