"""Child processes that leave nothing behind: they end with their parent, and a leftover is recognised and ended."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from app.local.launch import start_identity

_LAUNCHER: Final = Path(__file__).with_name("launch.py")
_POLL_S: Final = 0.02
_LARGEST_LOG_BYTES: Final = 32 << 20
_KILL_PATIENCE_S: Final = 10.0


class ChildProcess:
    """One running command with its output in a file and its record (process id and start time) beside its data."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        record: Path,
        log_path: Path,
        environ: Mapping[str, str],
        cwd: Path | None = None,
    ) -> None:
        """Start ``command``; a leftover that ``record`` names is ended first.

        The output is appended to ``log_path``. On Linux the kernel kills the child when the *thread* that made it ends,
        so make it in a thread that lives as long as it shall. Raises OSError when the launcher cannot be started.
        """
        end_leftover(record)
        for path in (record, log_path):
            path.parent.mkdir(parents=True, exist_ok=True)
        if log_path.exists() and log_path.stat().st_size > _LARGEST_LOG_BYTES:
            log_path.replace(log_path.with_name(log_path.name + ".old"))
        self.record: Final = record
        self.log_path: Final = log_path
        launcher = [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), str(record), "--"]
        with log_path.open("ab") as log:
            self.log_start: Final = log.tell()
            self._process: Final = subprocess.Popen(
                [*launcher, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=dict(environ), cwd=cwd
            )

    @property
    def pid(self) -> int:
        """The process id; the same before and after the launcher became the command."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs, negative the signal that ended it."""
        return self._process.poll()

    def log_text(self) -> str:
        """Return what this run has written."""
        with suppress(FileNotFoundError), self.log_path.open("rb") as log:
            log.seek(self.log_start)
            return log.read().decode(errors="replace")
        return ""

    def log_tail(self, lines: int = 20) -> str:
        """Return the last lines of what this run has written."""
        return "\n".join(self.log_text().splitlines()[-lines:])

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        self._process.send_signal(number)

    def wait(self, timeout_s: float) -> int | None:
        """Wait for the end, at most ``timeout_s``; None when it still runs."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, timeout_s: float) -> int:
        """Ask it to end (SIGTERM), kill it when ``timeout_s`` was not enough, and return its exit code."""
        self._process.terminate()
        code = self.wait(timeout_s)
        return self.kill() if code is None else self._forget(code)

    def kill(self) -> int:
        """End it at once (SIGKILL) and return its exit code."""
        self._process.kill()
        return self._forget(self._process.wait(_KILL_PATIENCE_S))

    def _forget(self, code: int) -> int:
        """Remove the record: nothing runs any more."""
        self.record.unlink(missing_ok=True)
        return code


def end_leftover(record: Path) -> bool:
    """Kill the process that ``record`` names if it still runs, and forget it; say whether there was one.

    Only the process that wrote the record is ended: another one that has the same id by now started at another time.
    """
    try:
        noted = json.loads(record.read_text(encoding="utf-8"))
        pid, started = int(noted["pid"]), str(noted["started"])
    except FileNotFoundError:
        return False
    except (ValueError, KeyError, TypeError):  # half a record: the launcher never got as far as its command
        record.unlink(missing_ok=True)
        return False
    found = start_identity(pid) == started
    if found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        _await_end(pid, started)
    record.unlink(missing_ok=True)
    return found


def _await_end(pid: int, started: str) -> None:
    """Wait until the killed process is gone; raises TimeoutError when it is not after ten seconds."""
    deadline = time.monotonic() + _KILL_PATIENCE_S
    while start_identity(pid) == started:
        if time.monotonic() > deadline:
            message = f"process {pid} was killed and does not end"
            raise TimeoutError(message)
        time.sleep(_POLL_S)
