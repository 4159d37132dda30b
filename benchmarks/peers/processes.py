"""A program that is measured: a process, what it has started, and what the operating system says of them."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Self

_CLOCK_TICKS: Final = os.sysconf("SC_CLK_TCK")
_STOP_TIMEOUT_S: Final = 30.0
_SHOWN: Final = 3000


class Program:
    """A process with a log. A context manager: leaving ends it."""

    def __init__(self, command: list[str], environ: Mapping[str, str], log_path: Path) -> None:
        """Start it."""
        self.log_path: Final = log_path
        with log_path.open("wb") as log:
            self._process: Final = subprocess.Popen(
                command, env={**os.environ, **environ}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def __enter__(self) -> Self:
        """Lend it."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.stop()

    @property
    def exit_code(self) -> int | None:
        """The exit status, or None while it runs."""
        return self._process.poll()

    def log_end(self) -> str:
        """Return the last lines of what it has said."""
        return self.log_path.read_text(errors="replace")[-_SHOWN:]

    def cpu_s(self) -> float:
        """Return the CPU time so far, user and system, of the process and of all that it has started."""
        ticks = 0
        for pid in self._pids():
            try:
                fields = _stat(pid)
            except (FileNotFoundError, ProcessLookupError):
                continue
            # utime, stime, and the same of children that have ended and were waited for
            ticks += sum(map(int, fields[11:15]))
        return ticks / _CLOCK_TICKS

    def peak_memory_mb(self) -> float:
        """Return the largest resident memory so far in MB, summed over the processes that live."""
        kb = 0
        for pid in self._pids():
            try:
                status = Path(f"/proc/{pid}/status").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            kb += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
        return kb / 1024

    def kill(self) -> None:
        """End it as a crash would."""
        for pid in reversed(list(self._pids())):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait(_STOP_TIMEOUT_S)

    def stop(self) -> None:
        """Ask it to end, and insist after half a minute."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def _pids(self) -> Iterator[int]:
        """Yield the process and its descendants."""
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
                except (FileNotFoundError, ProcessLookupError):
                    continue
        waiting = [self._process.pid]
        while waiting:
            pid = waiting.pop()
            yield pid
            waiting.extend(children.get(pid, ()))


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third on: the second may hold spaces."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
