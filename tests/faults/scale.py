"""How large the tests of faults are: small in `make test`, whole in `make faults`, and where their counts are written.

`make faults` sets FAULTS=full and names a file in FAULTS_COUNTS; `python -m tests.faults.table` makes the table of
docs/reliability.md from it.
"""

import json
import os
import time
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")

FULL: Final = os.environ.get("FAULTS") == "full"


def scaled(short: T, full: T) -> T:
    """Return the size for `make test`, or that for `make faults`."""
    return full if FULL else short


class Counts:
    """What a test of faults did and found, written as one line when it passed."""

    def __init__(self, test: str) -> None:
        """Begin with nothing; `test` is pytest's name of it."""
        self._test: Final = test
        self._began_s: Final = time.monotonic()
        self._story = ""
        self._counts: dict[str, object] = {}

    def note(self, story: str, **counts: object) -> None:
        """Say in a few words what was done, and the counts: `note("workers killed (SIGKILL)", kills=20, records=1_000_000)`."""
        self._story = story
        self._counts |= counts

    def write(self) -> None:
        """Append the line to the file of this run, where there is one."""
        path = os.environ.get("FAULTS_COUNTS")
        if not path or not self._story:
            return
        seconds = round(time.monotonic() - self._began_s)
        line = {"story": self._story, "test": self._test, "seconds": seconds, "counts": self._counts}
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
