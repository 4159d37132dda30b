"""Become a child process that ends with its parent: a new session, the parent-death signal, a record, then `exec`.

Run by path, isolated, with nothing imported but the standard library (`python -I -S launch.py PARENT RECORD --
COMMAND`): it costs a few milliseconds, and unlike ``preexec_fn`` it is safe in a parent that has threads. The process
id stays the same over the ``exec``, and so does the start time, which together tell this process from any other that
gets its id later.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PARENT_IS_GONE = 3
_START_TIME_FIELD = 19  # of /proc/PID/stat, counted after the command's name: clock ticks from boot to the start


def start_identity(pid: int) -> str | None:
    """Say when process ``pid`` started, in a text that no other process with that id can have; None without one.

    A zombie counts as gone. On Linux it is the boot and the tick (proc(5)), elsewhere what `ps` says, to the second.
    """
    return _identity_from_proc(pid) if Path("/proc/self/stat").exists() else _identity_from_ps(pid)


def _identity_from_proc(pid: int) -> str | None:
    """Read the state and the start time from /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
    return None if fields[0] in "ZX" else f"{boot}/{fields[_START_TIME_FIELD]}"


def _identity_from_ps(pid: int) -> str | None:
    """Ask `ps` for the state and the start time."""
    command = ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)]
    shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    state, _, started = shown.partition(" ")
    return None if not started or state.startswith("Z") else " ".join(started.split())


def main(arguments: list[str]) -> None:
    """Tie this process to its parent, write ``{"pid", "started"}`` into the record and become the command."""
    parent_pid, record, _, *command = arguments
    os.setsid()  # Ctrl-C at the terminal reaches the parent alone, which ends its children in the right order
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent_pid):
        sys.exit(_PARENT_IS_GONE)  # it died before the signal was set, which would then never come
    pid = os.getpid()
    draft = Path(f"{record}.{pid}")
    draft.write_text(json.dumps({"pid": pid, "started": start_identity(pid)}), encoding="utf-8")
    draft.replace(record)
    os.execvp(command[0], command)  # noqa: S606 - the command is the parent's


if __name__ == "__main__":
    main(sys.argv[1:])
