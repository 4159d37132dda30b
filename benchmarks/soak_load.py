"""The load of a soak: constant, with all that a good day has in it, and the same again for the same seed.

What is published about a location depends on the seed, the location and the step alone. So a soak of any length can be priced
again without Kafka, some locations at a time, without having kept what it published.
"""

import json
import random
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from app.domain.instants import format_instant
from benchmarks.setting import START_US, STEP_US, TARIFF, location, record

PROBES: Final = 8
"""Further locations, whose records say how long a price takes: each is an interval of its own."""

_LATEST_STEPS: Final = 20
"""Most steps by which a late record, or a correction, comes later."""

_MARKET_EVERY: Final = 10
_CHANGING: Final = 1
"""The number of the location whose tariff changes. One: to price it again takes as long as its history is, which grows."""

_DAY_US: Final = 86_400 * 1_000_000
_HALF_HOUR_US: Final = 1800 * 1_000_000
STEPS_PER_DAY: Final = _DAY_US // STEP_US


class Message(NamedTuple):
    """A message of `meter.records`; one whose key is not its location's lands in whichever partition."""

    key: bytes
    value: bytes


class Load:
    """Quarter-hourly records of some locations: a step is one of each, and what comes twice, late, corrected or wrong."""

    def __init__(self, seed: int, locations: int) -> None:
        """Prepare; the first records are of `START_US`."""
        self._seed: Final = seed
        self.locations: Final = locations

    def steps(self, numbers: range | None = None) -> Iterator[list[Message]]:
        """Yield without end what is due in each step about some locations, or about all."""
        due: defaultdict[int, list[Message]] = defaultdict(list)
        step = 0
        while True:
            for number in range(self.locations) if numbers is None else numbers:
                for later, message in self._of(number, step):
                    due[step + later].append(message)
            yield due.pop(step, [])
            step += 1

    def _of(self, number: int, step: int) -> Iterator[tuple[int, Message]]:
        """Yield what there is about a location's quarter of an hour, and how many steps later each comes."""
        chance = random.Random(f"{self._seed}/{number}/{step}")  # noqa: S311 - not for secrets
        key = f"loc_{number}".encode()
        one = record(number, step, round(chance.random(), 3))
        fate, later = chance.random(), chance.randint(1, _LATEST_STEPS)
        if fate < 0.03:  # late  # noqa: PLR2004 - shares of the load
            yield later, Message(key, one)
            return
        yield 0, Message(key, one)
        if fate < 0.05:  # the same again  # noqa: PLR2004
            yield later, Message(key, one)
        elif fate < 0.07:  # the same again, elsewhere  # noqa: PLR2004
            yield later, Message(f"elsewhere-{chance.random()}".encode(), one)
        elif fate < 0.10:  # a correction  # noqa: PLR2004
            yield later, Message(key, record(number, step, round(chance.random(), 3)))
        elif fate < 0.11:  # something wrong  # noqa: PLR2004
            yield later, Message(key, _wrong(chance, one))

    def probe(self, count: int) -> Message:
        """Return the probe that so many came before."""
        step, which = divmod(count, PROBES)
        number = self.locations + which
        return Message(f"loc_{number}".encode(), record(number, step, 0.001 * (count % 1000), minutes=30))

    def documents(self) -> list[dict[str, Any]]:
        """Return the tariffs and the locations, but for the one that changes."""
        rate = {"series_id": "MARKET", "multiplier": "1", "adder": "0.05", "cap": None, "floor": None}
        market = [{"charge_id": "market", "kind": "energy", "series": rate}]
        sites = [location(number) for number in range(self.locations + PROBES)]
        for number, site in enumerate(sites):
            if number == _CHANGING:
                site["tariffs"][0]["tariff_id"] = "changing"
            elif number % _MARKET_EVERY == 0 and number < self.locations:
                site["tariffs"][0]["tariff_id"] = "market"
        return [TARIFF, TARIFF | {"tariff_id": "market", "charges": market}, *sites]

    @staticmethod
    def changing(version: int) -> dict[str, Any]:
        """Return a version of the tariff that changes."""
        tiers = [{"up_to_kwh": None, "rate": f"0.{20 + version % 50}"}]
        bands = [{"name": "all", "when": [], "tiers": tiers}]
        charges = [{"charge_id": "energy", "kind": "energy", "bands": bands}]
        return TARIFF | {"tariff_id": "changing", "version": version, "charges": charges}

    def market_day(self, day: int) -> dict[str, Any]:
        """Return the prices of one day, which are published after the energy of its first half."""
        chance = random.Random(f"{self._seed}/day/{day}")  # noqa: S311 - not for secrets
        starts_us = range(START_US + day * _DAY_US, START_US + (day + 1) * _DAY_US, _HALF_HOUR_US)
        points = [
            {
                "start_time": format_instant(start_us),
                "end_time": format_instant(start_us + _HALF_HOUR_US),
                "value": f"{chance.uniform(-0.05, 0.4):.4f}",
            }
            for start_us in starts_us
        ]
        return {"series_id": "MARKET", "kind": "price", "unit": "GBP/kWh", "points": points}


def _wrong(chance: random.Random, good: bytes) -> bytes:
    """Return a record with something wrong in it, or no record at all."""
    fields = json.loads(good)
    changes: list[dict[str, Any]] = [
        {"value": -1},
        {"value": 1e9},
        {"units": "FURLONG"},
        {"start_time": "yesterday"},
        {"start_time": fields["end_time"], "end_time": fields["start_time"]},
        {"location_id": f"nobody-{chance.random()}"},
        {"end_time": None},
    ]
    chosen = chance.randrange(len(changes) + 2)
    if chosen == len(changes):
        return good[: len(good) // 2]
    if chosen > len(changes):
        return chance.randbytes(40)
    return json.dumps(fields | changes[chosen]).encode()
