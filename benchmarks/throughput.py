"""Throughput: 15-minute records of many locations, from `meter.records` to `meter.priced`, on one worker.

Beside it, in the same run, a bare loop: the same client reads the same records, decodes them and writes as many bytes, without
state, transactions or prices. The ratio of the two is what can be compared between machines; times cannot.
"""

import argparse
import asyncio
import time
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition

from app.settings import Settings
from app.streams.topics import topic_names
from app.wire.record import decode_record
from benchmarks.setting import (
    BenchWorker,
    Progress,
    broker,
    own_settings,
    publish_portfolio,
    publish_records,
    read_all,
)

_PRICED_BYTES = 760
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


async def measure(bootstrap_servers: str, locations: int, steps: int, partitions: int = PARTITIONS) -> dict[str, float]:
    """Run both sides once, and check the worker's answer."""
    with own_settings(bootstrap_servers, METERSTREAM_PARTITIONS=f"{partitions}") as (settings, environ):
        await publish_portfolio(settings, locations)
        count = await publish_records(settings, locations, steps)
        worker = BenchWorker(environ, Path(settings.data_dir) / "worker.log")
        try:
            await asyncio.to_thread(worker.wait_until_open)
            cpu_s, wall_s = worker.cpu_s(), time.monotonic()
            await Progress(settings).wait_until_done()
            cpu_s, wall_s = worker.cpu_s() - cpu_s, time.monotonic() - wall_s
            memory_mb = worker.peak_memory_mb()
        finally:
            worker.stop()
        priced = await read_all(settings, topic_names(settings).priced)
        complete = sum(b'"complete":true' in record.value for record in priced)
        expected = locations * steps // 2
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


def main(arguments: list[str] | None = None) -> None:
    """Print the figures of some runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--locations", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=20, help="15-minute records of each location")
    parser.add_argument("--partitions", type=int, default=PARTITIONS)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args(arguments)
    with broker() as bootstrap_servers:
        for run in range(options.runs):
            figures = asyncio.run(measure(bootstrap_servers, options.locations, options.steps, options.partitions))
            print(f"throughput run {run + 1}: " + "  ".join(f"{k}={v:,.1f}" for k, v in figures.items()), flush=True)


if __name__ == "__main__":
    main()
