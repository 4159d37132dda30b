"""Locations of a stream on a real broker, each with a story of its own."""

from collections.abc import Iterator
from typing import Any, Final

from aiokafka.structs import RecordMetadata

from tests.harness import WAIT_S, Stream
from tests.making import Json, flat_tariff, instant, location, record


class Site:
    """A location with a tariff of its own, so that stories on one stream do not meet."""

    def __init__(self, stream: Stream, location_id: str, tariff_id: str) -> None:
        """Name a location that the stream's worker knows."""
        self.stream: Final = stream
        self.location_id: Final = location_id
        self.tariff_id: Final = tariff_id
        self._barriers = 0

    def interval_id(self, minute: float) -> str:
        """Return the id of the interval that begins at a minute after `BASE`."""
        return f"{self.location_id}||INBOUND|IMPORT|{instant(minute)}"

    def record(self, minute: float, minutes: float, kwh: float, **fields: Any) -> Json:
        """Return a record of this location."""
        return record(self.location_id, minute, minutes, kwh, **fields)

    def publish(self, *records: Json) -> list[RecordMetadata]:
        """Publish records of this location."""
        return self.stream.publish(*records)

    def priced(self, minute: float) -> list[Json]:
        """Return what was published about the price of the interval at a minute, in order."""
        wanted = self.interval_id(minute)
        return [each for each in self.stream.priced(self.location_id) if each["interval_id"] == wanted]

    def intervals(self, minute: float) -> list[Json]:
        """Return what was published about the energy of the interval at a minute, in order.

        Of two topics the second can be read first: what the last price says of the interval is waited for.
        """
        priced = self.priced(minute)
        if priced:
            said = {name: priced[-1][name] for name in _SHARED}
            self.stream.wait(
                lambda: any(said.items() <= each.items() for each in self._intervals(minute)), "a price's own interval"
            )
        return self._intervals(minute)

    def _intervals(self, minute: float) -> list[Json]:
        wanted = self.interval_id(minute)
        return [each for each in self.stream.intervals(self.location_id) if each["interval_id"] == wanted]

    def rejected(self) -> list[Json]:
        """Return what was refused of this location."""
        return self.stream.rejected(self.location_id)

    def await_priced(self, minute: float, times: int = 1, timeout_s: float = WAIT_S) -> Json:
        """Wait until the interval at a minute has been published so many times, and return the last of it."""
        what = f"{self.interval_id(minute)} published {times} times"
        return self.stream.wait(lambda: self.priced(minute)[times - 1 : times], what, timeout_s)[0]

    def settle(self) -> None:
        """Wait until all that was published before is decided and priced: a later record of the same partition is."""
        self._barriers += 1
        minute = 480_000 + 30 * self._barriers
        self.publish(self.record(minute, 30, 0.001))
        self.await_priced(minute)


_SHARED = ("energy_wh", "covered_seconds", "complete", "confidence", "revision")
"""What an interval and its price say alike."""


def sites(stream: Stream, count: int) -> Iterator[Site]:
    """Load so many locations, each with a tariff of its own, and yield them."""
    names = [(f"site_{number}", f"tariff_{number}") for number in range(count)]
    stream.load(*(flat_tariff(tariff_id) for _, tariff_id in names))
    stream.load(*(location(location_id, tariff_id) for location_id, tariff_id in names))
    return iter([Site(stream, location_id, tariff_id) for location_id, tariff_id in names])
