"""Hostile messages without a broker: what the product makes of them is what a reference that shares no code with it does."""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Final

import pytest

from app.compose import price_offline
from app.domain.locations import Location
from app.domain.tariffs import Tariff
from app.wire.reference import parse_document
from tests.checker import Expected
from tests.faults.fuzz import HOSTILE, fuzzed, large_batches
from tests.faults.scale import Counts, scaled
from tests.making import Json, encoded, flat_tariff, location

SEEDS: Final = range(1, scaled(7, 81))
MESSAGES: Final = scaled(200, 1000)
LENGTHS: Final = (30, 5, 60, 15)
TIERS: Final = ({"up_to_kwh": "1.5", "rate": "0.10"}, {"up_to_kwh": "2.25", "rate": "0.20"}, {"rate": "0.30"})
REPEATED: Final = 0.1
SHOWN: Final = 5

Messages = Sequence[bytes | None]


def documents_of(seed: int) -> list[Json]:
    """Return a tariff with tiers by the day, and the location: with intervals of each length, and with little power or any."""
    bands = [{"name": "all", "when": [], "tiers": list(TIERS)}]
    charges = [{"charge_id": "energy", "kind": "energy", "bands": bands}]
    tariff = flat_tariff("flat", tier_period="P1D", charges=charges)
    power = {"max_power_kw": "3"} if seed % 3 == 0 else {}
    return [tariff, location(HOSTILE, interval_minutes=LENGTHS[seed % len(LENGTHS)], **power)]


def repeated(chance: random.Random, messages: Messages) -> Iterator[bytes | None]:
    """Yield messages, and some of them once more with another reference: that changes what is published, but no energy."""
    for message in messages:
        yield message
        if message is not None and message[:1] == b"{" and chance.random() < REPEATED:
            yield message[:-1] + b',"record_reference_id":"again"}'


