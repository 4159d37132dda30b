"""Soak: a constant load for a long time. Memory and lag have to stay flat, and every price has to be right in the end.

Linux only: the workers are looked at through /proc. Before the clock starts, the memory that a worker is meant to use (the
intervals at work, write buffers, caches) is filled with a backlog; what grows afterwards is a leak, or a lag.

What is allowed: a worker's memory may grow by 24 MB (about what the write buffers of two partitions swing by between one
flush and the next) or by 20 bytes a record where that is more: the smallest Python object that could be left behind for each
record has more. The lag may grow by as much as arrives in two seconds. Growth is the median of the slopes between all pairs
of samples, times their span, so that one pause of the machine does not decide.
"""

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from app.compose import OfflineResult, price_offline
from app.settings import Settings
from app.streams.publish import Publisher
from app.streams.topics import create_topics, topic_names
from app.wire.location import parse_location
from app.wire.series import parse_series
from app.wire.tariff import parse_tariff
from benchmarks.setting import BenchWorker, broker, own_settings, watch_priced
from benchmarks.soak_load import STEPS_PER_DAY, Load, Message
from benchmarks.soak_watch import Prices, Sample, Watch, digest, growth

PARTITIONS: Final = 2
FILL_RECORDS: Final = 80_000
"""A partition's share of the backlog: twice the intervals that it holds in memory, and both of its write buffers."""

ALLOWED_MB: Final = 24.0
ALLOWED_BYTES_PER_RECORD: Final = 20.0
ALLOWED_LAG_S: Final = 2.0
_SETTLING_SHARE: Final = 0.2
"""The part of the time after the backlog that is not judged: two rates meet there."""

_MB: Final = 1024 * 1024
_SAMPLE_EVERY_S: Final = 5.0
_TICK_S: Final = 0.02
_PROBES_PER_SECOND: Final = 10
_GROUP: Final = 20
_DRAIN_S: Final = 300.0
_FAULTS: Final = (
    "record_failed",
    "interval_failed",
    "partition_failed",
    "reference_failed",
    "document_refused",
    "store_failed",
)


class Options(NamedTuple):
    """What is asked for."""

    minutes: float
    rate: int
    workers: int
    locations: int
    seed: int


