"""A worker that is told to stop ends in order, and the next one goes on where it ended."""

import socket
import time
from collections.abc import Callable

import pytest

from tests.harness import Stream
from tests.sites import Site, sites

pytestmark = pytest.mark.broker


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _correct(site: Site, values: list[float], before: int) -> None:
    """Publish a value after the other, each when the one before is priced."""
    for number, kwh in enumerate(values, before + 1):
        site.publish(site.record(0, 30, kwh))
        priced = site.await_priced(0, times=number)
        assert (priced["sequence"], priced["revision"], priced["energy_wh"]) == (number, number, kwh * 1000)


def test_a_restart_in_order_goes_on_with_the_sequence(new_stream: Callable[..., Stream]) -> None:
    stream = new_stream(partitions=2, emit_every_s=1)
    site, another = sites(stream, 2)
    first = stream.worker()
    _correct(site, [1.0, 2.0], before=0)
    began_s = time.monotonic()
    assert first.terminate(timeout_s=10) == 0
    assert time.monotonic() - began_s < 10
    assert first.output() == ""  # the log is on stderr, and nothing comes between its lines where both are joined

    another.publish(another.record(0, 30, 4.0))  # while no worker runs
    began_s = time.monotonic()
    second = stream.worker()
    another.await_priced(0)
    assert time.monotonic() - began_s < 20  # it did not wait for its predecessor's session to end: leaving is clean
    _correct(site, [3.0, 4.0], before=2)
    assert second.terminate() == 0

    port = _free_port()
    options = ("-l", "info", "--web-port", str(port))
    faust = stream.worker("-m", "faust", "-A", "app.worker", "worker", *options, started=False)
    _correct(site, [5.0, 6.0], before=4)
    another.publish(another.record(30, 30, 1.0))
    another.await_priced(30)
    # Faust's pages of tables have no authentication, and its command line switches them on unless it is prevented.
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=5):
        pass
    assert faust.terminate() == 0
    stream.verify()
    assert len(site.priced(0)) == 6


def test_sigterm_under_load_loses_and_repeats_nothing(new_stream: Callable[..., Stream]) -> None:
    stream = new_stream(partitions=2, emit_every_s=1, chunk_max_records=200)
    places = list(sites(stream, 10))
    stream.publish(*(each.record(15 * number, 15, 1.0) for number in range(600) for each in places))
    worker = stream.worker()
    stream.wait(lambda: stream.seen(stream.names.priced), "the first prices")
    assert worker.terminate() == 0
    stream.publish(*(each.record(15 * number, 15, 2.0) for number in range(50) for each in places))
    stream.worker()
    stream.verify()
