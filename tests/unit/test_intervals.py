"""What a reading does to an interval, case by case."""

from typing import Any

import msgspec
import pytest

from app.domain.intervals import READINGS_LIMIT, Interval, Verdict, place, place_across, recut
from app.domain.records import Reading, Rejected

MINUTE_US = 60_000_000
HALF_HOUR = (0, 30 * MINUTE_US)
NEXT = (30 * MINUTE_US, 60 * MINUTE_US)


def reading(start: int, end: int, energy_uwh: int = 100, offset: int = 0, **more: Any) -> Reading:
    """Return a reading of [start, end) minutes, from partition 0 of the records."""
    place_in_log = {"submitted_ms": 1000 * offset, "source": 0, "offset": offset, "record_num": 0}
    fields: dict[str, Any] = {"confidence": 1.0} | place_in_log | more
    return Reading(start * MINUTE_US, end * MINUTE_US, energy_uwh, **fields)


def interval(
    *readings: Reading, bounds: tuple[int, int] = HALF_HOUR, revision: int = 1, held: bool = False
) -> Interval:
    return Interval(*bounds, revision, held, readings)


def placed(existing: Interval, new: Reading) -> Interval:
    """Return the one interval that an accepted reading changes."""
    verdict, changed = place(new, HALF_HOUR, existing)
    assert verdict is Verdict.ACCEPTED
    (after,) = changed
    return after


# What an interval says


def test_a_part_is_the_difference_of_cumulative_energies_rounded_down() -> None:
    whole = reading(0, 90, energy_uwh=1_000_000)
    parts = [whole.energy_between_uwh(at * MINUTE_US, (at + 30) * MINUTE_US) for at in (0, 30, 60)]
    assert parts == [333_333, 333_333, 333_334]


def test_a_part_outside_of_a_reading_is_nothing() -> None:
    assert reading(0, 30).energy_between_uwh(30 * MINUTE_US, 60 * MINUTE_US) == 0
    assert reading(10, 10, energy_uwh=0).energy_between_uwh(*HALF_HOUR) == 0


def test_energy_and_cover_are_those_inside() -> None:
    state = interval(reading(-15, 10, 250), reading(10, 20, 70), reading(25, 45, 200))
    assert state.energy_uwh() == 100 + 70 + 50
    assert state.covered_us() == (10 + 10 + 5) * MINUTE_US
    assert not state.is_complete()
    assert [energy for _, _, energy in state.parts()] == [100, 70, 50]


@pytest.mark.parametrize(
    ("readings", "complete"),
    [
        ([(0, 30)], True),
        ([(-30, 60)], True),
        ([(0, 15), (15, 30)], True),
        ([(0, 10), (10, 10), (10, 30)], True),
        ([(0, 15), (16, 30)], False),
        ([(1, 30)], False),
        ([(0, 29)], False),
        ([(0, 0)], False),
        ([], False),
    ],
)
def test_an_interval_is_complete_when_there_is_no_gap(readings: list[tuple[int, int]], complete: bool) -> None:  # noqa: FBT001
    state = interval(*(reading(start, end) for start, end in readings))
    assert state.is_complete() is complete
    assert (state.covered_us() == 30 * MINUTE_US) is complete


def test_the_newest_reading_gives_the_time_of_submission() -> None:
    assert interval().submitted_ms() == 0
    assert interval(reading(0, 10, offset=7), reading(10, 20, offset=3)).submitted_ms() == 7000


@pytest.mark.parametrize(
    ("readings", "confidence"),
    [
        ([], 1.0),
        ([(0, 30, 5, 0.5)], 0.5),
        ([(0, 10, 300, 1.0), (10, 30, 100, 0.5)], 0.875),
        ([(0, 10, 0, 1.0), (10, 30, 0, 0.4)], 0.6),
        ([(5, 5, 0, 1.0), (6, 6, 0, 0.5)], 0.75),
        ([(0, 10, 1, 1.0), (10, 20, 1, 1.0), (20, 30, 1, 0.5)], 0.833333),
        ([(0, 30, 0, 0.2), (5, 5, 0, 0.9)], 0.2),
    ],
)
def test_confidence_is_weighted_by_energy_then_by_time(
    readings: list[tuple[int, int, int, float]], confidence: float
) -> None:
    state = interval(*(reading(start, end, energy, confidence=sure) for start, end, energy, sure in readings))
    assert state.confidence() == confidence


