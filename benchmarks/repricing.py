"""How long it takes to price a year of one location again, and how long others wait meanwhile.

The first part is one core without Kafka: a real store on disk, the tables and the pipeline of a partition, in slices as a worker
does it, with the commit at the end. The second (`repricing_broker.py`) is a worker on a real broker: another location's records
come to the same partition while the year is priced again.

Run it with `python -m benchmarks.repricing`; `--profile` prints where the time of the first part goes.
"""

import argparse
import asyncio
import cProfile
import os
import pstats
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from app.domain.reference import Affected, ReferenceBook
from app.streams.garbage import collect_rarely
from app.streams.outputs import Output
from app.streams.pipeline import Context, Pipeline
from app.streams.shard import REPRICE_SLICE
from app.streams.sources import Log, OfflineMessage
from app.streams.store import PartitionStore, StoreCache
from app.streams.tables import Tables, changelog_entries, store_entries
from app.streams.walks import Walk
from app.wire.location import parse_location
from app.wire.tariff import parse_tariff
from benchmarks import repricing_broker
from benchmarks.setting import broker
from benchmarks.year import (
    HALF_HOURS,
    Json,
    flat,
    location,
    monthly_tiers,
    record,
    three_bands,
    usual_kwh,
    yearly_tiers,
)

RUNS: Final = 5
_CHUNK: Final = 1000
_RECORDS: Final = Log("meter.records", 0)
_INTERVALS: Final = Log("meter.intervals", 0)


class _Sink:
    """Keeps what is to be priced, and counts what is published."""

    def __init__(self) -> None:
        self.intervals: list[OfflineMessage] = []
        self.priced = 0

    def emit(
        self,
        output: Output,
        key: bytes | None,
        value: bytes,
        *,
        partition: int | None = None,  # noqa: ARG002 - there is one partition
        timestamp_ms: int | None = None,  # noqa: ARG002 - nothing is timed
        headers: Sequence[tuple[str, bytes]] = (),  # noqa: ARG002 - nothing is forwarded
    ) -> None:
        """Take an output."""
        if output == "intervals":
            self.intervals.append(OfflineMessage(0, 0, key, value))
        else:
            self.priced += output == "priced"

    def emit_all(self, output: Output, entries: Sequence[tuple[bytes, bytes | None]]) -> None:
        """Take outputs."""
        for key, value in entries:
            self.emit(output, key, value)


class _Partition:
    """One partition as a shard holds it, with a year of one location in its store."""

    def __init__(self, folder: Path, tariff: Json) -> None:
        self.book = ReferenceBook()
        self.book.put_tariff(parse_tariff(tariff))
        self.book.put_location(parse_location(location("loc")))
        self._store = PartitionStore(folder, StoreCache(64), "benchmark")
        self._taken = 0
        self.open()

    def open(self) -> None:
        """Begin with what is in the store."""
        self.sink = _Sink()
        self._tables = Tables(self._store)
        self._pipeline = Pipeline(Context(0, 1, _RECORDS.topic), self._tables, self.book, self.sink)

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def take(self, records: Sequence[bytes]) -> None:
        """Decide records, in transactions."""
        for at in range(0, len(records), _CHUNK):
            chunk = records[at : at + _CHUNK]
            self._pipeline.take_records(_RECORDS, [self._message(value) for value in chunk])
            self._commit()

    def _message(self, value: bytes) -> OfflineMessage:
        self._taken += 1
        return OfflineMessage(self._taken, self._taken, None, value)

    def price(self) -> None:
        """Price what has been published, in transactions."""
        intervals, self.sink.intervals = self.sink.intervals, []
        for at in range(0, len(intervals), _CHUNK):
            self._pipeline.take_intervals(_INTERVALS, intervals[at : at + _CHUNK])
            self._commit()

    def reprice(self, affected: Affected) -> None:
        """Price again what a change of documents concerns."""
        self._pipeline.forget_locations(affected.location_ids)
        for location_id in affected.location_ids:
            for walk in self._pipeline.walks_over(location_id, affected.start_us, affected.end_us):
                rest: Walk | None = walk
                while rest is not None:
                    _, rest = self._pipeline.reprice(rest, REPRICE_SLICE)
        self._commit()

    def correct(self) -> None:
        """Price a correction, and again what has come into another tier by it."""
        self.price()
        while self._pipeline.walks:
            self._pipeline.walk(REPRICE_SLICE)
        self._commit()

    def _commit(self) -> None:
        self._pipeline.settle(0.0)
        changes = self._tables.changes
        self._store.write(store_entries(changelog_entries(changes), changes), {})
        self._tables.committed()


