"""A cluster of three that loses one node at a time, whichever it is: nothing is lost, and no worker ends."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.local.java import Java
from app.local.resolve import BOOTSTRAP_VARIABLE
from app.streams.topics import list_topics
from tests.cluster import Cluster
from tests.faults.load import Feeder, load_documents, load_messages
from tests.faults.scale import Counts
from tests.harness import Stream

pytestmark = [pytest.mark.broker, pytest.mark.full]

LOCATIONS = 60
PARTITIONS = 3


def _await_prices_everywhere(stream: Stream, since_s: float) -> float:
    """Wait until every partition has a price that was written after a time; return how long after it they were seen."""

    def partitions() -> set[int]:
        return {each.partition for each in stream.seen(stream.names.priced) if each.timestamp > 1000 * since_s}

    stream.wait(lambda: len(partitions()) == PARTITIONS, "prices in every partition", 60)
    return time.time() - since_s


def test_each_of_three_brokers_is_lost_once(
    java: Java, kafka_jars: Path, tmp_path: Path, streams: Callable[..., Stream], counts: Counts
) -> None:
    environ = {name: value for name, value in os.environ.items() if name != BOOTSTRAP_VARIABLE}
    with Cluster(tmp_path / "cluster", java, kafka_jars, environ) as cluster:
        stream = streams(cluster.bootstrap_servers, partitions=PARTITIONS, emit_every_s=1, replication_factor=3)
        topics = asyncio.run(list_topics(stream.settings))
        assert {(each.replication, each.config["min.insync.replicas"]) for each in topics} == {(3, "2")}
        load_documents(stream, LOCATIONS)
        messages = load_messages(7, LOCATIONS, 9_000)
        worker = stream.worker()
        without_s = []
        with Feeder(stream, messages, per_second=40):
            _await_prices_everywhere(stream, time.time())
            for number in range(Cluster.SIZE):
                cluster.await_in_step()
                cluster.kill(number)
                killed_s = time.time()
                without_s.append(_await_prices_everywhere(stream, killed_s))
                cluster.restart(number)
            cluster.await_in_step()
            _await_prices_everywhere(stream, time.time())
        stream.verify()
        assert worker.exit_code is None
        counts.note(
            "one of three brokers lost (SIGKILL) at a time, each once",
            kills=Cluster.SIZE,
            records=len(messages),
            longest_until_prices_s=round(max(without_s), 1),
        )
        worker.kill()
