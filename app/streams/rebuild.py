"""Rebuild stores that are far behind in processes of their own: Python works on one core in each.

A process is given a partition whenever it is free, brings its store to the end of the changelogs, and closes it; then the
worker opens it again. What a process cannot do, whatever the reason, is left as far as it came: the worker does the rest.

The settings, secrets among them, go to a process by its standard input, where nobody else sees them. When that closes, because
the worker has no more to do or has been killed, the process ends at once: it holds no lock on a store that others wait for.
"""

import asyncio
import contextlib
import json
import logging
import os
import pickle
import queue
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import structlog
from aiokafka.structs import TopicPartition

from app.streams.changelog import REPORT_EVERY_S, reader, report, restore
from app.streams.config import StreamConfig
from app.streams.faults import StoreCorruptError, StoreError
from app.streams.garbage import collect_rarely
from app.streams.progress import Progress
from app.streams.store import PartitionStore, StoreCache
from app.streams.topics import TopicNames

log = structlog.get_logger(__name__)

WORTH_OFFSETS: Final = 1_000_000
"""So much has to be missing for processes to be begun by themselves: to start one takes as long as 150,000."""

Spans = Mapping[TopicPartition, tuple[int, int]]
"""From where to where each changelog has to be read."""

_CACHE_MB: Final = 8
"""Hardly anything is read from a store that is rebuilt."""


def missing_of(unread: Spans) -> dict[int, int]:
    """Return how many offsets the store of each partition misses."""
    missing: dict[int, int] = {}
    for tp, (start, end) in unread.items():
        missing[tp.partition] = missing.get(tp.partition, 0) + end - start
    return missing


def processes_for(most: int | None, missing: Mapping[int, int]) -> int:
    """Return how many processes are to rebuild stores that miss so many offsets; 1 is the worker itself.

    `most` is the setting: None is one for each core, where it is worth it; a number is a decision, and is followed.
    """
    far = sum(1 for offsets in missing.values() if offsets > 0)
    if most is None:
        most = cores() if sum(missing.values()) >= WORTH_OFFSETS else 1
    return max(min(most, far), 1)


def cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


class Told(NamedTuple):
    """What a process is told about the stores."""

    settings: StreamConfig
    names: TopicNames
    paths: dict[int, tuple[Path, str]]


async def rebuild(
    settings: StreamConfig,
    names: TopicNames,
    stores: Mapping[int, PartitionStore],
    unread: Spans,
    progress: Progress,
    *,
    processes: int,
) -> None:
    """Bring the stores that miss something nearer to the end of their changelogs, mostly to it.

    Raises:
        StoreError: the disk does not take it.
        StoreCorruptError: what is on the disk is not what was written.

    """
    missing = missing_of(unread)
    # The longest first: the shorter ones fill up what is left of the cores at the end.
    order = sorted((p for p, offsets in missing.items() if offsets > 0), key=lambda p: -missing[p])
    told = Told(settings, names, {p: (stores[p].path, stores[p].identity) for p in order})
    log.info("rebuilding", partitions=sorted(order), of_about=sum(missing.values()), processes=processes)
    for partition in order:
        stores[partition].close()
    for tp, span in unread.items():
        progress.begin(tp, *span)
    work = deque(order)
    reporting = asyncio.create_task(_report(progress), name="rebuild-report")
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(processes):
                group.create_task(_lead(told, work, progress))
    except BaseExceptionGroup as errors:
        raise _first(errors) from None
    finally:
        reporting.cancel()
        progress.end(list(unread))
    for partition in order:
        stores[partition].take_back()


def _first(errors: BaseExceptionGroup[Any]) -> BaseException:
    """Return one of the errors."""
    first: BaseException = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


async def _report(progress: Progress) -> None:
    began_s = time.monotonic()
    while True:
        await asyncio.sleep(REPORT_EVERY_S)
        report(progress, time.monotonic() - began_s)


