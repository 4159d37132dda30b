"""A real Kafka as a child process: it keeps its data through crashes, and leaves nothing behind."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from app.local.broker import LocalBroker, new_cluster_id
from app.local.errors import BrokerError
from app.local.java import Java
from app.local.launch import start_identity
from app.local.probe import live_cluster
from tests.cluster import create_topic

pytestmark = pytest.mark.broker

ROOT = Path(__file__).parents[2]
CLUSTER_ID = new_cluster_id()


@pytest.fixture(scope="module")
def neighbour(java: Java, kafka_jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBroker]:
    """Another local broker that is already there."""
    with LocalBroker(tmp_path_factory.mktemp("neighbour"), java=java, jars=kafka_jars, cluster_id=CLUSTER_ID) as broker:
        yield broker


async def _publish(servers: str, topic: str, *values: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all", transactional_id=f"{topic}-writer")
    await producer.start()
    try:
        async with producer.transaction():
            for value in values:
                await producer.send_and_wait(topic, value, partition=0)
    finally:
        await producer.stop()


async def _read(servers: str, topic: str, count: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=servers,
        group_id=f"{topic}-readers",
        session_timeout_ms=2000,
        heartbeat_interval_ms=500,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
    )
    await consumer.start()
    try:
        await consumer.seek_to_beginning(TopicPartition(topic, 0))
        return [(await asyncio.wait_for(consumer.getone(), 30)).value for _ in range(count)]
    finally:
        await consumer.stop()


def test_transactions_and_groups_work(kafka: str) -> None:
    topic = f"local-{time.time_ns()}"
    asyncio.run(create_topic(kafka, topic))
    asyncio.run(_publish(kafka, topic, b"one", b"two"))
    assert asyncio.run(_read(kafka, topic, 2)) == [b"one", b"two"]


def test_a_killed_broker_comes_back_on_its_port_with_its_data(own_broker: LocalBroker) -> None:
    servers, first_pid = own_broker.bootstrap_servers, own_broker.pid
    asyncio.run(create_topic(servers, "kept"))
    asyncio.run(_publish(servers, "kept", b"before the crash"))

    own_broker.kill()
    assert live_cluster("127.0.0.1", int(servers.partition(":")[2]), 0.5) is None
    own_broker.restart()

    assert own_broker.bootstrap_servers == servers
    assert own_broker.pid != first_pid
    asyncio.run(_publish(servers, "kept", b"after it"))
    assert asyncio.run(_read(servers, "kept", 2)) == [b"before the crash", b"after it"]


def test_a_port_that_another_kafka_has_is_left_to_it_and_stopping_ends_the_process(
    neighbour: LocalBroker, java: Java, kafka_jars: Path, tmp_path: Path
) -> None:
    taken = int(neighbour.bootstrap_servers.partition(":")[2])
    second = LocalBroker(tmp_path / "second", java=java, jars=kafka_jars, preferred_port=taken)
    with second:
        assert second.bootstrap_servers != neighbour.bootstrap_servers
        pid = second.pid
    assert start_identity(pid) is None
    assert not second.is_running
    with pytest.raises(BrokerError, match="does not run"):
        _ = second.pid


def test_a_port_that_is_taken_after_it_was_chosen_is_given_up(
    neighbour: LocalBroker, java: Java, kafka_jars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the choice and the start another Kafka may come; what answers there then is not ours."""
    taken = int(neighbour.bootstrap_servers.partition(":")[2])
    second = LocalBroker(tmp_path / "second", java=java, jars=kafka_jars)
    choose = LocalBroker._choose_ports

    def choose_late(broker: LocalBroker, *, remembered: bool) -> tuple[int, int]:
        free = choose(broker, remembered=remembered)
        return (taken, free[1]) if remembered else free

    monkeypatch.setattr(LocalBroker, "_choose_ports", choose_late)
    with second:
        assert second.bootstrap_servers != neighbour.bootstrap_servers
        assert neighbour.is_running


def test_a_broker_belongs_to_the_cluster_that_it_is_told(neighbour: LocalBroker) -> None:
    assert live_cluster("127.0.0.1", int(neighbour.bootstrap_servers.partition(":")[2]), 5) == CLUSTER_ID


def test_a_folder_in_use_is_refused(neighbour: LocalBroker, java: Java, kafka_jars: Path) -> None:
    second = LocalBroker(neighbour.data_dir, java=java, jars=kafka_jars)
    with pytest.raises(BrokerError, match="another process is using the broker in"):
        second.start()
    assert neighbour.is_running


def test_a_broker_that_dies_at_the_start_says_why(java: Java, kafka_jars: Path, tmp_path: Path) -> None:
    broken = LocalBroker(tmp_path, java=java, jars=kafka_jars, extra_properties={"num.io.threads": "none"})
    with pytest.raises(BrokerError, match=r"num\.io\.threads"):
        broken.start()
    assert not broken.is_running


@pytest.mark.skipif(
    sys.platform != "linux", reason="the parent-death signal is Linux's; elsewhere the next start ends it"
)
def test_the_broker_dies_with_a_parent_that_is_killed(java: Java, kafka_jars: Path, tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from app.local.broker import LocalBroker; "
        "from app.local.java import Java; "
        f"broker = LocalBroker(Path({str(tmp_path)!r}), java=Java(Path({str(java.executable)!r}), "
        f"Path({str(java.home)!r}), 17), jars=Path({str(kafka_jars)!r})); "
        "broker.start(); print(broker.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=ROOT) as parent:
        assert parent.stdout is not None
        broker_pid = int(parent.stdout.readline())
        identity = start_identity(broker_pid)
        assert identity is not None
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait(10)
    deadline = time.monotonic() + 10
    while start_identity(broker_pid) == identity and time.monotonic() < deadline:
        time.sleep(0.05)
    assert start_identity(broker_pid) != identity
    with LocalBroker(tmp_path, java=java, jars=kafka_jars) as broker:  # and the folder can be used again
        assert broker.is_running