class Both:
    """What the product and the reference make of the same messages."""

    def __init__(self, messages: Messages, documents: list[Json]) -> None:
        parsed = [parse_document(json.dumps(each)) for each in documents]
        self.ours: Final = price_offline(
            messages,  # type: ignore[arg-type] - a message may have no value
            [each for each in parsed if isinstance(each, Location)],
            [each for each in parsed if isinstance(each, Tariff)],
        )
        self.theirs: Final = Expected.of_log(messages, documents)

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each difference."""
        yield from self.theirs.counts_problems(self.ours.counts)
        yield from self.theirs.refusals_problems(self.ours.rejected)
        yield from self.theirs.intervals_problems(_by_id(self.ours.intervals))
        yield from self.theirs.priced_problems(_by_id(self.ours.priced))


def _by_id(values: list[bytes]) -> dict[str, bytes]:
    return {json.loads(value)["interval_id"]: value for value in values}


def fewest(messages: Messages, differ: Callable[[Messages], bool]) -> Messages:
    """Leave out messages, many at once and then one by one, for as long as the rest still makes a difference."""
    size = len(messages)
    while size:
        at = 0
        while at < len(messages):
            fewer = [*messages[:at], *messages[at + size :]]
            if differ(fewer):
                messages = fewer
            else:
                at += size
        size //= 2
    return messages


def require_agreement(messages: Messages, documents: list[Json]) -> Both:
    """Fail with the differences, and with the fewest messages that show one."""
    both = Both(messages, documents)
    found = list(both.problems())
    if found:
        left = fewest(messages, lambda fewer: any(True for _ in Both(fewer, documents).problems()))
        sentences = "".join(f"\n  {sentence}" for sentence in list(Both(left, documents).problems())[:SHOWN])
        pytest.fail(f"{len(found)} differences. Of {len(left)} messages {list(left)!r} alone:{sentences}")
    return both


def test_hostile_messages_mean_to_the_product_what_they_mean_to_the_reference(counts: Counts) -> None:
    decided: Counter[str] = Counter()
    codes: set[str] = set()
    for seed in SEEDS:
        made = [message for _, some in fuzzed(seed, MESSAGES) for message in some]
        messages = list(repeated(random.Random(seed), made))  # noqa: S311 - chance, not secrets
        both = require_agreement(messages, documents_of(seed))
        decided.update({name: both.ours.counts[name] for name in ("input", "accepted", "rejected")})
        codes.update(json.loads(value)["error"] for value in both.ours.rejected)
    assert decided["accepted"] > 10 * len(SEEDS)
    assert {"malformed_json", "missing_field", "invalid_value", "naive_timestamp", "negative_value"} <= codes
    assert "internal_error" not in codes
    counts.note("hostile messages against the reference, without a broker", seeds=len(SEEDS), **decided)


@pytest.mark.full
def test_large_batches_with_bad_records_mean_the_same_to_both(counts: Counts) -> None:
    batches = [encoded(batch) for batch in large_batches(random.Random(1))]  # noqa: S311 - chance, not secrets
    both = Both(batches, documents_of(1))
    assert list(both.problems())[:SHOWN] == []
    assert both.ours.counts["accepted"] > 5000
    counts.note(
        "batches of 10,000 and more against the reference",
        batches=len(batches),
        **{name: both.ours.counts[name] for name in ("input", "accepted", "duplicate", "rejected")},
    )


def of_time(start: str, end: str = "2025-03-01T01:00:00Z") -> bytes:
    """Return a record of the hostile location from one text to another."""
    return json.dumps(
        {"location_id": HOSTILE, "units": "KW", "value": 1, "start_time": start, "end_time": end}
    ).encode()


def with_fields(text: bytes) -> bytes:
    """Return a good record that goes on with a text of JSON."""
    return of_time("2025-03-01T00:30:00Z")[:-1] + b"," + text + b"}"


ODD: Final = (
    *map(of_time, ("2025-03-01 00:30:00z", "2025-03-01t00:30:00-00:00", "2025-03-01T00:30:00.5000000000000Z")),
    *map(of_time, ("2025-03-01T00:30:00.0000001Z", "2025-03-01:00:30:00Z", "2025-W09-6T00:30:00Z", "20250301T003000Z")),
    *map(of_time, ("2025-03-01", "2025-03-01T00:30Z", "2025-03-01T00:30:00+0000", "2025-03-01T00:30:00+24:00")),
    *map(of_time, ("2025-03-01T00:59:60Z", "2025-03-01T24:00:00Z", "2025-02-29T00:00:00", "0000-01-01T00:00:00Z")),
    *map(with_fields, (b'"value":1e400', b'"value":-1e400', b'"value":' + b"9" * 5000, b'"confidence":1e-400')),
    *map(with_fields, (b'"x":1e400', b'"x":' + b"9" * 5000, b'"x":"\xff"', b'"\xff":1', b'"device_id":"\xff"')),
    *map(with_fields, (rb'"x":"\ud800"', rb'"x":"\ud83d\ude00"', rb'"x":"\ude00\ud83d"', rb'"\udfff":1')),
    *map(
        with_fields,
        (b'"value":null', b'"value":"1"', b'"value":2', b'"value":true,"value":2', b'"units":7,"units":"W"'),
    ),
    *map(with_fields, (b'"device_id":7,"device_id":null', b'"device_id":null,"device_id":"d"', rb'"un\u0069ts":"W"')),
    b'{"x":"\xff"}',
    b'{"x":1e400}',
)
"""What is read in more than one way by readers of JSON and of time."""


@pytest.mark.parametrize("message", ODD)
def test_what_can_be_read_in_two_ways_is_read_in_one_alone_and_in_a_batch(message: bytes) -> None:
    good = of_time("2025-03-01T00:00:00Z", "2025-03-01T00:30:00Z")
    require_agreement([good, message, good], documents_of(1))
    require_agreement([b"[" + good + b"," + message + b"]"], documents_of(1))


@pytest.mark.full
def test_a_record_for_which_an_interval_has_no_room_is_refused_by_both(counts: Counts) -> None:
    starts = [f"2025-03-01T00:00:{at // 100:02d}.{at % 100:02d}Z" for at in range(3602)]
    messages = [of_time(start, end) for start, end in pairwise(starts)]
    both = Both([*messages, of_time(starts[0], starts[-1]), messages[-1]], documents_of(4))
    assert list(both.problems())[:SHOWN] == []
    assert (both.ours.counts["accepted"], both.ours.counts["rejected"]) == (3601, 2)
    counts.note("more records than an interval has room for, against the reference", accepted=3601, rejected=2)


def test_a_difference_is_shown_with_the_fewest_messages() -> None:
    messages = [str(number).encode() for number in range(100)]
    assert fewest(messages, lambda some: {b"17", b"71"} <= set(some)) == [b"17", b"71"]
