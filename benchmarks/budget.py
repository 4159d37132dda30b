"""Where the time of a record goes: each stage of a partition by itself, on one core, beside the floors below which nobody can be.

The stages are the worker's own, on a store on the disk, over 15-minute records of many locations that become intervals of half an
hour: what is printed is CPU time in ns a record. Floors: to decode a record's JSON into a dict and make nothing of it, to fetch
the records from a broker, and to produce as many bytes as the worker does.
"""

import argparse
import asyncio
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition

from app.domain.reference import ReferenceBook
from app.settings import Settings
from app.streams.fetch import fetch_parsed
from app.streams.garbage import collect_rarely
from app.streams.held import Entry, HeldMarks
from app.streams.outbox import Outbox
from app.streams.pipeline import Context, Pipeline
from app.streams.sources import Log, OfflineMessage
from app.streams.store import PartitionStore, StoreCache
from app.streams.tables import (
    META_KEY,
    Changes,
    Meta,
    Tables,
    changelog_entries,
    live_limit,
    store_entries,
)
from app.streams.topics import topic_names
from app.wire.location import parse_location
from app.wire.record import decode_record
from app.wire.tariff import parse_tariff
from benchmarks.setting import (
    TARIFF,
    broker,
    location,
    own_settings,
    publish_portfolio,
    publish_records,
    record,
)

_CHUNK: Final = 2000
"""Records of a chunk, as a worker takes them."""

_CHUNKS_OF_A_TRANSACTION: Final = 3
_INTERVAL_BYTES: Final = 720
_PRICED_BYTES: Final = 760
_STATE_BYTES: Final = 150


T = TypeVar("T")


class Budget:
    """CPU seconds by name."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.seconds: Final[defaultdict[str, float]] = defaultdict(float)

    def spend(self, name: str, work: Callable[..., T], *given: Any) -> T:
        """Do something, and add what it took."""
        began_s = time.process_time()
        result = work(*given)
        self.seconds[name] += time.process_time() - began_s
        return result


def _chunks(messages: Sequence[OfflineMessage], size: int) -> Iterator[Sequence[OfflineMessage]]:
    for at in range(0, len(messages), size):
        yield messages[at : at + size]


async def measure_stages(locations: int, steps: int) -> dict[str, float]:
    """Return the ns a record of each stage."""
    settings = Settings()
    names, book, budget = topic_names(settings), ReferenceBook(), Budget()
    book.put_tariff(parse_tariff(TARIFF))
    for number in range(locations):
        book.put_location(parse_location(location(number)))
    values = [
        record(number, step, (number * 7 + step) % 1000 / 1000) for step in range(steps) for number in range(locations)
    ]
    # The broker gives the records of a batch one time.
    messages = [
        OfflineMessage(offset, 1_700_000_000_000 + offset // _CHUNK, None, value) for offset, value in enumerate(values)
    ]
    with tempfile.TemporaryDirectory(prefix="meterstream-bench-") as folder:
        store = PartitionStore(Path(folder) / "store", StoreCache(settings.store_cache_mb), "benchmark")
        tables = Tables(store, live_limit(settings.partitions))
        producer = AIOKafkaProducer(max_batch_size=settings.producer_max_batch_bytes)  # never started: it makes batches
        outbox = Outbox(producer, names, 0, settings.producer_max_batch_bytes)
        outputs: list[tuple[Any, ...]] = []
        context = Context(0, 1, names.records)
        pipeline = Pipeline(context, tables, book, _Kept(outputs), emit_every_s=settings.emit_every_s)
        pipeline.prices_at_once = True
        held = HeldMarks((), live_limit(settings.partitions))
        log, meta = Log(names.records, 0), msgspec.json.encode(Meta(lineage="benchmark"))
        for transaction in _chunks(messages, _CHUNK * _CHUNKS_OF_A_TRANSACTION):
            for chunk in _chunks(transaction, _CHUNK):
                budget.spend("decode", _decode, chunk)
                budget.spend("validate, bucket", pipeline.take_records, log, chunk)
            budget.spend("encode intervals, price, encode prices", pipeline.settle, 0.0)
            changes = tables.changes
            logged = budget.spend("encode states", changelog_entries, changes)
            budget.spend("put into batches", _put, outbox, outputs, logged, names.intervals_changelog)
            budget.spend("write the store", _store, store, logged, changes, held, meta)
            budget.spend("forget the transaction", tables.committed)
            outputs.clear()
            outbox._batches.clear()  # noqa: SLF001 - nobody sends them
            outbox._full.clear()  # noqa: SLF001
        store.close()
        await producer.stop()
    # Records are decoded twice, once by themselves: the pipeline's own decoding is the first stage.
    budget.seconds["validate, bucket"] -= budget.seconds["decode"]
    budget.spend("floor: JSON to a dict (orjson)", _read_json, values)
    return {name: seconds / len(values) * 1e9 for name, seconds in budget.seconds.items()}


def _decode(chunk: Sequence[OfflineMessage]) -> None:
    for message in chunk:
        decode_record(message.value)


def _store(store: PartitionStore, logged: list[Entry], changes: Changes, held: HeldMarks, meta: bytes) -> None:
    store.write([*store_entries(logged, changes), *held.take(logged, 0), (META_KEY, meta)], {})


def _read_json(values: Sequence[bytes]) -> None:
    for value in values:
        orjson.loads(value)


class _Kept:
    """A sink that keeps what is emitted."""

    def __init__(self, outputs: list[tuple[Any, ...]]) -> None:
        self._outputs: Final = outputs

    def emit(self, output: Any, key: bytes | None, value: bytes | None, **_: Any) -> None:
        """Keep an output."""
        self._outputs.append((output, key, value))

    def emit_all(self, output: Any, entries: list[Entry]) -> None:
        """Keep outputs."""
        self._outputs.extend([(output, key, value) for key, value in entries])


def _put(outbox: Outbox, outputs: list[tuple[Any, ...]], logged: list[Any], changelog: str) -> None:
    for output, key, value in outputs:
        outbox.emit(output, key, value)
    outbox.extend((changelog, 0), logged)
    for batch in (*(full for _, full in outbox._full), *outbox._batches.values()):  # noqa: SLF001 - as the producer does
        batch._build()  # noqa: SLF001


async def measure_floors(bootstrap_servers: str, locations: int, steps: int) -> dict[str, float]:
    """Return the ns a record of fetching, and of producing as much as a worker does, by the worker's own client."""
    with own_settings(bootstrap_servers) as (settings, _):
        await publish_portfolio(settings, 1)
        count = await publish_records(settings, locations, steps)
        return {
            "floor: fetch the records": await _fetch(settings, count) / count * 1e9,
            "floor: produce as many bytes": await _produce(settings, count) / count * 1e9,
        }


