"""What is known of a location: its zone, its interval length, and which tariffs it is on from when to when."""

from collections.abc import Iterator, Sequence

import msgspec

from app.domain.instants import format_instant
from app.domain.tariffs import Direction

DEFAULT_INTERVAL_MINUTES = 30


class TariffLink(msgspec.Struct, frozen=True, gc=False):
    """A location is on a tariff during [valid_from_us, valid_to_us); None: without such an end."""

    direction: Direction
    tariff_id: str
    valid_from_us: int | None = None
    valid_to_us: int | None = None


class Location(msgspec.Struct, frozen=True, gc=False):
    """A location document. `max_power_uw` (µW) is the most that its meters can plausibly show."""

    location_id: str
    timezone: str
    interval_minutes: int = DEFAULT_INTERVAL_MINUTES
    customer_id: str | None = None
    max_power_uw: int | None = None
    links: tuple[TariffLink, ...] = ()
    carbon_series_id: str | None = None


def links_within(location: Location, start_us: int, end_us: int) -> Iterator[TariffLink]:
    """Yield the links that hold at any time of [start_us, end_us)."""
    for link in location.links:
        if _before(link.valid_from_us, end_us) and _before(start_us, link.valid_to_us):
            yield link


def overlapping_links(links: Sequence[TariffLink]) -> list[tuple[int, str]]:
    """Return (position, sentence) of every link that overlaps an earlier one of its direction."""
    problems: list[tuple[int, str]] = []
    if len(links) < 2:  # noqa: PLR2004 - as nearly always, and a worker asks for all locations there are
        return problems
    for later, link in enumerate(links):
        for earlier, other in enumerate(links[:later]):
            if link.direction == other.direction and _overlap(link, other):
                sentence = (
                    f"{link.direction} link to {link.tariff_id!r} ({_period(link)}) overlaps the one at [{earlier}] "
                    f"to {other.tariff_id!r} ({_period(other)}); expected at most one tariff a direction at any time"
                )
                problems.append((later, sentence))
    return problems


def _overlap(one: TariffLink, other: TariffLink) -> bool:
    return _before(one.valid_from_us, other.valid_to_us) and _before(other.valid_from_us, one.valid_to_us)


def _before(start_us: int | None, end_us: int | None) -> bool:
    return start_us is None or end_us is None or start_us < end_us


def _period(link: TariffLink) -> str:
    if link.valid_from_us is None and link.valid_to_us is None:
        return "always"
    start = "" if link.valid_from_us is None else f"from {format_instant(link.valid_from_us)} "
    end = "on" if link.valid_to_us is None else f"until {format_instant(link.valid_to_us)}"
    return start + end
