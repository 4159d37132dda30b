"""The demo's readings: a backfill, then what meters would send as time passes, with all that goes wrong in the field.

Every meter reports twice, as many real ones do: telemetry every few seconds, with a lower confidence, and a record of
5, 15 or 30 minutes when that time is over, which replaces the telemetry. Some one to two in a hundred are late,
repeated, corrected, keyed wrongly or not valid.
"""

import heapq
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final, Literal, NamedTuple

from app.local.demo.chance import between, share
from app.local.demo.portfolio import Meter
from app.local.demo.power import power_kw, session_at

US_PER_SECOND: Final = 1_000_000
_US_PER_MINUTE: Final = 60 * US_PER_SECOND
BACKFILL_US: Final = 120 * _US_PER_MINUTE
_TELEMETRY_PERIODS_S: Final = (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60)
"""Each divides a minute, so that a record of minutes covers whole pieces of telemetry and replaces them."""
_TELEMETRY_CONFIDENCE: Final = 0.9
_RECORDS_PER_MESSAGE: Final = 200
_WH_PER_KWH: Final = 1000
_US_PER_HOUR: Final = 3600 * US_PER_SECOND

Incident = Literal["repeated", "corrected", "late", "misrouted", "invalid"]
_INCIDENTS: Final[tuple[tuple[float, Incident], ...]] = (
    (0.003, "repeated"),
    (0.006, "corrected"),
    (0.010, "late"),
    (0.012, "misrouted"),
    (0.017, "invalid"),
)
"""Up to which share of the records each happens."""

Fault = Literal["naive", "negative", "no value", "unknown location", "not JSON", "backwards", "too much"]
FAULTS: Final[tuple[Fault, ...]] = (
    "naive",
    "negative",
    "no value",
    "unknown location",
    "not JSON",
    "backwards",
    "too much",
)


class Message(NamedTuple):
    """One message for `meter.records`, and when it is to be sent. Ordered by that."""

    due_us: int
    key: bytes
    value: bytes
    records: int


def telemetry_period_us(meters: int, rate_per_s: float) -> int:
    """Return how long a piece of telemetry is, so that all meters together send about ``rate_per_s``; 1 to 60 s."""
    wanted_s = meters / rate_per_s
    return next((s for s in _TELEMETRY_PERIODS_S if s >= wanted_s), _TELEMETRY_PERIODS_S[-1]) * US_PER_SECOND


def backfill(seed: int, meters: Iterable[Meter], now_us: int) -> Iterator[Message]:
    """Yield what was measured in the two hours before ``now_us``, several records to a message.

    Each meter's last record ends at the full minute before ``now_us``: there the live readings begin.
    """
    for meter in meters:
        length_us = meter.record_minutes * _US_PER_MINUTE
        begin_us, current_us = _floor(now_us - BACKFILL_US, length_us), _floor(now_us, length_us)
        bounds = [*range(begin_us, current_us + 1, length_us)]
        if live_from_us(now_us) > current_us:
            bounds.append(live_from_us(now_us))
        periods = pairwise(bounds)
        records = [_record(seed, meter, start, end, 1.0) for start, end in periods if _reports(seed, meter, start)]
        for first in range(0, len(records), _RECORDS_PER_MESSAGE):
            part = records[first : first + _RECORDS_PER_MESSAGE]
            yield Message(now_us, meter.location_id.encode(), _json(part), len(part))


def live_from_us(now_us: int) -> int:
    """Return where the backfill ends and live readings begin."""
    return _floor(now_us, _US_PER_MINUTE)


class LiveReadings:
    """What the meters send from a time on. Ask for what is `due` as time passes; the answers depend on nothing else."""

    def __init__(self, seed: int, meters: Iterable[Meter], now_us: int, rate_per_s: float) -> None:
        """Begin where the backfill of ``now_us`` ended."""
        self._seed: Final = seed
        self._meters: Final = tuple(meters)
        self._period_us: Final = telemetry_period_us(len(self._meters), rate_per_s)
        self._waiting: list[Message] = []
        start_us = live_from_us(now_us)
        self._periods: Final[list[tuple[int, int, int]]] = []  # (end, length, number of the meter)
        for number, meter in enumerate(self._meters):
            for length_us in (self._period_us, meter.record_minutes * _US_PER_MINUTE):
                self._periods.append((_floor(start_us, length_us) + length_us, length_us, number))
        heapq.heapify(self._periods)

    def due(self, now_us: int) -> list[Message]:
        """Return the messages to send by ``now_us`` that were not returned before, in order of their time."""
        while self._periods[0][0] <= now_us:
            end_us, length_us, number = self._periods[0]
            heapq.heapreplace(self._periods, (end_us + length_us, length_us, number))
            for message in self._measured(self._meters[number], end_us, length_us):
                heapq.heappush(self._waiting, message)
        found = []
        while self._waiting and self._waiting[0].due_us <= now_us:
            found.append(heapq.heappop(self._waiting))
        return found

    def _measured(self, meter: Meter, end_us: int, length_us: int) -> Iterator[Message]:
        """Yield what becomes of one measured period; nothing when the meter has nothing to report."""
        start_us = end_us - length_us
        if not _reports(self._seed, meter, start_us):
            return
        telemetry = length_us == self._period_us
        record = _record(self._seed, meter, start_us, end_us, _TELEMETRY_CONFIDENCE if telemetry else 1.0)
        chance = (self._seed, meter.meter_id, start_us, length_us)
        spread_us = int(share(*chance, "spread") * (self._period_us if telemetry else _US_PER_MINUTE))
        due_us = end_us + spread_us + (0 if telemetry else self._period_us)  # after the telemetry that it replaces
        yield from _with_incident(record, meter, due_us, chance)


