"""Windows as bits, against windows that are asked one by one."""

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from app.domain.tariffs import DAY_NAMES, MINUTES_PER_DAY, WEEKDAYS, When
from app.domain.windows import WHOLE_DAY, WindowSet, first_of, members

month_days = st.dates(date(2024, 1, 1), date(2024, 12, 31)).map(lambda on: (on.month, on.day))
minutes = st.integers(0, MINUTES_PER_DAY)
windows = st.builds(
    When, month_days, month_days, st.frozensets(st.sampled_from(DAY_NAMES), min_size=1), minutes, minutes
)


@given(st.lists(windows, min_size=1, max_size=6), st.dates(date(2023, 1, 1), date(2025, 12, 31)), minutes)
def test_a_window_holds_the_minutes_that_it_says(whens: list[When], today: date, minute: int) -> None:
    eve = today - timedelta(days=1)
    known = WindowSet(whens)
    day_names = WEEKDAYS[today.weekday()], WEEKDAYS[eve.weekday()]
    starting = known.starting(today, day_names[0]), known.starting(eve, day_names[1])
    assert list(members(starting[0])) == [
        number for number, when in enumerate(whens) if when.matches_day(today, day_names[0])
    ]
    for number, when in enumerate(whens):
        begun_today = when.matches_day(today, day_names[0]) and when.start_minute <= minute < MINUTES_PER_DAY
        if when.wraps:
            holds = begun_today or (when.matches_day(eve, day_names[1]) and minute < when.end_minute)
        else:
            holds = begun_today and minute < when.end_minute
        assert known.minutes(number, *starting) >> minute & 1 == holds


def test_a_day_has_1440_minutes_and_the_first_of_some_is_the_lowest() -> None:
    assert list(members(WHOLE_DAY)) == list(range(1440))
    assert first_of(WHOLE_DAY & ~0b111) == 3