async def _fetch(settings: Settings, count: int) -> float:
    names = topic_names(settings)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers,
        max_partition_fetch_bytes=settings.fetch_max_bytes,
        fetch_max_bytes=8 * settings.fetch_max_bytes,
    )
    await consumer.start()
    try:
        tps = [TopicPartition(names.records, p) for p in range(settings.partitions)]
        consumer.assign(tps)
        await consumer.seek_to_beginning(*tps)
        seen, began_s = 0, time.process_time()
        while seen < count:
            seen += sum(map(len, (await fetch_parsed(consumer, set(tps), 0.5)).values()))
        return time.process_time() - began_s
    finally:
        await consumer.stop()


async def _produce(settings: Settings, count: int) -> float:
    """Produce an interval, its price and its state for every second record."""
    names = topic_names(settings)
    sizes = {names.intervals: _INTERVAL_BYTES, names.priced: _PRICED_BYTES, names.rejected: _STATE_BYTES}
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap_servers, max_batch_size=settings.producer_max_batch_bytes
    )
    await producer.start()
    try:
        began_s = time.process_time()
        sent = []
        for number in range(count // 2 // _CHUNK):
            for topic, size in sizes.items():
                batch = producer.create_batch()
                for place in range(_CHUNK):
                    if batch.append(timestamp=None, key=b"loc_%d" % place, value=b"x" * size) is None:
                        sent.append(await producer.send_batch(batch, topic, partition=number % settings.partitions))
                        batch = producer.create_batch()
                sent.append(await producer.send_batch(batch, topic, partition=number % settings.partitions))
        await asyncio.gather(*sent)
        return time.process_time() - began_s
    finally:
        await producer.stop()


def main(arguments: list[str] | None = None) -> None:
    """Print the least of some runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--locations", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=20, help="15-minute records of each location")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args(arguments)
    collect_rarely()  # as a worker does
    stages = [asyncio.run(measure_stages(options.locations, options.steps)) for _ in range(options.runs)]
    with broker() as bootstrap_servers:
        floors = [
            asyncio.run(measure_floors(bootstrap_servers, options.locations, options.steps))
            for _ in range(options.runs)
        ]
    least = {name: min(run[name] for run in runs) for runs in (stages, floors) for name in runs[0]}
    for name, nanoseconds in least.items():
        print(f"{name:40} {nanoseconds:8,.0f} ns a record")
    total = sum(nanoseconds for name, nanoseconds in least.items() if not name.startswith("floor"))
    print(f"{'all stages':40} {total:8,.0f} ns a record")


if __name__ == "__main__":
    main()
