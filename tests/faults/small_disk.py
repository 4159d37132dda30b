"""A small disk of a worker's own, which a test may fill: a file system in memory, mounted where only the worker sees it.

It needs no rights: a process in a user namespace of its own may mount. Where the operating system allows no such namespace,
`LimitedFiles` is in its place: no file may grow beyond a limit, so that writes fail as they do on a full disk.
"""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final, Self

from tests.harness import Stream
from tests.worker_process import ROOT, Worker

_SIZE_MB: Final = 48
_RUN: Final = "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"
_WORKER: Final = (sys.executable, "-m", "app.cli", "worker")
_FROM_HERE: Final = 'cd "$0" && exec "$@"'
"""To enter a namespace is to begin in its root folder, where Python would find another copy of the program, or none."""

_HOLD: Final = 'mount -t tmpfs -o size="$2"m tmpfs "$1" && echo mounted && exec cat'
_FILL: Final = 'head -c 1G /dev/zero > "$1"/filling; test -s "$1"/filling'
_FILE_BYTES: Final = 16 * 1024


class SmallDisk:
    """A file system of 48 MB. A context manager: it is gone at the end."""

    what: Final = f"a file system of {_SIZE_MB} MB"

    def __init__(self, path: Path) -> None:
        """Mount it at a path, which is made."""
        self.path: Final = path
        path.mkdir(parents=True)
        command = ["unshare", "-rm", "sh", "-c", _HOLD, "sh", str(path), str(_SIZE_MB)]
        self._holder: Final = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._holder.stdout is not None
        with self._holder.stdout as output:
            assert output.readline() == b"mounted\n"

    @staticmethod
    def is_possible() -> bool:
        """Tell whether this machine lets us mount."""
        if not (shutil.which("unshare") and shutil.which("nsenter")):
            return False
        probe = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs tmpfs /tmp"]
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of it."""
        assert self._holder.stdin is not None
        self._holder.stdin.close()
        self._holder.wait()

    def _inside(self, *command: str) -> list[str]:
        pid = self._holder.pid
        return ["nsenter", f"--target={pid}", "--user", "--preserve-credentials", "--mount", *command]

    def _run(self, *command: str) -> None:
        subprocess.run(self._inside(*command), check=True, capture_output=True, timeout=30)

    def worker(self, stream: Stream, *, started: bool = True) -> Worker:
        """Start a worker whose data folder is on this disk."""
        command = self._inside("sh", "-c", _FROM_HERE, str(ROOT), *_WORKER)
        return stream.worker("-c", _RUN, *command, started=started, data_dir=self.path / "data")

    def fill(self, _: Worker | None = None) -> None:
        """Leave no byte free."""
        self._run("sh", "-c", _FILL, "sh", str(self.path))

    def make_room(self) -> None:
        """Free what was filled."""
        self._run("rm", str(self.path / "filling"))

    def allow_writing(self, *, allowed: bool) -> None:
        """Mount it again, for reading only or for writing too."""
        self._run("mount", "-o", f"remount,{'rw' if allowed else 'ro'}", str(self.path))


class LimitedFiles:
    """A folder for a worker whose files may grow only so far; the same calls as `SmallDisk`, as far as they can be."""

    what: Final = "files that may not grow"

    def __init__(self, path: Path) -> None:
        """Limit nothing yet."""
        self.path: Final = path

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the folder to pytest."""

    def worker(self, stream: Stream, *, started: bool = True) -> Worker:
        """Start a worker with its data in this folder."""
        return stream.worker("-c", _RUN, *_WORKER, started=started, data_dir=self.path / "data")

    def fill(self, worker: Worker) -> None:
        """Let no file of a worker grow larger."""
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (_FILE_BYTES, _FILE_BYTES))

    def make_room(self) -> None:
        """Do nothing: the next worker is not limited."""


def small_disk(path: Path) -> SmallDisk | LimitedFiles:
    """Return a disk that can be filled, as real as this machine allows. (NO_NAMESPACES=1 chooses the limit on files.)"""
    if SmallDisk.is_possible() and not os.environ.get("NO_NAMESPACES"):
        return SmallDisk(path)
    return LimitedFiles(path)
