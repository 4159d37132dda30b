"""Meter records: what a device or a location reported for a period, as it is published and as it is kept.

A `MeterRecord` has the public form (design: Record). A `Reading` is the same fact after validation: instants in µs since the
Unix epoch, energy in µWh, and the position in the log that tells which of two readings was submitted last.
"""

from typing import Final, Literal, NamedTuple

import msgspec

EnergyFlow = Literal["INBOUND", "OUTBOUND"]
TariffDirection = Literal["IMPORT", "EXPORT", "LOCAL"]
Units = Literal["W", "KW", "WH", "KWH"]

BATCH_LIMIT: Final = 10_000
"""Most records that one message may hold."""

ErrorCode = Literal[
    "malformed_json",
    "missing_field",
    "invalid_value",
    "naive_timestamp",
    "end_before_start",
    "zero_duration",
    "negative_value",
    "unknown_location",
    "implausible_power",
    "period_too_long",
    "overlaps_existing_period",
    "too_old",
    "in_the_future",
    "batch_too_large",
    "internal_error",
]


class MeterRecord(msgspec.Struct, gc=False):
    """One record as published; unknown fields are ignored, and null stands for a field that is left out."""

    location_id: str
    units: Units
    value: float
    start_time: str
    end_time: str
    device_id: str | None = None
    session_reference_id: str | None = None
    record_reference_id: str | None = None
    energy_flow_direction: EnergyFlow | None = None
    tariff_direction: TariffDirection | None = None
    confidence: float | None = None


class Rejected(NamedTuple):
    """Why a record was refused: a code that programs match, and a sentence that names field, value and expectation."""

    error: ErrorCode
    message: str


class MeterId(NamedTuple):
    """What energy is counted for: a location or a device in it, one flow, one kind of tariff; never summed together."""

    location_id: str
    device_id: str
    energy_flow_direction: EnergyFlow
    tariff_direction: TariffDirection


class Reading(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A valid record: the energy of one meter in the half-open period [start_us, end_us), and where it stood in the log.

    `source` numbers the topic partition in which the record was first published, `offset` and `record_num` are its place
    there, and `submitted_ms` is its Kafka timestamp (ms since the Unix epoch).
    """

    start_us: int
    end_us: int
    energy_uwh: int
    confidence: float
    submitted_ms: int
    source: int
    offset: int
    record_num: int
    record_reference_id: str | None = None
    session_reference_id: str | None = None

    def submitted_after(self, other: "Reading") -> bool:
        """Tell whether this one was submitted later: by place in the same log, else by Kafka timestamp.

        Equal timestamps in two logs are ordered by the log's number, so that every worker decides alike.
        """
        if self.source == other.source:
            return (self.offset, self.record_num) > (other.offset, other.record_num)
        return (self.submitted_ms, self.source) > (other.submitted_ms, other.source)

    def says_the_same(self, other: "Reading") -> bool:
        """Tell whether two readings of the same period state the same facts, whenever they were submitted."""
        return (
            self.energy_uwh == other.energy_uwh
            and self.confidence == other.confidence
            and self.record_reference_id == other.record_reference_id
            and self.session_reference_id == other.session_reference_id
        )

    def energy_between_uwh(self, start_us: int, end_us: int) -> int:
        """Return the part of the energy that falls into [start_us, end_us), at constant power.

        Parts are differences of the cumulative energy rounded down, so the parts of any partition of the period sum to
        the whole exactly. The span is clipped to the reading's own period.
        """
        begin, finish = self.start_us, self.end_us
        if start_us <= begin and end_us >= finish:
            return self.energy_uwh
        low, high = max(start_us, begin), min(end_us, finish)
        if low >= high:
            return 0
        duration_us, energy_uwh = finish - begin, self.energy_uwh
        return energy_uwh * (high - begin) // duration_us - energy_uwh * (low - begin) // duration_us
