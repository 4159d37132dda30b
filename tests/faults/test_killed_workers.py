"""Workers that are killed (SIGKILL) at random moments lose nothing and publish nothing twice."""

import os
import random
import time
from collections.abc import Callable

import pytest

from tests.checker import DECIDED
from tests.faults.load import Feeder, bulk_messages, load_documents, load_messages
from tests.faults.scale import Counts, scaled
from tests.harness import Stream
from tests.worker_process import Worker

pytestmark = pytest.mark.broker

LOCATIONS = 300
RECORDS = scaled(15_000, 30_000)
KILLS = scaled(3, 5)
LEAD = 30_000
"""Records that are published before workers have decided on them."""
SAMPLE = [f"loc_{number}" for number in range(0, LOCATIONS, scaled(1, 10))]
"""Locations whose prices the slow reference computes too: of a million records those of all would take it six minutes."""
SEEDS = [int(seed) for seed in os.environ.get("FAULT_SEEDS", "1").split(",")]
"""More of them find more: FAULT_SEEDS=2,3,4."""


@pytest.mark.parametrize("seed", SEEDS)
def test_kills_at_random_moments_lose_nothing_and_repeat_nothing(
    kafka: str, streams: Callable[..., Stream], seed: int, counts: Counts
) -> None:
    # Small chunks and short transactions: many moments at which a kill can hurt. Static membership: no wait for ghosts.
    stream = streams(kafka, emit_every_s=1, chunk_max_records=300, transaction_max_ms=100, instance_id=f"one-{seed}")
    load_documents(stream, LOCATIONS)
    messages = load_messages(seed, LOCATIONS, RECORDS)
    stream.publish(*messages[: RECORDS // 3])
    choose = random.Random(seed)  # noqa: S311 - chance, not secrets
    with Feeder(stream, messages[RECORDS // 3 :], per_second=1500):
        for kill in range(KILLS):
            # The first is killed while it opens its partitions, the others at work, or while they price again.
            worker = stream.worker(started=kill > 0)
            if kill == 0:
                worker.await_log("reference_read")
            _change_documents(stream, kill)
            time.sleep(choose.uniform(0.0, 1.0))
            worker.kill()
    stream.worker()
    stream.verify()
    assert sum(len(worker.logged("partitions_opened")) for worker in stream.workers) >= KILLS
    counts.note(
        "a worker killed (SIGKILL) at random moments while documents change",
        kills=KILLS,
        messages=len(stream.published),
    )


def _change_documents(stream: Stream, kill: int) -> None:
    """Make one tariff dearer, and give one location another one."""
    names, version = stream.names, kill + 2
    stream.load(stream.documents[f"{names.tariffs}/flat"] | {"version": version, "taxes": _taxes(version)})
    links = [{"direction": "IMPORT", "tariff_id": "flat" if kill % 2 else "bands"}]
    for number in (0, 10, 100):
        stream.load(stream.documents[f"{names.locations}/loc_{number}"] | {"tariffs": links})


def _taxes(version: int) -> list[dict[str, str]]:
    return [{"name": "VAT", "rate": f"0.{version}"}]


def test_three_workers_that_are_killed_in_turn_lose_nothing_and_repeat_nothing(
    kafka: str, streams: Callable[..., Stream], counts: Counts
) -> None:
    records, kills = scaled((20_000, 3), (1_000_000, 20))
    stream = streams(kafka, partitions=6, emit_every_s=1, chunk_max_records=50, transaction_max_ms=200)
    load_documents(stream, LOCATIONS)
    choose = random.Random(records)  # noqa: S311 - chance, not secrets
    started = [_start(stream, number) for number in range(3)]
    kill_at = sorted(choose.sample(range(records // 10, records, 2000), kills))
    published = 0
    for batches in bulk_messages(1, LOCATIONS, records):
        stream.publish(*batches)
        published += sum(map(len, batches))
        if kill_at and published >= kill_at[0]:
            kill_at.pop(0)
            time.sleep(choose.uniform(0.0, 1.0))
            at = choose.randrange(3)
            started[at].kill()
            started[at] = _start(stream, at)
        # Never far ahead of the workers, so that the kills are spread over all records, and not over the first of them.
        stream.wait(lambda: _decided(stream) > published - LEAD, "the workers' decisions", timeout_s=120)  # noqa: B023
    stream.verify(timeout_s=300, reference=False)
    stream.check_a_sample_against_the_reference(SAMPLE)
    sequences = len(stream.seen(stream.names.priced))
    counts.note(
        "workers killed (SIGKILL) at random moments, three at once", kills=kills, records=published, sequences=sequences
    )


def _decided(stream: Stream) -> int:
    totals = stream.totals()
    return sum(totals[name] for name in DECIDED)


def _start(stream: Stream, number: int) -> Worker:
    """Start one of several workers, which has its own store and place in the group, and may have had both before."""
    name = f"worker-{number}"
    return stream.worker(started=False, data_dir=stream.folder / name, instance_id=name)
