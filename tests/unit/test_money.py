"""Exact amounts: what their texts look like, and how they are rounded."""

from decimal import Decimal
from fractions import Fraction

import pytest

from app.domain.money import (
    decimal_text,
    divide_half_even,
    money_text,
    parse_decimal,
    rescale_half_even,
    round_money,
    to_units,
    units_text,
)


@pytest.mark.parametrize(
    ("units", "scale", "text"),
    [
        (0, 12, "0"),
        (1, 12, "0.000000000001"),
        (-1, 12, "-0.000000000001"),
        (1_000_000_000_000, 12, "1"),
        (161_280_000_000, 12, "0.16128"),
        (-161_280_000_000, 12, "-0.16128"),
        (120, 0, "120"),
        (-120, 0, "-120"),
        (1200, 1, "120"),
        (10**40, 12, "1" + "0" * 28),
    ],
)
def test_a_text_has_no_exponent_and_no_trailing_zeros(units: int, scale: int, text: str) -> None:
    assert units_text(units, scale) == text


def test_zero_is_never_negative() -> None:
    assert decimal_text(Decimal("-0.00")) == "0"
    assert money_text(-0) == "0"


@pytest.mark.parametrize(
    ("value", "units", "scale"),
    [("0.30", 3, 1), ("-1.2500", -125, 2), ("1E+3", 1000, 0), ("0E-5", 0, 0), ("42", 42, 0)],
)
def test_a_decimal_becomes_units_at_the_smallest_scale_that_holds_it(value: str, units: int, scale: int) -> None:
    assert to_units(Decimal(value)) == (units, scale)


@pytest.mark.parametrize(
    "text", ["", "1e3", "NaN", "Infinity", "+1", " 1", "1.", ".5", "1,5", "0x10", "\u0661", "1_000", "1" * 16]
)
def test_what_is_no_plain_decimal_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(ValueError, match="is not a decimal number") as refused:
        parse_decimal(text)
    assert repr(text) in str(refused.value)


@pytest.mark.parametrize(
    ("numerator", "rounded"), [(5, 0), (15, 2), (25, 2), (26, 3), (-5, 0), (-15, -2), (-25, -2), (-26, -3)]
)
def test_a_tie_goes_to_the_even_neighbour(numerator: int, rounded: int) -> None:
    assert divide_half_even(numerator, 10) == rounded


def test_a_finer_scale_is_exact_and_a_coarser_one_rounds() -> None:
    assert rescale_half_even(123, 2, 5) == 123_000
    assert rescale_half_even(125, 2, 1) == 12


def test_money_is_rounded_half_even_to_twelve_decimals() -> None:
    assert money_text(round_money(Fraction(1, 3))) == "0.333333333333"
    assert money_text(round_money(Fraction(5, 10**13))) == "0"
    assert money_text(round_money(Fraction(15, 10**13))) == "0.000000000002"