class Soak:
    """One run: publishes, looks, and compares in the end."""

    def __init__(self, settings: Settings, options: Options, workers: list[BenchWorker], stores: list[Path]) -> None:
        """Begin nothing yet."""
        self.settings: Final = settings
        self.options: Final = options
        self.names: Final = topic_names(settings)
        self.workers: Final = workers
        self.load: Final = Load(options.seed, options.locations)
        self.prices: Final = Prices()
        self.samples: Final[list[Sample]] = []
        self.watch: Final = Watch(settings, workers, stores)
        self.steps = self.days = self.probes = self.version = self.published = 0

    # Publishing

    async def publish_documents(self, publisher: Publisher) -> None:
        """Publish the documents that are there from the beginning."""
        for document in [self.load.changing(1), *self.load.documents()]:
            await self._document(publisher, document)
        self.version = 1

    async def _document(self, publisher: Publisher, document: dict[str, Any]) -> None:
        if "points" in document:
            topic, key = self.names.series, f"{document['series_id']}/{document['points'][0]['start_time'][:10]}"
        elif "charges" in document:
            topic, key = self.names.tariffs, document["tariff_id"]
        else:
            topic, key = self.names.locations, document["location_id"]
        await publisher.send(topic, key.encode(), json.dumps(document).encode())

    async def _step(
        self, publisher: Publisher, messages: list[Message], pause: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Publish a step, with a pause after each message; the prices of a day come after its first half."""
        for message in messages:
            await publisher.send(self.names.records, message.key, message.value)
            self.published += 1
            if pause is not None:
                await pause()
        self.steps += 1
        if self.steps >= self.days * STEPS_PER_DAY + STEPS_PER_DAY // 2:
            await self._next_day(publisher)

    async def _next_day(self, publisher: Publisher) -> None:
        await self._document(publisher, self.load.market_day(self.days))
        self.days += 1

    async def fill(self, publisher: Publisher, steps: Iterator[list[Message]]) -> None:
        """Publish the backlog at once, and wait until it is done."""
        while self.published < FILL_RECORDS * self.settings.partitions:
            await self._step(publisher, next(steps))
        await self._drain(publisher)

    async def run(self, publisher: Publisher, steps: Iterator[list[Message]]) -> None:
        """Publish at the rate, until the time is over and the step is whole."""
        began_s, before = time.monotonic(), self.published
        versions = self.version

        async def pause() -> None:
            rest_s = began_s + (self.published - before) / self.options.rate - time.monotonic()
            if rest_s > 0:
                await asyncio.sleep(max(rest_s, _TICK_S))
            now_s = time.monotonic() - began_s
            if self.probes < now_s * _PROBES_PER_SECOND:
                await self._probe(publisher)
            if now_s > 60 * (1 + self.version - versions):
                self.version += 1
                await self._document(publisher, self.load.changing(self.version))

        while time.monotonic() < began_s + 60 * self.options.minutes:
            await self._step(publisher, next(steps), pause)

    async def finish(self, publisher: Publisher) -> None:
        """Publish the prices of the days that have begun, and wait until all is done."""
        while self.days * STEPS_PER_DAY < self.steps:
            await self._next_day(publisher)
        await self._drain(publisher)

    async def _probe(self, publisher: Publisher) -> None:
        message = self.load.probe(self.probes)
        start = json.loads(message.value)["start_time"]
        self.prices.sent_s[message.key + f"||INBOUND|IMPORT|{start}".encode()] = time.perf_counter()
        await publisher.send(self.names.records, message.key, message.value)
        self.probes += 1
        self.published += 1

    async def _drain(self, publisher: Publisher) -> None:
        """Wait until nothing is left to do: no lag, and no more prices for longer than any is held back."""
        await publisher.flush()
        end_s = time.monotonic() + _DRAIN_S
        quiet_since_s, seen = time.monotonic(), -1
        while time.monotonic() - quiet_since_s < self.settings.emit_every_s + 2:
            if time.monotonic() > end_s:
                raise RuntimeError(f"after {_DRAIN_S:g} s there is still a lag of {await self.watch.lag()}")
            if await self.watch.lag() or self.prices.count != seen:
                quiet_since_s, seen = time.monotonic(), self.prices.count
            await asyncio.sleep(0.5)

    # Looking

    async def look(self) -> None:
        """Sample for ever, and print a line every minute (every tenth of a short run)."""
        every_s = min(60.0, 6 * self.options.minutes)
        began_s = printed_s = time.monotonic()
        before = await self.watch.sample(self.published, self.prices.count)
        print(_HEADINGS, flush=True)
        while True:
            await asyncio.sleep(min(_SAMPLE_EVERY_S, every_s))
            sample = await self.watch.sample(self.published, self.prices.count)
            self.samples.append(sample)
            if time.monotonic() - printed_s >= every_s - 1:
                printed_s = time.monotonic()
                print(_line(before, sample, (printed_s - began_s) / 60, self.prices.take_latencies()), flush=True)
                before = sample

    # Judging

    def growths(self) -> list[str]:
        """Print how memory and lag grew, and return what is too much."""
        first_s = self.samples[0].at_s + _SETTLING_SHARE * 60 * self.options.minutes
        judged = [sample for sample in self.samples if sample.at_s >= first_s]
        span_s = judged[-1].at_s - judged[0].at_s
        allowed_mb = max(ALLOWED_MB, ALLOWED_BYTES_PER_RECORD * self.options.rate * span_s / _MB)
        problems = []
        for number in range(len(self.workers)):
            grown_mb = growth([(sample.at_s, sample.memory_mb[number]) for sample in judged])
            sentence = (
                f"memory of worker {number + 1}: {grown_mb:+.1f} MB in {span_s / 60:.1f} minutes, "
                f"{grown_mb / span_s * 3600:+.0f} MB an hour (allowed {allowed_mb:.0f} MB in this time)"
            )
            print(sentence)
            if grown_mb > allowed_mb:
                problems.append(f"not flat: {sentence}")
        grown = growth([(sample.at_s, sample.lag) for sample in judged])
        sentence = (
            f"lag: {grown:+.0f} messages in {span_s / 60:.1f} minutes, at most {max(s.lag for s in judged)} "
            f"(allowed to grow by {ALLOWED_LAG_S * self.options.rate:.0f})"
        )
        print(sentence)
        if grown > ALLOWED_LAG_S * self.options.rate:
            problems.append(f"not flat: {sentence}")
        return problems

    async def compare(self) -> list[str]:
        """Price all of it again without Kafka, and return what differs."""
        problems = list(self.prices.wrong[:5])
        counts: Counter[str] = Counter()
        codes: Counter[str] = Counter()
        intervals, differing = 0, list[str]()
        for offline in self._offline():
            counts.update(offline.counts)
            codes.update(json.loads(refused)["error"] for refused in offline.rejected)
            intervals += len(offline.priced)
            for priced in offline.priced:
                key = json.loads(priced)["interval_id"].encode()
                found = self.prices.newest.get(key)
                if found is None or found[1] != digest(priced):
                    differing.append(
                        f"{key!r} is {'missing' if found is None else 'priced wrongly'}, expected {priced!r}"
                    )
        if intervals != len(self.prices.newest):
            problems.append(f"{len(self.prices.newest)} intervals are priced, {intervals} should be")
        totals, refused = await self.watch.totals(), await self.watch.refusals()
        decided = ("accepted", "rejected", "superseded", "duplicate")
        if any(totals[name] != counts[name] for name in ("input", *decided)) or totals["input"] != self.published:
            problems.append(f"{self.published} records published, counted {dict(totals)}, expected {dict(counts)}")
        if refused != codes:
            problems.append(f"refused {dict(refused)}, expected {dict(codes)}")
        print(
            f"exact: {intervals:,} intervals and {self.published:,} records compared with `price`: "
            + ", ".join(f"{counts[name]:,} {name}" for name in decided)
            + (f"; {len(differing):,} intervals differ" if differing else "")
        )
        return problems + differing

    def _offline(self) -> Iterator[OfflineResult]:
        """Yield what a pricing of each group of locations without Kafka gives."""
        documents = [*self.load.documents(), self.load.changing(self.version)]
        tariffs = [parse_tariff(each) for each in documents if "charges" in each]
        sites = [parse_location(each) for each in documents if "location_id" in each]
        series = [parse_series(self.load.market_day(day)) for day in range(self.days)]
        for first in range(0, self.options.locations, _GROUP):
            numbers = range(first, min(first + _GROUP, self.options.locations))
            steps = islice(self.load.steps(numbers), self.steps)
            yield price_offline((message.value for step in steps for message in step), sites, tariffs, series)
        yield price_offline((self.load.probe(number).value for number in range(self.probes)), sites, tariffs, series)

    def faults(self) -> list[str]:
        """Return what the logs of the workers say of faults."""
        return [
            f"{worker.log_path.name}: {line[:500]}"
            for worker in self.workers
            for line in worker.log_path.read_text(encoding="utf-8", errors="replace").splitlines()
            if any(f'"{event}"' in line for event in _FAULTS)
        ]


_HEADINGS: Final = (
    f"{'minute':>7} {'memory MB':>13} {'CPU %':>6} {'lag':>7} {'files':>9} {'store MB':>9} {'in/s':>7} {'out/s':>7} "
    f"{'p50 ms':>7} {'p99 ms':>7}"
)


def _line(before: Sample, now: Sample, minute: float, latencies_ms: tuple[float, float]) -> str:
    span_s = now.at_s - before.at_s
    memory = "+".join(f"{each:.0f}" for each in now.memory_mb)
    files = "+".join(map(str, now.open_files))
    cpu = 100 * (now.cpu_s - before.cpu_s) / span_s
    rates = [(now.records_in - before.records_in) / span_s, (now.prices_out - before.prices_out) / span_s]
    return (
        f"{minute:>7.1f} {memory:>13} {cpu:>6.0f} {now.lag:>7} {files:>9} {now.store_mb:>9.0f} "
        f"{rates[0]:>7.0f} {rates[1]:>7.0f} {latencies_ms[0]:>7.0f} {latencies_ms[1]:>7.0f}"
    )


async def soak(bootstrap_servers: str, options: Options) -> list[str]:
    """Run once, and return what was wrong."""
    with own_settings(bootstrap_servers, METERSTREAM_PARTITIONS=str(PARTITIONS), METERSTREAM_STORE_CACHE_MB="8") as (
        settings,
        environ,
    ):
        await create_topics(settings)
        folder = Path(settings.data_dir)
        stores = [folder / f"store-{number}" for number in range(options.workers)]
        workers: list[BenchWorker] = []
        run = Soak(settings, options, workers, stores)
        async with Publisher(bootstrap_servers) as publisher:
            await run.publish_documents(publisher)  # before the workers start: they read all of them first
        try:
            for number, store in enumerate(stores):
                own = environ | {"METERSTREAM_DATA_DIR": str(store)}
                workers.append(BenchWorker(own, folder / f"worker-{number + 1}.log"))
            for worker in workers:
                await asyncio.to_thread(worker.wait_until_open)
            problems = await _run(run)
        finally:
            statuses = [worker.stop() for worker in workers]
        return run.faults() + problems + [f"a worker ended with {status}" for status in statuses if status]


async def _run(run: Soak) -> list[str]:
    """Publish, look, and judge."""
    settings, steps, ready = run.settings, run.load.steps(), asyncio.Event()
    async with run.watch, Publisher(settings.bootstrap_servers) as publisher:
        reading = asyncio.create_task(watch_priced(settings, ready, run.prices.note))
        await ready.wait()
        try:
            began_s = time.monotonic()
            await run.fill(publisher, steps)
            print(f"backlog of {run.published:,} records done in {time.monotonic() - began_s:.0f} s", flush=True)
            looking = asyncio.create_task(run.look())
            publishing = asyncio.create_task(run.run(publisher, steps))
            done, _ = await asyncio.wait({looking, publishing}, return_when=asyncio.FIRST_COMPLETED)
            for task in (looking, publishing):
                task.cancel()
            await asyncio.gather(*done)
            await run.finish(publisher)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        return run.growths() + await run.compare()


def main(arguments: list[str] | None = None) -> None:
    """Run once; exit with 1 when something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=int, default=1000, help="records a second")
    parser.add_argument("--workers", type=int, choices=(1, 2), default=1)
    parser.add_argument("--locations", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = Options(**vars(parser.parse_args(arguments)))
    with broker() as bootstrap_servers:
        problems = asyncio.run(soak(bootstrap_servers, options))
    for problem in problems[:20]:
        print(problem)
    print(f"verdict: {f'{len(problems)} problems' if problems else 'flat, and exact'}", flush=True)
    if problems:
        sys.exit(1)


if __name__ == "__main__":
    main()
