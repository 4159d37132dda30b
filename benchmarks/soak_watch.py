"""What a soak looks at: the workers from outside, their lag, and every price that they publish."""

import hashlib
import json
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import TopicPartition

from app.settings import Settings
from app.streams.topics import topic_names
from app.wire.rejected import decode_rejected
from benchmarks.setting import BenchWorker, read_all

MB: Final = 1024 * 1024
_TAIL: Final = b',"submitted_at":"'
_SEQUENCE: Final = b',"sequence":'
_META: Final = b"#meta"


class Sample(NamedTuple):
    """What was seen at one moment; of several workers, one after the other."""

    at_s: float
    memory_mb: tuple[float, ...]
    cpu_s: float
    open_files: tuple[int, ...]
    store_mb: float
    lag: int
    records_in: int
    prices_out: int


def median_slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the median of the slopes between all pairs of points: a pause of the machine does not tilt it."""
    slopes = [(right[1] - left[1]) / (right[0] - left[0]) for left, right in combinations(points, 2)]
    return statistics.median(slopes) if slopes else 0.0


def growth(points: Sequence[tuple[float, float]]) -> float:
    """Return by how much a line of that slope rises from the first point to the last."""
    return median_slope(points) * (points[-1][0] - points[0][0])


class Prices:
    """Every committed price, as far as it takes to compare it: the newest sequence of an interval, and a hash of the rest."""

    def __init__(self) -> None:
        """Begin with none."""
        self.newest: Final[dict[bytes, tuple[int, bytes]]] = {}
        self.count: int = 0
        self.wrong: Final[list[str]] = []
        self.sent_s: Final[dict[bytes, float]] = {}
        self.latencies_ms: list[float] = []

    def note(self, records: Sequence[Any], now_s: float) -> None:
        """Take what was read: a sequence has to be the one before it and one."""
        for priced in records:
            end = priced.value.rindex(_SEQUENCE)
            sequence = json.loads(priced.value[end + len(_SEQUENCE) : -1])
            before = self.newest.get(priced.key, (0, b""))[0]
            if sequence != before + 1:
                self.wrong.append(f"{priced.key!r}: sequence {sequence} after {before}")
            self.newest[priced.key] = (sequence, digest(priced.value))
            sent_s = self.sent_s.pop(priced.key, None)
            if sent_s is not None:
                self.latencies_ms.append((now_s - sent_s) * 1000)
        self.count += len(records)

    def take_latencies(self) -> tuple[float, float]:
        """Return p50 and p99 of the latencies in ms since the last call."""
        taken, self.latencies_ms = sorted(self.latencies_ms), []
        if not taken:
            return 0.0, 0.0
        return taken[len(taken) // 2], taken[min(len(taken) - 1, len(taken) * 99 // 100)]


def digest(priced: bytes) -> bytes:
    """Return a hash of a price without its tail: when it was submitted, and its sequence."""
    return hashlib.blake2b(priced[: priced.rindex(_TAIL)], digest_size=8).digest()


class Watch:
    """Asks the operating system about workers, and the broker about their group. A context manager."""

    def __init__(self, settings: Settings, workers: Sequence[BenchWorker], stores: Sequence[Path]) -> None:
        """Ask nothing yet."""
        self._settings = settings
        self._workers = workers
        self._stores = stores
        self._names = topic_names(settings)
        self._admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
        self._consumer = AIOKafkaConsumer(bootstrap_servers=settings.bootstrap_servers, enable_auto_commit=False)

    async def __aenter__(self) -> Self:
        """Connect."""
        await self._admin.start()
        await self._consumer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self._consumer.stop()
        await self._admin.close()

    async def sample(self, records_in: int, prices_out: int) -> Sample:
        """Look at everything once. Raises RuntimeError when a worker has ended."""
        for worker in self._workers:
            if worker.exit_code is not None:
                raise RuntimeError(f"a worker ended with {worker.exit_code}:\n{worker.log_path.read_text()[-2000:]}")
        files = [file for store in self._stores for file in store.rglob("*")]
        return Sample(
            at_s=time.monotonic(),
            memory_mb=tuple(worker.memory_mb() for worker in self._workers),
            cpu_s=sum(worker.cpu_s() for worker in self._workers),
            open_files=tuple(worker.open_files() for worker in self._workers),
            store_mb=sum(map(_size, files)) / MB,
            lag=await self.lag(),
            records_in=records_in,
            prices_out=prices_out,
        )

    async def lag(self) -> int:
        """Return how many messages the group has not committed, of records and of intervals."""
        inputs = (self._names.records, self._names.records_by_location, self._names.intervals)
        tps = [TopicPartition(topic, p) for topic in inputs for p in range(self._settings.partitions)]
        committed = await self._admin.list_consumer_group_offsets(self._settings.app_id)
        ends = await self._consumer.end_offsets(tps)
        lag = 0
        for tp, end in ends.items():
            # The last offset of what transactions write is their marker, which nobody commits a position behind.
            marker = int(tp.topic != self._names.records)
            lag += max(0, end - marker - (committed[tp].offset if tp in committed else 0))
        return lag

    async def totals(self) -> Counter[str]:
        """Return the committed totals of all partitions: the last thing that a transaction writes to the changelog."""
        newest: dict[int, bytes] = {}
        for changed in await read_all(self._settings, self._names.intervals_changelog, last=1000):
            if changed.key == _META:
                newest[changed.partition] = changed.value
        totals: Counter[str] = Counter()
        for value in newest.values():
            totals.update(json.loads(value)["metrics"])
        return totals

    async def refusals(self) -> Counter[str]:
        """Return how often each code of a refusal stands in meter.rejected."""
        return Counter(
            decode_rejected(each.value).error for each in await read_all(self._settings, self._names.rejected)
        )


def _size(file: Path) -> int:
    """Return the size of a file; 0 for one that was there a moment ago."""
    try:
        return file.stat().st_size if file.is_file() else 0
    except OSError:
        return 0
