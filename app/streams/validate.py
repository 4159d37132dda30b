"""Validate: a record as published becomes a reading of one meter, or the reason why it is refused."""

from collections.abc import Callable
from math import inf
from typing import Final

from app.domain.calendar import IntervalGrid, grid_for
from app.domain.energy import energy_uwh
from app.domain.instants import InstantError, parse_instant_us
from app.domain.locations import Location
from app.domain.records import EnergyFlow, MeterId, MeterRecord, Reading, Rejected, TariffDirection
from app.domain.rules import (
    EARLIEST_US,
    ID_LIMIT,
    LATEST_US,
    LONGEST_SPLIT_US,
    Claim,
    Window,
    first_broken,
    id_problem,
    instant_problem,
)
from app.wire.interval import MeterText

_MEMO_LIMIT: Final = 100_000
_DIRECTION_OF_FLOW: Final[dict[EnergyFlow, TariffDirection]] = {"INBOUND": "IMPORT", "OUTBOUND": "EXPORT"}
_UW_PER_W: Final = 1_000_000

FindLocation = Callable[[str], Location | None]
Place = tuple[int, int, int, int]
"""Submission time in ms, number of the source, offset, record number."""


class Meter:
    """One meter as this partition knows it: its texts, its location's grid, and what is known of its stored intervals.

    `power_limit_w` is infinite where the location has no limit; `has_months` tells that some of its intervals are whole months.
    `latest_id` is the id of the interval at `latest_us`, which was asked for last.
    """

    __slots__ = (
        "grid", "has_months", "latest_id", "latest_us", "location", "meter_id", "newest_start_us", "power_limit_w", "text",
    )  # fmt: skip

    def __init__(self, meter_id: MeterId, location: Location) -> None:
        """Prepare a meter at its location; nothing is read from the store."""
        self.meter_id: Final = meter_id
        self.location: Final = location
        self.grid: Final[IntervalGrid] = grid_for(location.timezone, location.interval_minutes)
        self.text: Final = MeterText(meter_id)
        self.power_limit_w: Final = inf if location.max_power_uw is None else location.max_power_uw / _UW_PER_W
        self.newest_start_us: int | None = None
        self.has_months = False
        self.latest_us: int | None = None
        self.latest_id = ""


class _Instants(dict[str, int]):
    """Instants by their texts: thousands of meters report the same few."""

    def __missing__(self, text: str) -> int:
        if len(self) >= _MEMO_LIMIT:
            self.clear()
        at_us = self[text] = parse_instant_us(text)
        return at_us


instants: Final = _Instants()


NamedIn = str | tuple[str, str | None, str | None, str | None]
"""What names a meter in a record: its location alone, or with the device and the two directions."""


def named_in(record: MeterRecord) -> NamedIn:
    """Return what names a record's meter."""
    device_id, flow, direction = record.device_id, record.energy_flow_direction, record.tariff_direction
    if device_id is None and flow is None and direction is None:
        return record.location_id
    return record.location_id, device_id, flow, direction


def meter_id_of(record: MeterRecord) -> MeterId | Rejected:
    """Return which meter a record is about: the device where it names one, else the location."""
    problem = id_problem("location_id", record.location_id)
    if problem is None and record.device_id:
        problem = id_problem("device_id", record.device_id)
    if problem is not None:
        return Rejected("invalid_value", problem)
    flow = record.energy_flow_direction or "INBOUND"
    direction = record.tariff_direction or _DIRECTION_OF_FLOW[flow]
    return MeterId(record.location_id, record.device_id or "", flow, direction)


def reading_of(record: MeterRecord, meter: Meter, place: Place, window: Window | None) -> Reading | Rejected:
    """Return the reading that a record states, or the refusal by the first rule that it breaks."""
    field = "start_time"
    try:
        start_us = instants[record.start_time]
        field = "end_time"
        end_us = instants[record.end_time]
    except InstantError as error:
        sentence = f"{field}: {error}"
        return Rejected("naive_timestamp" if error.reason == "naive" else "invalid_value", sentence)
    if not EARLIEST_US <= start_us <= LATEST_US or not EARLIEST_US <= end_us <= LATEST_US:
        problem = instant_problem("start_time", start_us, record.start_time)
        return Rejected("invalid_value", problem or instant_problem("end_time", end_us, record.end_time) or "")
    duration_us = end_us - start_us
    value, confidence = record.value, record.confidence
    reference, session = record.record_reference_id, record.session_reference_id
    submitted_ms, source, offset, record_num = place
    if 0 < duration_us <= LONGEST_SPLIT_US and 0 <= value <= _USUAL_VALUE:
        # What every rule is sure to let pass: nearly all records. The rules themselves decide the rest.
        amount_uwh = energy_uwh(value, record.units, duration_us)
        if (
            amount_uwh <= meter.power_limit_w * duration_us / 3600
            and (confidence is None or 0 < confidence <= 1)
            and (reference is None or (len(reference) <= ID_LIMIT and reference.isprintable()))
            and (session is None or (len(session) <= ID_LIMIT and session.isprintable()))
            and (window is None or (start_us >= window.oldest_us and end_us <= submitted_ms * 1000 + window.ahead_us))
        ):
            return Reading(
                start_us,
                end_us,
                amount_uwh,
                1.0 if confidence is None else confidence,
                submitted_ms,
                source,
                offset,
                record_num,
                reference,
                session,
            )
    is_month = duration_us > _SHORTEST_MONTH_US and meter.grid.month(start_us, end_us)
    limit_w = None if meter.location.max_power_uw is None else meter.power_limit_w
    oldest_us = newest_us = None
    if window is not None:
        oldest_us, newest_us = window.oldest_us, min(submitted_ms * 1000 + window.ahead_us, LATEST_US)
    broken = first_broken(Claim(record, start_us, end_us, limit_w, is_month, oldest_us, newest_us))
    if broken is not None:
        return broken
    return Reading(
        start_us,
        end_us,
        energy_uwh(value, record.units, duration_us),
        1.0 if confidence is None else confidence,
        *place,
        reference,
        session,
    )


_USUAL_VALUE: Final = 1_000_000.0
"""Values up to here, in any unit, stay below the most energy that a record may hold."""

_SHORTEST_MONTH_US: Final = 27 * 86_400 * 1_000_000
