"""A shard prices what it publishes at once; all else on `meter.intervals` is read and priced too, in the order of its log."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from tests.faults.mutants import Moments
from tests.harness import Stream
from tests.making import Json
from tests.sites import Site, sites

pytestmark = pytest.mark.broker


@pytest.fixture
def stream(new_stream: Callable[..., Stream]) -> Stream:
    return new_stream(partitions=1)


@pytest.fixture
def site(stream: Stream) -> Site:
    return next(sites(stream, 1))


def _write_interval(site: Site, interval: Json) -> None:
    """Write an interval in the public form as somebody else would."""
    value = json.dumps(interval, separators=(",", ":")).encode()
    site.stream.load_raw(site.stream.names.intervals, interval["interval_id"], value, partition=0)


def _priced_to(stream: Stream, rewind_to: int | None = None) -> tuple[int, int]:
    """Return the group's position on `meter.intervals`, and the end; commit another position first where one is given."""

    async def ask() -> tuple[int, int]:
        tp = TopicPartition(stream.names.intervals, 0)
        consumer = AIOKafkaConsumer(
            bootstrap_servers=stream.settings.bootstrap_servers,
            group_id=stream.settings.app_id,
            enable_auto_commit=False,
        )
        await consumer.start()
        try:
            consumer.assign([tp])
            if rewind_to is not None:
                await consumer.commit({tp: rewind_to})
            return await consumer.committed(tp) or 0, (await consumer.end_offsets([tp]))[tp]
        finally:
            await consumer.stop()

    return asyncio.run(ask())


def test_an_interval_that_somebody_else_writes_is_priced_though_nothing_else_happens(
    stream: Stream, site: Site
) -> None:
    worker = stream.worker()
    site.publish(site.record(0, 30, 1.0))
    site.await_priced(0)
    (own,) = site.intervals(0)
    _write_interval(site, own | {"energy_wh": 3000})
    assert site.await_priced(0, times=2)["energy_wh"] == 3000
    assert worker.logged("intervals_read_back")
    # Somebody else's word is not the state: the next record says what is so.
    site.publish(site.record(0, 30, 2.0))
    assert site.await_priced(0, times=3)["energy_wh"] == 2000
    assert [each["sequence"] for each in site.priced(0)] == [1, 2, 3]


def test_what_somebody_else_wrote_before_a_record_is_priced_before_it(stream: Stream, site: Site) -> None:
    """The shard learns of it when its own message is not where it would have been; and prices both in the order of the log."""
    stream.worker()
    for number in range(1, 6):
        site.publish(site.record(0, 30, number))
        stream.wait(
            lambda energy_wh=1000 * number: site.priced(0)[-1:] and site.priced(0)[-1]["energy_wh"] == energy_wh, "it"
        )
        published = site.intervals(0)[-1]
        _write_interval(site, published | {"energy_wh": 1})
        _write_interval(site, published | {"interval_id": site.interval_id(30 * number), "energy_wh": number})
        site.publish(site.record(0, 30, number + 0.5))
        assert site.await_priced(30 * number)["energy_wh"] == number
        stream.wait(
            lambda energy_wh=1000 * number + 500: site.priced(0)[-1]["energy_wh"] == energy_wh, "the newest state"
        )
    stream.wait(lambda: _is_at_the_end(stream), "pricing at the end of the topic")


def _is_at_the_end(stream: Stream) -> bool:
    position, end = _priced_to(stream)
    return position >= end - 1  # the last one is a transaction's marker


def test_a_worker_prices_at_once_and_commits_that_it_has(stream: Stream, site: Site) -> None:
    """Nobody has to read `meter.intervals` again when a worker ends, however it ends."""
    worker = stream.worker()
    for number in range(3):
        site.publish(site.record(30 * number, 30, 1.0))
        site.await_priced(30 * number)
        assert _is_at_the_end(stream)
    worker.kill()
    successor = stream.worker()
    site.publish(site.record(120, 30, 1.0))
    site.await_priced(120)
    assert not worker.logged("intervals_read_back")
    assert not successor.logged("intervals_read_back")
    stream.verify()


def test_a_partition_that_is_opened_again_reads_what_somebody_else_wrote_meanwhile(
    stream: Stream, site: Site, tmp_path: Path
) -> None:
    """Its consumer has been told not to fetch the topic; it has to be told otherwise when there is a backlog."""
    moments = Moments.within(tmp_path)
    worker = stream.worker("-m", "tests.faults.mutants", "none", environ=moments.environ())
    site.publish(site.record(0, 30, 1.0))
    site.await_priced(0)
    moments.at_commit.write_text("fail")
    _write_interval(site, site.intervals(0)[0] | {"energy_wh": 3000})
    site.publish(site.record(30, 30, 1.0))
    site.await_priced(30)
    assert site.await_priced(0, times=2)["energy_wh"] == 3000
    assert worker.logged("partition_reopened")


def test_after_a_rewind_everything_is_priced_again_and_what_is_as_it_was_is_not_published(
    stream: Stream, site: Site
) -> None:
    first = stream.worker()
    site.publish(*(site.record(30 * number, 30, 1.0) for number in range(6)))
    site.await_priced(150)
    assert first.terminate() == 0
    assert _priced_to(stream, rewind_to=0)[0] == 0
    stream.worker()
    stream.wait(lambda: _is_at_the_end(stream), "pricing at the end of the topic")
    site.settle()
    stream.verify()
    assert all(len(site.priced(30 * number)) == 1 for number in range(6))


def test_what_is_no_interval_is_refused_with_its_place(stream: Stream, site: Site) -> None:
    stream.worker()
    site.publish(site.record(0, 30, 1.0))
    site.await_priced(0)
    stream.load_raw(stream.names.intervals, "nonsense", b"{}", partition=0)
    refused = stream.wait(lambda: [json.loads(one.value) for one in stream.seen(stream.names.rejected)], "a refusal")
    assert [(one["error"], one["topic"], one["raw"]) for one in refused] == [
        ("internal_error", stream.names.intervals, "{}")
    ]
    site.settle()
