"""What nearly all records and intervals are, by compiled code where that was built and is used: app/streams/_usual.pyx.

What it does, `Pipeline` does too, and says what is right; what it leaves to that, it leaves as it is.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol, cast

from app.domain.intervals import Interval
from app.domain.records import MeterRecord
from app.streams.cost import Pricer
from app.streams.held import Entry
from app.streams.retention import Retention
from app.streams.tables import Tables
from app.streams.validate import Meter, NamedIn
from app.wire import compiled
from app.wire.compiled import Packed

try:
    from app.streams import _usual  # type: ignore[attr-defined]
except ImportError:
    _usual = None


class Usual(Protocol):
    """The compiled module. It knows how `Tables` keeps what a transaction changes."""

    def take(  # noqa: PLR0917 - hot, as all of these: keywords cost more than the names would help
        self,
        messages: list[Any],
        at: int,
        source: int,
        meters: dict[NamedIn, Meter],
        find_meter: Callable[[MeterRecord], object],
        tables: Tables,
        retention: Retention,
        /,
    ) -> tuple[int, int]:
        """Take usual records, the values of messages from a place on.

        Return the place of the first that is not usual, and how many were there already: those are duplicates, all others
        accepted. `source` numbers where they were first published; `meters` are those that were met before, `find_meter`
        finds others.
        """

    def publish(  # noqa: PLR0917
        self,
        waiting: list[tuple[str, tuple[Interval, Meter] | Packed]],
        emit_all: Callable[[Any, list[Entry]], None],
        slowly: Callable[[str, Interval, Meter], None],
        at_once: bool,  # noqa: FBT001
        now_s: float,
        held: dict[str, float],
        pricer: Pricer,
        tables: Tables,
        /,
    ) -> int:
        """Publish and price intervals, and return how many were usual; the others are left to `slowly`, in their turn."""


_BUILT: Final = cast("Usual | None", _usual)


def usual() -> Usual | None:
    """Return the compiled functions, or None where Python does everything."""
    return None if compiled.parts is None else _BUILT
