"""The job that all sides do ("UC2-billing"): its records, its documents, and its answer.

Two readings of a quarter of an hour make an interval of half an hour, of so many locations, priced by a tariff of three
bands and a tax. Of all records 1 % are refused, each for one of eight reasons; 1 % are exact copies of an earlier one; 1 %
come late, after their location's later ones. An interval is published once it is complete. Everything follows from the
numbers in `Job`, so that each side reads the same bytes, and the answer is known without asking any of them.
"""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from heapq import heappop, heappush
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from app.domain.instants import format_instant, parse_instant_us
from benchmarks.setting import START_US, STEP_US, TARIFF, location, record

BEGIN_US: Final = parse_instant_us("2025-06-02T14:30:00Z")
"""A Monday, half an hour before the peak of London's wall clock, which is not UTC in June."""

QUARTERS: Final = 2
"""Records of an interval."""

_HALF_HOUR_US: Final = QUARTERS * STEP_US
_FIRST_STEP: Final = (BEGIN_US - START_US) // STEP_US
_SHARE: Final = 100
_LATEST: Final = 2 * QUARTERS
_MASK: Final = (1 << 64) - 1
_TWO_KWH_IN_WH: Final = 2000
_COST_QUANTUM: Final = Decimal("1e-12")


class Message(NamedTuple):
    """One message of the input."""

    key: bytes
    value: bytes


class Answer(NamedTuple):
    """What has to be published of one interval: texts, because nothing may be rounded on the way."""

    start_time: str
    energy_wh: str
    cost: str


