"""`meterstream dev` shows prices, ends when it is told to, and leaves no process behind, however it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.local.launch import start_identity

pytestmark = pytest.mark.broker

ROOT = Path(__file__).parents[2]
RECORDS = ("worker.pid.json", "kafka/broker.pid.json")


class Run:
    """One `meterstream dev`, as somebody at a terminal without colours would have it."""

    def __init__(self, state_home: Path, *arguments: str, **variables: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("KAFKA_", "METERSTREAM_"))}
        self.state = state_home / "meterstream"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "dev", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env={**kept, "XDG_STATE_HOME": str(state_home), **variables},
        )
        self.lines: list[str] = []

    def read_until(self, enough: Callable[[str], bool]) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if enough(line):
                return
        pytest.fail("it ended before:\n" + "".join(self.lines))

    def children(self) -> list[tuple[int, str]]:
        noted = [json.loads((self.state / name).read_text()) for name in RECORDS]
        return [(child["pid"], child["started"]) for child in noted]

    def worker_pid(self) -> int | None:
        """Return the worker that is noted now; None between two of them."""
        note = self.state / RECORDS[0]
        return self.children()[0][0] if note.exists() else None

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        assert self.process.stdout is not None
        self.lines += self.process.stdout.readlines()
        return self.process.wait(60)


@contextmanager
def _run(state_home: Path, *arguments: str, **variables: str) -> Iterator[Run]:
    run = Run(state_home, *arguments, **variables)
    try:
        yield run
    finally:
        run.process.kill()
        run.process.wait()
        assert run.process.stdout is not None
        run.process.stdout.close()


def _still_running(children: list[tuple[int, str]]) -> list[int]:
    """Return who is left after a moment: the kernel ends children just after their parent."""
    deadline = time.monotonic() + 5
    while left := [pid for pid, started in children if start_identity(pid) == started]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    return left


def _is_priced(line: str) -> bool:
    return line.startswith("priced") and "  priced  " in line


@pytest.mark.usefixtures("kafka_jars")
def test_it_can_be_killed_and_started_again_and_stopped(tmp_path: Path) -> None:
    with _run(tmp_path) as first:
        first.read_until(_is_priced)
        children = first.children()
        assert all(start_identity(pid) == started for pid, started in children)
        with _run(tmp_path) as rival:
            assert rival.process.wait(60) == 1
        first.end(signal.SIGKILL)
        if sys.platform == "linux":
            assert _still_running(children) == []

    with _run(tmp_path) as second:
        second.read_until(_is_priced)
        assert _still_running(children) == []
        newer = second.children()
        assert second.end(signal.SIGINT) == 0
        assert second.lines[-1] == "Stopped.\n"
        assert _still_running(newer) == []
        assert not any((second.state / name).exists() for name in RECORDS)


def test_a_worker_that_dies_is_started_again(tmp_path: Path) -> None:
    # Settings for another Kafka do not keep us from our own.
    with _run(tmp_path, METERSTREAM_SECURITY_PROTOCOL="SASL_SSL", METERSTREAM_SASL_USERNAME="meters") as run:
        run.read_until(_is_priced)
        (worker, started), broker = run.children()
        os.kill(worker, signal.SIGKILL)
        run.read_until(lambda line: "starting another" in line)
        # Prices of the dead worker may still be on their way to the screen: wait for one after the other has begun.
        run.read_until(lambda line: _is_priced(line) and run.worker_pid() not in {None, worker})
        assert run.end(signal.SIGTERM) == 0
        assert _still_running([(worker, started), broker]) == []


def test_it_ends_by_itself_after_the_seconds_that_it_is_given(tmp_path: Path) -> None:
    with _run(tmp_path, "--seconds", "1") as run:
        assert run.process.stdout is not None
        lines = run.process.stdout.readlines()
        assert run.process.wait(60) == 0
        assert lines[-2:] == ["Stopping ...\n", "Stopped.\n"]
