"""Clocks that are wrong, of workers and of producers, change nothing."""

import asyncio
import random
import time
from collections.abc import Callable

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from app.domain.rules import LATEST_US
from tests.faults.load import Feeder, load_documents, load_messages
from tests.faults.scale import Counts, scaled
from tests.harness import Stream
from tests.making import record
from tests.sites import Site, sites

pytestmark = pytest.mark.broker

LOCATIONS = 100
RECORDS = scaled(4_000, 30_000)
YEAR_MS = 366 * 86_400_000
LONGEST_MS = str(2**63 - 1)


def test_a_worker_whose_clock_is_stepped_decides_as_ever(
    kafka: str, streams: Callable[..., Stream], counts: Counts
) -> None:
    stream = streams(kafka, emit_every_s=1, transaction_max_ms=100)
    load_documents(stream, LOCATIONS)
    messages = load_messages(1, LOCATIONS, RECORDS)
    worker = stream.worker("-m", "tests.faults.stepping_worker")
    with Feeder(stream, messages, per_second=scaled(1_000, 2_000)):
        worker.await_log("clock_stepped", times=scaled(12, 60))
    stream.verify()
    assert worker.exit_code is None
    assert not worker.logged("partition_failed"), worker.log_tail()
    steps = worker.logged("clock_stepped")
    assert {-3_600, 86_400} <= {step["by_s"] for step in steps}
    assert worker.terminate() == 0
    counts.note(
        "the clock of a worker stepped back and ahead, by an hour to two years", steps=len(steps), records=RECORDS
    )


def _allow_create_time(stream: Stream) -> None:
    """Let producers time what they publish to `meter.records`, whatever they say."""

    async def alter() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=stream.settings.bootstrap_servers)
        await admin.start()
        try:
            config = {
                "message.timestamp.type": "CreateTime",
                "message.timestamp.before.max.ms": LONGEST_MS,
                "message.timestamp.after.max.ms": LONGEST_MS,
                "retention.ms": "-1",  # what a producer dates to 1970 would be deleted at once
            }
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, stream.names.records, config)])
        finally:
            await admin.close()

    asyncio.run(alter())
    site = next(sites(stream, 1))
    stream.wait(lambda: _takes_its_time(stream, site), "the topic takes the times of producers")


def _takes_its_time(stream: Stream, site: Site) -> bool:
    (at,) = stream.publish(site.record(0, 30, 1.0), timestamp_ms=1000)
    return bool(at.timestamp == 1000)


@pytest.mark.full
@pytest.mark.parametrize("takes_create_time", [False, True], ids=["LogAppendTime", "CreateTime"])
def test_producers_with_wild_clocks_change_nothing(
    kafka: str,
    streams: Callable[..., Stream],
    counts: Counts,
    takes_create_time: bool,  # noqa: FBT001 - a table
) -> None:
    stream = streams(kafka, emit_every_s=1)
    if takes_create_time:
        _allow_create_time(stream)
    choose = random.Random(2)  # noqa: S311 - chance, not secrets
    load_documents(stream, LOCATIONS)
    stream.worker()
    now_ms = time.time_ns() // 1_000_000
    wild_ms = [0, 1, now_ms - 3_600_000, now_ms + 86_400_000, now_ms + YEAR_MS, LATEST_US // 1000 + 1, 10**16, 2**62]
    # Corrections of one location follow in its own partition: there the order is that of the log, whatever the clocks say.
    rounds = scaled(10, 60)
    for _ in range(rounds):
        values = [record(f"loc_{at}", 0, 30, choose.randrange(1, 20_000) / 1000) for at in range(LOCATIONS)]
        values += [record(f"loc_{at}", 0, 30, -1) for at in range(0, LOCATIONS, 10)]
        stream.publish(*values, timestamp_ms=choose.choice(wild_ms))
    stream.verify()
    topic = "CreateTime" if takes_create_time else "LogAppendTime"
    counts.note(
        f"producers whose clocks are wrong, on a topic with {topic}", clocks=len(wild_ms), records=rounds * LOCATIONS
    )


@pytest.mark.full
def test_records_of_two_partitions_are_ordered_by_their_times_on_a_topic_with_create_time(
    kafka: str, streams: Callable[..., Stream], counts: Counts
) -> None:
    stream = streams(kafka, emit_every_s=0)
    _allow_create_time(stream)
    site = next(sites(stream, 2))
    worker = stream.worker()
    home, away = stream.partition_of(site.location_id), stream.partition_not_of(site.location_id)
    pairs = scaled(20, 200)
    for number in range(pairs):
        # The one that says it is the later one wins, wherever it stands and whenever it comes.
        first, second = (home, away) if number % 4 < 2 else (away, home)
        times_ms = (5_000, 9_000) if number % 2 else (9_000, 5_000)
        for value, partition, at_ms in zip((1.0, 2.0), (first, second), times_ms, strict=True):
            stream.publish(site.record(30 * number + 30, 30, value), partition=partition, timestamp_ms=at_ms)
    stream.wait(lambda: sum(stream.totals()[n] for n in ("accepted", "superseded")) > 2 * pairs, "all decided")
    for _ in range(2):
        expected = {30 * number + 30: 2000 if number % 2 else 1000 for number in range(pairs)}
        stream.wait(
            lambda expected=expected: (
                {at: site.priced(at)[-1]["energy_wh"] for at in expected if site.priced(at)} == expected
            ),
            "the value of the later time everywhere",
        )
        worker.kill()
        worker = stream.worker()
    stream.check_sequences()
    counts.note("records in two partitions, ordered by producers' clocks", pairs=pairs)


@pytest.mark.full
def test_a_record_from_the_future_is_refused_by_the_brokers_time(
    kafka: str, streams: Callable[..., Stream], counts: Counts
) -> None:
    stream = streams(kafka, emit_every_s=0, future_tolerance_s=3600)
    site = next(sites(stream, 1))
    stream.worker("-m", "tests.faults.stepping_worker")
    ahead = 60 * 24 * 366 * 50  # minutes: the machine's clock is right to some years
    stream.publish(*(site.record(ahead + 30 * number, 30, 1.0) for number in range(20)))
    stream.publish(*(site.record(30 * number, 30, 1.0) for number in range(20)))
    stream.wait(
        lambda: len(site.rejected()) == 20 and len(stream.priced(site.location_id)) == 20, "20 refused, 20 priced"
    )
    assert {each["error"] for each in site.rejected()} == {"in_the_future"}
    counts.note("records from the future, and a worker whose clock is stepped", refused=20, accepted=20)
