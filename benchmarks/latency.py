"""Latency: from handing a record to the producer until its priced interval is read under read_committed.

Every record is 30 minutes long and so completes an interval: nothing is held back by METERSTREAM_EMIT_EVERY_S.
"""

import argparse
import asyncio
import random
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from app.domain.instants import format_instant
from app.settings import Settings
from app.streams.publish import Publisher
from app.streams.topics import topic_names
from benchmarks.setting import START_US, BenchWorker, broker, own_settings, publish_portfolio, record, watch_priced

_HALF_HOUR_US = 1800 * 1_000_000
_TICK_S = 0.005
_WARM_UP_S = 5.0
_DRAIN_S = 15.0


async def _publish(settings: Settings, locations: int, rate: int, seconds: float, sent_s: dict[bytes, float]) -> None:
    """Publish at a steady rate, and note when each interval's record was handed over."""
    names, chance = topic_names(settings), random.Random(2)  # noqa: S311 - not for secrets
    async with Publisher(settings.bootstrap_servers, linger_ms=0) as publisher:
        began_s, number = time.perf_counter(), 0
        while number < rate * seconds:
            due = int((time.perf_counter() - began_s) * rate)
            while number < due:
                step, place = divmod(number, locations)
                value = record(place, step, round(chance.random(), 3), minutes=30)
                start = format_instant(START_US + step * _HALF_HOUR_US)
                sent_s[f"loc_{place}||INBOUND|IMPORT|{start}".encode()] = time.perf_counter()
                await publisher.send(names.records, f"loc_{place}".encode(), value)
                number += 1
            await asyncio.sleep(_TICK_S)


async def _consume(settings: Settings, arrived_s: dict[bytes, float], ready: asyncio.Event) -> None:
    """Note when each priced interval is read."""

    def note(records: Sequence[Any], now_s: float) -> None:
        for priced in records:
            arrived_s.setdefault(priced.key, now_s)

    await watch_priced(settings, ready, note)


class Load(NamedTuple):
    """What is published, in how many partitions, to a worker of which Python."""

    locations: int
    rate: int
    seconds: float
    partitions: int
    python: str


async def measure(bootstrap_servers: str, load: Load) -> dict[str, float]:
    """Run once and return the quantiles in ms, and the worker's CPU share."""
    rate, seconds, python = load.rate, load.seconds, load.python
    with own_settings(bootstrap_servers, METERSTREAM_PARTITIONS=f"{load.partitions}") as (settings, environ):
        await publish_portfolio(settings, load.locations)
        worker = BenchWorker(environ, Path(settings.data_dir) / "worker.log", python)
        try:
            await asyncio.to_thread(worker.wait_until_open)
            sent_s: dict[bytes, float] = {}
            arrived_s: dict[bytes, float] = {}
            ready = asyncio.Event()
            consuming = asyncio.create_task(_consume(settings, arrived_s, ready))
            await ready.wait()
            cpu_s = worker.cpu_s()
            await _publish(settings, load.locations, rate, seconds + _WARM_UP_S, sent_s)
            cpu_s = worker.cpu_s() - cpu_s
            end_s = time.monotonic() + _DRAIN_S
            while len(arrived_s) < len(sent_s) and time.monotonic() < end_s:  # noqa: ASYNC110 - only counts
                await asyncio.sleep(0.1)
            consuming.cancel()
        finally:
            worker.stop()
    missing = len(sent_s.keys() - arrived_s.keys())
    if missing:
        raise AssertionError(f"{missing} of {len(sent_s)} records were not priced within {_DRAIN_S:g} s")
    counted = list(sent_s)[int(rate * _WARM_UP_S) :]
    latencies_ms = sorted((arrived_s[key] - sent_s[key]) * 1000 for key in counted)
    quantiles = statistics.quantiles(latencies_ms, n=1000)
    return {
        "records_per_second": rate,
        "p50_ms": quantiles[499],
        "p99_ms": quantiles[989],
        "p99.9_ms": quantiles[998],
        "max_ms": latencies_ms[-1],
        "worker_cpu_share": cpu_s / (seconds + _WARM_UP_S),
    }


def main(arguments: list[str] | None = None) -> None:
    """Print the figures of some runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--locations", type=int, default=10_000)
    parser.add_argument("--rate", type=int, default=1000, help="records a second")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--partitions", type=int, default=Settings().partitions)
    parser.add_argument(
        "--python", default=sys.executable, metavar="PATH", help="run the worker with another interpreter"
    )
    parser.add_argument("--runs", type=int, default=2)
    options = parser.parse_args(arguments)
    load = Load(options.locations, options.rate, options.seconds, options.partitions, options.python)
    with broker() as bootstrap_servers:
        for run in range(options.runs):
            figures = asyncio.run(measure(bootstrap_servers, load))
            print(f"latency run {run + 1}: " + "  ".join(f"{k}={v:,.2f}" for k, v in figures.items()), flush=True)


if __name__ == "__main__":
    main()
