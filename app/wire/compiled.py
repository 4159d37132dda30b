"""Whether the compiled twins of the hottest functions are used: where they were built, unless somebody says no.

What each does, its twin in Python says. What one leaves to that, it returns None for. Sources: app/wire/_compiled.pyx and
app/wire/_batches.pyx.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Final, Protocol, cast

from app.domain.intervals import Interval
from app.domain.rates import IntervalPrice

PublishedInterval = tuple[bytes, bytes, int, str]
"""The public form of an interval, its beginning up to its records, its energy in µWh, and when it was submitted."""


class Packed(Protocol):
    """An interval's state and its meter as compiled code keeps them: to Python a pair, whose first is made anew for each look."""

    def __getitem__(self, place: int, /) -> Any:
        """Return the state, or the meter."""

    def __iter__(self) -> Iterator[Any]:
        """Yield both."""


class Parts(Protocol):
    """The compiled modules."""

    RecordBatch: Callable[..., Any]
    """(limit_bytes, at_ms, transactional, codec): the twin of `app.streams.outbox.ClientBatch`."""

    FetchedRecords: Callable[[bytes], Any]
    """(data): the twin of aiokafka's `MemoryRecords`."""

    def partition_for(self, location_id: str, partitions: int, /) -> int:
        """See `app.domain.partitioning.partition_for`."""

    def writable_bytes(self, size: int, /) -> tuple[bytes, memoryview]:
        """Return bytes of a size, and the way to write them before anybody else has them."""

    def newest_entries(self, records: list[Any], mark: bytes, /) -> list[tuple[bytes, bytes | None]] | None:
        """See `app.streams.changelog.newest_entries`."""

    def keys_by_beginning(
        self, entries: Sequence[tuple[bytes, bytes | None]], key: bytes, value: bytes, /
    ) -> list[bytes]:
        """See `app.streams.held.held_keys`."""

    def publish(self, before_id: bytes, after_id: bytes, interval: Interval, /) -> PublishedInterval | None:
        """See `app.wire.interval.MeterText.publish`."""

    def head(
        self, before_id: bytes, after_id: bytes, interval: Interval, energy_uwh: int, covered_us: int, /
    ) -> bytes | None:
        """See `app.wire.interval.MeterText.head`."""

    def encode_state(self, interval: Interval, /) -> bytes | None:
        """See `app.wire.interval.encode_state`."""

    def encode_states(
        self,
        mark: bytes,
        intervals: Mapping[str, tuple[Interval, Any] | Packed],
        otherwise: Callable[[Interval], bytes],
        /,
    ) -> list[tuple[bytes, bytes | None]]:
        """See `app.wire.interval.encode_states`; `otherwise` encodes what is not usual."""

    def marked_entries(self, mark: bytes, values: Mapping[str, bytes | None], /) -> list[tuple[bytes, bytes | None]]:
        """See `app.wire.interval.marked_entries`."""

    def encode_body(self, head: bytes, price: IntervalPrice, /) -> bytes | None:
        """See `app.wire.priced.encode_body`."""

    def with_tail(self, body: bytes, submitted_at: str, sequence: int, /) -> bytes | None:
        """See `app.wire.priced.with_tail`."""


def _built_parts() -> Parts | None:
    try:
        from app.wire import _batches, _compiled  # type: ignore[attr-defined] # noqa: PLC0415 - they may be missing
    except ImportError:
        return None
    return cast("Parts", SimpleNamespace(**vars(_compiled) | vars(_batches)))


_BUILT: Final = _built_parts()
parts: Parts | None = _BUILT
"""What was built, or None."""


def use(*, wanted: bool) -> bool:
    """Use the compiled functions from now on, or Python's; tell whether they are used."""
    global parts  # noqa: PLW0603 - one process has one answer, and each call asks for it
    parts = _BUILT if wanted else None
    return parts is not None