@dataclass(frozen=True, slots=True)
class Job:
    """How large the job is. `records` counts all messages: good ones, copies and those that are refused."""

    records: int
    locations: int
    seed: int = 1

    @property
    def copies(self) -> int:
        """How many records are sent twice."""
        return self.records // _SHARE

    @property
    def late(self) -> int:
        """How many records come after later ones of their location."""
        return self.records // _SHARE

    @property
    def intervals(self) -> int:
        """How many intervals there are; every one gets both of its records."""
        return (self.records - self.copies - self.records // _SHARE) // QUARTERS

    @property
    def good(self) -> int:
        """How many records count."""
        return self.intervals * QUARTERS

    @property
    def refused(self) -> int:
        """How many records are refused."""
        return self.records - self.good - self.copies


def _mixed(number: int) -> int:
    """Return 64 bits that look like chance (the finalizer of splitmix64)."""
    number = (number + 0x9E3779B97F4A7C15) & _MASK
    number = ((number ^ number >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    number = ((number ^ number >> 27) * 0x94D049BB133111EB) & _MASK
    return number ^ number >> 31


def energy_wh(job: Job, place: int, step: int) -> int:
    """Return the whole Wh of a location's quarter of an hour: more than 0, less than 2 kWh."""
    return 1 + _mixed(_mixed(job.seed) ^ (place << 32 | step)) % (_TWO_KWH_IN_WH - 1)


def _place_and_step(job: Job, number: int) -> tuple[int, int]:
    """Return the location and the quarter of an hour of a good record: all locations of one, then of the next.

    The last half hour may not have all locations.
    """
    half_hour, rest = divmod(number, QUARTERS * job.locations)
    here = min(job.locations, job.intervals - half_hour * job.locations)
    quarter, place = divmod(rest, here)
    return place, half_hour * QUARTERS + quarter


def good_record(job: Job, number: int) -> Message:
    """Return a good record by its number, in the order of time."""
    place, step = _place_and_step(job, number)
    kwh = energy_wh(job, place, step) / 1000
    return Message(f"loc_{place}".encode(), record(place, _FIRST_STEP + step, kwh))


def whole_interval(number: int, locations: int) -> tuple[str, Message]:
    """Return a record that completes an interval alone, by its number, and the interval_id: one location after the other."""
    step, place = divmod(number, locations)
    location_id, start = f"loc_{place}", format_instant(START_US + step * _HALF_HOUR_US)
    kwh = (1 + _mixed(number) % _TWO_KWH_IN_WH) / 1000
    value = record(place, step, kwh, minutes=_HALF_HOUR_US // (60 * 1_000_000))
    return f"{location_id}||INBOUND|IMPORT|{start}", Message(location_id.encode(), value)


def _changed(**fields: Any) -> Callable[[bytes], bytes]:
    return lambda good: json.dumps(json.loads(good) | fields, separators=(",", ":")).encode()


def _without_end(good: bytes) -> bytes:
    fields = json.loads(good)
    del fields["end_time"]
    return json.dumps(fields, separators=(",", ":")).encode()


REFUSALS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "malformed_json": lambda good: good[: len(good) * 2 // 3],
    "missing_field": _without_end,
    "invalid_value": _changed(units="MWH"),
    "naive_timestamp": _changed(start_time="2025-06-02T15:00:00"),
    "end_before_start": _changed(end_time="2025-06-01T00:00:00Z"),
    "negative_value": _changed(value=-0.25),
    "unknown_location": _changed(location_id="nobody"),
    "implausible_power": _changed(value=1000),
}
"""How a good record is spoiled, by the code of its refusal."""


def refused_record(job: Job, number: int) -> tuple[str, Message]:
    """Return a record that is refused, by its number among those, and the code of its refusal."""
    chosen = _mixed(_mixed(job.seed + 1) ^ number)
    code, spoil = list(REFUSALS.items())[chosen % len(REFUSALS)]
    good = good_record(job, (chosen >> 8) % job.good)
    return code, Message(good.key, spoil(good.value))


def refusals(job: Job) -> Counter[str]:
    """Return how many records have to be refused, by code."""
    return Counter(refused_record(job, number)[0] for number in range(job.refused))


def messages(job: Job) -> Iterator[Message]:
    """Yield the input in the order in which it is published.

    A late record comes one to two half hours of all locations after its place, a copy up to one half hour after its original.
    What would come after the end comes at the end.
    """
    chance = random.Random(job.seed)  # noqa: S311 - not for secrets
    late = set(chance.sample(range(job.good), job.late))
    copied = set(chance.sample(range(job.good), job.copies))
    before = Counter(chance.choices(range(job.good), k=job.refused))
    half_hour = QUARTERS * job.locations
    waiting: list[tuple[int, int]] = []
    refused = 0
    for number in range(job.good):
        while waiting and waiting[0][0] <= number:
            yield good_record(job, heappop(waiting)[1])
        for _ in range(before[number]):
            yield refused_record(job, refused)[1]
            refused += 1
        due = number
        if number in late:
            due += chance.randint(half_hour, _LATEST * job.locations)
            heappush(waiting, (due, number))
        else:
            yield good_record(job, number)
        if number in copied:
            heappush(waiting, (due + chance.randint(1, half_hour), number))
    while waiting:
        yield good_record(job, heappop(waiting)[1])


def documents(job: Job) -> dict[str, Any]:
    """Return what the records are priced by: the tariff, and every location."""
    return {"tariff": TARIFF, "locations": [location(number) for number in range(job.locations)]}


def _rate(start_us: int) -> Decimal:
    """Return the rate per kWh of the tariff at an instant, from the tariff's own bands. They begin and end with half hours."""
    local = datetime.fromtimestamp(start_us // 1_000_000, ZoneInfo(TARIFF["timezone"]))
    day, time_of_day = local.strftime("%a").upper(), local.strftime("%H:%M")
    for band in TARIFF["charges"][0]["bands"]:
        for when in band["when"] or [{}]:
            in_days = day in when.get("days", [day])
            if in_days and when.get("start", "00:00") <= time_of_day < when.get("end", "24:00"):
                return Decimal(band["tiers"][0]["rate"])
    raise AssertionError(f"no band at {local}")


def answers(job: Job) -> dict[str, Answer]:
    """Return the answer: what has to be published of each interval, by its interval_id.

    Cost is energy * rate * (1 + tax), exact, at most 12 decimals. Written from the definition: neither the product's pricing
    nor that of a peer has a part in it.
    """
    tax = 1 + sum(Decimal(tax["rate"]) for tax in TARIFF["taxes"])
    found: dict[str, Answer] = {}
    for half_hour in range(-(-job.intervals // job.locations)):
        start_us = BEGIN_US + half_hour * _HALF_HOUR_US
        start, price = format_instant(start_us), _rate(start_us) * tax
        for place in range(min(job.locations, job.intervals - half_hour * job.locations)):
            wh = sum(energy_wh(job, place, half_hour * QUARTERS + quarter) for quarter in range(QUARTERS))
            cost = (price * wh / 1000).quantize(_COST_QUANTUM, ROUND_HALF_EVEN)
            text = f"{cost:f}".rstrip("0").rstrip(".")
            found[f"loc_{place}||INBOUND|IMPORT|{start}"] = Answer(start, str(wh), text)
    return found
