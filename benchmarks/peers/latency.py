"""Latency of a single update: from handing a record to the producer until its price is read under read_committed.

Every record is half an hour long and so completes an interval by itself. They come at a steady rate.
"""

import asyncio
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Self

from aiokafka import AIOKafkaConsumer

from app.streams.publish import Publisher
from app.streams.topics import topic_names
from benchmarks.peers.arena import Arena, Outputs, Tuning
from benchmarks.peers.job import whole_interval
from benchmarks.peers.processes import Program
from benchmarks.peers.sides import Side

TUNING: Final = Tuning(commit_interval_ms=100, linger_ms=2)
_FIRST_RECORDS: Final = 200
_START_TIMEOUT_S: Final = 120.0
_WARM_UP_S: Final = 5.0
_DRAIN_S: Final = 15.0
_TICK_S: Final = 0.005
_MARK: Final = b'{"interval_id":"'


class Quantiles(NamedTuple):
    """Latencies of one run in ms, how many prices never came, and what part of a core the program used."""

    p50_ms: float
    p99_ms: float
    p999_ms: float
    missing: int
    cpu_share: float


class _Watch:
    """Notes when records were handed over and prices were read. An asynchronous context manager."""

    def __init__(self, arena: Arena, outputs: Outputs) -> None:
        self.sent_s: dict[str, float] = {}
        self.arrived_s: dict[str, float] = {}
        self._consumer = AIOKafkaConsumer(
            outputs.priced,
            bootstrap_servers=arena.settings.bootstrap_servers,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            fetch_max_wait_ms=50,
        )

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        await self._consumer.stop()

    async def _read(self) -> None:
        while True:
            fetched = await self._consumer.getmany(timeout_ms=100)
            now_s = time.perf_counter()
            for messages in fetched.values():
                for message in messages:
                    begin = len(_MARK)
                    interval_id = message.value[begin : message.value.index(b'"', begin)].decode()
                    self.arrived_s.setdefault(interval_id, now_s)

    async def wait(self, timeout_s: float) -> int:
        """Wait until every price has come, and return how many have not."""
        end_s = time.monotonic() + timeout_s
        while len(self.arrived_s) < len(self.sent_s) and time.monotonic() < end_s:  # noqa: ASYNC110 - only counts
            await asyncio.sleep(0.1)
        return len(self.sent_s.keys() - self.arrived_s.keys())


async def run(arena: Arena, side: Side, number: int, rate: int, seconds: float) -> Quantiles:
    """Run one side once on an input of its own. Raises RuntimeError when its program does not start to price."""
    await arena.empty_input()
    command, outputs = side.command(), await arena.prepare(side, f"latency-{rate}-{number}", TUNING)
    log_path = arena.folder / f"{outputs.group}.log"
    async with _Watch(arena, outputs) as watch, Publisher(arena.settings.bootstrap_servers, linger_ms=0) as publisher:
        with Program([*command, *outputs.arguments], outputs.environ, log_path) as program:
            for place in range(_FIRST_RECORDS):
                await _send(arena, publisher, watch, place)
            if await watch.wait(_START_TIMEOUT_S):
                raise RuntimeError(f"it does not price:\n{program.log_end()}")
            cpu_s, began_s = program.cpu_s(), time.monotonic()
            await _publish(arena, publisher, watch, rate, seconds + _WARM_UP_S)
            cpu_share = (program.cpu_s() - cpu_s) / (time.monotonic() - began_s)
            missing = await watch.wait(_DRAIN_S)
    await arena.discard(outputs)
    counted = list(watch.sent_s)[_FIRST_RECORDS + int(rate * _WARM_UP_S) :]
    latencies_ms = [(watch.arrived_s[one] - watch.sent_s[one]) * 1000 for one in counted if one in watch.arrived_s]
    quantiles = statistics.quantiles(latencies_ms, n=1000) if len(latencies_ms) > 1 else [float("inf")] * 999
    return Quantiles(quantiles[499], quantiles[989], quantiles[998], missing, cpu_share)


async def _publish(arena: Arena, publisher: Publisher, watch: _Watch, rate: int, seconds: float) -> None:
    """Publish at a steady rate."""
    began_s, number = time.perf_counter(), 0
    while number < rate * seconds:
        due = min(int((time.perf_counter() - began_s) * rate), int(rate * seconds))
        while number < due:
            await _send(arena, publisher, watch, _FIRST_RECORDS + number)
            number += 1
        await asyncio.sleep(_TICK_S)


async def _send(arena: Arena, publisher: Publisher, watch: _Watch, number: int) -> None:
    interval_id, message = whole_interval(number, arena.job.locations)
    watch.sent_s[interval_id] = time.perf_counter()
    await publisher.send(topic_names(arena.settings).records, message.key, message.value)


def table(sides: Sequence[Side], results: Mapping[tuple[str, int], Sequence[Quantiles]]) -> str:
    """Return the medians in Markdown. A side that falls behind has latencies that only say how long it was loaded."""
    lines = [
        "| | guarantee | records a second | p50 | p99 | p99.9 | of a core | not priced in time |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for side in sides:
        for (name, rate), runs in results.items():
            if name != side.name or not runs:
                continue
            p50, p99, p999, missing, share = (statistics.median(values) for values in zip(*runs, strict=True))
            lines.append(
                f"| {side.title} | {side.guarantee} | {rate:,} | {p50:,.0f} ms | {p99:,.0f} ms | {p999:,.0f} ms "
                f"| {share:.2f} | {missing:,.0f} |"
            )
    return "\n".join(lines)
