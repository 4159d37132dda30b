"""Recovery: a side has priced so many intervals and is killed, its disk is lost, and it is started again.

Only sides whose state is in Kafka can come back from that. Counted is the time from the start of the process until it has
priced a new record in each partition, and the same of a start without state is taken off. It is started when the broker has
missed the one that was killed: how long that takes is a setting.
"""

import asyncio
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from app.domain.partitioning import partition_of_key
from app.streams.publish import Publisher
from app.streams.topics import topic_names
from benchmarks.peers.arena import PARTITIONS, Arena, Outputs, Tuning
from benchmarks.peers.job import whole_interval
from benchmarks.peers.processes import Program
from benchmarks.peers.sides import Side

_POLL_S: Final = 0.1
_FILL_TIMEOUT_S: Final = 7200.0
_RECOVERY_TIMEOUT_S: Final = 1800.0
_QUIET_S: Final = 2.0


class Recovery(NamedTuple):
    """What recovering took, start taken off."""

    intervals: int
    wall_s: float
    cpu_s: float
    start_s: float
    memory_mb: float


class _Took(NamedTuple):
    wall_s: float
    cpu_s: float
    memory_mb: float


async def run(arena: Arena, side: Side, number: int, intervals: int) -> Recovery:
    """Fill the state of one side, lose its disk, and time it. Raises RuntimeError when something does not end."""
    await arena.empty_input()
    outputs = await arena.prepare(side, f"recovery-{number}", Tuning())
    start = await _until_each_partition_prices(arena, side, outputs, 0)
    await _publish(arena, range(PARTITIONS * 100, intervals))
    await arena.wait_until_left(outputs.group)
    await _fill(arena, side, outputs)
    shutil.rmtree(outputs.state_dir)
    outputs.state_dir.mkdir()
    await arena.wait_until_left(outputs.group)
    took = await _until_each_partition_prices(arena, side, outputs, intervals)
    await arena.discard(outputs)
    return Recovery(intervals, took.wall_s - start.wall_s, took.cpu_s - start.cpu_s, start.wall_s, took.memory_mb)


async def _publish(arena: Arena, numbers: range) -> None:
    async with Publisher(arena.settings.bootstrap_servers) as publisher:
        for number in numbers:
            _, message = whole_interval(number, arena.job.locations)
            await publisher.send(topic_names(arena.settings).records, message.key, message.value)


def _program(arena: Arena, side: Side, outputs: Outputs) -> Program:
    log_path = arena.folder / f"{outputs.group}.log"
    return Program([*side.command(), *outputs.arguments], outputs.environ, log_path)


async def _fill(arena: Arena, side: Side, outputs: Outputs) -> None:
    """Let a side price everything and commit it, and kill it."""
    end_s = time.monotonic() + _FILL_TIMEOUT_S
    with _program(arena, side, outputs) as program:
        while not await arena.is_committed(side, outputs):
            if program.exit_code is not None or time.monotonic() > end_s:
                raise RuntimeError(f"it did not price everything:\n{program.log_end()}")
            await asyncio.sleep(_POLL_S)
        await asyncio.sleep(_QUIET_S)
        program.kill()


async def _until_each_partition_prices(arena: Arena, side: Side, outputs: Outputs, first: int) -> _Took:
    """Publish new records to each partition, start a side, and wait until all of them are priced and committed."""
    numbers = range(first, first + PARTITIONS * 100)
    keys = {partition_of_key(whole_interval(n, arena.job.locations)[1].key, PARTITIONS) for n in numbers}
    if len(keys) < PARTITIONS:
        raise RuntimeError("some partition gets no new record")
    await _publish(arena, numbers)
    began_s, end_s = time.monotonic(), time.monotonic() + _RECOVERY_TIMEOUT_S
    with _program(arena, side, outputs) as program:
        while not await arena.is_committed(side, outputs):
            if program.exit_code is not None or time.monotonic() > end_s:
                raise RuntimeError(f"it did not recover:\n{program.log_end()}")
            await asyncio.sleep(_POLL_S)
        return _Took(time.monotonic() - began_s, program.cpu_s(), program.peak_memory_mb())


def table(sides: Sequence[Side], results: Mapping[str, Sequence[Recovery]]) -> str:
    """Return the medians in Markdown."""
    lines = [
        "| | guarantee | intervals | recovered in | intervals a second | intervals a CPU-second | start | peak memory |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for side in sides:
        runs = results.get(side.name)
        if not runs:
            continue
        count, wall_s, cpu_s, start_s, memory_mb = (statistics.median(values) for values in zip(*runs, strict=True))
        lines.append(
            f"| {side.title} | {side.guarantee} | {count:,.0f} | {wall_s:.1f} s | {count / wall_s:,.0f} "
            f"| {count / cpu_s:,.0f} | {start_s:.1f} s | {memory_mb:,.0f} MB |"
        )
    return "\n".join(lines)
