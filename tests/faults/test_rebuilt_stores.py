"""Lost stores are rebuilt by processes of their own, which may be killed as the worker may: the tables are the same."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from tests.faults.load import load_documents, load_messages
from tests.faults.scale import Counts, scaled
from tests.harness import Stream
from tests.worker_process import WAIT_S, Worker

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the children of a process are looked up in /proc"),
]

LOCATIONS: Final = 40
PARTITIONS: Final = 4
RECORDS: Final = scaled(2_000, 20_000)
REBUILDERS: Final = 2


def _children(worker: Worker) -> list[int]:
    """Return the processes that a worker has begun and that still run."""
    found = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text(encoding="ascii")
    return [int(pid) for pid in found.split()]


def _is_running(pid: int) -> bool:
    """Tell whether a process is there, and not only what is left of one that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _is_rebuilder(pid: int) -> bool:
    """Tell whether a process has become the program that rebuilds stores."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return b"app.streams.rebuild" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


@contextmanager
def _frozen_rebuilders(worker: Worker) -> Iterator[list[int]]:
    """Wait until a worker has begun its processes, and freeze them before they come far; let go of them in the end."""
    deadline = time.monotonic() + WAIT_S
    # One that has been forked and is not the other program yet holds its parent up for as long as it is frozen.
    while len(pids := [pid for pid in _children(worker) if _is_rebuilder(pid)]) < REBUILDERS:
        assert worker.exit_code is None, worker.log_tail()
        assert time.monotonic() < deadline, worker.log_tail()
        time.sleep(0.002)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield pids
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _await_ended(pids: list[int]) -> None:
    deadline = time.monotonic() + WAIT_S
    while any(map(_is_running, pids)):
        assert time.monotonic() < deadline, f"{[pid for pid in pids if _is_running(pid)]} still run"
        time.sleep(0.02)


def _stream(kafka: str, streams: Callable[..., Stream]) -> Stream:
    return streams(kafka, partitions=PARTITIONS, emit_every_s=1, instance_id="one", recovery_processes=REBUILDERS)


def test_killed_processes_leave_the_rest_to_the_worker_and_die_with_it(
    kafka: str, streams: Callable[..., Stream], counts: Counts
) -> None:
    stream = _stream(kafka, streams)
    load_documents(stream, LOCATIONS)
    messages = load_messages(21, LOCATIONS, RECORDS)
    stream.publish(*messages[: RECORDS // 2])
    worker = stream.worker()
    stream.verify(quiet_s=0.3)
    assert worker.terminate() == 0
    shutil.rmtree(stream.settings.data_dir)

    # The worker is killed: its processes end, although nobody tells them.
    worker = stream.worker(started=False)
    with _frozen_rebuilders(worker) as orphans:
        worker.kill()
    _await_ended(orphans)

    # The processes are killed: the worker goes on.
    stream.publish(*messages[RECORDS // 2 : RECORDS * 3 // 4])
    worker = stream.worker(started=False)
    with _frozen_rebuilders(worker) as killed:
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
    worker.await_started()
    stopped = worker.logged("rebuild_stopped")
    assert len(stopped) == REBUILDERS
    stream.verify(quiet_s=0.3)
    assert worker.terminate() == 0
    shutil.rmtree(stream.settings.data_dir)

    # The worker is told to end meanwhile: it does, at once, and so do they.
    worker = stream.worker(started=False)
    with _frozen_rebuilders(worker) as told:
        assert worker.terminate() == 0
    _await_ended(told)

    # Nobody is disturbed.
    stream.publish(*messages[RECORDS * 3 // 4 :])
    worker = stream.worker()
    (rebuilding,) = worker.logged("rebuilding")
    assert rebuilding["processes"] == REBUILDERS
    assert rebuilding["partitions"] == list(range(PARTITIONS))
    (recovered,) = worker.logged("recovered")
    assert recovered["processes"] == REBUILDERS
    assert not worker.logged("rebuild_stopped")
    assert _children(worker) == []
    stream.verify()
    counts.note(
        "processes that rebuild stores, and their worker, killed meanwhile",
        processes=len(orphans) + len(killed) + len(told),
        records=len(stream.published),
        lost=0,
    )