async def _lead(told: Told, work: deque[int], progress: Progress) -> None:
    """Run one process for as long as there is work."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None  # noqa: S101 - it is a pipe
    assert process.stdout is not None  # noqa: S101
    try:
        given = pickle.dumps(told)
        process.stdin.write(len(given).to_bytes(8) + given)
        while work:
            partition = work.popleft()
            process.stdin.write(b"%d\n" % partition)
            if not await _listen(process.stdout, progress):
                log.warning("rebuild_stopped", partition=partition, action="the worker goes on with it by itself")
                return
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()  # Between two stores nothing is open; one that is given up is as after a kill of the worker.
        await process.wait()


async def _listen(stdout: asyncio.StreamReader, progress: Progress) -> bool:
    """Take what a process says while it rebuilds a store; return whether that is done."""
    async for line in stdout:
        what, *facts = json.loads(line)
        match what:
            case "begin":
                topic, partition, start, end = facts
                progress.begin(TopicPartition(topic, partition), start, end)
            case "reach":
                topic, partition, position, records = facts
                progress.reach(TopicPartition(topic, partition), position, records)
            case "log":
                level, event = facts
                getattr(log, level)(**event)
            case "done":
                return True
            case "StoreCorruptError":
                raise StoreCorruptError(*facts)
            case "StoreError":
                raise StoreError(*facts)
            case _:
                log.warning("rebuild_failed", reason=facts[0])
    return False


# In the process


class _ToldProgress(Progress):
    """Progress that the worker hears of."""

    def begin(self, tp: TopicPartition, start: int, end: int) -> None:
        super().begin(tp, start, end)
        _tell("begin", *tp, start, end)

    def reach(self, tp: TopicPartition, position: int, records: int = 0) -> None:
        super().reach(tp, position, records)
        _tell("reach", *tp, position, records)


def _tell(*what: object) -> None:
    """Say something to the worker."""
    sys.stdout.write(json.dumps(what, default=str) + "\n")
    sys.stdout.flush()


def _tell_log(_logger: object, level: str, event: Any) -> Any:
    """Let the worker log a line, in its way; how far it is the worker says itself."""
    if level not in {"debug", "info"}:
        _tell("log", level, event)
    raise structlog.DropEvent


class _ToldLog(logging.Handler):
    """What the libraries log, logged by the worker."""

    def emit(self, record: logging.LogRecord) -> None:
        _tell("log", record.levelname.lower(), {"event": record.getMessage(), "library": record.name})


def _hear(partitions: queue.SimpleQueue[int]) -> None:
    """Take what the worker wants, and end with it."""
    for line in sys.stdin.buffer:
        partitions.put(int(line))
    os._exit(0)


def main() -> None:
    """Rebuild the stores that the worker names on standard input, one after another, until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes of a terminal; the worker decides
    structlog.configure(processors=[_tell_log])
    logging.basicConfig(level=logging.WARNING, handlers=[_ToldLog()])
    size = int.from_bytes(sys.stdin.buffer.read(8))
    told: Told = pickle.loads(sys.stdin.buffer.read(size))  # noqa: S301 - from the process that began this one
    collect_rarely()
    partitions: queue.SimpleQueue[int] = queue.SimpleQueue()
    threading.Thread(target=_hear, args=(partitions,), daemon=True).start()
    cache = StoreCache(_CACHE_MB)
    while True:
        partition = partitions.get()
        try:
            asyncio.run(_rebuild_one(told, partition, cache))
        except StoreError as error:
            _tell(type(error).__name__, str(error))
        except Exception as error:  # noqa: BLE001 - the worker tries again, and knows what to do about it
            _tell("failed", repr(error))
            break
        else:
            _tell("done")


async def _rebuild_one(told: Told, partition: int, cache: StoreCache) -> None:
    path, identity = told.paths[partition]
    store = PartitionStore(path, cache, identity)
    try:
        async with reader(told.settings) as consumer:
            await restore(consumer, told.names, {partition: store}, _ToldProgress())
    finally:
        store.close()


if __name__ == "__main__":
    main()