def _with_incident(record: dict[str, Any], meter: Meter, due_us: int, chance: tuple[object, ...]) -> Iterator[Message]:
    """Yield the message of a record, and now and then something else instead of it or after it."""
    fate = share(*chance, "fate")
    incident = next((name for limit, name in _INCIDENTS if fate < limit), None)
    key = meter.location_id.encode()
    match incident:
        case "late":
            due_us += int(between(20, 120, *chance, "late") * US_PER_SECOND)
        case "misrouted":
            key = b"gateway-7"
        case "invalid":
            fault = FAULTS[int(share(*chance, "fault") * len(FAULTS))]
            key, value = _faulty(record, fault)
            yield Message(due_us, key, value, 1)
            return
        case _:
            pass
    yield Message(due_us, key, _json(record), 1)
    if incident == "repeated":
        yield Message(due_us + 2 * US_PER_SECOND, key, _json(record), 1)
    elif incident == "corrected":
        corrected = {**record, "value": _rounded(record["value"] * between(0.9, 1.1, *chance, "corrected"))}
        yield Message(due_us + 3 * US_PER_SECOND, key, _json(corrected), 1)


def _faulty(record: dict[str, Any], fault: Fault) -> tuple[bytes, bytes]:
    """Return key and value of a record that has to be rejected."""
    bad = dict(record)
    match fault:
        case "naive":
            bad["start_time"] = record["start_time"].removesuffix("Z")
        case "negative":
            bad["value"] = -record["value"] - 1
        case "no value":
            del bad["value"]
        case "unknown location":
            bad["location_id"] = "nobody-knows"
        case "not JSON":
            return record["location_id"].encode(), _json(record)[:-20]
        case "backwards":
            bad["start_time"], bad["end_time"] = record["end_time"], record["start_time"]
        case "too much":
            bad |= {"units": "KW", "value": 4200.0}
    return bad["location_id"].encode(), _json(bad)


def _reports(seed: int, meter: Meter, start_us: int) -> bool:
    """Tell whether there is anything to report: a charger is silent while no car charges."""
    return meter.profile != "charger" or session_at(seed, meter, start_us) is not None


def _record(seed: int, meter: Meter, start_us: int, end_us: int, confidence: float) -> dict[str, Any]:
    """Return a valid record of one period, in the meter's own units."""
    power = power_kw(seed, meter, (start_us + end_us) // 2)
    energy_kwh = power * (end_us - start_us) / _US_PER_HOUR
    values = {"KW": power, "W": power * _WH_PER_KWH, "KWH": energy_kwh, "WH": energy_kwh * _WH_PER_KWH}
    record: dict[str, Any] = {
        "location_id": meter.location_id,
        "device_id": meter.device_id,
        "record_reference_id": f"{meter.meter_id}/{start_us // US_PER_SECOND}".replace(" ", "-"),
        "energy_flow_direction": "OUTBOUND" if meter.profile == "export" else "INBOUND",
        "units": meter.units,
        "confidence": confidence,
        "value": _rounded(values[meter.units]),
        "start_time": _instant(start_us),
        "end_time": _instant(end_us),
    }
    if meter.profile == "local":
        record["tariff_direction"] = "LOCAL"
    if meter.profile == "charger":
        session = session_at(seed, meter, start_us)
        record["session_reference_id"] = session.session_id if session else None
    return record


def _rounded(value: float) -> float:
    """Round as a meter's display does: to a millionth, which is a µWh of a kWh a thousand times over."""
    return round(value, 6)


def _floor(at_us: int, step_us: int) -> int:
    """Return the last multiple of a step that is not after a time."""
    return at_us - at_us % step_us


@lru_cache(maxsize=4096)
def _instant(at_us: int) -> str:
    """Write a full second as RFC 3339."""
    return datetime.fromtimestamp(at_us // US_PER_SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _json(value: object) -> bytes:
    """Write JSON without spaces."""
    return json.dumps(value, separators=(",", ":")).encode()