def test_a_published_state_has_nothing_left_to_publish() -> None:
    state = interval(reading(0, 10), revision=3, held=True)
    assert state.published() == interval(reading(0, 10), revision=3)


# Placing a reading in one interval


def test_the_first_reading_makes_the_interval() -> None:
    new = reading(0, 10)
    assert place(new, HALF_HOUR, None) == (Verdict.ACCEPTED, (interval(new, held=True),))


def test_readings_are_kept_in_order_of_time() -> None:
    state = placed(placed(interval(reading(20, 30)), reading(0, 10, offset=1)), reading(10, 20, offset=2))
    assert [one.start_us // MINUTE_US for one in state.readings] == [0, 10, 20]
    assert state.held


def test_filling_uncovered_time_is_no_change_of_what_was_counted() -> None:
    assert placed(interval(reading(0, 10)), reading(10, 20, offset=1)).revision == 1


def test_a_newer_value_for_the_same_period_replaces_the_old_one() -> None:
    after = placed(interval(reading(0, 30, 100)), reading(0, 30, 120, offset=1))
    assert after == interval(reading(0, 30, 120, offset=1), revision=2, held=True)


def test_other_words_about_the_same_energy_are_accepted_without_a_revision() -> None:
    after = placed(interval(reading(0, 30, 100)), reading(0, 30, 100, offset=1, record_reference_id="b"))
    assert after.revision == 1
    assert after.held


@pytest.mark.parametrize(
    "other", [{"confidence": 0.5}, {"record_reference_id": "x"}, {"session_reference_id": "x"}, {"energy_uwh": 101}]
)
def test_any_other_fact_makes_it_another_reading(other: dict[str, Any]) -> None:
    assert not reading(0, 30).says_the_same(msgspec.structs.replace(reading(0, 30, offset=1), **other))
    assert placed(interval(reading(0, 30)), msgspec.structs.replace(reading(0, 30, offset=1), **other)).held


def test_an_older_value_for_the_same_period_is_superseded() -> None:
    existing = interval(reading(0, 30, 120, offset=5))
    assert place(reading(0, 30, 100, offset=4), HALF_HOUR, existing) == (Verdict.SUPERSEDED, ())


def test_the_same_facts_again_are_a_duplicate_with_nothing_to_publish() -> None:
    verdict, changed = place(reading(0, 30, offset=4), HALF_HOUR, interval(reading(0, 30)))
    assert verdict is Verdict.DUPLICATE
    assert [one.held for one in changed] == [False]


def test_the_same_facts_again_count_as_submitted_then() -> None:
    """Otherwise a correction that was published between the two, and arrives after both, would win."""
    _, (remembered,) = place(reading(0, 30, offset=4), HALF_HOUR, interval(reading(0, 30)))
    assert place(reading(0, 30, 999, offset=2), HALF_HOUR, remembered) == (Verdict.SUPERSEDED, ())


def test_the_same_message_read_again_changes_nothing_at_all() -> None:
    existing = interval(reading(0, 30, offset=4), held=True)
    assert place(reading(0, 30, offset=4), HALF_HOUR, existing) == (Verdict.DUPLICATE, ())


@pytest.mark.parametrize(
    ("old", "new"), [((0, 15), (10, 20)), ((10, 20), (0, 15)), ((0, 30), (0, 15)), ((0, 30), (10, 20))]
)
def test_a_newer_reading_that_would_cut_an_old_one_is_refused(old: tuple[int, int], new: tuple[int, int]) -> None:
    verdict, changed = place(reading(*new, offset=1), HALF_HOUR, interval(reading(*old)))
    assert isinstance(verdict, Rejected)
    assert verdict.error == "overlaps_existing_period"
    assert changed == ()


def test_a_newer_reading_replaces_all_that_it_covers() -> None:
    existing = interval(reading(0, 10, 100), reading(10, 20, 200, offset=1), reading(25, 30, 50, offset=2))
    after = placed(existing, reading(0, 20, 250, offset=3))
    assert [one.energy_uwh for one in after.readings] == [250, 50]
    assert after.revision == 2, "300 µWh became 250"


def test_a_replacement_of_equal_energy_is_no_revision() -> None:
    existing = interval(reading(0, 10, 100), reading(10, 20, 200, offset=1))
    assert placed(existing, reading(0, 20, 300, offset=2)).revision == 1


def test_an_older_reading_inside_a_newer_one_is_superseded() -> None:
    existing = interval(reading(0, 30, 100, offset=9))
    assert place(reading(0, 10, 100, offset=1), HALF_HOUR, existing) == (Verdict.SUPERSEDED, ())


def test_an_older_reading_around_a_newer_one_is_refused() -> None:
    verdict, changed = place(reading(0, 30, offset=1), HALF_HOUR, interval(reading(0, 10, offset=9)))
    assert isinstance(verdict, Rejected)
    assert changed == ()


@pytest.mark.parametrize("at", [0, 10, 29])
def test_an_instant_takes_nothing_from_the_record_around_it(at: int) -> None:
    after = placed(interval(reading(0, 30, 100)), reading(at, at, 0, offset=1))
    assert (after.energy_uwh(), after.revision, len(after.readings)) == (100, 1, 2)
    assert list(after.readings) == sorted(after.readings, key=lambda one: (one.start_us, one.end_us))
    assert after.is_complete()


@pytest.mark.parametrize("at", [0, 10, 29])
def test_a_record_replaces_the_older_instants_in_its_period(at: int) -> None:
    after = placed(interval(reading(at, at, 0)), reading(0, 30, 100, offset=1))
    assert after == interval(reading(0, 30, 100, offset=1), held=True)


def test_a_record_leaves_the_instant_at_its_end_alone() -> None:
    after = placed(interval(reading(10, 10, 0)), reading(0, 10, 100, offset=1))
    assert len(after.readings) == 2


@pytest.mark.parametrize("at", [0, 10, 29])
def test_an_older_instant_is_part_of_what_has_replaced_it(at: int) -> None:
    assert place(reading(at, at, 0), HALF_HOUR, interval(reading(0, 30, offset=1))) == (Verdict.SUPERSEDED, ())


def test_of_one_instant_the_newest_reading_holds() -> None:
    after = placed(interval(reading(10, 10, 0)), reading(10, 10, 0, offset=1, record_reference_id="b"))
    assert [one.record_reference_id for one in after.readings] == ["b"]
    assert after.revision == 1


def test_an_interval_has_room_for_a_reading_a_second_of_an_hour_and_no_more() -> None:
    """What is published must fit into a message."""
    bounds = (0, 60 * MINUTE_US)
    instants = [Reading(at, at, 0, 1.0, 0, 0, at, 0) for at in range(READINGS_LIMIT)]
    full = interval(*instants, bounds=bounds)
    one_less = interval(*instants[:-1], bounds=bounds)
    assert place(reading(59, 60, offset=9999), bounds, one_less)[0] is Verdict.ACCEPTED
    verdict, changed = place(reading(59, 60, offset=9999), bounds, full)
    assert isinstance(verdict, Rejected)
    assert verdict.error == "invalid_value"
    assert "3600 records" in verdict.message
    assert changed == ()
    assert len(placed(full, reading(0, 30, offset=9999)).readings) == 1, "one that replaces them has room"


# Readings in several intervals


def test_a_long_reading_is_kept_whole_in_each_interval() -> None:
    long = reading(0, 60, 301)
    verdict, changed = place_across(long, [(HALF_HOUR, None), (NEXT, None)])
    assert verdict is Verdict.ACCEPTED
    assert list(changed) == [interval(long, held=True), interval(long, bounds=NEXT, held=True)]
    assert [one.energy_uwh() for one in changed] == [150, 151]


def test_a_refusal_in_one_interval_leaves_the_others_alone() -> None:
    touched = [(HALF_HOUR, interval(reading(0, 30))), (NEXT, interval(reading(45, 75), bounds=NEXT))]
    verdict, changed = place_across(reading(0, 60, offset=1), touched)
    assert isinstance(verdict, Rejected)
    assert list(changed) == []


def test_intervals_only_lose_what_a_wider_reading_replaces() -> None:
    month = (-100 * MINUTE_US, 100 * MINUTE_US)
    day = interval(reading(0, 30, 70))
    idle = interval(reading(45, 45, 0), bounds=NEXT)
    verdict, changed = place_across(reading(-100, 100, 500, offset=1), [(month, None), (None, day), (None, idle)])
    assert verdict is Verdict.ACCEPTED
    whole, emptied, without_the_instant = changed
    assert (whole.start_us, whole.end_us, whole.energy_uwh(), whole.revision) == (*month, 500, 1)
    assert (emptied.readings, emptied.revision, emptied.held) == ((), 2, True)
    assert (without_the_instant.readings, without_the_instant.revision) == ((), 1)


def test_a_repeated_long_reading_is_remembered_in_each_interval() -> None:
    long = reading(0, 60, 301)
    touched = [(HALF_HOUR, interval(long)), (NEXT, interval(long, bounds=NEXT))]
    verdict, changed = place_across(reading(0, 60, 301, offset=7), touched)
    assert verdict is Verdict.DUPLICATE
    assert [(one.readings[0].offset, one.held) for one in changed] == [(7, False), (7, False)]


# Which of two was submitted last


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"offset": 2}, {"offset": 1}),
        ({"offset": 2, "submitted_ms": 0}, {"offset": 1, "submitted_ms": 9}),  # in one log the offset says it
        ({"offset": 1, "record_num": 1}, {"offset": 1, "record_num": 0}),
        ({"source": 0, "offset": 1, "submitted_ms": 9}, {"source": 2, "offset": 7, "submitted_ms": 8}),
        ({"source": 2, "offset": 1, "submitted_ms": 9}, {"source": 0, "offset": 7, "submitted_ms": 9}),
    ],
)
def test_the_log_says_which_was_submitted_last(one: dict[str, Any], other: dict[str, Any]) -> None:
    later, earlier = (msgspec.structs.replace(reading(0, 30), **fields) for fields in (one, other))
    assert later.submitted_after(earlier)
    assert not earlier.submitted_after(later)
    assert not later.submitted_after(later)


