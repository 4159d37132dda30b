"""Completeness: what a bill should have had and has not, named as ranges of time."""

from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

from app.domain.bill_records import PricedInterval, ProblemKind, Unbilled
from app.domain.calendar import IntervalGrid
from app.domain.records import EnergyFlow, MeterId
from app.domain.tariffs import Direction


class Problem(NamedTuple):
    """A range [start_us, end_us) of a meter's intervals that are not as they should be, and how many they are.

    missing: there is no reading; incomplete: readings cover a part of each, which is billed; unpriced: the price is
    not known (`reason`); unbilled: the price cannot be on this bill (`reason`). No interval is concerned where sessions
    are not known.
    """

    kind: ProblemKind
    reason: str | None
    meter: MeterId
    start_us: int
    end_us: int
    intervals: int


class Sorted(NamedTuple):
    """A meter's intervals within a bill: those whose price is on it, those whose energy alone is known, and the rest."""

    billed: list[PricedInterval]
    unpriced: list[PricedInterval]
    problems: list[Problem]


FLOW_OF: Final[dict[Direction, EnergyFlow]] = {"IMPORT": "INBOUND", "LOCAL": "INBOUND", "EXPORT": "OUTBOUND"}
"""The flow of a meter of which only the tariff direction is known."""


def expected(
    asked: MeterId, heard: Collection[MeterId], before: Collection[MeterId], linked: Collection[Direction]
) -> list[MeterId]:
    """Return the meters that must be on a bill, whether or not anything was heard of them. Silence is not zero.

    `asked` is the import meter of the location, or of the device that is billed by itself; `heard` are the meters with
    readings in the bill, `before` those with earlier ones, `linked` the directions in which the location is on a tariff.
    A device that was asked for is there; so are the location's own meters that were heard before, while a tariff is.
    Other devices come and go.
    """
    if asked.device_id:
        known = [meter for meter in (*heard, *before) if meter.device_id == asked.device_id]
        return known or [asked]
    found = [meter for meter in before if not meter.device_id and meter.tariff_direction in linked]
    directions = {meter.tariff_direction for meter in (*heard, *found)}
    if not directions and "IMPORT" not in linked:
        found += [asked._replace(tariff_direction=one, energy_flow_direction=FLOW_OF[one]) for one in linked] or [asked]
    elif "IMPORT" in linked and "IMPORT" not in directions:
        found.append(asked)
    return found


def sort_out(
    meter: MeterId,
    intervals: Iterable[tuple[PricedInterval, Unbilled | None]],
    grid: IntervalGrid,
    bill: tuple[int, int],
) -> Sorted:
    """Sort out a meter's intervals, given with what is wrong with them, and name what is missing between them."""
    start_us, end_us = bill
    found = Sorted([], [], [])
    singles: list[Problem] = []
    until_us = start_us
    for interval, wrong in sorted(intervals, key=lambda one: (one[0].start_us, one[0].end_us)):
        if interval.empty or interval.start_us >= end_us or interval.end_us <= start_us:
            continue
        inside = max(interval.start_us, start_us), min(interval.end_us, end_us)
        if inside[0] < until_us:
            singles.append(Problem("unbilled", "overlaps", meter, *inside, 1))
            continue
        singles += _missing(meter, until_us, inside[0], grid)
        until_us = inside[1]
        if not interval.complete:
            singles.append(Problem("incomplete", None, meter, *inside, 1))
        if wrong is not None:
            singles.append(Problem("unbilled", wrong, meter, *inside, 1))
        elif interval.reason is not None:
            singles.append(Problem("unpriced", interval.reason, meter, *inside, 1))
            found.unpriced.append(interval)
        else:
            found.billed.append(interval)
    singles += _missing(meter, until_us, end_us, grid)
    found.problems.extend(merged(singles))
    return found


def _missing(meter: MeterId, start_us: int, end_us: int, grid: IntervalGrid) -> list[Problem]:
    """Name the intervals of the grid that [start_us, end_us) touches."""
    count, at_us = 0, start_us
    while at_us < end_us:
        _, at_us = grid.bounds(at_us)
        count += 1
    return [Problem("missing", None, meter, start_us, end_us, count)] if count else []


def merged(problems: Sequence[Problem]) -> list[Problem]:
    """Put neighbours that have the same thing wrong into one range, in order of kind and time."""
    found: list[Problem] = []
    for problem in sorted(problems, key=lambda one: (one.kind, one.reason or "", one.start_us)):
        last = found[-1] if found else None
        if last is not None and last[:3] == problem[:3] and last.end_us == problem.start_us:
            found[-1] = last._replace(end_us=problem.end_us, intervals=last.intervals + problem.intervals)
        else:
            found.append(problem)
    return sorted(found, key=lambda one: (one.start_us, one.kind, one.reason or ""))
