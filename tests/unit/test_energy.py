"""Energy in whole µWh, by examples that can be checked with a pencil."""

import pytest

from app.domain.energy import ENERGY_LIMIT_UWH, energy_uwh, parse_watt_hours_uwh, watt_hours_text
from app.domain.records import Units

HALF_HOUR_US = 1_800_000_000
HOUR_US = 2 * HALF_HOUR_US


@pytest.mark.parametrize(
    ("value", "units", "duration_us", "expected_uwh"),
    [
        (20567.0, "W", HALF_HOUR_US, 10_283_500_000),  # 10283.5 Wh
        (20.567, "KW", HALF_HOUR_US, 10_283_500_000),
        (10283.5, "WH", HALF_HOUR_US, 10_283_500_000),
        (10.2835, "KWH", HALF_HOUR_US, 10_283_500_000),
        (7.4, "KW", HOUR_US * 5 // 4, 9_250_000_000),
        (1.0, "W", 1, 0),  # a µs of a watt is 0.00028 µWh
        (3600.0, "W", 1, 1),
        (7400.0, "W", 0, 0),
        (0.0, "KWH", 0, 0),
        (0.1, "KWH", HOUR_US, 100_000_000),
        (0.3, "WH", HOUR_US, 300_000),
        (1e-6, "WH", HOUR_US, 1),
        (999_999.999999, "WH", HOUR_US, 999_999_999_999),
        (1_000_000.0, "KWH", HOUR_US, ENERGY_LIMIT_UWH),
        (999_999.999999999, "KWH", HOUR_US, ENERGY_LIMIT_UWH - 1),
    ],
)
def test_a_value_in_its_units_is_so_many_microwatthours(
    value: float, units: Units, duration_us: int, expected_uwh: int
) -> None:
    assert energy_uwh(value, units, duration_us) == expected_uwh


@pytest.mark.parametrize(
    ("value", "units", "duration_us", "expected_uwh"),
    [
        (0.0000005, "WH", 0, 0),  # 0.5 µWh: to the even one
        (0.0000015, "WH", 0, 2),  # 1.5
        (0.0000025, "WH", 0, 2),  # 2.5
        (0.0000025000001, "WH", 0, 3),
        (1.0, "W", 1800, 0),  # 0.5 µWh of power
        (1.0, "W", 5400, 2),  # 1.5
        (1.0, "W", 9000, 2),  # 2.5
        (1.0, "W", 1200, 0),  # a third
        (1.0, "W", 2400, 1),  # two thirds
        (123456.7890125, "WH", 0, 123_456_789_012),  # a tie at twelve digits
        (123456.7890135, "WH", 0, 123_456_789_014),
    ],
)
def test_what_is_finer_than_a_microwatthour_is_rounded_half_to_even(
    value: float, units: Units, duration_us: int, expected_uwh: int
) -> None:
    assert energy_uwh(value, units, duration_us) == expected_uwh


def test_integers_are_values_too() -> None:
    assert energy_uwh(512, "WH", HALF_HOUR_US) == 512_000_000


@pytest.mark.parametrize(
    ("amount_uwh", "text"),
    [
        (0, "0"),
        (1, "0.000001"),
        (10, "0.00001"),
        (99, "0.000099"),
        (100, "0.0001"),
        (101, "0.000101"),
        (512_000_000, "512"),
        (10_283_500_000, "10283.5"),
        (100_000, "0.1"),
        (-1_500_000, "-1.5"),
        (-1, "-0.000001"),
        (-2_000_000, "-2"),
        (10**15 - 1, "999999999.999999"),
        (10**15, "1000000000"),
        (10**15 + 1, "1000000000.000001"),
    ],
)
def test_watt_hours_are_written_without_what_says_nothing(amount_uwh: int, text: str) -> None:
    assert watt_hours_text(amount_uwh) == text
    assert parse_watt_hours_uwh(text) == amount_uwh


@pytest.mark.parametrize(("text", "amount_uwh"), [("1.50", 1_500_000), ("1e3", 10**9), ("0.0000010", 1)])
def test_watt_hours_are_read_however_they_are_written(text: str, amount_uwh: int) -> None:
    assert parse_watt_hours_uwh(text) == amount_uwh


def test_watt_hours_finer_than_a_microwatthour_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^0\.0000001 Wh is finer than a µWh$"):
        parse_watt_hours_uwh("0.0000001")
