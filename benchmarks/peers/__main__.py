"""Run this project and its peers on the same broker, the same input and the same job, and print tables of ratios."""

import argparse
import asyncio
import itertools
import logging
import os
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from benchmarks.peers import latency, recovery, throughput
from benchmarks.peers.arena import arena
from benchmarks.peers.environments import UnavailableError
from benchmarks.peers.job import Job, answers, refusals
from benchmarks.peers.sides import SIDES, Side, with_interpreters
from benchmarks.setting import broker


def _available(sides: Sequence[Side]) -> list[Side]:
    """Make every environment first, and leave out, with a word, what cannot run here."""
    found = []
    for side in sides:
        try:
            side.command()
        except UnavailableError as reason:
            print(f"left out: {side.title}: {reason}", flush=True)
        else:
            found.append(side)
    return found


@asynccontextmanager
async def _field(bootstrap_servers: str, job: Job) -> AsyncIterator[throughput.Field]:
    """Lend the input of a job, published, and its answer."""
    async with arena(job, bootstrap_servers, {}, f"peers-{uuid.uuid4().hex[:6]}.") as here:
        await here.publish_input()
        yield throughput.Field(here, answers(job), refusals(job))


async def _throughput(bootstrap_servers: str, job: Job, sides: Sequence[Side], runs: int) -> bool:
    """Run all sides in turn, print each run and the table of medians; return whether all answers were equal."""
    results: dict[str, list[throughput.Result]] = {side.name: [] for side in sides}
    sizes = {side.name: min(job.records, side.most_records or job.records) for side in sides}
    async with AsyncExitStack() as stack:
        fields = {
            records: await stack.enter_async_context(_field(bootstrap_servers, replace(job, records=records)))
            for records in sorted({throughput.START_RECORDS, *sizes.values()})
        }
        for number, side in itertools.product(range(runs), sides):
            try:
                start = await throughput.run(fields[throughput.START_RECORDS], side, number)
                one = (await throughput.run(fields[sizes[side.name]], side, number)).since(start)
            except RuntimeError as failure:
                print(f"{side.name} run {number + 1}: failed: {failure}", flush=True)
                continue
            results[side.name].append(one)
            print(
                f"{side.name} run {number + 1}: {one.records / one.wall_s:,.0f} records/s, "
                f"{one.records / one.cpu_s:,.0f} records/CPU-s, {one.memory_mb:,.0f} MB, started in {one.start_s:.1f} s, "
                f"{one.outputs:,} published, differs: {one.difference}, load before {one.load:.1f}",
                flush=True,
            )
    print(f"\n{job.records:,} records of {job.locations:,} locations, medians of {runs} runs in turn:\n")
    print(throughput.table(sides, results), flush=True)
    return all(
        len(found) == runs and not any(map(sum, (one.difference for one in found))) for found in results.values()
    )


async def _latency(bootstrap_servers: str, job: Job, sides: Sequence[Side], options: argparse.Namespace) -> None:
    """Run all sides in turn at each rate, and print the table of medians."""
    results: dict[tuple[str, int], list[latency.Quantiles]] = {}
    tuning = latency.TUNING._replace(commit_interval_ms=options.commit_interval_ms)
    async with arena(job, bootstrap_servers, {}, f"peers-{uuid.uuid4().hex[:6]}.") as here:
        for number, rate, side in itertools.product(range(options.runs), options.rates, sides):
            try:
                one = await latency.run(here, side, number, rate, options.seconds, tuning)
            except RuntimeError as failure:
                print(f"{side.name} run {number + 1}: failed: {failure}", flush=True)
                continue
            results.setdefault((side.name, rate), []).append(one)
            texts = "  ".join(f"{name}={value:,.2f}" for name, value in one._asdict().items())
            print(f"{side.name} at {rate:,} a second, run {number + 1}: {texts}", flush=True)
    print(f"\n{job.locations:,} locations, {options.seconds:g} s each, medians of {options.runs} runs in turn:\n")
    print(latency.table(sides, results), flush=True)


async def _recovery(bootstrap_servers: str, job: Job, sides: Sequence[Side], options: argparse.Namespace) -> None:
    """Run all sides in turn, and print the table of medians."""
    results: dict[str, list[recovery.Recovery]] = {side.name: [] for side in sides}
    async with arena(job, bootstrap_servers, {}, f"peers-{uuid.uuid4().hex[:6]}.") as here:
        for number, side in itertools.product(range(options.runs), sides):
            intervals = min(options.intervals, side.most_records or options.intervals)
            try:
                one = await recovery.run(here, side, number, intervals)
            except RuntimeError as failure:
                print(f"{side.name} run {number + 1}: failed: {failure}", flush=True)
                continue
            results[side.name].append(one)
            texts = "  ".join(f"{name}={value:,.1f}" for name, value in one._asdict().items())
            print(f"{side.name} recovery, run {number + 1}: {texts}", flush=True)
    print(f"\nThe disk is lost, medians of {options.runs} runs in turn:\n")
    print(recovery.table(sides, results), flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Run what was asked for. The exit status is 1 when an answer differs or a side failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    names = [side.name for side in SIDES]
    parser.add_argument(
        "--records", type=int, nargs="+", default=[1_000_000], help="sizes of the input, 100000 at least"
    )
    parser.add_argument("--locations", type=int, nargs="+", default=[10_000])
    parser.add_argument("--runs", type=int, default=3)
    usual = [side.name for side in SIDES if not side.only_if_named]
    parser.add_argument("--sides", nargs="+", choices=names, default=usual, metavar="SIDE", help=", ".join(names))
    parser.add_argument(
        "--python", nargs="+", default=[], metavar="PATH", help="run meterstream with these interpreters too"
    )
    parser.add_argument("--latency", action="store_true", help="measure single updates at --rates instead")
    parser.add_argument("--rates", type=int, nargs="+", default=[1000, 10_000], help="records a second")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument(
        "--commit-interval-ms",
        type=int,
        default=latency.TUNING.commit_interval_ms,
        help="when single updates are measured; meterstream has its own, and this is its longest transaction",
    )
    parser.add_argument("--recovery", action="store_true", help="lose the disk of --intervals and recover instead")
    parser.add_argument("--intervals", type=int, default=1_000_000)
    options = parser.parse_args(arguments)
    # Topics come and go here: that a new one has no leader for a moment is no news.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    sides = _available(with_interpreters([side for side in SIDES if side.name in options.sides], options.python))
    equal = True
    with broker() as bootstrap_servers:
        print(
            f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; broker, sides and harness share them", flush=True
        )
        for locations in options.locations:
            whole = Job(max(options.records), locations)
            if options.latency:
                asyncio.run(_latency(bootstrap_servers, whole, sides, options))
            if options.recovery:
                kept = [side for side in sides if side.state_in_kafka]
                asyncio.run(_recovery(bootstrap_servers, whole, kept, options))
            for records in () if options.latency or options.recovery else options.records:
                job = Job(records, locations)
                equal &= asyncio.run(_throughput(bootstrap_servers, job, sides, options.runs))
    if not equal:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
