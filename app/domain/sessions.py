"""Charging sessions: what the records that name one tell of it, whichever meter they are of."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from app.domain.calendar import US_PER_DAY
from app.domain.tariffs import Counted, Direction

REACH_US: Final = 31 * US_PER_DAY
"""How far from a bill a session's records are looked for."""

Stretch = tuple[int, int]
"""A stretch of time [start_us, end_us)."""


class SessionPart(NamedTuple):
    """What one record tells of its session, within one interval; `charging`: there is energy in it."""

    session_id: str
    direction: Direction
    device_id: str
    start_us: int
    end_us: int
    charging: bool


class Session(NamedTuple):
    """A session from the earliest start to the latest end of its records, and when energy flowed, in order."""

    session_id: str
    direction: Direction
    start_us: int
    end_us: int
    charging: tuple[Stretch, ...]

    def stretches(self, counted: Counted) -> tuple[Stretch, ...]:
        """Return the time of the session that counts."""
        return self.charging if counted == "charging" else ((self.start_us, self.end_us),)


def sessions_of(parts: Iterable[SessionPart], device_id: str | None = None) -> list[Session]:
    """Return the sessions that records tell, in order of time; with `device_id` that device's records alone.

    A session that several meters tell (the location's own and a device's) is one session: the union of what they tell.
    """
    by_session: dict[tuple[Direction, str], list[SessionPart]] = {}
    for part in parts:
        if device_id in {None, part.device_id}:
            by_session.setdefault((part.direction, part.session_id), []).append(part)
    found = [
        Session(
            session_id,
            direction,
            min(part.start_us for part in told),
            max(part.end_us for part in told),
            _union((part.start_us, part.end_us) for part in told if part.charging),
        )
        for (direction, session_id), told in by_session.items()
    ]
    return sorted(found, key=lambda session: (session.start_us, session.direction, session.session_id))


def _union(stretches: Iterable[Stretch]) -> tuple[Stretch, ...]:
    """Return the time that stretches cover, in order and without overlap."""
    found: list[Stretch] = []
    for start_us, end_us in sorted(stretches):
        if found and start_us <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end_us)
        else:
            found.append((start_us, end_us))
    return tuple(found)
