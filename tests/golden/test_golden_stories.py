"""Stories with known ends: what goes in, and to the last digit what comes out. Each folder's why.md has the arithmetic.

records.jsonl     messages of meter.records, a line each: an object, or an array of them
locations.json    the location documents            tariffs.json    the tariff documents
series.json       the series documents, where the story has any
expected.jsonl    every priced record in the end, sorted by interval_id, without what Kafka adds (_FROM_THE_LOG)
rejected.jsonl    every refused record, in order, where the story has any
expected-before.jsonl    what comes out while the tariffs are still missing, where the story is about that
why.md            given, when, then
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from app.compose import OfflineResult, price_offline
from app.domain.reference import ReferenceBook
from app.wire.documents import version_key
from app.wire.location import parse_location
from app.wire.series import parse_series
from app.wire.tariff import parse_tariff
from tests.making import either_way
from tests.simulation import SimulatedPartition, message

HERE = Path(__file__).parent

STORIES = {
    "london-spring-clock-change": "a day of 23 hours; a band ends at its wall-clock time all the same",
    "london-autumn-clock-change": "a day of 25 hours; an hour stands twice in the cheap band",
    "lord-howe-spring-clock-change": "a day of 23.5 hours; its last interval has half an hour",
    "lord-howe-autumn-clock-change": "a day of 24.5 hours; its last interval has half an hour",
    "kolkata-hours-at-half-past": "intervals of an hour begin at :30 UTC; clocks never change",
    "band-boundary-inside-a-record": "a record is cut where the price changes, not averaged",
    "tariff-change-at-midnight": "dated links: each interval at the tariff of its own day",
    "late-record": "order of arrival does not matter",
    "duplicate-record": "the same facts again are counted once",
    "correction": "the last record submitted is the best available",
    "partial-overlap": "never summed twice, never silently cut: refused",
    "replacement-by-another-granularity": "an hour replaces its quarters; a quarter does not replace its hour",
    "zero-duration": "power at an instant is no energy; energy in no time is refused",
    "negative-value": "directions carry the sign",
    "whole-month": "exactly one local month is one interval",
    "export": "a credit; partial bands",
    "local-generation": "costs who takes it, earns who gives it, free without a tariff",
    "missing-tariff-then-tariff": "missing is not zero: pending, and priced when the tariff is there",
    "batch-with-one-bad-record": "one bad record costs the batch nothing else",
    "power-over-a-period": "W and kW, split over intervals without losing a µWh",
    "device-and-location": "separate meters, never summed together",
    "confidence-by-energy": "weighted by energy, by time where there is none",
    "tax-excluded": "taxes come on top",
    "tax-included": "taxes are taken out, also where that never ends",
    "weekend-and-holiday": "a holiday is nothing else than a holiday",
    "market-price": "prices and carbon over time; a missing point is no zero",
    "negative-market-price": "below zero importing earns; multiplier, adder, cap and floor",
    "several-charges-and-taxes": "charges add up, each with the taxes that name it",
    "tiers-of-a-month": "a bound belongs to the tier below it; a local month begins anew",
    "tiers-of-a-day-for-each-band": "a counter for each band and local day",
    "billing-period-in-daily-blocks": "bounds that grow with the days of a period from the 31st",
    "correction-moves-tiers": "what comes after a correction is priced again",
    "new-version-of-a-tariff": "versions side by side; no price is borrowed where none is valid",
}
"""Every story that must exist, and what it says."""

_ALWAYS = {"records.jsonl", "tariffs.json", "locations.json", "expected.jsonl", "why.md"}
_SOMETIMES = {"rejected.jsonl", "series.json", "expected-before.jsonl"}
_FROM_THE_LOG = {"submitted_at", "sequence"}
_REJECTED_FROM_THE_LOG = {"topic", "partition", "timestamp"}

Json = dict[str, Any]
stories = pytest.mark.parametrize("story", sorted(STORIES))


def lines(story: str, name: str) -> list[bytes]:
    """Return the lines of a file of a story; none where the story does not have that file."""
    file = HERE / story / name
    return file.read_bytes().splitlines() if file.exists() else []


def documents(story: str, name: str) -> list[Json]:
    """Return the documents of a file of a story."""
    file = HERE / story / name
    found: list[Json] = json.loads(file.read_bytes()) if file.exists() else []
    return found


def parsed(texts: Sequence[bytes], dropped: set[str]) -> list[Json]:
    """Return JSON objects with exact numbers, without some fields."""
    objects = [json.loads(text, parse_float=Decimal, parse_int=Decimal) for text in texts]
    return [{name: value for name, value in one.items() if name not in dropped} for one in objects]


@cache
def told(story: str, *, tariffs: bool = True) -> OfflineResult:
    """Price a story's records as one file."""
    return price_offline(
        lines(story, "records.jsonl"),
        [parse_location(document) for document in documents(story, "locations.json")],
        [parse_tariff(document) for document in documents(story, "tariffs.json")] if tariffs else [],
        [parse_series(document) for document in documents(story, "series.json")],
    )


