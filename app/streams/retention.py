"""Retention: what is too old to be taken, and what may then be deleted, meter by meter in slices.

Nothing here asks a clock. Stream time is what the log itself has reached: a record moves it to the end of its period, or to
its submission where that is earlier. So neither a broker whose clock jumps ahead nor a period far in the future moves it
alone. By whole days of it the cutoff follows; it is committed with what it decided, and only ever grows.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from app.domain.calendar import US_PER_DAY
from app.domain.instants import US_PER_SECOND
from app.domain.rules import LATEST_US, Window
from app.domain.timeline import BEGINNING_US
from app.streams.tables import Passing, Tables

_NEVER_US: Final = 1 << 62
_LONGEST_INTERVAL_US: Final = 32 * US_PER_DAY
"""More than a whole month, which is the longest interval that can reach from one tier period into the next."""


class AgeLimits(NamedTuple):
    """How many days intervals are kept, and how far ahead of its submission a record may reach; None: without a limit."""

    retention_days: int | None = None
    future_tolerance_s: float | None = None


NO_LIMITS: Final = AgeLimits()


class Retention:
    """The cutoff of one partition, and how far what is older has been deleted.

    Records that begin before `closed_us` are too old; intervals that end by then are closed: nothing changes them any more.
    Of those `sweep` finds what no tier can ask for, once for each day by which the cutoff grows.
    """

    __slots__ = (
        "_ahead_us",
        "_days",
        "_kept_days",
        "_place",
        "_sure_us",
        "_target_us",
        "closed_us",
        "missed",
        "next_us",
        "swept_us",
        "window",
    )

    def __init__(self, limits: AgeLimits, kept_days: Callable[[], int]) -> None:
        """Begin without a past; `kept_days` is the longest tier period of the tariffs that are known, in days."""
        self._days: Final = limits.retention_days
        tolerance_s = limits.future_tolerance_s
        self._ahead_us: Final = _NEVER_US if tolerance_s is None else round(tolerance_s * US_PER_SECOND)
        self._kept_days: Final = kept_days
        self._place: tuple[str, int] | None = None
        self._target_us = 0
        self.missed: set[str] = set()
        """What was found and could not be deleted yet."""
        self.restore(0, 0)

    def restore(self, closed_us: int, swept_us: int) -> None:
        """Take up what was committed. What is closed stays closed, also under a longer retention, or none."""
        self.closed_us = closed_us
        self.swept_us = self._sure_us = swept_us
        self._look_ahead()
        self._begin()

    def _look_ahead(self) -> None:
        """Set what records have to keep, and the stream time at which the cutoff grows."""
        unlimited = self.closed_us == 0 and self._ahead_us == _NEVER_US
        self.window: Window | None = None if unlimited else Window(self.closed_us, self._ahead_us)
        self.next_us = _NEVER_US if self._days is None else self.closed_us + (self._days + 1) * US_PER_DAY

    def note(self, submitted_ms: int, end_us: int) -> bool:
        """Hear of a record that ends at or after `next_us`; tell whether the cutoff has grown."""
        assert self._days is not None  # noqa: S101 - without retention nothing ends that late
        day_us = min(submitted_ms * 1000, end_us, LATEST_US) // US_PER_DAY * US_PER_DAY
        closed_us = day_us - self._days * US_PER_DAY
        if closed_us <= self.closed_us:
            return False
        self.closed_us = closed_us
        self._look_ahead()
        if self._place is None:
            self._begin()
        return True

    # Deletion

    @property
    def is_sweeping(self) -> bool:
        """Tell whether there is something left to look through."""
        return self._place is not None

    def sure_us(self) -> int:
        """Return how far everything has been deleted: what was missed is found again from there after a crash."""
        if not self.missed:
            self._sure_us = self.swept_us
        return self._sure_us

    def _begin(self) -> None:
        """Begin at the first meter when more may be deleted than the last time."""
        kept_days = self._kept_days() if self.closed_us else 0
        kept_us = kept_days * US_PER_DAY + _LONGEST_INTERVAL_US if kept_days else 0
        self._target_us = self.closed_us - kept_us
        self._place = ("", BEGINNING_US) if self._target_us > self.swept_us else None

    def sweep(self, tables: Tables, limit: int) -> list[Passing]:
        """Look at about `limit` meters and old intervals, and return those of the intervals that no tier can ask for."""
        found: list[Passing] = []
        while self._place is not None and limit > 0:
            prefix, from_us = self._place
            passing = tables.passing(prefix, from_us, self._target_us, limit) if prefix else []
            found += [each for each in passing if each[1].end_us <= self._target_us]
            if len(passing) == limit:
                self._place = (prefix, passing[-1][1].start_us + 1)
                break
            limit -= len(passing) + 1
            following = tables.prefix_after(prefix)
            if following is None:
                self.swept_us = self._target_us
                self._begin()
            else:
                self._place = (following, BEGINNING_US)
        return found
