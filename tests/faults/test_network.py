"""A network that is cut, slow or half open: the worker comes back by itself within ten seconds of it, and results are exact."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.local.broker import LocalBroker
from app.local.java import Java
from app.local.probe import live_cluster
from app.local.resolve import BOOTSTRAP_VARIABLE
from app.local.server_properties import HOST
from tests.cluster import broker_behind
from tests.faults.load import Feeder, load_documents, load_messages
from tests.faults.scale import Counts, scaled
from tests.harness import Stream
from tests.proxy import Proxy

pytestmark = pytest.mark.broker

LOCATIONS = 60
BACK_WITHIN_S = 10.0
"""What is promised: so long after the network (or the broker) works again, prices are committed again."""


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    """The network between the workers and the broker."""
    with Proxy() as between:
        yield between


@pytest.fixture(scope="module")
def proxied_broker(
    proxy: Proxy, java: Java, kafka_jars: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalBroker]:
    """A broker whose workers come through the proxy; the test itself goes to it directly."""
    environ = {name: value for name, value in os.environ.items() if name != BOOTSTRAP_VARIABLE}
    with broker_behind(proxy, tmp_path_factory.mktemp("proxied"), java, kafka_jars, environ) as broker:
        yield broker


def _seconds_until_prices(stream: Stream, count: int) -> float:
    """Return how long it takes from now until there are more prices than `count`."""
    began_s = time.monotonic()
    stream.wait(lambda: len(stream.seen(stream.names.priced)) > count, "prices after the network came back", 60)
    return time.monotonic() - began_s


def test_connections_that_are_cut_every_second(
    proxied_broker: LocalBroker, proxy: Proxy, streams: Callable[..., Stream], counts: Counts
) -> None:
    stream = streams(proxied_broker.bootstrap_servers, partitions=2, emit_every_s=1, transaction_max_ms=200)
    load_documents(stream, LOCATIONS)
    messages = load_messages(11, LOCATIONS, scaled(2000, 12_000))
    worker = stream.worker(bootstrap_servers=proxy.address)
    seconds, cut = scaled(3, 20), 0
    with Feeder(stream, messages, per_second=scaled(400, 150)):
        stream.wait(lambda: stream.seen(stream.names.priced), "the first prices")
        for _ in range(seconds):
            time.sleep(1)
            cut += proxy.cut()
        back_s = _seconds_until_prices(stream, len(stream.seen(stream.names.priced)))
    stream.verify()
    assert cut >= seconds
    assert back_s < BACK_WITHIN_S
    assert worker.exit_code is None
    counts.note(
        "the worker's connections cut every second",
        records=len(messages),
        cut=cut,
        until_prices_s=round(back_s, 1),
    )


@pytest.mark.full
def test_a_network_that_takes_its_time(
    proxied_broker: LocalBroker, proxy: Proxy, streams: Callable[..., Stream], counts: Counts
) -> None:
    stream = streams(proxied_broker.bootstrap_servers, partitions=2, emit_every_s=1)
    load_documents(stream, LOCATIONS)
    messages = load_messages(12, LOCATIONS, scaled(1500, 10_000))
    worker = stream.worker(bootstrap_servers=proxy.address)
    proxy.to_broker_delay_s = proxy.to_client_delay_s = 0.1
    try:
        asked_s = time.monotonic()
        assert live_cluster(HOST, proxy.port, timeout_s=10) is not None
        assert time.monotonic() - asked_s >= 0.2
        with Feeder(stream, messages, per_second=400):
            stream.wait(lambda: stream.seen(stream.names.priced), "the first prices")
        stream.verify()
    finally:
        proxy.to_broker_delay_s = proxy.to_client_delay_s = 0.0
    assert worker.exit_code is None
    assert not worker.logged("partition_failed")
    counts.note("200 ms from the worker to the broker and back", records=len(messages), round_trip_ms=200)


def test_a_half_open_network(
    proxied_broker: LocalBroker, proxy: Proxy, streams: Callable[..., Stream], counts: Counts
) -> None:
    """Longer than the session's timeout: the group has given the worker up, and it alone does not know."""
    stream = streams(
        proxied_broker.bootstrap_servers, partitions=2, emit_every_s=1, session_timeout_ms=scaled(3000, 6000)
    )
    load_documents(stream, LOCATIONS)
    messages = load_messages(13, LOCATIONS, scaled(3000, 12_000))
    worker = stream.worker(bootstrap_servers=proxy.address)
    back_s = []
    with Feeder(stream, messages, per_second=scaled(300, 60)):
        for away_s in scaled([5.0], [8.0, 11.0, 13.7, 17.0, 23.0]):
            count = len(stream.seen(stream.names.priced))
            stream.wait(lambda: len(stream.seen(stream.names.priced)) > count, "prices before the silence")  # noqa: B023
            proxy.silence()
            time.sleep(away_s)
            count = len(stream.seen(stream.names.priced))
            proxy.heal()
            back_s.append(_seconds_until_prices(stream, count))
    stream.verify()
    assert proxy.dropped_bytes > 0
    assert worker.exit_code is None
    assert max(back_s) < BACK_WITHIN_S
    counts.note(
        "a half-open network, longer than the session",
        records=len(messages),
        silences=len(back_s),
        longest_until_prices_s=round(max(back_s), 1),
    )
