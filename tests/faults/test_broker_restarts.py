"""A broker that is killed and comes back: workers go on by themselves, and nothing is lost or published twice."""

import time
from collections.abc import Callable

import pytest

from app.local.broker import LocalBroker
from tests.faults.load import Feeder, load_documents, load_messages
from tests.harness import Stream

pytestmark = pytest.mark.broker

LOCATIONS = 60
RECORDS = 4000


def test_a_worker_goes_on_by_itself_when_the_broker_comes_back(
    own_broker: LocalBroker, streams: Callable[..., Stream]
) -> None:
    stream = streams(own_broker.bootstrap_servers, partitions=2, emit_every_s=1, transaction_max_ms=200)
    load_documents(stream, LOCATIONS)
    messages = load_messages(3, LOCATIONS, RECORDS)
    worker = stream.worker()
    with Feeder(stream, messages, per_second=400):
        stream.wait(lambda: stream.seen(stream.names.priced), "the first prices")
        time.sleep(1)
        own_broker.kill()
        time.sleep(0.5)
        own_broker.restart()
        count = len(stream.seen(stream.names.priced))
        stream.wait(lambda: len(stream.seen(stream.names.priced)) > count, "prices after the restart")
    stream.verify()
    assert worker.exit_code is None
    # A document that arrives afterwards is seen, too.
    stream.load(stream.documents[f"{stream.names.tariffs}/flat"] | {"version": 9})
    stream.verify()
    assert worker.terminate() == 0
