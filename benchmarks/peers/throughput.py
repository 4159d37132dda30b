"""The whole input is there, and each side works it off: how long it takes, what it costs, and whether the answer is right.

Programs that work in large batches publish nothing for a while, so no side's first output tells when it began. Each run is
therefore preceded by one of the same program on a few records, and what that took, from the start of the process to its last
commit, is the start that is taken off.
"""

import asyncio
import os
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from benchmarks.peers.answers import Difference, compare
from benchmarks.peers.arena import Arena, Outputs, Tuning
from benchmarks.peers.job import Answer
from benchmarks.peers.processes import Program
from benchmarks.peers.sides import BARE, OURS, Side

_POLL_S: Final = 0.1
_STALL_S: Final = 60.0
_COMMIT_TIMEOUT_S: Final = 15.0


START_RECORDS: Final = 400
"""Size of the job that only shows how long a program takes to start."""


class Result(NamedTuple):
    """One run of one side. Time and CPU count from the start of its process; `since` takes off what starting takes."""

    records: int
    start_s: float
    wall_s: float
    cpu_s: float
    memory_mb: float
    outputs: int
    difference: Difference
    all_committed: bool
    load: float

    def since(self, start: "Result") -> "Result":
        """Return this run without what a run of a few records took, and with its differences."""
        return self._replace(
            records=self.records - start.records,
            start_s=start.wall_s,
            wall_s=self.wall_s - start.wall_s,
            cpu_s=self.cpu_s - start.cpu_s,
            difference=Difference(*map(sum, zip(self.difference, start.difference, strict=True))),
        )


class Field(NamedTuple):
    """An input, and what each side has to make of it."""

    arena: Arena
    expected: Mapping[str, Answer]
    refused: Counter[str]


class _Moment(NamedTuple):
    at_s: float
    cpu_s: float


async def run(field: Field, side: Side, number: int) -> Result:
    """Let one side do the job once, on topics of its own.

    Raises:
        RuntimeError: its program ended by itself, or published nothing for a minute.

    """
    arena, expected, refused = field
    command = side.command()
    outputs = await arena.prepare(side, str(number), Tuning())
    load, began_s = os.getloadavg()[0], time.monotonic()
    with Program([*command, *outputs.arguments], outputs.environ, arena.folder / f"{outputs.group}.log") as program:
        done, all_committed = await _end(arena, side, program, outputs, len(expected) + refused.total())
        memory_mb = program.peak_memory_mb()
    priced, rejected = await arena.read(outputs.priced), await arena.read(outputs.rejected)
    result = Result(
        records=arena.job.records,
        start_s=0.0,
        wall_s=done.at_s - began_s,
        cpu_s=done.cpu_s,
        memory_mb=memory_mb,
        outputs=len(priced),
        difference=compare(priced, rejected, expected, refused),
        all_committed=all_committed,
        load=load,
    )
    await arena.discard(outputs)
    return result


async def _end(arena: Arena, side: Side, program: Program, outputs: Outputs, expected: int) -> tuple[_Moment, bool]:
    """Wait until everything is published, and committed where a side commits; or until nothing comes any more.

    A side that publishes everything and does not commit its last positions is done with what it published last.
    """
    seen, seen_at = -1, _Moment(0.0, 0.0)
    while True:
        now = _Moment(time.monotonic(), program.cpu_s())
        count = await arena.ends(outputs.priced, outputs.rejected)
        if count != seen:
            seen, seen_at = count, now
        whole = count >= expected
        if whole and (not side.commits or await arena.is_committed(side, outputs)):
            return now, True
        if program.exit_code is not None and not whole:
            raise RuntimeError(f"ended with {program.exit_code}:\n{program.log_end()}")
        if now.at_s - seen_at.at_s > (_COMMIT_TIMEOUT_S if whole else _STALL_S):
            if not seen:
                raise RuntimeError(f"nothing was published in {_STALL_S:g} s:\n{program.log_end()}")
            return seen_at, False
        await asyncio.sleep(_POLL_S)


def table(sides: Sequence[Side], results: Mapping[str, Sequence[Result]]) -> str:
    """Return the medians in Markdown, with ratios to the bare loop and to this project."""
    columns = (
        "",
        "guarantee",
        "records",
        "records a second",
        "records a CPU-second",
        "CPU, times the bare loop",
        "CPU, times meterstream",
        "wall, times meterstream",
        "peak memory",
        "start",
        "published",
        "differs",
    )
    lines = [f"| {' | '.join(columns)} |", "|---|---" + "|--:" * (len(columns) - 3) + "|---|"]
    walls = {
        name: statistics.median(one.wall_s / one.records for one in runs) for name, runs in results.items() if runs
    }
    cpus = {name: statistics.median(one.cpu_s / one.records for one in runs) for name, runs in results.items() if runs}
    for side in sides:
        runs = results.get(side.name)
        if not runs:
            continue
        cpu_s, wall_s = cpus[side.name], walls[side.name]
        differences = {str(one.difference) for one in runs}
        if not all(one.all_committed for one in runs):
            differences.add("last positions not committed")
        counts = sorted({one.outputs for one in runs})
        lines.append(
            f"| {side.title} | {side.guarantee} | {runs[0].records:,} | {1 / wall_s:,.0f} | {1 / cpu_s:,.0f} "
            f"| {_ratio(cpu_s, cpus.get(BARE))} | {_ratio(cpu_s, cpus.get(OURS))} | {_ratio(wall_s, walls.get(OURS))} "
            f"| {statistics.median(one.memory_mb for one in runs):,.0f} MB "
            f"| {statistics.median(one.start_s for one in runs):.1f} s "
            f"| {' to '.join(f'{count:,}' for count in (counts if len(counts) == 1 else (counts[0], counts[-1])))} "
            f"| {'; '.join(sorted(differences))} |"
        )
    return "\n".join(lines)


def _ratio(value: float, base: float | None) -> str:
    return f"{value / base:.2f}" if base else ""
