"""Bands on the time line, against a slow reference that walks the wall clock and shares no code with the compiler."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest

from app.domain.instants import format_instant, parse_instant_us
from app.domain.tariffs import WEEKDAYS, Band, EnergyCharge, SeriesRate, Tariff, Tier, When
from app.domain.timeline import Timeline, holes

HOUR_US = 3_600_000_000
SLOT_US = 300_000_000
WORKDAYS = ("MON", "TUE", "WED", "THU", "FRI")
EVERY_DAY = (*WORKDAYS, "SAT", "SUN", "HOL")
HOLIDAYS = ("2025-01-01", "2025-04-25", "2025-12-25", "2025-12-26")


class Rule(NamedTuple):
    band: str
    rate: str
    season: tuple[str, str] = ("01-01", "12-31")
    days: tuple[str, ...] = EVERY_DAY
    clock: tuple[str, str] = ("00:00", "24:00")


# Summer peaks on working days, a winter that wraps over new year, a Friday night that belongs to Friday, windows that
# begin and end inside the hours that spring skips and autumn repeats.
RULES = (
    Rule("holiday", "0.05", days=("HOL",)),
    Rule("summer peak", "0.45", ("06-01", "09-30"), WORKDAYS, ("16:00", "21:00")),
    Rule("friday night", "0.31", days=("FRI",), clock=("22:00", "02:20")),
    Rule("deep night", "0.07", clock=("01:15", "01:45")),
    Rule("skipped", "0.09", clock=("02:05", "02:35")),
    Rule("winter morning", "0.38", ("11-15", "02-28"), WORKDAYS, ("06:30", "09:30")),
    Rule("winter night", "0.11", ("11-15", "02-28"), clock=("23:30", "05:30")),
    Rule("rest", "0.22"),
)


def _minute(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])


def _month_day(text: str) -> tuple[int, int]:
    return int(text[:2]), int(text[3:])


def _tariff(zone: str, rules: tuple[Rule, ...] = RULES, direction: Any = "IMPORT") -> Tariff:
    bands = tuple(
        Band(
            rule.band,
            (When(*map(_month_day, rule.season), frozenset(rule.days), *map(_minute, rule.clock)),),  # type: ignore[arg-type]
            (Tier(None, Decimal(rule.rate)),),
        )
        for rule in rules
    )
    holidays = frozenset(map(date.fromisoformat, HOLIDAYS))
    return Tariff("t", 1, direction, "GBP", zone, (EnergyCharge("energy", bands),), holidays=holidays)


def _reference_band(rules: tuple[Rule, ...], wall: datetime) -> str:
    """Look a band up as a person would: read the clock on the wall, then the tariff from the top."""
    clock, today = wall.isoformat()[11:16], wall.date()
    for rule in rules:
        start, end = rule.clock
        begun_today = start <= clock < end if start < end else clock >= start
        begun_yesterday = end <= start and clock < end
        if begun_today and _reference_day(rule, today):
            return rule.band
        if begun_yesterday and _reference_day(rule, today - timedelta(days=1)):
            return rule.band
    raise AssertionError(wall)


@cache
def _reference_day(rule: Rule, day: date) -> bool:
    name = "HOL" if day.isoformat() in HOLIDAYS else day.strftime("%a").upper()
    first, last = rule.season
    at = day.strftime("%m-%d")
    return name in rule.days and (first <= at <= last if first <= last else at >= first or at <= last)


@pytest.mark.parametrize(
    "zone",
    [
        "Europe/London",
        "America/Los_Angeles",
        "Australia/Sydney",
        "Australia/Lord_Howe",
        "Asia/Kolkata",
        "America/St_Johns",
    ],
)
def test_a_whole_year_agrees_with_a_walk_along_the_wall_clock(zone: str) -> None:
    timeline, tz = Timeline(_tariff(zone)), ZoneInfo(zone)
    at, end = parse_instant_us("2025-01-01T00:00:00Z"), parse_instant_us("2026-01-01T00:00:00Z")
    wrong, slots, segment = [], 0, timeline.segment(at)
    while at < end:
        if at >= segment.end_us:
            segment = timeline.segment(at)
        wall = datetime.fromtimestamp(at // 1_000_000, tz=UTC).astimezone(tz).replace(tzinfo=None)
        expected = _reference_band(RULES, wall)
        if not segment.start_us <= at < segment.end_us or segment.charges[0].band != expected:
            wrong.append((format_instant(at), segment.charges[0].band, expected))
        at, slots = at + SLOT_US, slots + 1
    assert slots == 365 * 288
    assert wrong == []


def test_the_year_of_the_comparison_holds_the_dates_that_are_hard() -> None:
    """Guard the test above: were its bands to miss the changes of the clock, it would prove nothing."""
    timeline = Timeline(_tariff("Europe/London"))
    spring, autumn = parse_instant_us("2025-03-30T00:00:00Z"), parse_instant_us("2025-10-26T00:00:00Z")
    assert [s.charges[0].band for s in timeline.segments(spring, spring + 3 * HOUR_US)].count("deep night") == 0
    assert [s.charges[0].band for s in timeline.segments(autumn, autumn + 3 * HOUR_US)].count("deep night") == 2
    for day in HOLIDAYS:
        assert timeline.segment(parse_instant_us(f"{day}T12:00:00Z")).charges[0].band == "holiday"


def test_a_start_that_spring_skips_is_the_instant_of_the_gap() -> None:
    timeline = Timeline(_tariff("Europe/London", (Rule("late", "1", clock=("01:30", "04:00")), Rule("rest", "0"))))
    segment = timeline.segment(parse_instant_us("2025-03-30T01:00:00Z"))
    assert (segment.charges[0].band, format_instant(segment.start_us)) == ("late", "2025-03-30T01:00:00Z")


def test_a_window_that_autumn_repeats_holds_both_times() -> None:
    timeline = Timeline(_tariff("Europe/London", (Rule("late", "1", clock=("01:30", "02:00")), Rule("rest", "0"))))
    midnight = parse_instant_us("2025-10-25T23:00:00Z")
    found = [
        (format_instant(s.start_us)[11:16], format_instant(s.end_us)[11:16])
        for s in timeline.segments(midnight, midnight + 4 * HOUR_US)
        if s.charges[0].band == "late"
    ]
    assert found == [("00:30", "01:00"), ("01:30", "02:00")]


def test_a_window_past_midnight_belongs_to_the_season_and_the_day_on_which_it_began() -> None:
    rules = (Rule("eve", "1", ("06-16", "06-16"), ("MON",), ("22:00", "06:00")), Rule("rest", "0"))
    timeline = Timeline(_tariff("UTC", rules))
    monday_night, tuesday_night = parse_instant_us("2025-06-16T22:00:00Z"), parse_instant_us("2025-06-17T22:00:00Z")
    segment = timeline.segment(monday_night)
    assert (segment.charges[0].band, segment.end_us - segment.start_us) == ("eve", 8 * HOUR_US)
    assert timeline.segment(monday_night - 22 * HOUR_US).charges[0].band == "rest"
    assert timeline.segment(tuesday_night).charges[0].band == "rest"


def test_a_tariff_without_windows_is_one_segment_for_all_time() -> None:
    timeline = Timeline(_tariff("Europe/London", (Rule("flat", "0.2"),)))
    flat = Timeline(
        Tariff(
            "f", 1, "IMPORT", "GBP", "Europe/London", (EnergyCharge("e", (Band("b", (), (Tier(None, Decimal(1)),)),)),)
        )
    )
    at = parse_instant_us("2025-06-01T00:00:00Z")
    assert flat.segment(at) is flat.segment(at + 10**15)
    assert timeline.segment(at).charges[0].band == "flat"


def test_a_series_is_left_for_the_pricer_to_look_up() -> None:
    rate = SeriesRate("AGILE")
    tariff = Tariff("s", 1, "IMPORT", "GBP", "UTC", (EnergyCharge("market", series=rate),))
    assert Timeline(tariff).segment(0).charges == (("market", None, None, rate),)


def test_a_charge_without_a_band_is_left_out_for_export_and_has_no_rate_for_import() -> None:
    rules = (Rule("noon", "0.1", clock=("11:00", "14:00")),)
    noon, evening = parse_instant_us("2025-06-01T12:00:00Z"), parse_instant_us("2025-06-01T18:00:00Z")
    export = Timeline(_tariff("UTC", rules, "EXPORT"))
    assert [len(export.segment(at).charges) for at in (noon, evening)] == [1, 0]
    assert Timeline(_tariff("UTC", rules)).segment(evening).charges[0].rate is None


def test_tiers_that_fall_back_cannot_be_compiled() -> None:
    tiers = (Tier(Decimal(10), Decimal(1)), Tier(Decimal(5), Decimal(1)), Tier(None, Decimal(2)))
    with pytest.raises(
        ValueError, match=r"charges\[0\]\.bands\[0\]\.tiers\[1\]\.up_to_kwh: '5' is not above the tier before"
    ):
        Timeline(Tariff("t", 1, "IMPORT", "GBP", "UTC", (EnergyCharge("e", (Band("b", (), tiers),)),)))


@pytest.mark.parametrize(
    ("rules", "hole"),
    [
        ((Rule("day", "1", clock=("03:10", "24:00")),), "MON 00:00 in season 01-01"),
        ((Rule("day", "1", clock=("00:00", "23:59")),), "MON 23:59 in season 01-01"),
        ((Rule("work", "1", days=(*WORKDAYS, "HOL")),), "SAT 00:00 in season 01-01"),
        ((Rule("work", "1", days=(*WORKDAYS, "SAT", "SUN")),), "HOL 00:00 in season 01-01"),
        ((Rule("summer", "1", ("03-01", "10-31")),), "MON 00:00 in season 01-01"),
        ((Rule("year", "1", ("01-01", "12-30")),), "MON 00:00 in season 12-31"),
        ((Rule("year", "1", ("03-01", "02-28")),), "MON 00:00 in season 02-29"),
        (
            (Rule("a", "1", clock=("06:00", "22:00")), Rule("b", "1", days=("SUN",), clock=("22:00", "06:00"))),
            "MON 22:00",
        ),
    ],
)
def test_a_hole_is_named_by_its_first_moment(rules: tuple[Rule, ...], hole: str) -> None:
    (problem,) = holes(_tariff("Europe/London", rules))
    assert problem.startswith(f"charges[0].bands: no band covers {hole}")


@pytest.mark.parametrize(
    "rules",
    [
        RULES,
        (Rule("a", "1", clock=("06:00", "22:00")), Rule("b", "1", clock=("22:00", "06:00"))),
        (Rule("a", "1", ("04-01", "10-31")), Rule("b", "1", ("11-01", "03-31"))),
        (Rule("a", "1", clock=("17:00", "17:00")),),
        (Rule("a", "1", days=(*WEEKDAYS, "HOL")),),
    ],
)
def test_bands_that_meet_leave_no_hole(rules: tuple[Rule, ...]) -> None:
    assert holes(_tariff("Europe/London", rules)) == []


def test_export_may_have_holes() -> None:
    assert holes(_tariff("UTC", (Rule("noon", "1", clock=("11:00", "14:00")),), "EXPORT")) == []
