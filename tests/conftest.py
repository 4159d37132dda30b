"""What tests share: a real Kafka. Nothing is skipped silently: a test that needs a broker fails when there is none."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

from app.local.broker import LocalBroker
from app.local.docker import ComposeBroker
from app.local.jars import ensure_jars, read_pinned_jars
from app.local.java import Java, find_java
from app.local.paths import cache_dir
from app.local.resolve import BOOTSTRAP_VARIABLE, Broker, choose_broker
from app.local.server_properties import container_environment
from app.wire import compiled

_IMAGE = "apache/kafka:4.3.1"


class ContainerBroker:
    """Kafka in a container of Testcontainers, for a machine with Docker and no Java."""

    def __init__(self) -> None:
        """Prepare a container on a free port of this machine; nothing starts yet."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        self.bootstrap_servers = f"127.0.0.1:{port}"
        # Kafka tells its clients where it is, so the port outside has to be known before it starts.
        self._container = DockerContainer(_IMAGE).with_bind_ports(9092, port)
        for name, value in container_environment(self.bootstrap_servers).items():
            self._container = self._container.with_env(name, value)
        self._container = self._container.waiting_for(LogMessageWaitStrategy("Kafka Server started"))

    def start(self) -> None:
        """Start the container."""
        self._container.start()

    def stop(self) -> None:
        """Remove the container."""
        self._container.stop()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap servers of a real Kafka that lives as long as the test session."""
    broker: Broker = choose_broker(tmp_path_factory.mktemp("kafka"))
    if isinstance(broker, ComposeBroker):
        broker = ContainerBroker()  # the container of a developer's compose file keeps its topics between sessions
    broker.start()
    yield broker.bootstrap_servers
    broker.stop()


@pytest.fixture(scope="session")
def java() -> Java:
    """A Java for the tests that kill and restart a broker of their own."""
    found = find_java(os.environ, cache_dir(os.environ))
    if found is None:
        pytest.fail("this test starts and kills brokers of its own: install Java 17 or newer")
    return found


@pytest.fixture(scope="session")
def kafka_jars(java: Java) -> Path:
    """Return the folder with Kafka's jars, downloaded once for all sessions."""
    return ensure_jars(
        cache_dir(os.environ),
        jars=read_pinned_jars(),
        environ=os.environ,
        java_home=java.home,
        report=lambda _have, _of, _name: None,
    )


@pytest.fixture
def own_broker(java: Java, kafka_jars: Path, tmp_path: Path) -> Iterator[LocalBroker]:
    """A broker of the test's own, which it may kill and restart; never the one of `KAFKA_BOOTSTRAP_SERVERS`."""
    environ = {name: value for name, value in os.environ.items() if name != BOOTSTRAP_VARIABLE}
    with LocalBroker(tmp_path / "broker", java=java, jars=kafka_jars, environ=environ) as broker:
        yield broker


@pytest.fixture(scope="module", params=["compiled", "python"])
def either_function(request: pytest.FixtureRequest) -> Iterator[None]:
    """Have bytes written by compiled functions (Python's, where there are none), and once more by Python's."""
    compiled.use(wanted=request.param == "compiled")
    yield
    compiled.use(wanted=True)
