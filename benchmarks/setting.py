"""What the benchmarks share: a broker, topics of their own, a portfolio, records, and a worker whose CPU time is read."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError
from aiokafka.structs import TopicPartition

from app.domain.instants import format_instant
from app.local.resolve import choose_broker
from app.settings import Settings, load_settings
from app.streams.publish import Publisher
from app.streams.topics import TopicNames, create_topics, topic_names

START_US: Final = 1_740_787_200 * 1_000_000
"""2025-03-01T00:00:00Z."""

STEP_US: Final = 900 * 1_000_000
_CLOCK_TICKS: Final = os.sysconf("SC_CLK_TCK")
TARIFF: Final[dict[str, Any]] = {
    "tariff_id": "tou",
    "version": 1,
    "direction": "IMPORT",
    "currency": "GBP",
    "timezone": "Europe/London",
    "taxes": [{"name": "VAT", "rate": "0.05"}],
    "charges": [
        {
            "charge_id": "energy",
            "kind": "energy",
            "bands": [
                {
                    "name": "peak",
                    "when": [{"days": ["MON", "TUE", "WED", "THU", "FRI"], "start": "16:00", "end": "19:00"}],
                    "tiers": [{"up_to_kwh": None, "rate": "0.38"}],
                },
                {
                    "name": "night",
                    "when": [{"start": "00:30", "end": "04:30"}],
                    "tiers": [{"up_to_kwh": None, "rate": "0.09"}],
                },
                {"name": "day", "when": [], "tiers": [{"up_to_kwh": None, "rate": "0.24"}]},
            ],
        }
    ],
}


@contextmanager
def broker() -> Iterator[str]:
    """Lend the bootstrap servers of a broker: the one in the environment, or a local one for as long as this runs."""
    with tempfile.TemporaryDirectory(prefix="meterstream-bench-") as folder:
        chosen = choose_broker(Path(folder))
        chosen.start()
        try:
            yield chosen.bootstrap_servers
        finally:
            chosen.stop()


@contextmanager
def own_settings(bootstrap_servers: str, **overrides: str) -> Iterator[tuple[Settings, dict[str, str]]]:
    """Lend settings with topics and a data folder of their own, and the environment that leads to them."""
    with tempfile.TemporaryDirectory(prefix="meterstream-bench-") as folder:
        prefix = f"bench-{uuid.uuid4().hex[:8]}."
        environ = {
            "METERSTREAM_BOOTSTRAP_SERVERS": bootstrap_servers,
            "METERSTREAM_TOPIC_PREFIX": prefix,
            "METERSTREAM_APP_ID": f"{prefix}app",
            "METERSTREAM_DATA_DIR": folder,
            "METERSTREAM_LOG_FORMAT": "json",
            **overrides,
        }
        settings = load_settings(environ)
        yield settings, environ


def location(number: int) -> dict[str, Any]:
    """Return the document of one location of the portfolio."""
    link = {"direction": "IMPORT", "tariff_id": "tou", "valid_from": None, "valid_to": None}
    return {
        "location_id": f"loc_{number}",
        "timezone": "Europe/London",
        "interval_minutes": 30,
        "max_power_kw": "100",
        "tariffs": [link],
    }


def record(number: int, step: int, value: float, minutes: int = 15) -> bytes:
    """Return one record in the public format, about 300 bytes."""
    return _record(number, step, value, minutes * 60, "KWH")


def _record(number: int, step: int, value: float, seconds: int, units: str) -> bytes:
    start_us = START_US + step * seconds * 1_000_000
    return json.dumps(
        {
            "location_id": f"loc_{number}",
            "device_id": None,
            "session_reference_id": None,
            "record_reference_id": f"MET-{number}-{step}",
            "energy_flow_direction": "INBOUND",
            "tariff_direction": "IMPORT",
            "units": units,
            "confidence": 1,
            "value": value,
            "start_time": format_instant(start_us),
            "end_time": format_instant(start_us + seconds * 1_000_000),
        },
        separators=(",", ":"),
    ).encode()


async def publish_portfolio(settings: Settings, locations: int) -> None:
    """Create the topics and publish the documents."""
    await create_topics(settings)
    names = topic_names(settings)
    async with Publisher(settings.bootstrap_servers) as publisher:
        for number in range(locations):
            document = location(number)
            await publisher.send(names.locations, document["location_id"].encode(), json.dumps(document).encode())
        await publisher.send(names.tariffs, b"tou", json.dumps(TARIFF).encode())


QUARTER_S: Final = 900
TELEMETRY_S: Final = 5


async def publish_records(settings: Settings, locations: int, steps: int, seconds: int = QUARTER_S) -> int:
    """Publish one record for each location and step, in the order of time, and return how many there are.

    They hold energy; those of five seconds, as telemetry does, the power in W.
    """
    names, chance = topic_names(settings), random.Random(1)  # noqa: S311 - not for secrets
    units, most = ("W", 5000) if seconds == TELEMETRY_S else ("KWH", 1)
    async with Publisher(settings.bootstrap_servers) as publisher:
        for step in range(steps):
            for number in range(locations):
                value = _record(number, step, round(chance.random() * most, 3), seconds, units)
                await publisher.send(names.records, f"loc_{number}".encode(), value)
    return locations * steps


class BenchWorker:
    """A worker process, and the CPU time that it has used."""

    def __init__(self, environ: dict[str, str], log_path: Path, interpreter: str = sys.executable) -> None:
        """Start it."""
        self.log_path = log_path
        self._log = log_path.open("wb")
        command = [interpreter, "-m", "app.cli", "worker"]
        self._process = subprocess.Popen(command, env={**os.environ, **environ}, stderr=self._log, stdout=self._log)

    def cpu_s(self) -> float:
        """Return the CPU time of the process so far, user and system."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS

    def peak_memory_mb(self) -> float:
        """Return the largest resident memory so far in MB."""
        return self._status_mb("VmHWM")

    def memory_mb(self) -> float:
        """Return the resident memory in MB."""
        return self._status_mb("VmRSS")

    def _status_mb(self, name: str) -> float:
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def open_files(self) -> int:
        """Return how many file descriptors the process has open, sockets among them."""
        return len(list(Path(f"/proc/{self._process.pid}/fd").iterdir()))

    @property
    def exit_code(self) -> int | None:
        """The exit status, or None while it runs."""
        return self._process.poll()

    def wait_until_open(self, timeout_s: float = 60.0) -> None:
        """Wait until the worker has opened its partitions."""
        end_s = time.monotonic() + timeout_s
        while "partitions_opened" not in self.log_path.read_text():
            if time.monotonic() > end_s or self._process.poll() is not None:
                raise RuntimeError(self.log_path.read_text()[-2000:])
            time.sleep(0.02)

    def pause(self) -> None:
        """Let it stand still; for less than its session timeout, or it is taken for dead."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it run again."""
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        """End it, and return its exit status."""
        self._process.terminate()
        status = self._process.wait(20)
        self._log.close()
        return status


