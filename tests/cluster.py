"""Brokers that a test arranges by itself: one with a way in through a proxy, and a cluster of three."""

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from app.local.broker import LocalBroker, new_cluster_id
from app.local.java import Java
from app.local.server_properties import HOST
from tests.proxy import Proxy

T = TypeVar("T")

_SYNC_S: Final = 90.0


async def create_topic(servers: str, name: str, partitions: int = 1, **configs: str) -> None:
    """Create a topic without a copy, as a test wants it."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=configs)])
    finally:
        await admin.close()


def free_ports(count: int) -> list[int]:
    """Return ports that are free at this moment, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((HOST, 0))
        return [int(each.getsockname()[1]) for each in sockets]


def _keep_ports(folder: Path, *ports: int) -> None:
    """Let the broker in a folder take these ports, as it would if it had run on them before."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ports.json").write_text(json.dumps(ports), encoding="ascii")


@contextmanager
def broker_behind(
    proxy: Proxy, folder: Path, java: Java, jars: Path, environ: Mapping[str, str]
) -> Iterator[LocalBroker]:
    """Run a broker that tells those who come through the proxy to go on doing so; its own address is a direct way in."""
    direct, proxied, controller = free_ports(3)
    _keep_ports(folder, direct, controller)
    extra = {
        "listeners": f"BROKER://{HOST}:{direct},PROXIED://{HOST}:{proxied},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": f"BROKER://{HOST}:{direct},PROXIED://{proxy.address}",
        "listener.security.protocol.map": "BROKER:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT",
    }
    proxy.target_port = proxied
    with LocalBroker(folder, java=java, jars=jars, environ=environ, extra_properties=extra) as broker:
        yield broker


class Cluster:
    """Three nodes, each a broker and a controller, with three copies of everything of which two must be in step.

    A context manager. Each node has a thread of its own, because a node ends with the thread that started it.
    """

    SIZE: Final = 3

    def __init__(self, folder: Path, java: Java, jars: Path, environ: Mapping[str, str]) -> None:
        """Choose ports; nothing starts yet."""
        ports = free_ports(2 * self.SIZE)
        brokers, controllers = ports[: self.SIZE], ports[self.SIZE :]
        cluster_id = new_cluster_id()
        shared = {
            "controller.quorum.voters": ",".join(f"{n}@{HOST}:{port}" for n, port in enumerate(controllers, 1)),
            "offsets.topic.replication.factor": "3",
            "transaction.state.log.replication.factor": "3",
            "transaction.state.log.min.isr": "2",
            "default.replication.factor": "3",
            # Three nodes on one machine have to share it. One that starts was silent for longer than two seconds, which
            # cost it its session again and again, and an election that is called too soon is held for ever.
            "broker.session.timeout.ms": "6000",
            "controller.quorum.election.timeout.ms": "1000",
            "controller.quorum.fetch.timeout.ms": "2000",
        }
        self.nodes: Final[list[LocalBroker]] = []
        for number, (broker, controller) in enumerate(zip(brokers, controllers, strict=True), 1):
            home = folder / f"node-{number}"
            _keep_ports(home, broker, controller)
            extra = {**shared, "node.id": str(number)}
            node = LocalBroker(
                home, java=java, jars=jars, environ=environ, extra_properties=extra, cluster_id=cluster_id
            )
            self.nodes.append(node)
        self.bootstrap_servers: Final = ",".join(f"{HOST}:{port}" for port in brokers)
        self._threads: Final = [ThreadPoolExecutor(1) for _ in self.nodes]

    def __enter__(self) -> Self:
        """Start all nodes side by side, since none is ready before a majority is, and wait until all three take part."""
        try:
            self._each(LocalBroker.start)
            self.await_in_step()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Kill all nodes: what is stopped in order waits for the others."""
        self._each(LocalBroker.kill)
        self._each(LocalBroker.stop)
        for thread in self._threads:
            thread.shutdown()

    def _each(self, do: Callable[[LocalBroker], None]) -> None:
        running = [thread.submit(do, node) for thread, node in zip(self._threads, self.nodes, strict=True)]
        for each in running:
            each.result()

    def kill(self, number: int) -> None:
        """Kill a node (SIGKILL)."""
        self._threads[number].submit(self.nodes[number].kill).result()

    def restart(self, number: int) -> None:
        """Bring a node back with its data, and wait until it answers."""
        self._threads[number].submit(self.nodes[number].restart).result()

    def await_in_step(self) -> None:
        """Wait until all nodes take part and every copy is in step: before that another loss would be the second one."""
        deadline = time.monotonic() + _SYNC_S
        behind: object = "no answer"
        while time.monotonic() < deadline:
            try:
                behind = asyncio.run(self._behind())
            except KafkaError as error:
                behind = error
            if not behind:
                return
            time.sleep(0.3)
        pytest.fail(f"not within {_SYNC_S:g} s: all copies in step; behind: {behind}")

    async def _behind(self) -> list[Any]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap_servers, request_timeout_ms=5000)
        await admin.start()
        try:
            cluster = await admin.describe_cluster()
            topics = await admin.describe_topics()
        finally:
            await admin.close()
        present = {broker["node_id"] for broker in cluster["brokers"]}
        behind = [
            (topic["topic"], each["partition"])
            for topic in topics
            for each in topic["partitions"]
            if len(each["isr"]) < len(each["replicas"])
        ]
        return [*(f"node {number}" for number in range(1, self.SIZE + 1) if number not in present), *behind]
