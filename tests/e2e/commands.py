"""The command line as people use it: processes of their own, with a stream's settings."""

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Final

from tests.worker_process import ROOT

DONE, FAILED, BAD_INPUT, UNREACHABLE = 0, 1, 2, 3
_TIMEOUT_S: Final = 60


class Commands:
    """`meterstream` with an environment."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Take METERSTREAM_ settings from `environ` alone, and the rest from this process."""
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("METERSTREAM_", "KAFKA_"))}
        self._environ: Final = plain | dict(environ)

    def start(self, *arguments: object) -> "subprocess.Popen[str]":
        """Start a command, and let it run."""
        command = [sys.executable, "-m", "app.cli", *map(str, arguments)]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=ROOT, env=self._environ, stdin=pipe, stdout=pipe, stderr=pipe, text=True, encoding="utf-8"
        )

    def run(self, *arguments: object, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        return finish(self.start(*arguments), stdin)

    def succeed(self, *arguments: object, stdin: str = "") -> str:
        """Run a command that has to succeed without a word of complaint, and return what it printed."""
        done = self.run(*arguments, stdin=stdin)
        assert (done.returncode, done.stderr) == (DONE, ""), done
        return done.stdout


def finish(process: "subprocess.Popen[str]", stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
    """Wait for a command's end; it never shows a traceback."""
    try:
        stdout, stderr = process.communicate(stdin, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    assert "Traceback" not in stderr, stderr
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