class Figures(NamedTuple):
    """CPU and wall seconds."""

    cpu_s: float
    wall_s: float


def _timed(work: Callable[[], None], profile: cProfile.Profile | None = None) -> Figures:
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    if profile is not None:
        profile.enable()
    work()
    if profile is not None:
        profile.disable()
    return Figures(time.process_time() - cpu_s, time.perf_counter() - wall_s)


def _scenarios() -> Iterator[tuple[str, Callable[[str], Json], bool]]:
    yield "flat tariff, another rate", flat, False
    yield "three bands and tax, other rates", three_bands, False
    yield "two monthly tiers, other rates", monthly_tiers, False
    yield "yearly tiers, all moved by a correction", yearly_tiers, True


def measure(
    tariff_of: Callable[[str], Json], folder: Path, profile: cProfile.Profile | None, *, corrects: bool
) -> None:
    """Price a year once, then again some times, and print the median."""
    partition = _Partition(folder, tariff_of("0.10"))
    try:
        partition.take([record("loc", number, usual_kwh(number)) for number in range(HALF_HOURS)])
        first = _timed(partition.price)
        _print("first time", partition.sink.priced, [first], first)
        again = []
        for run in range(RUNS):
            partition.open()  # a worker that has this year in memory is the exception
            if corrects:
                partition.take([record("loc", 0, 100_000 if run % 2 == 0 else usual_kwh(0))])
                again.append(_timed(partition.correct, profile))
            else:
                affected = partition.book.put_tariff(parse_tariff(tariff_of(f"0.1{run + 1}") | {"version": run + 2}))
                again.append(_timed(lambda affected=affected: partition.reprice(affected), profile))  # type: ignore[misc]
        _print("again", partition.sink.priced, again, first)
    finally:
        partition.close()


def _print(what: str, published: int, runs: Sequence[Figures], first: Figures) -> None:
    cpu_s, wall_s = (statistics.median(seconds) for seconds in zip(*runs, strict=True))
    sys.stdout.write(
        f"  {what:10} {published:6} published  CPU {cpu_s:6.3f} s  wall {wall_s:6.3f} s  "
        f"{cpu_s / HALF_HOURS * 1e6:5.1f} µs each  {cpu_s / first.cpu_s:5.2f} x the first time\n"
    )
    sys.stdout.flush()


def main(arguments: list[str] | None = None) -> None:
    """Print the figures of both parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", action="store_true", help="print where the time of the first part goes")
    parser.add_argument("--no-broker", action="store_true", help="only the first part")
    parser.add_argument("--runs", type=int, default=3, help="of the second part")
    options = parser.parse_args(arguments)
    collect_rarely()  # as a worker does
    print(f"a year of one location, {HALF_HOURS} half hours, on one core; median of {RUNS}", flush=True)
    for name, tariff_of, corrects in _scenarios():
        profile = cProfile.Profile() if options.profile else None
        print(f" {name} (load of the machine {os.getloadavg()[0]:.1f})", flush=True)
        with tempfile.TemporaryDirectory(prefix="meterstream-bench-") as folder:
            measure(tariff_of, Path(folder) / "store", profile, corrects=corrects)
        if profile is not None:
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    if not options.no_broker:
        with broker() as bootstrap_servers:
            asyncio.run(repricing_broker.measure(bootstrap_servers, options.runs))


if __name__ == "__main__":
    main()
