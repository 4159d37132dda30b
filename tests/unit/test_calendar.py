"""Local days, months and intervals, above all where clocks change."""

from datetime import date

import pytest

from app.domain.calendar import UnknownTimezoneError, calendar_for, grid_for
from app.domain.instants import US_PER_HOUR, US_PER_MINUTE, format_instant, parse_instant_us


def _hours(zone: str, on: date) -> float:
    calendar = calendar_for(zone)
    start, end = calendar.day_bounds_us(calendar.day_start_us(on))
    return (end - start) / US_PER_HOUR


@pytest.mark.parametrize(
    ("zone", "on", "start", "hours"),
    [
        ("Europe/London", date(2025, 1, 1), "2025-01-01T00:00:00Z", 24),
        ("Europe/London", date(2025, 3, 30), "2025-03-30T00:00:00Z", 23),
        ("Europe/London", date(2025, 10, 26), "2025-10-25T23:00:00Z", 25),
        ("Australia/Lord_Howe", date(2025, 4, 6), "2025-04-05T13:00:00Z", 24.5),
        ("Australia/Lord_Howe", date(2025, 10, 5), "2025-10-04T13:30:00Z", 23.5),
        ("Asia/Kolkata", date(2025, 1, 1), "2024-12-31T18:30:00Z", 24),
        ("America/St_Johns", date(2025, 7, 1), "2025-07-01T02:30:00Z", 24),
    ],
)
def test_a_local_day_is_as_long_as_its_zone_makes_it(zone: str, on: date, start: str, hours: float) -> None:
    assert format_instant(calendar_for(zone).day_start_us(on)) == start
    assert _hours(zone, on) == hours


def test_a_midnight_that_does_not_exist_is_the_instant_of_the_gap() -> None:
    start = calendar_for("Asia/Beirut").day_start_us(date(2025, 3, 30))
    assert format_instant(start) == "2025-03-29T22:00:00Z"
    assert _hours("Asia/Beirut", date(2025, 3, 30)) == 23


def test_a_midnight_that_stands_twice_is_the_first_of_the_two() -> None:
    start = calendar_for("America/Havana").day_start_us(date(2025, 11, 2))
    assert format_instant(start) == "2025-11-02T04:00:00Z"
    assert _hours("America/Havana", date(2025, 11, 2)) == 25


def test_a_date_that_comes_back_after_midnight_has_one_day_and_its_wall_date_is_still_told() -> None:
    calendar = calendar_for("America/St_Johns")
    start = calendar.day_start_us(date(2010, 11, 7))
    assert format_instant(start) == "2010-11-07T02:30:00Z"
    a_minute_later = start + US_PER_MINUTE
    assert calendar.local_date(a_minute_later) == date(2010, 11, 6)
    assert calendar.day_bounds_us(a_minute_later)[0] == start


def test_a_date_that_a_zone_skipped_begins_and_ends_with_its_gap() -> None:
    calendar = calendar_for("Pacific/Apia")
    assert calendar.day_start_us(date(2011, 12, 30)) == calendar.day_start_us(date(2011, 12, 31))


@pytest.mark.parametrize("zone", ["Europe/London", "Australia/Lord_Howe", "America/Sao_Paulo", "Africa/Casablanca"])
def test_days_tile_time(zone: str) -> None:
    calendar = calendar_for(zone)
    at = calendar.day_start_us(date(2017, 12, 30))
    for _ in range(500):
        start, end = calendar.day_bounds_us(at)
        assert start == at
        assert calendar.day_bounds_us(end - 1) == (start, end)
        at = end


def test_months_are_local() -> None:
    at = parse_instant_us("2025-03-31T12:00:00Z")
    assert [format_instant(bound) for bound in calendar_for("Europe/London").month_bounds_us(at)] == [
        "2025-03-01T00:00:00Z",
        "2025-03-31T23:00:00Z",
    ]


def test_offset_changes_are_found_inside_a_span_only() -> None:
    calendar = calendar_for("Europe/London")
    change = parse_instant_us("2025-03-30T01:00:00Z")
    assert calendar.offset_changes(change - 1, change + 1) == [change]
    assert calendar.offset_changes(change, change + US_PER_HOUR) == []
    assert calendar.offset_changes(change - US_PER_HOUR, change) == []
    assert len(calendar.offset_changes(parse_instant_us("2024-01-01T00:00:00Z"), change + 1)) == 3


def test_the_ends_of_the_calendar_do_not_raise() -> None:
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago", "Europe/London"):
        for text in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"):
            at = parse_instant_us(text)
            start, end = calendar_for(zone).day_bounds_us(at)
            assert start <= at < end
            assert calendar_for(zone).month_bounds_us(at)


def test_an_unknown_zone_is_named() -> None:
    for zone in ("Mars/Base", "", "../tzdata", "europe/london"):
        with pytest.raises(UnknownTimezoneError, match="is not a time zone"):
            calendar_for(zone)


def test_hours_in_kolkata_begin_at_half_past_in_utc() -> None:
    bounds = grid_for("Asia/Kolkata", 60).bounds(parse_instant_us("2025-01-01T00:10:00Z"))
    assert [format_instant(bound) for bound in bounds] == ["2024-12-31T23:30:00Z", "2025-01-01T00:30:00Z"]


def test_the_last_interval_of_a_day_is_cut_at_midnight() -> None:
    grid = grid_for("Australia/Lord_Howe", 60)
    midnight = grid.calendar.day_start_us(date(2025, 10, 6))
    start, end = grid.bounds(midnight - 1)
    assert (end, end - start) == (midnight, 30 * US_PER_MINUTE)


@pytest.mark.parametrize("minutes", [5, 10, 15, 30, 60])
@pytest.mark.parametrize("zone", ["Europe/London", "Australia/Lord_Howe", "America/St_Johns"])
def test_intervals_tile_the_days_on_which_clocks_change(zone: str, minutes: int) -> None:
    grid = grid_for(zone, minutes)
    for first in (date(2025, 3, 8), date(2025, 3, 29), date(2025, 4, 5), date(2025, 10, 4), date(2025, 10, 25)):
        at, end = grid.calendar.day_start_us(first), grid.calendar.day_start_us(first) + 72 * US_PER_HOUR
        while at < end:
            interval = grid.bounds(at)
            assert interval[0] == at
            assert grid.bounds(interval[1] - 1) == interval
            at = interval[1]


def test_a_month_is_told_from_what_only_has_its_length() -> None:
    grid = grid_for("Europe/London", 30)
    march = parse_instant_us("2025-03-01T00:00:00Z"), parse_instant_us("2025-03-31T23:00:00Z")
    assert grid.month(*march)
    assert not grid.month(march[0], march[1] + US_PER_HOUR)
    assert not grid.month(march[0] + US_PER_HOUR, march[1] + US_PER_HOUR)


def test_no_other_interval_length_exists() -> None:
    with pytest.raises(ValueError, match="7 is not an interval length"):
        grid_for("Europe/London", 7)
