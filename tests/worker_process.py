"""Workers as processes of their own, which tests may stop, freeze and kill."""

import contextlib
import json
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
WAIT_S: Final = 40.0
"""How long a test waits for what has to come. Long: the machine may be slow, and a pass does not wait."""

_STARTED: Final = "partitions_opened"

Json = dict[str, Any]


class Worker:
    """A worker as a process of its own. Only ever ends the process that it started."""

    def __init__(self, command: list[str], environ: Mapping[str, str], log_path: Path) -> None:
        """Start the process; its log goes to a file."""
        self.log_path: Final = log_path
        self._output_path: Final = log_path.with_suffix(".out")
        with log_path.open("ab") as log, self._output_path.open("ab") as output:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=dict(environ), stdin=subprocess.DEVNULL, stdout=output, stderr=log
            )

    @property
    def exit_code(self) -> int | None:
        """The exit status, or None while it runs."""
        return self._process.poll()

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def output(self) -> str:
        """Return what it has written to its standard output."""
        return self._output_path.read_text(encoding="utf-8", errors="replace")

    def log(self) -> list[Json]:
        """Return what it has logged so far, as far as it is JSON."""
        entries = []
        for line in self.log_path.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict):
                    entries.append(entry)
        return entries

    def logged(self, event: str) -> list[Json]:
        """Return the log entries of one event."""
        return [entry for entry in self.log() if entry.get("event") == event]

    def log_tail(self, lines: int = 25) -> str:
        """Return the end of its log."""
        return "\n".join(self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def await_log(self, event: str, times: int = 1, timeout_s: float = WAIT_S) -> list[Json]:
        """Wait until it has logged an event so many times."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = self.logged(event)
            if len(found) >= times:
                return found
            if self.exit_code is not None or time.monotonic() > deadline:
                pytest.fail(f"{event} was not logged (exit {self.exit_code}):\n{self.log_tail()}")
            time.sleep(0.02)

    def await_started(self) -> Self:
        """Wait until it has opened partitions."""
        self.await_log(_STARTED)
        return self

    def terminate(self, timeout_s: float = 10.0) -> int:
        """Ask it to stop (SIGTERM), and return its exit status."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it did not end within {timeout_s:g} s of SIGTERM:\n{self.log_tail()}")

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        self._process.kill()
        self._process.wait()

    def suspend(self) -> None:
        """Stop its clock (SIGSTOP), as a frozen machine would."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        self._process.send_signal(signal.SIGCONT)
