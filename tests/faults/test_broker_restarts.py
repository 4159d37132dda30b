"""A broker that is killed and comes back: workers go on by themselves, and nothing is lost or published twice."""

import random
import time
from collections.abc import Callable

import pytest

from app.local.broker import LocalBroker
from app.streams.lane import COMMIT_TIMEOUT_S, TRANSACTION_TIMEOUT_MS
from app.streams.timeouts import REQUEST_TIMEOUT_MS
from tests.faults.load import Feeder, load_documents, load_messages
from tests.faults.scale import Counts, scaled
from tests.harness import Stream

pytestmark = pytest.mark.broker

LOCATIONS = 60
ENDS_WITHIN_S = 30.0
"""Kubernetes kills a process so long after it has told it to end."""
BACK_WITHIN_S = 10.0
"""What is promised: so long after a broker answers, prices are committed again."""


def _restart(broker: LocalBroker, stream: Stream) -> float:
    """Bring the broker back; return how long after its first answer the next price was there."""
    count = len(stream.seen(stream.names.priced))
    broker.restart()
    began_s = time.monotonic()
    stream.wait(lambda: len(stream.seen(stream.names.priced)) > count, "prices after the restart")
    return time.monotonic() - began_s


def test_a_worker_goes_on_by_itself_when_the_broker_comes_back(
    own_broker: LocalBroker, streams: Callable[..., Stream], counts: Counts
) -> None:
    kills, records = scaled(1, 10), scaled(4000, 20_000)
    stream = streams(own_broker.bootstrap_servers, partitions=2, emit_every_s=1, transaction_max_ms=200)
    load_documents(stream, LOCATIONS)
    messages = load_messages(3, LOCATIONS, records)
    worker = stream.worker()
    choose = random.Random(3)  # noqa: S311 - chance, not secrets
    back_s = []
    with Feeder(stream, messages, per_second=scaled(400, 100)):
        stream.wait(lambda: stream.seen(stream.names.priced), "the first prices")
        for _ in range(kills):
            time.sleep(choose.uniform(0.5, 1.5))
            own_broker.kill()
            time.sleep(choose.uniform(0.2, 1.0))
            back_s.append(_restart(own_broker, stream))
    stream.verify()
    assert worker.exit_code is None
    assert max(back_s) < BACK_WITHIN_S
    # A document that arrives afterwards is seen, too.
    stream.load(stream.documents[f"{stream.names.tariffs}/flat"] | {"version": 9})
    stream.verify(reference=False)
    assert worker.terminate() == 0
    counts.note(
        "the broker killed (SIGKILL) and started again",
        kills=kills,
        records=len(messages),
        longest_until_prices_s=round(max(back_s), 1),
    )


@pytest.mark.full
def test_a_broker_that_is_away_for_longer_than_every_timeout(
    own_broker: LocalBroker, streams: Callable[..., Stream], counts: Counts
) -> None:
    stream = streams(own_broker.bootstrap_servers, partitions=2, emit_every_s=1)
    settings = stream.settings
    timeouts_s = {
        "a commit": COMMIT_TIMEOUT_S,  # the longest
        "a transaction, on the broker": TRANSACTION_TIMEOUT_MS / 1000,
        "a rebalance": max(settings.session_timeout_ms / 1000, 10),
        "the session": settings.session_timeout_ms / 1000,
        "a request": REQUEST_TIMEOUT_MS / 1000,
    }
    away_s = max(timeouts_s.values()) + 15
    load_documents(stream, LOCATIONS)
    messages = load_messages(6, LOCATIONS, 6000)
    worker = stream.worker()
    with Feeder(stream, messages, per_second=50):
        stream.wait(lambda: stream.seen(stream.names.priced), "the first prices")
        own_broker.kill()
        time.sleep(away_s)
        assert worker.exit_code is None
        back_s = _restart(own_broker, stream)
    stream.verify()
    assert worker.exit_code is None
    assert back_s < BACK_WITHIN_S
    counts.note(
        "the broker away for longer than every timeout",
        records=len(messages),
        seconds_away=round(away_s),
        until_prices_s=round(back_s, 1),
    )


@pytest.mark.parametrize("away_s", [3.0, *(pytest.param(away_s, marks=pytest.mark.full) for away_s in (0.0, 100.0))])
def test_a_worker_that_is_told_to_end_while_the_broker_is_away_ends(
    own_broker: LocalBroker, streams: Callable[..., Stream], counts: Counts, away_s: float
) -> None:
    """A supervisor has to be able to stop it: also what waits for the broker for ever must hear of it."""
    stream = streams(own_broker.bootstrap_servers, partitions=2)
    load_documents(stream, 1)
    worker = stream.worker()
    own_broker.kill()
    time.sleep(away_s)
    began_s = time.monotonic()
    assert worker.terminate(timeout_s=ENDS_WITHIN_S) == 0
    counts.note(f"told to end {away_s:g} s after the broker has gone", seconds=round(time.monotonic() - began_s, 1))
