"""Bands of charges that are not for energy, on the time line: the first that holds at an instant, or none."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Protocol

from app.domain.tariffs import Band, EnergyCharge, Tariff, Tier, When
from app.domain.timeline import Segment, Timeline


class Banded(Protocol):
    """A band of any charge: windows are all that matters here."""

    @property
    def when(self) -> tuple[When, ...]:
        """Return its windows."""


class BandTimes:
    """Finds the band at an instant, by the rules of energy bands. They may leave holes."""

    __slots__ = ("_segment", "_timeline")

    def __init__(self, tariff: Tariff, bands: Sequence[Banded]) -> None:
        """Lay the bands out as those of an energy charge of export, which may have holes, by the tariff's clock."""
        named = tuple(Band(str(number), band.when, (Tier(None, Decimal(0)),)) for number, band in enumerate(bands))
        self._timeline = Timeline(replace(tariff, direction="EXPORT", charges=(EnergyCharge("bands", named),)))
        self._segment: Segment | None = None

    def at(self, at_us: int) -> int | None:
        """Return the number of the band at an instant. Most who ask come in order: the segment before is tried first."""
        segment = self._segment
        if segment is None or not segment.start_us <= at_us < segment.end_us:
            segment = self._segment = self._timeline.segment(at_us)
        return _number(segment)

    def pieces(self, start_us: int, end_us: int) -> Iterator[tuple[int, int, int | None]]:
        """Yield (start_us, end_us, number of the band) of each piece of a span; they tile it."""
        for segment in self._timeline.segments(start_us, end_us):
            yield max(segment.start_us, start_us), min(segment.end_us, end_us), _number(segment)


def _number(segment: Segment) -> int | None:
    return int(segment.charges[0].band or 0) if segment.charges else None
