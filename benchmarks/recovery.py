"""Recovery: a worker without its local store restores a table of intervals and prices from their changelogs.

A real worker makes the topics first, from one record for each interval, so that the changelogs are as they always are: with
transactions, their markers, and totals between the entries. One interval restored is its state (from the intervals'
changelog) and its priced record (from `meter.priced`), both in RocksDB. Every one of them is looked for afterwards.
"""

import argparse
import asyncio
import os
import random
import shutil
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient

from app.settings import Settings
from app.streams.backlog import Backlog
from app.streams.catch_up import catch_up
from app.streams.garbage import collect_rarely
from app.streams.publish import Publisher
from app.streams.rebuild import cores
from app.streams.store import PartitionStore, StoreCache
from app.streams.tables import INTERVAL_MARK, PRICED_MARK
from app.streams.topics import topic_names
from benchmarks.setting import BenchWorker, Progress, broker, own_settings, publish_portfolio, record
from benchmarks.stock_recovery import measure_stock

_STEP_MINUTES: Final = 30
_AFTER: Final = b"\xff"


class _Owner(NamedTuple):
    """What a shard is to `catch_up`."""

    partition: int
    store: PartitionStore
    backlog: Backlog


async def make_changelogs(settings: Settings, environ: dict[str, str], locations: int, steps: int) -> None:
    """Let a worker bucket and price one record for each of `locations` * `steps` intervals."""
    await publish_portfolio(settings, locations)
    names, chance = topic_names(settings), random.Random(1)  # noqa: S311 - not for secrets
    worker = BenchWorker(environ, Path(settings.data_dir) / "worker.log")
    try:
        async with Publisher(settings.bootstrap_servers, compression=settings.compression) as publisher:
            for step in range(steps):
                for number in range(locations):
                    value = round(chance.random(), 3)
                    message = record(number, step, value, _STEP_MINUTES)
                    await publisher.send(names.records, f"loc_{number}".encode(), message)
        await Progress(settings).wait_until_done()
    finally:
        worker.stop()


def _cpu_s() -> float:
    """Return the CPU seconds of this process and of those that it began and that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


async def recover(settings: Settings, expected: int) -> dict[str, float]:
    """Bring empty stores to the end of the changelogs once, as a worker does that is given all partitions."""
    names = topic_names(settings)
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    await admin.start()
    committed = await admin.list_consumer_group_offsets(settings.app_id)
    await admin.close()
    priced_to = {tp.partition: at.offset for tp, at in committed.items() if tp.topic == names.intervals}
    with tempfile.TemporaryDirectory(prefix="meterstream-bench-") as folder:
        cache = StoreCache(settings.store_cache_mb)
        owners = [
            _Owner(partition, PartitionStore(Path(folder) / f"{partition}", cache, "bench"), Backlog())
            for partition in range(settings.partitions)
        ]
        wall_s, cpu_s = time.monotonic(), _cpu_s()
        applied = await catch_up(settings, names, owners, priced_to)
        wall_s, cpu_s = time.monotonic() - wall_s, _cpu_s() - cpu_s
        for mark in (INTERVAL_MARK, PRICED_MARK):
            found = sum(1 for owner in owners for _ in owner.store.items(mark, mark + _AFTER))
            if found != expected:
                message = f"{found} entries under {mark!r} were restored, expected {expected}"
                raise AssertionError(message)
        for owner in owners:
            owner.store.close()
    return {
        "intervals": expected,
        "intervals_per_second": expected / wall_s,
        "intervals_per_cpu_second": expected / cpu_s,
        "records_per_second": applied / wall_s,
        "seconds": wall_s,
    }


async def measure(bootstrap_servers: str, locations: int, steps: int, runs: int, stock: int) -> None:
    """Make the changelogs once, and recover from them some times, in one process and in one for each core."""
    with own_settings(bootstrap_servers) as (settings, environ):
        await make_changelogs(settings, environ, locations, steps)
        shutil.rmtree(settings.data_dir)  # the disk's cache is better used by what is measured
        for run in range(runs):
            for processes in (1, cores()):
                chosen = settings.model_copy(update={"recovery_processes": processes})
                figures = await recover(chosen, locations * steps)
                _print(f"recovery, {processes} at work, run {run + 1}", figures)
        if stock:
            _print("recovery by stock Faust", await measure_stock(settings, stock))


def _print(what: str, figures: dict[str, float]) -> None:
    print(f"{what}: " + "  ".join(f"{name}={value:,.1f}" for name, value in figures.items()), flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Print the figures of some runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--locations", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=100, help="30-minute records of each location")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--stock", type=int, default=50_000, help="intervals that stock Faust recovers; 0 leaves it out"
    )
    options = parser.parse_args(arguments)
    collect_rarely()  # as a worker does: garbage is not looked for among every few hundred records
    with broker() as bootstrap_servers:
        asyncio.run(measure(bootstrap_servers, options.locations, options.steps, options.runs, options.stock))


if __name__ == "__main__":
    main()
