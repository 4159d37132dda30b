"""Throughput: 15-minute records of many locations, from `meter.records` to `meter.priced`, on one worker or several.

Beside it, in the same run, a bare loop: the same client reads the same records, decodes them and writes as many bytes, without
state, transactions or prices. The ratio of the two is what can be compared between machines; times cannot.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition

from app.settings import Settings
from app.streams.topics import topic_names
from app.wire.record import decode_record
from benchmarks.setting import (
    QUARTER_S,
    TELEMETRY_S,
    BenchWorker,
    Progress,
    broker,
    own_settings,
    publish_portfolio,
    publish_records,
    read_all,
)

_PRICED_BYTES = 760
_INTERVAL_S: Final = 1800
PARTITIONS: Final = Settings().partitions


async def bare_loop(settings: Settings, expected: int) -> float:
    """Read, decode, and write a message of the usual size for every second record; return the CPU seconds it took."""
    names = topic_names(settings)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers, max_partition_fetch_bytes=settings.fetch_max_bytes
    )
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers, max_batch_size=1_048_576)
    await consumer.start()
    await producer.start()
    try:
        tps = [TopicPartition(names.records, p) for p in range(settings.partitions)]
        consumer.assign(tps)
        await consumer.seek_to_beginning(*tps)
        value, seen = b"x" * _PRICED_BYTES, 0
        began_s = time.process_time()
        sent: list[Any] = []
        while seen < expected:
            for tp, records in (await consumer.getmany(timeout_ms=500, max_records=5000)).items():
                batch = producer.create_batch()
                for number, record in enumerate(records):
                    decode_record(record.value)
                    if number % 2 and batch.append(timestamp=None, key=record.key, value=value) is None:
                        sent.append(await producer.send_batch(batch, names.rejected, partition=tp.partition))
                        batch = producer.create_batch()
                sent.append(await producer.send_batch(batch, names.rejected, partition=tp.partition))
                seen += len(records)
        await asyncio.gather(*sent)
        return time.process_time() - began_s
    finally:
        await producer.stop()
        await consumer.stop()


class Load(NamedTuple):
    """What is measured: so many records of each location, and who reads them."""

    locations: int = 10_000
    steps: int = 20
    partitions: int = PARTITIONS
    workers: int = 1
    seconds: int = QUARTER_S
    interpreter: str = sys.executable


async def measure(bootstrap_servers: str, load: Load) -> dict[str, float]:
    """Run both sides once, and check the workers' answer."""
    more = {"METERSTREAM_PARTITIONS": f"{load.partitions}", "METERSTREAM_SESSION_TIMEOUT_MS": "600000"}
    with own_settings(bootstrap_servers, **more) as (settings, environ):
        await publish_portfolio(settings, load.locations)
        alone, count = load.workers == 1, 0
        if alone:
            count = await publish_records(settings, load.locations, load.steps, load.seconds)
        with _started(load, environ, Path(settings.data_dir)) as workers:
            if not alone:
                # They share the partitions out before there is anything to do, and stand still until there is.
                for worker in workers:
                    worker.pause()
                count = await publish_records(settings, load.locations, load.steps, load.seconds)
            cpu_s, wall_s = sum(worker.cpu_s() for worker in workers), time.monotonic()
            for worker in workers:
                worker.go_on()
            await Progress(settings).wait_until_done()
            cpu_s, wall_s = sum(worker.cpu_s() for worker in workers) - cpu_s, time.monotonic() - wall_s
            memory_mb = max(worker.peak_memory_mb() for worker in workers)
        priced = await read_all(settings, topic_names(settings).priced)
        complete = sum(b'"complete":true' in record.value for record in priced)
        expected = load.locations * (load.steps * load.seconds // _INTERVAL_S)
        if complete != expected:
            message = f"{complete} complete intervals were priced, expected {expected}"
            raise AssertionError(message)
        bare_s = await bare_loop(settings, count)
        return {
            "records": count,
            "records_per_second": count / wall_s,
            "records_per_cpu_second": count / cpu_s,
            "cpu_us_per_record": cpu_s / count * 1e6,
            "bare_loop_cpu_us_per_record": bare_s / count * 1e6,
            "ratio_to_bare_loop": cpu_s / bare_s,
            "peak_memory_mb": memory_mb,
            "priced_published": len(priced),
        }


@contextmanager
def _started(load: Load, environ: dict[str, str], folder: Path) -> Iterator[list[BenchWorker]]:
    """Lend workers that have opened all partitions among them."""
    workers: list[BenchWorker] = []
    try:
        for number in range(load.workers):
            own = environ | {"METERSTREAM_DATA_DIR": str(folder / f"{number}")}
            workers.append(BenchWorker(own, folder / f"worker-{number}.log", load.interpreter))
        for worker in workers:
            worker.wait_until_open()
        yield workers
    finally:
        for worker in workers:
            worker.go_on()
            worker.stop()


def main(arguments: list[str] | None = None) -> None:
    """Print the figures of some runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--locations", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=20, help="records of each location")
    parser.add_argument("--partitions", type=int, default=PARTITIONS)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument(
        "--telemetry", action="store_true", help="records of 5 seconds in W, in place of a quarter of an hour"
    )
    parser.add_argument(
        "--python", default=sys.executable, metavar="PATH", help="run the workers with another interpreter"
    )
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args(arguments)
    seconds = TELEMETRY_S if options.telemetry else QUARTER_S
    load = Load(options.locations, options.steps, options.partitions, options.workers, seconds, options.python)
    with broker() as bootstrap_servers:
        for run in range(options.runs):
            figures = asyncio.run(measure(bootstrap_servers, load))
            print(f"throughput run {run + 1}: " + "  ".join(f"{k}={v:,.1f}" for k, v in figures.items()), flush=True)


if __name__ == "__main__":
    main()
