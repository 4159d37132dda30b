"""A worker whose clock is stepped again and again, back by an hour and ahead by a day. Run as a process of its own.

What reads the wall clock sees the steps: `time.time` and `time.time_ns`, in this program and in all its libraries. The
monotonic clock goes on, as it does on a machine whose clock is set.
"""

import itertools
import json
import sys
import time
from typing import Final

STEPS_S: Final = (0, -3_600, 86_400, -2 * 365 * 86_400, 0, 366 * 86_400)
EVERY_S: Final = 0.4

_began_s: Final = time.monotonic()
_true_ns: Final = time.time_ns
_stepped: Final = itertools.count(1)
_reached = 0


def _now_ns() -> int:
    """Return the time of a clock that somebody sets."""
    global _reached  # noqa: PLW0603 - a clock is one
    step = int((time.monotonic() - _began_s) / EVERY_S)
    by_s = STEPS_S[step % len(STEPS_S)]
    if step != _reached:
        _reached = step
        sys.stderr.write(json.dumps({"event": "clock_stepped", "times": next(_stepped), "by_s": by_s}) + "\n")
    return _true_ns() + by_s * 1_000_000_000


time.time_ns = _now_ns
time.time = lambda: _now_ns() / 1e9

if __name__ == "__main__":
    from app.cli import main  # after the clock was taken, so that nobody has the true one

    sys.argv = ["meterstream", "worker"]
    main()
