"""What the tests on a real Kafka share: topics of their own, workers as processes, readers of committed records, a checker.

A `Stream` is one meterstream on a broker: its topics, a producer for records and documents, and a reader that gathers
everything that is committed. `Stream.verify` compares what came out with what `price_offline` makes of the same input.
"""

import asyncio
import contextlib
import json
import os
import re
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord, RecordMetadata, TopicPartition

from app.compose import OfflineResult, price_offline
from app.domain.locations import Location
from app.domain.partitioning import partition_for
from app.domain.tariffs import SeriesDay, Tariff
from app.settings import load_settings
from app.streams.security import client_options
from app.streams.topics import create_topics, topic_names
from app.wire.reference import parse_document
from tests.checker import DECIDED, Expected, require
from tests.making import Json, body_of, encoded, key_of, sequence_of
from tests.worker_process import WAIT_S, Worker

T = TypeVar("T")

_GRACE_S: Final = 5.0
"""How long to wait for what no running worker can bring any more."""


class Stream:
    """One meterstream on a broker. A context manager: entering creates the topics, leaving ends its workers."""

    def __init__(self, bootstrap_servers: str, folder: Path, *, partitions: int = 3, **settings: object) -> None:
        """Choose names that nobody else has; `settings` are those of the worker, such as `emit_every_s=1`."""
        name = uuid.uuid4().hex[:8]
        given = {
            "bootstrap_servers": bootstrap_servers,
            "app_id": f"test-{name}",
            "topic_prefix": f"{name}.",
            "data_dir": folder / "store",
            "partitions": partitions,
            "session_timeout_ms": 6000,
            "heartbeat_interval_ms": 1000,
            "log_format": "json",
            **settings,
        }
        self.environ: Final = {f"METERSTREAM_{key.upper()}": str(value) for key, value in given.items()}
        self.settings: Final = load_settings(self.environ)
        self.names: Final = topic_names(self.settings)
        self.folder: Final = folder
        self.workers: Final[list[Worker]] = []
        self.documents: Final[dict[str, Json]] = {}
        self.published: Final[list[bytes | None]] = []
        self._seen: dict[str, list[ConsumerRecord]] = {topic: [] for topic in self._outputs}
        self._newest: dict[str, tuple[int, bytes]] = {}
        self._newest_up_to = 0
        self._news = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._producer: AIOKafkaProducer
        self._reader: asyncio.Task[None]

    @property
    def _outputs(self) -> tuple[str, ...]:
        names = self.names
        return (names.intervals, names.priced, names.rejected, names.records_by_location, names.intervals_changelog)

    def __enter__(self) -> Self:
        """Create the topics and connect."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        self._run(create_topics(self.settings))
        self._producer = self._run(self._connect())
        return self

    def __exit__(self, *_: object) -> None:
        """End the workers that still run, and disconnect."""
        for worker in self.workers:
            worker.kill()
        with contextlib.suppress(TimeoutError):
            self._run(self._disconnect(), timeout_s=10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, T], timeout_s: float = 90) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout_s)

    async def _connect(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            **client_options(self.settings),
            enable_idempotence=True,
            acks="all",
            max_request_size=32 * 1024 * 1024,
            max_batch_size=256 * 1024,
        )
        await producer.start()
        self._reader = asyncio.create_task(self._read())
        return producer

    async def _disconnect(self) -> None:
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        await self._producer.stop()

    # Workers

    def _worker_environ(self, settings: Mapping[str, object]) -> dict[str, str]:
        """Return the environment of a worker whose settings differ from the stream's own."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("METERSTREAM_")}
        own = {f"METERSTREAM_{key.upper()}": str(value) for key, value in settings.items()}
        return inherited | self.environ | own

    def worker(
        self, *command: str, started: bool = True, environ: Mapping[str, str] | None = None, **settings: object
    ) -> Worker:
        """Start a worker (`meterstream worker`, or another command of Python), and wait until it is at work."""
        arguments = command or ("-m", "app.cli", "worker")
        log_path = self.folder / f"worker-{len(self.workers)}.log"
        worker = Worker([sys.executable, *arguments], self._worker_environ(settings) | dict(environ or {}), log_path)
        self.workers.append(worker)
        return worker.await_started() if started else worker

    # Input

    def partition_of(self, location_id: str) -> int:
        """Return the partition in which everything about a location has to be."""
        return partition_for(location_id, self.settings.partitions)

    def partition_not_of(self, *location_ids: str) -> int:
        """Return a partition that belongs to none of some locations."""
        own = {self.partition_of(location_id) for location_id in location_ids}
        return next(p for p in range(self.settings.partitions) if p not in own)

    def publish(
        self,
        *values: Json | list[Json] | bytes | None,
        key: bytes | str | None = "",
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> list[RecordMetadata]:
        """Publish messages to `meter.records` in order; keyed by location_id, and timed now, where nothing else is said."""
        return self._run(self._publish(values, key, partition, timestamp_ms))

    async def _publish(
        self,
        values: Iterable[Json | list[Json] | bytes | None],
        key: bytes | str | None,
        partition: int | None,
        timestamp_ms: int | None,
    ) -> list[RecordMetadata]:
        waiting = []
        for value in values:
            raw = encoded(value)
            own = key_of(value) if key == "" else key
            key_bytes = own.encode() if isinstance(own, str) else own
            self.published.append(raw)
            waiting.append(await self._producer.send(self.names.records, raw, key_bytes, partition, timestamp_ms))
        await self._producer.flush()
        return [await each for each in waiting]

    def load(self, *documents: Json) -> None:
        """Publish reference documents."""
        self._run(self._load([(_topic_and_key(self.names, each), each) for each in documents]))

    async def _load(self, documents: list[tuple[tuple[str, str], Json]]) -> None:
        for (topic, key), document in documents:
            self.documents[f"{topic}/{key}"] = document
            await self._producer.send(topic, encoded(document), key.encode())
        await self._producer.flush()

    def load_raw(self, topic: str, key: str, value: bytes | None, partition: int | None = None) -> None:
        """Publish anything to a topic of documents, or to a partition of any topic; None deletes."""
        if value is None:
            self.documents.pop(f"{topic}/{key}", None)
        self._run(self._producer.send_and_wait(topic, value, key.encode(), partition=partition))

    # Output

    async def _read(self) -> None:
        """Gather what is committed on the output topics, for as long as the stream lives."""
        consumer = await self._consumer()
        try:
            while True:
                try:
                    fetched = await consumer.getmany(timeout_ms=200)
                except KafkaError:
                    await asyncio.sleep(0.1)  # the broker may be away: that is what some tests are about
                    continue
                with self._news:
                    for tp, records in fetched.items():
                        self._seen[tp.topic].extend(records)
                    self._news.notify_all()
        finally:
            await consumer.stop()

    async def _consumer(self) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            **client_options(self.settings),
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=100,
            max_partition_fetch_bytes=4 * 1024 * 1024,
        )
        await consumer.start()
        partitions = range(self.settings.partitions)
        consumer.assign([TopicPartition(topic, partition) for topic in self._outputs for partition in partitions])
        return consumer

    def read_again(self) -> None:
        """Read everything from the beginning once more, as a new consumer would: it is what was gathered."""
        seen = self._run(self._read_to_the_end(), timeout_s=300)
        with self._news:
            before = {topic: len(records) for topic, records in self._seen.items()}
            now = {topic: len(records) for topic, records in seen.items()}
            assert now == before, f"a new reader finds {now} records, the first one found {before}"
            for topic, records in seen.items():
                assert _by_place(records) == _by_place(self._seen[topic]), f"{topic} says other things to a new reader"

    async def _read_to_the_end(self) -> dict[str, list[ConsumerRecord]]:
        consumer = await self._consumer()
        seen: dict[str, list[ConsumerRecord]] = {topic: [] for topic in self._outputs}
        try:
            ends = await consumer.end_offsets(list(consumer.assignment()))
            behind = {tp for tp, end in ends.items() if end > 0}
            while behind:
                for tp, records in (await consumer.getmany(timeout_ms=100)).items():
                    seen[tp.topic].extend(records)
                behind = {tp for tp in behind if await consumer.position(tp) < ends[tp]}
        finally:
            await consumer.stop()
        return seen

    def seen(self, topic: str) -> list[ConsumerRecord]:
        """Return the committed records of an output topic so far."""
        with self._news:
            return list(self._seen[topic])

    def priced(self, location_id: str) -> list[Json]:
        """Return what was published on meter.priced about a location, in order."""
        return self._about(self.names.priced, location_id)

    def intervals(self, location_id: str) -> list[Json]:
        """Return what was published on meter.intervals about a location, in order."""
        return self._about(self.names.intervals, location_id)

    def _about(self, topic: str, location_id: str) -> list[Json]:
        prefix = f"{location_id}|".encode()
        return [json.loads(each.value) for each in self.seen(topic) if each.value and each.key.startswith(prefix)]

    def rejected(self, location_id: str | None = None) -> list[Json]:
        """Return what was refused (of a location), in order within each partition."""
        refused = [json.loads(each.value) for each in self.seen(self.names.rejected)]
        return [each for each in refused if location_id in (None, each["location_id"])]

    def refusals_at(self, *places: RecordMetadata) -> list[Json]:
        """Return what was refused of some published messages."""
        wanted = {(place.topic, place.partition, place.offset) for place in places}
        return [each for each in self.rejected() if (each["topic"], each["partition"], each["offset"]) in wanted]

    def totals(self) -> Counter[str]:
        """Return the partitions' committed totals, as the changelog has them."""
        newest: dict[int, bytes] = {}
        for each in reversed(self.seen(self.names.intervals_changelog)):
            if each.key == b"#meta":
                newest.setdefault(each.partition, each.value)
            if len(newest) == self.settings.partitions:
                break
        totals: Counter[str] = Counter()
        for value in newest.values():
            totals.update(json.loads(value)["metrics"])
        return totals

    def wait(self, found: Callable[[], T], what: str, timeout_s: float = WAIT_S) -> T:
        """Wait until `found` returns something true, and return it; fail with what was waited for."""
        began_s = time.monotonic()
        while True:
            asked_s = time.monotonic()
            result = found()
            if result:
                return result
            now_s = time.monotonic()
            if now_s - began_s > timeout_s or (now_s - began_s > _GRACE_S and self._all_workers_ended()):
                break
            time.sleep(2 * (now_s - asked_s))  # what is costly to ask is asked less often
            with self._news:
                self._news.wait(0.1)
        logs = "\n".join(f"--- {worker.log_path.name}\n{worker.log_tail()}" for worker in self.workers[-2:])
        pytest.fail(f"not within {timeout_s:g} s: {what}\n{logs}")

    def _all_workers_ended(self) -> bool:
        return bool(self.workers) and all(worker.exit_code is not None for worker in self.workers)

    # The check

    def offline(self) -> OfflineResult:
        """Price everything that was published without Kafka, with the documents as they are now."""
        parsed = [parse_document(json.dumps(each)) for each in self.documents.values()]
        return price_offline(
            self.published,  # type: ignore[arg-type] - a message may have no value
            [each for each in parsed if isinstance(each, Location)],
            [each for each in parsed if isinstance(each, Tariff)],
            [each for each in parsed if isinstance(each, SeriesDay)],
        )

    def verify(self, timeout_s: float = 90.0, quiet_s: float = 1.0, *, reference: bool = True) -> None:
        """Wait until all that was published is decided and priced; then require that everything is right.

        Right: the newest record of every interval says byte for byte what `price_offline` says, but for submitted_at and
        sequence; no sequence stands twice or is left out; the same was refused; and the totals account for every record.
        With `reference` also that every interval and price is what a slow reference says, which shares no code with the
        product: about ten seconds for each 20,000 records. It needs locations that stayed as they are, and records whose
        order matters only within a partition.
        """
        offline = self.offline()
        expected = {_id_of(value): body_of(value) for value in offline.priced}
        self.wait(
            lambda: (
                sum(self.totals()[name] for name in DECIDED) >= offline.counts["input"]
                and len(self.newest_priced()) >= len(expected)
            ),
            f"{offline.counts['input']} records decided and {len(expected)} intervals priced",
            timeout_s,
        )
        self._await_prices(expected, timeout_s)
        time.sleep(quiet_s)
        self.read_again()
        self.check_sequences()
        self._check_prices(expected)
        self._check_refusals(offline)
        totals = self.totals()
        counted = {name: totals[name] for name in ("input", *DECIDED)}
        assert counted == {name: offline.counts[name] for name in ("input", *DECIDED)}
        assert totals["input"] == sum(totals[name] for name in DECIDED)
        if reference:
            self.check_against_the_reference()

    def check_against_the_reference(self) -> None:
        """Require that everything is what the slow reference makes of the same input, to the last digit."""
        expected = Expected.of_log(self.published, self.documents.values())
        intervals = {each.key.decode(): each.value for each in self.seen(self.names.intervals)}
        require(expected.intervals_problems(intervals), "the newest intervals against the reference")
        priced = {interval_id: body + b"}" for interval_id, body in self.newest_priced().items()}
        require(expected.priced_problems(priced), "the newest prices against the reference")
        refused = (each.value for each in self.seen(self.names.rejected))
        require(expected.refusals_problems(refused, with_places=False), "refusals against the reference")
        require(expected.counts_problems(self.totals()), "the totals against the reference")

    def check_a_sample_against_the_reference(self, location_ids: Collection[str]) -> None:
        """Require of some locations that all their intervals and prices are what the slow reference makes of their messages."""
        named = re.compile(b"|".join(f'"{location_id}"'.encode() for location_id in location_ids))
        messages = [raw for raw in self.published if raw is not None and named.search(raw)]
        documents = [one for one in self.documents.values() if one.get("location_id", "") in ("", *location_ids)]
        expected = Expected.of_log(messages, documents)  # the records of others have no location there
        newest = {each.key.decode(): each.value for each in self.seen(self.names.intervals)}
        require(
            expected.intervals_problems(_of_locations(location_ids, newest)),
            "intervals of a sample against the reference",
        )
        priced = {interval_id: body + b"}" for interval_id, body in self.newest_priced().items()}
        require(
            expected.priced_problems(_of_locations(location_ids, priced)), "prices of a sample against the reference"
        )

    def _await_prices(self, expected: dict[str, bytes], timeout_s: float) -> None:
        """Wait until the prices are as expected, or nothing has come for longer than anything may be held back."""
        began_s = quiet_since_s = time.monotonic()
        count = 0
        while self.newest_priced() != expected and time.monotonic() - began_s < timeout_s:
            now = sum(map(len, self._seen.values()))
            if now != count:
                count, quiet_since_s = now, time.monotonic()
            if time.monotonic() - quiet_since_s > 2 * self.settings.emit_every_s + 5:
                return
            time.sleep(0.2)

    def newest_priced(self) -> dict[str, bytes]:
        """Return what the priced records with the highest sequences say, by interval id, without their tails.

        What was deleted is not among them.
        """
        with self._news:
            records, newest = self._seen[self.names.priced], self._newest
            for each in records[self._newest_up_to :]:
                if each.value is None:
                    newest.pop(each.key.decode(), None)
                    continue
                interval_id, sequence = each.key.decode(), sequence_of(each.value)
                if interval_id not in newest or newest[interval_id][0] < sequence:
                    newest[interval_id] = (sequence, body_of(each.value))
            self._newest_up_to = len(records)
            return {interval_id: body for interval_id, (_, body) in newest.items()}

    def check_sequences(self) -> None:
        """Require that each interval's sequences are 1, 2, 3 … in the one partition of its location, and none after deletion."""
        last: Counter[str] = Counter()
        deleted: set[str] = set()
        for each in self.seen(self.names.priced):
            interval_id = each.key.decode()
            assert each.partition == self.partition_of(interval_id.split("|")[0]), interval_id
            assert interval_id not in deleted, f"{interval_id} came back"
            if each.value is None:
                deleted.add(interval_id)
                continue
            assert json.loads(each.value)["interval_id"] == interval_id
            sequence = sequence_of(each.value)
            assert sequence == last[interval_id] + 1, f"{interval_id}: sequence {sequence} after {last[interval_id]}"
            last[interval_id] = sequence

    def _check_prices(self, expected: dict[str, bytes]) -> None:
        found = self.newest_priced()
        missing, more = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
        assert not missing, f"{len(missing)} intervals are missing, such as {missing[:3]}"
        assert not more, f"{len(more)} intervals should not be there, such as {more[:3]}"
        wrong = [key for key in sorted(expected) if found[key] != expected[key]]
        shown = "".join(f"\n  found    {found[key]!r}\n  expected {expected[key]!r}" for key in wrong[:3])
        assert not wrong, f"{len(wrong)} of {len(expected)} priced records are wrong:{shown}"

    def _check_refusals(self, offline: OfflineResult) -> None:
        found = Counter(map(_refusal, (each.value for each in self.seen(self.names.rejected))))
        expected = Counter(map(_refusal, offline.rejected))
        assert found == expected, f"refused too much: {found - expected}; not refused: {expected - found}"


def _refusal(value: bytes) -> tuple[object, ...]:
    refused = json.loads(value)
    return tuple(refused[name] for name in ("error", "message", "record_num", "location_id", "raw", "raw_encoding"))


def _by_place(records: list[ConsumerRecord]) -> dict[tuple[int, int], tuple[bytes, bytes | None]]:
    return {(each.partition, each.offset): (each.key, each.value) for each in records}


def _of_locations(location_ids: Collection[str], by_id: dict[str, bytes]) -> dict[str, bytes]:
    return {interval_id: value for interval_id, value in by_id.items() if interval_id.split("|")[0] in location_ids}


def _id_of(priced: bytes) -> str:
    interval_id: str = json.loads(priced)["interval_id"]
    return interval_id


def _topic_and_key(names: Any, document: Json) -> tuple[str, str]:
    if "points" in document:
        return names.series, f"{document['series_id']}/{document['points'][0]['start_time'][:10]}"
    if "charges" in document:
        return names.tariffs, document["tariff_id"]
    return names.locations, document["location_id"]
