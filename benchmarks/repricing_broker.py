"""A year of one location priced again by a worker on a real broker, while another location's records come steadily.

Both locations are in the same partition, so that they share one order of transactions.
"""

import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from app.settings import Settings
from app.streams.publish import Publisher
from app.streams.topics import create_topics, topic_names
from benchmarks.setting import BenchWorker, own_settings, watch_priced
from benchmarks.year import HALF_HOURS, Json, location, record, three_bands, usual_kwh, yearly_tiers

RATE: Final = 100
"""Records a second of the other location."""

_TICK_S: Final = 0.01
_QUIET_S: Final = 6.0
_WARM_UP_S: Final = 2.0
_PATIENCE_S: Final = 90.0


class _Window(NamedTuple):
    """A stretch of time, and the worker's CPU time in it."""

    from_s: float
    to_s: float
    cpu_s: float


class _Reader:
    """Notes when priced records arrive: the other location's by key, the years' by how many there are."""

    def __init__(self) -> None:
        self.arrived_s: dict[bytes, float] = {}
        self.counts: dict[bytes, int] = {}
        self.last_s: dict[bytes, float] = {}

    async def read(self, settings: Settings, ready: asyncio.Event) -> None:
        """Read for ever."""
        await watch_priced(settings, ready, self._note)

    def _note(self, records: Sequence[Any], now_s: float) -> None:
        for each in records:
            location_id = each.key[: each.key.index(b"|")]
            self.counts[location_id] = self.counts.get(location_id, 0) + 1
            self.last_s[location_id] = now_s
            if location_id == b"other":
                self.arrived_s.setdefault(each.key, now_s)

    async def wait(self, location_id: bytes, count: int) -> float:
        """Wait until so many records of a location are there, and return when the last of them arrived."""
        end_s = time.monotonic() + _PATIENCE_S
        while self.counts.get(location_id, 0) < count:
            if time.monotonic() > end_s:
                raise AssertionError(
                    f"{self.counts} priced after {_PATIENCE_S:g} s (expected {count} of {location_id!r})"
                )
            await asyncio.sleep(_TICK_S)
        return self.last_s[location_id]


class _Steady:
    """The other location: a record every 1 / `RATE` s, for as long as it is let."""

    def __init__(self, publisher: Publisher, topic: str) -> None:
        self.sent: list[tuple[bytes, float]] = []
        self._publisher = publisher
        self._topic = topic

    async def run(self) -> None:
        """Publish for ever."""
        began_s, number = time.perf_counter(), 0
        while True:
            while number < (time.perf_counter() - began_s) * RATE:
                value = record("other", number, usual_kwh(number))
                start = json.loads(value)["start_time"]
                self.sent.append((f"other||INBOUND|IMPORT|{start}".encode(), time.perf_counter()))
                await self._publisher.send(self._topic, b"other", value)
                number += 1
            await asyncio.sleep(_TICK_S)

    def latencies_ms(self, reader: _Reader, from_s: float, to_s: float) -> list[float]:
        """Return how long the records took that were sent between two moments."""
        return sorted((reader.arrived_s[key] - at_s) * 1000 for key, at_s in self.sent if from_s <= at_s < to_s)


async def measure(bootstrap_servers: str, runs: int) -> None:
    """Print what others wait without and with repricing, and how long repricing takes."""
    with own_settings(bootstrap_servers, METERSTREAM_PARTITIONS="1") as (settings, environ):
        await create_topics(settings)
        names = topic_names(settings)
        async with Publisher(bootstrap_servers, linger_ms=0) as publisher:
            for document in (three_bands("0.10"), _named(yearly_tiers("")), _steady_tariff()):
                await publisher.send(names.tariffs, document["tariff_id"].encode(), json.dumps(document).encode())
            for each in (location("year"), location("tiers", "tiers"), location("other", "steady")):
                await publisher.send(names.locations, each["location_id"].encode(), json.dumps(each).encode())
            await publisher.flush()
            with _worker(environ, Path(settings.data_dir) / "worker.log") as worker:
                await asyncio.to_thread(worker.wait_until_open)
                await _measure(settings, publisher, worker, runs)


@contextmanager
def _worker(environ: dict[str, str], log_path: Path) -> Iterator[BenchWorker]:
    worker = BenchWorker(environ, log_path)
    try:
        yield worker
    finally:
        worker.stop()


async def _measure(settings: Settings, publisher: Publisher, worker: BenchWorker, runs: int) -> None:
    names, reader, ready = topic_names(settings), _Reader(), asyncio.Event()
    reading = asyncio.create_task(reader.read(settings, ready))
    await ready.wait()
    for number in range(HALF_HOURS):
        for location_id in ("year", "tiers"):
            value = record(location_id, number, usual_kwh(number))
            await publisher.send(names.records, location_id.encode(), value)
    for location_id in (b"year", b"tiers"):
        await reader.wait(location_id, HALF_HOURS)
    steady = _Steady(publisher, names.records)
    publishing = asyncio.create_task(steady.run())
    await asyncio.sleep(_WARM_UP_S)
    windows: dict[str, list[_Window]] = {"without": [], "another tariff": [], "a correction": []}
    for run in range(runs):
        from_s, cpu_s = time.perf_counter(), worker.cpu_s()
        await asyncio.sleep(_QUIET_S)
        windows["without"].append(_Window(from_s, time.perf_counter(), worker.cpu_s() - cpu_s))
        changed = three_bands(f"0.1{run + 1}") | {"version": run + 2}
        corrected = record("tiers", 0, 100_000 if run % 2 == 0 else usual_kwh(0))
        for what, of, topic, key, value in (
            ("another tariff", b"year", names.tariffs, b"tariff", json.dumps(changed).encode()),
            ("a correction", b"tiers", names.records, b"tiers", corrected),
        ):
            count, from_s, cpu_s = reader.counts[of] + HALF_HOURS, time.perf_counter(), worker.cpu_s()
            await publisher.send(topic, key, value)
            windows[what].append(_Window(from_s, await reader.wait(of, count), worker.cpu_s() - cpu_s))
            await asyncio.sleep(_WARM_UP_S)
    publishing.cancel()
    await reader.wait(b"other", len(steady.sent))
    reading.cancel()
    _print(windows, steady, reader)


def _print(windows: dict[str, list[_Window]], steady: _Steady, reader: _Reader) -> None:
    sys.stdout.write(f"a worker on a broker; others publish {RATE} records a second (load {os.getloadavg()[0]:.1f})\n")
    for what, found in windows.items():
        latencies_ms = sorted(ms for each in found for ms in steady.latencies_ms(reader, each.from_s, each.to_s))
        quantiles = statistics.quantiles(latencies_ms, n=100)
        sys.stdout.write(
            f"  {what:15} others wait p50 {quantiles[49]:5.0f} ms  p99 {quantiles[98]:5.0f} ms  "
            f"max {latencies_ms[-1]:5.0f} ms ({len(latencies_ms)} records)\n"
        )
        if what != "without":
            took = ", ".join(
                f"{each.to_s - each.from_s:.2f} s ({each.cpu_s:.2f} s of the worker's CPU)" for each in found
            )
            sys.stdout.write(f"    from the change to the last of the year: {took}\n")
    sys.stdout.flush()


def _named(document: Json) -> Json:
    return document | {"tariff_id": "tiers"}


def _steady_tariff() -> Json:
    return three_bands("0.10") | {"tariff_id": "steady"}