class Progress:
    """How far a worker has committed, asked of the broker."""

    def __init__(self, settings: Settings) -> None:
        """Ask about the group of a settings' worker."""
        self._settings = settings
        self._names: TopicNames = topic_names(settings)

    async def wait_until_done(self, poll_s: float = 0.25) -> None:
        """Wait until every record is bucketed and every interval priced: nothing is left on either topic."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self._settings.bootstrap_servers)
        consumer = AIOKafkaConsumer(bootstrap_servers=self._settings.bootstrap_servers)
        await admin.start()
        await consumer.start()
        try:
            while not await self._is_done(admin, consumer):  # noqa: ASYNC110 - the broker cannot call back
                await asyncio.sleep(poll_s)
        finally:
            await consumer.stop()
            await admin.close()

    async def _is_done(self, admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer) -> bool:
        partitions = range(self._settings.partitions)
        records = [TopicPartition(self._names.records, p) for p in partitions]
        intervals = [TopicPartition(self._names.intervals, p) for p in partitions]
        try:
            committed = await admin.list_consumer_group_offsets(self._settings.app_id)
        except GroupCoordinatorNotAvailableError:  # the first group of a broker takes it a moment
            return False
        ends = await consumer.end_offsets([*records, *intervals])
        # The last offset of `meter.intervals` is a transaction marker, which nobody commits a position behind.
        return all(tp in committed and committed[tp].offset >= ends[tp] for tp in records if ends[tp]) and all(
            tp in committed and committed[tp].offset >= ends[tp] - 1 for tp in intervals if ends[tp]
        )


async def read_all(settings: Settings, topic: str, last: int | None = None) -> list[Any]:
    """Return the committed records of a topic, or what of them stands in the last so many offsets of a partition."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",  # a reset to the end could win over the seek to the beginning
    )
    await consumer.start()
    try:
        tps = [TopicPartition(topic, p) for p in range(settings.partitions)]
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        for tp in tps:
            consumer.seek(tp, 0 if last is None else max(0, ends[tp] - last))
        found: list[Any] = []
        while any([await consumer.position(tp) < ends[tp] for tp in tps]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found.extend(records)
        return found
    finally:
        await consumer.stop()


async def watch_priced(settings: Settings, ready: asyncio.Event, note: Callable[[Sequence[Any], float], None]) -> None:
    """Read committed priced records for ever, and tell when they arrived."""
    consumer = AIOKafkaConsumer(
        topic_names(settings).priced,
        bootstrap_servers=settings.bootstrap_servers,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        fetch_max_wait_ms=50,
    )
    await consumer.start()
    ready.set()
    try:
        while True:
            fetched = await consumer.getmany(timeout_ms=100)
            now_s = time.perf_counter()
            for records in fetched.values():
                note(records, now_s)
    finally:
        await consumer.stop()