@stories
def test_a_story_ends_as_expected(story: str) -> None:
    assert parsed(told(story).priced, _FROM_THE_LOG) == parsed(lines(story, "expected.jsonl"), set())


@stories
def test_a_story_is_written_the_same_by_compiled_functions_and_by_pythons(story: str) -> None:
    one, other = either_way(lambda: told.__wrapped__(story))
    assert one == other


@stories
def test_a_story_refuses_what_it_says_and_nothing_else(story: str) -> None:
    assert parsed(told(story).rejected, _REJECTED_FROM_THE_LOG) == parsed(lines(story, "rejected.jsonl"), set())


@stories
def test_a_story_accounts_for_every_record_once(story: str) -> None:
    result = told(story)
    values = [json.loads(line) for line in lines(story, "records.jsonl")]
    counts = result.counts
    assert counts["input"] == sum(len(value) if isinstance(value, list) else 1 for value in values)
    assert counts["input"] == sum(counts[name] for name in ("accepted", "rejected", "superseded", "duplicate"))
    assert counts["rejected"] == len(result.rejected)


def test_without_tariffs_intervals_are_pending() -> None:
    story = "missing-tariff-then-tariff"
    before = parsed(told(story, tariffs=False).priced, _FROM_THE_LOG)
    assert before == parsed(lines(story, "expected-before.jsonl"), set())
    assert {(one["status"], one["reason"], one["cost"]) for one in before} == {("pending", "no_tariff", None)}


def told_in_chunks(story: str, chunk: int, emit_every_s: float) -> list[bytes]:
    """Price a story with a transaction every `chunk` messages, a second each, and return the last price of each id."""
    book = ReferenceBook()
    for document in documents(story, "tariffs.json"):
        tariff = parse_tariff(document)
        book.put_tariff(tariff, version_key(tariff))
    for document in documents(story, "series.json"):
        book.put_series(parse_series(document))
    for document in documents(story, "locations.json"):
        book.put_location(parse_location(document))
    log = [message(value, at) for at, value in enumerate(lines(story, "records.jsonl"))]
    partition = SimulatedPartition(log, book, emit_every_s=emit_every_s)
    while partition.records_to < len(log):
        partition.take(chunk, chunk)
        partition.commit()
    partition.finish()
    return [value for _, value in sorted(dict(partition.priced).items())]


@stories
def test_a_story_ends_the_same_however_its_records_are_cut_into_chunks(story: str) -> None:
    expected = parsed(lines(story, "expected.jsonl"), set())
    for chunk, emit_every_s in product((1, 2, 3), (0.0, 2.0)):
        assert parsed(told_in_chunks(story, chunk, emit_every_s), _FROM_THE_LOG) == expected


# The stories themselves


