"""A load that has everything in it: in order, late, twice, corrected, misplaced, in batches, and wrong."""

import random
import threading
import time
from collections.abc import Iterator
from typing import Final, Self

from tests.harness import Stream
from tests.making import Json, Keyed, Unkeyed, flat_tariff, location, record

_BATCH: Final = 20
_LATE: Final = 40
"""Most records by which a late one comes later."""

_BULK: Final = 200
"""Records of one location that follow each other in its log, in two batches."""

_AT_ONCE: Final = 20
"""Batches that are published together: 2,000 records."""


def load_documents(stream: Stream, locations: int) -> None:
    """Load two tariffs and some locations; every tenth has quarter-hourly intervals, every eleventh no tariff."""
    hours = [{"start": "07:00", "end": "21:00"}]
    day = {"name": "day", "when": hours, "tiers": [{"up_to_kwh": None, "rate": "0.31"}]}
    night = {"name": "night", "when": [], "tiers": [{"up_to_kwh": None, "rate": "0.123456"}]}
    charges = [{"charge_id": "energy", "kind": "energy", "bands": [day, night]}]
    stream.load(flat_tariff("flat"), flat_tariff("bands", charges=charges))
    for number in range(locations):
        tariff_id = None if number % 11 == 10 else "bands" if number % 3 else "flat"
        stream.load(
            location(f"loc_{number}", tariff_id, interval_minutes=15 if number % 10 == 9 else 30, max_power_kw="100")
        )


def load_messages(seed: int, locations: int, count: int) -> list[Json | list[Json]]:
    """Return about so many quarter-hourly records in the order of their publication; the same for the same seed.

    Where the order of two records matters, both have their location's key, so that they are in one partition.
    """
    choose = random.Random(seed)  # noqa: S311 - chance, not secrets
    messages: list[tuple[float, Json | list[Json]]] = []
    batch: list[Json] = []
    for number in range(count):
        quarter, at = divmod(number, locations)
        kwh = choose.randrange(0, 20_000) / 1000
        one = record(f"loc_{at}", 15 * quarter, 15, kwh, record_reference_id=f"MET{number}")
        fate = choose.random()
        later = number + choose.uniform(1, _LATE * locations / 10)
        if fate < 0.05:  # the same again, perhaps in another partition
            messages += [(number, one), (later, Unkeyed(one) if fate < 0.02 else one)]
        elif fate < 0.10:  # a correction
            messages += [(number, one), (later, one | {"value": choose.randrange(0, 20_000) / 1000})]
        elif fate < 0.15:  # late
            messages.append((later, one))
        elif fate < 0.17:  # right and wrong
            messages += [(number, one), (later, one | _fault(choose, one))]
        elif fate < 0.20:  # in whichever partition
            messages.append((number, Unkeyed(one)))
        elif fate < 0.30:  # in a batch of several locations
            batch.append(one)
        else:
            messages.append((number, one))
        if len(batch) == _BATCH:
            messages.append((later, batch))
            batch = []
    messages.append((count, batch))
    return [one for _, one in sorted(messages, key=lambda each: each[0])]


def bulk_messages(seed: int, locations: int, count: int) -> Iterator[list[Keyed]]:
    """Yield batches of five-minute records, some at once, until there are `count` records; the same for a seed.

    Of each hundred records some are twice, some corrected and some wrong, and their order within a batch is any.
    """
    choose = random.Random(seed)  # noqa: S311 - chance, not secrets
    waiting: list[Keyed] = []
    for number in range(0, count, _BULK):
        day, at = divmod(number // _BULK, locations)
        batch: list[Json] = []
        for place in range(_BULK):
            one = record(f"loc_{at}", 5 * (_BULK * day + place), 5, choose.randrange(0, 8_000) / 1000)
            fate = choose.random()
            if fate < 0.03:
                batch.append(batch[-1] if batch else one)
            elif fate < 0.06:
                batch.append((batch[-1] if batch else one) | {"value": choose.randrange(0, 8_000) / 1000})
            elif fate < 0.07:
                batch.append(one | _fault(choose, one))
            else:
                batch.append(one)
        choose.shuffle(batch)
        waiting += [Keyed(f"loc_{at}", part) for part in (batch[: _BULK // 2], batch[_BULK // 2 :])]
        if len(waiting) == _AT_ONCE or number + _BULK >= count:
            yield waiting
            waiting = []


def _fault(choose: random.Random, one: Json) -> Json:
    """Return a change that makes a record wrong."""
    return choose.choice(
        [
            {"value": -1},
            {"value": 1e6},
            {"units": "FURLONG"},
            {"start_time": "yesterday"},
            {"start_time": one["end_time"], "end_time": one["start_time"]},
            {"location_id": "nobody"},
            {"end_time": None},
        ]
    )


class Feeder:
    """Publishes messages at a pace, in a thread of its own. A context manager: what is left at its end comes at once.

    A test that waits for prices meanwhile chooses a pace at which there is something left, on a slow machine too.
    """

    def __init__(self, stream: Stream, messages: list[Json | list[Json]], per_second: float) -> None:
        """Begin nothing yet."""
        self._stream: Final = stream
        self._messages: Final = messages
        self._per_second: Final = per_second
        self._thread: Final = threading.Thread(target=self._run)
        self._hurry: Final = threading.Event()
        self.error: BaseException | None = None

    def __enter__(self) -> Self:
        """Begin to publish."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Publish the rest."""
        self._hurry.set()
        self._thread.join()
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        batch = max(1, int(self._per_second / 20))
        began_s = time.monotonic()
        try:
            for at in range(0, len(self._messages), batch):
                due_s = began_s + at / self._per_second
                self._hurry.wait(max(0.0, due_s - time.monotonic()))
                self._stream.publish(*self._messages[at : at + batch])
        except Exception as error:  # noqa: BLE001 - it is raised where the feeder is left
            self.error = error
