"""Energy and instants against the arithmetic of fractions and of datetime."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.domain.energy import energy_uwh, parse_watt_hours_uwh, watt_hours_text
from app.domain.instants import format_instant, parse_instant_us
from app.domain.records import Units

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR_US = 3_600_000_000
UWH_PER_UNIT = {"W": Fraction(10**6), "KW": Fraction(10**9), "WH": Fraction(10**6), "KWH": Fraction(10**9)}

units = st.sampled_from(["W", "KW", "WH", "KWH"])
durations_us = st.one_of(
    st.sampled_from([0, 300_000_000, 1_800_000_000, HOUR_US, 25 * HOUR_US]), st.integers(0, 31 * 24 * HOUR_US)
)
values = st.one_of(
    st.floats(0, 1e9, allow_nan=False),
    st.decimals(0, 10**6, places=6).map(float),
    st.integers(0, 10**12).map(lambda halves: halves / 2 / 10**6),  # ties of half a µWh
    st.integers(10**12, 10**16).map(lambda tenths: tenths / 10**7),
)


def exactly(value: float, unit: Units, duration_us: int) -> int:
    """Return the energy of the shortest decimal that a double prints as, rounded half to even: what a Fraction does."""
    exact = Fraction(repr(value)) * UWH_PER_UNIT[unit]
    if unit in ("W", "KW"):
        exact *= Fraction(duration_us, HOUR_US)
    return round(exact)


@settings(max_examples=600, deadline=None)
@given(values, units, durations_us)
@example(0.1, "KWH", 0)
@example(0.0000005, "WH", 0)  # half a µWh goes to the even one
@example(0.0000015, "WH", 0)
@example(20567.0, "W", 1_800_000_000)
@example(1e-9, "KWH", 0)
@example(1.0, "W", 1_200_000_000)  # a third of a Wh
@example(5e-324, "KW", HOUR_US)
@example(9962233.6116045, "W", HOUR_US)  # ties that binary floating point gets wrong
@example(17945616.400567, "W", HOUR_US // 2)
@example(540309233.6394295, "WH", 0)
def test_energy_is_what_fractions_say(value: float, unit: Units, duration_us: int) -> None:
    found = energy_uwh(value, unit, duration_us)
    assert found == exactly(value, unit, duration_us)
    assert found >= 0


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**15), st.sampled_from(["WH", "KWH"]))
def test_a_decimal_of_fifteen_digits_is_exact(digits: int, unit: Units) -> None:
    scale = {"WH": 6, "KWH": 9}[unit]
    assert energy_uwh(float(Decimal(digits).scaleb(-scale)), unit, 0) == digits


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**9), st.integers(0, 25 * 12))
def test_power_is_linear_in_time(value: int, fives: int) -> None:
    """12 W for five minutes are 1 Wh."""
    assert energy_uwh(float(12 * value), "W", fives * 300_000_000) == value * fives * 10**6


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.integers(-(10**digits), 10**digits) for digits in range(1, 19)))
def test_a_text_of_watt_hours_is_read_as_it_was_written(amount_uwh: int) -> None:
    text = watt_hours_text(amount_uwh)
    assert parse_watt_hours_uwh(text) == amount_uwh
    assert Fraction(text) * 10**6 == amount_uwh
    assert re.fullmatch(r"-?\d+(\.\d*[1-9])?", text), "plain digits, and no more than say something"


@settings(max_examples=300, deadline=None)
@given(st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999))
def test_an_instant_is_read_as_it_was_written(at_us: int) -> None:
    text = format_instant(at_us)
    assert parse_instant_us(text) == at_us
    assert datetime.fromisoformat(text) == EPOCH + timedelta(microseconds=at_us)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 4 * 10**15), st.integers(-23 * 60 - 59, 23 * 60 + 59))
def test_an_instant_is_the_same_with_every_offset(at_us: int, offset_minutes: int) -> None:
    wall = EPOCH + timedelta(microseconds=at_us, minutes=offset_minutes)
    hours, minutes = divmod(abs(offset_minutes), 60)
    sign = "-" if offset_minutes < 0 else "+"
    text = f"{wall.replace(tzinfo=None).isoformat()}{sign}{hours:02d}:{minutes:02d}"
    assert parse_instant_us(text) == at_us


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**16), st.integers(0, 10**16))
def test_instants_of_whole_seconds_sort_as_their_texts(one_s: int, other_s: int) -> None:
    """Interval ids end in an instant, and as keys they sort by time."""
    one_us, other_us = ((at_s % 253_402_300_800) * 10**6 for at_s in (one_s, other_s))
    assert (format_instant(one_us) < format_instant(other_us)) == (one_us < other_us)
