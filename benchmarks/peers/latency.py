"""Latency of a single update: from handing a record to the producer until its price is read under read_committed.

Every record is half an hour long and so completes an interval by itself. They come at a steady rate.
"""

import asyncio
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Self

from aiokafka import AIOKafkaConsumer

from app.streams.publish import Publisher
from app.streams.topics import topic_names
from benchmarks.peers.arena import Arena, Outputs, Tuning
from benchmarks.peers.job import Message, whole_interval
from benchmarks.peers.processes import Program
from benchmarks.peers.sides import Side

TUNING: Final = Tuning(commit_interval_ms=100, linger_ms=2)
_FIRST_RECORDS: Final = 200
_START_TIMEOUT_S: Final = 120.0
_WARM_UP_S: Final = 5.0
_DRAIN_S: Final = 15.0
_TICK_S: Final = 0.005
_MARK: Final = b'{"interval_id":"'

_Made = tuple[str, Message]
"""A record that was made beforehand, and its interval_id."""


class Quantiles(NamedTuple):
    """Latencies of one run in ms, the rate that was reached, prices that never came, and what part of a core was used."""

    p50_ms: float
    p99_ms: float
    p999_ms: float
    reached: float
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


async def run(  # noqa: PLR0917 - what a run is
    arena: Arena, side: Side, number: int, rate: int, seconds: float, tuning: Tuning
) -> Quantiles:
    """Run one side once on an input of its own. Raises RuntimeError when its program does not start to price."""
    await arena.empty_input()
    command, outputs = side.command(), await arena.prepare(side, f"latency-{rate}-{number}", tuning)
    log_path = arena.folder / f"{outputs.group}.log"
    topic, count = topic_names(arena.settings).records, _FIRST_RECORDS + int(rate * (seconds + _WARM_UP_S))
    made = [whole_interval(each, arena.job.locations) for each in range(count)]
    async with _Watch(arena, outputs) as watch, Publisher(arena.settings.bootstrap_servers, linger_ms=0) as publisher:
        with Program([*command, *outputs.arguments], outputs.environ, log_path) as program:
            for one in made[:_FIRST_RECORDS]:
                await _send(topic, publisher, watch, one)
            if await watch.wait(_START_TIMEOUT_S):
                raise RuntimeError(f"it does not price:\n{program.log_end()}")
            cpu_s, began_s = program.cpu_s(), time.monotonic()
            reached = await _publish(topic, publisher, watch, made[_FIRST_RECORDS:], rate)
            cpu_share = (program.cpu_s() - cpu_s) / (time.monotonic() - began_s)
            missing = await watch.wait(_DRAIN_S)
    await arena.discard(outputs)
    counted = list(watch.sent_s)[_FIRST_RECORDS + int(rate * _WARM_UP_S) :]
    # What never came is later than all that did: left out, it would make a side that loses half of them look fast.
    latencies_ms = sorted((watch.arrived_s.get(one, math.inf) - watch.sent_s[one]) * 1000 for one in counted)
    p50, p99, p999 = (latencies_ms[int(len(latencies_ms) * part)] for part in (0.5, 0.99, 0.999))
    return Quantiles(p50, p99, p999, reached, missing, cpu_share)


async def _publish(topic: str, publisher: Publisher, watch: _Watch, made: Sequence[_Made], rate: int) -> float:
    """Publish at a steady rate, and return which one was reached: this process may be slower than that."""
    began_s, number = time.perf_counter(), 0
    while number < len(made):
        due = min(int((time.perf_counter() - began_s) * rate), len(made))
        while number < due:
            await _send(topic, publisher, watch, made[number])
            number += 1
        await asyncio.sleep(_TICK_S)
    return len(made) / (time.perf_counter() - began_s)


async def _send(topic: str, publisher: Publisher, watch: _Watch, made: _Made) -> None:
    interval_id, message = made
    watch.sent_s[interval_id] = time.perf_counter()
    await publisher.send(topic, message.key, message.value)


def table(sides: Sequence[Side], results: Mapping[tuple[str, int], Sequence[Quantiles]]) -> str:
    """Return the medians in Markdown. A side that falls behind has latencies that only say how long it was loaded."""
    lines = [
        "| | guarantee | records a second | reached | p50 | p99 | p99.9 | of a core | not priced in time |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for side in sides:
        for (name, rate), runs in results.items():
            if name != side.name or not runs:
                continue
            p50, p99, p999, reached, missing, share = (statistics.median(values) for values in zip(*runs, strict=True))
            times = " | ".join("never" if math.isinf(one) else f"{one:,.0f} ms" for one in (p50, p99, p999))
            lines.append(
                f"| {side.title} | {side.guarantee} | {rate:,} | {reached:,.0f} | {times} | {share:.2f} | {missing:,.0f} |"
            )
    return "\n".join(lines)
