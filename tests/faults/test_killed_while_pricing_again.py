"""A worker that is killed in the middle of pricing a year again: the next one does the rest, and nothing twice."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Final

import pytest

from tests.faults.scale import Counts
from tests.harness import Stream
from tests.making import Json, flat_tariff, location
from tests.sites import Site
from tests.worker_process import Worker

pytestmark = pytest.mark.broker

HALF_HOURS: Final = 8_000
"""From March on: in one year, in the cheaper tier; so many that a kill comes before the half of them on a busy machine too."""


def tiered_tariff(rate: str, **fields: object) -> Json:
    """Return a tariff whose first 9,000 kWh of a year are cheaper."""
    tiers = [{"up_to_kwh": "9000", "rate": rate}, {"up_to_kwh": None, "rate": "0.30"}]
    charges = [{"charge_id": "energy", "kind": "energy", "bands": [{"name": "all", "when": [], "tiers": tiers}]}]
    return flat_tariff("tiers", charges=charges, tier_period="P1Y", **fields)


def times_published(stream: Stream) -> Counter[bytes]:
    return Counter(each.key for each in stream.seen(stream.names.priced))


def kill_at_work(stream: Stream, worker: Worker, published: int) -> None:
    """Kill a worker as soon as anything but what was there is published; some of it is not, by then."""
    stream.wait(lambda: len(stream.seen(stream.names.priced)) > published + 1, "the first of them priced again")
    worker.kill()
    time.sleep(1)  # what it committed is read by then
    assert len(stream.seen(stream.names.priced)) < published + HALF_HOURS / 2


def test_the_rest_is_priced_again_after_a_kill_and_only_once(
    kafka: str, streams: Callable[..., Stream], counts: Counts
) -> None:
    # Short transactions: much of the year is committed as priced again, and much is not, whenever it is killed.
    stream = streams(
        kafka, partitions=1, emit_every_s=0, transaction_max_ms=20, commit_interval_ms=20, instance_id="one"
    )
    stream.load(tiered_tariff("0.10"), location("loc", "tiers", max_power_kw="1000000"))
    site = Site(stream, "loc", "tiers")
    worker = stream.worker()
    stream.publish(*(site.record(30 * number, 30, 0.25) for number in range(HALF_HOURS)))
    stream.wait(lambda: len(stream.seen(stream.names.priced)) >= HALF_HOURS, "a year priced", 90)

    stream.publish(site.record(0, 30, 9000))  # a correction: all others come into the second tier
    kill_at_work(stream, worker, HALF_HOURS)
    worker = stream.worker()
    stream.wait(lambda: len(stream.seen(stream.names.priced)) >= 2 * HALF_HOURS, "the rest priced again", 90)
    assert set(times_published(stream).values()) == {2}

    before = times_published(stream)
    stream.load(tiered_tariff("0.20", version=2))
    kill_at_work(stream, worker, before.total())
    stream.worker()
    stream.verify()
    again = times_published(stream) - before
    assert set(again.values()) == {1}
    assert len(again) == HALF_HOURS
    counts.note("a worker killed (SIGKILL) while it prices a year again", kills=2, priced_again=2 * HALF_HOURS, twice=0)