# Another grid


def hours(start_us: int, end_us: int) -> list[tuple[int, int]]:
    hour_us = 60 * MINUTE_US
    first, last = start_us // hour_us, max(end_us - 1, start_us) // hour_us
    return [(number * hour_us, (number + 1) * hour_us) for number in range(first, last + 1)]


def test_other_intervals_hold_the_same_readings() -> None:
    one, two, three = reading(0, 30, 10), reading(30, 60, 20, offset=1), reading(60, 90, 40, offset=2)
    old = [
        interval(one, revision=3),
        interval(two, bounds=NEXT, revision=2),
        interval(three, bounds=(60 * MINUTE_US, 90 * MINUTE_US)),
    ]
    changed = {state.start_us // MINUTE_US: state for state in recut(old, hours)}
    assert {start: (state.end_us // MINUTE_US, state.energy_uwh()) for start, state in changed.items()} == {
        0: (60, 30),
        60: (120, 40),
        30: (60, 0),
    }
    assert changed[0].revision == 4, "10 µWh became 30: it continues the revisions of the interval that began there"
    assert changed[60].revision == 1, "the same energy in a longer interval"
    assert changed[30].revision == 3, "20 µWh became nothing"
    assert all(state.held for state in changed.values())


def test_a_grid_that_cuts_the_same_changes_nothing() -> None:
    old = [interval(reading(0, 60), bounds=(0, 60 * MINUTE_US), revision=2)]
    assert recut(old, hours) == []


@pytest.mark.parametrize("new", [reading(0, 5, offset=1), reading(0, 0, 0, offset=1)])
def test_what_comes_into_an_interval_that_another_grid_has_emptied_is_in_one_of_its_own_grid(new: Reading) -> None:
    ten_minutes = (0, 10 * MINUTE_US)
    emptied = interval(revision=2)
    verdict, (after,) = place(new, ten_minutes, emptied)
    assert verdict is Verdict.ACCEPTED
    assert after == interval(new, bounds=ten_minutes, revision=2, held=True)