def test_every_story_that_must_exist_does_and_no_other() -> None:
    folders = {folder.name for folder in HERE.iterdir() if folder.is_dir()}
    assert folders - {"__pycache__"} == set(STORIES)


@stories
def test_a_story_is_complete(story: str) -> None:
    files = {file.name for file in (HERE / story).iterdir()}
    assert files >= _ALWAYS
    assert files <= _ALWAYS | _SOMETIMES
    assert lines(story, "records.jsonl")
    assert lines(story, "expected.jsonl")


@stories
def test_a_story_says_given_when_then(story: str) -> None:
    text = (HERE / story / "why.md").read_text(encoding="utf-8")
    places = [text.find(f"**{word}**") for word in ("Given", "When", "Then")]
    assert -1 not in places
    assert places == sorted(places)


@stories
def test_a_story_expects_its_records_in_order_of_interval_id(story: str) -> None:
    ids = [one["interval_id"].encode() for one in parsed(lines(story, "expected.jsonl"), set())]
    assert ids == sorted(set(ids))


@stories
def test_a_story_adds_up(story: str) -> None:
    """Components sum to their interval: a slip of the pen in an expectation is found without running anything else."""
    for one in parsed(lines(story, "expected.jsonl"), set()):
        components = one["components"]
        if one["status"] == "pending":
            assert (one["cost"], components) == (None, [])
            continue
        for charge_id in {component["charge_id"] for component in components}:
            energies = [c["energy_wh"] for c in components if c["charge_id"] == charge_id]
            assert sum(energies) == one["energy_wh"]
        half_a_unit = Decimal("5e-13") * max(1, len(components))
        assert abs(sum(Decimal(c["cost"]) for c in components) - Decimal(one["cost"])) <= half_a_unit
        assert Decimal(one["cost_excluding_tax"]) + Decimal(one["tax"]) == Decimal(one["cost"])


# The tricky dates: the zones must still do what the stories are about, whatever the time zone database becomes.


def local_day_hours(zone: str, day: datetime) -> float:
    """Return how long a local day is, by the zone database alone."""
    midnights = [(day + timedelta(days=n)).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC) for n in (0, 1)]
    return (midnights[1] - midnights[0]).total_seconds() / 3600


@pytest.mark.parametrize(
    ("story", "zone", "day", "hours"),
    [
        ("london-spring-clock-change", "Europe/London", (2025, 3, 30), 23),
        ("london-autumn-clock-change", "Europe/London", (2025, 10, 26), 25),
        ("lord-howe-spring-clock-change", "Australia/Lord_Howe", (2025, 10, 5), 23.5),
        ("lord-howe-autumn-clock-change", "Australia/Lord_Howe", (2025, 4, 6), 24.5),
    ],
)
def test_a_clock_change_story_is_about_a_day_of_that_length(
    story: str, zone: str, day: tuple[int, int, int], hours: float
) -> None:
    assert {one["timezone"] for one in documents(story, "locations.json")} == {zone}
    assert local_day_hours(zone, datetime(*day)) == hours  # noqa: DTZ001 - a wall-clock date
    expected = parsed(lines(story, "expected.jsonl"), set())
    assert sum(one["covered_seconds"] for one in expected) == hours * 3600
    begins = datetime.fromisoformat(expected[0]["start_time"]).astimezone(ZoneInfo(zone))
    assert (begins.year, begins.month, begins.day, begins.hour, begins.minute) == (*day, 0, 0)


def test_kolkata_has_no_clock_change_story_because_its_clocks_never_change() -> None:
    """India keeps one offset, +05:30, all year: what is special there is the half hour, not a change."""
    zone = ZoneInfo("Asia/Kolkata")
    days = (datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=n) for n in range(365))
    assert {day.astimezone(zone).utcoffset() for day in days} == {timedelta(hours=5, minutes=30)}
    starts = {one["start_time"][14:] for one in parsed(lines("kolkata-hours-at-half-past", "expected.jsonl"), set())}
    assert starts == {"30:00Z"}
