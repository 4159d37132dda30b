"""Exact decimal amounts: texts outside, `Decimal` in documents, scaled integers where speed matters.

A number is carried as `units` at a `scale`: its value is units / 10**scale. Nothing here is ever a float. Texts are
canonical (no exponent, no trailing zeros, "0" for zero and never "-0"), so that equal amounts have equal texts.
"""

import re
from decimal import Decimal
from fractions import Fraction
from typing import Final

MONEY_DECIMALS: Final = 12
"""An interval's cost is rounded once, half even, to this many decimals."""

MAX_INTEGER_DIGITS: Final = 15
MAX_FRACTION_DIGITS: Final = 18

_MAX_SHOWN: Final = 60
_DECIMAL: Final = re.compile(
    rf"-?[0-9]{{1,{MAX_INTEGER_DIGITS}}}(?:\.[0-9]{{1,{MAX_FRACTION_DIGITS}}})?",
    re.ASCII,
)
_SMALL: Final = tuple("0." + "0" * zeros for zeros in range(64))


def parse_decimal(text: str) -> Decimal:
    """Return the number that a plain decimal text such as "-0.0825" names.

    Exponents, signs other than "-", spaces, NaN and infinities are refused, and so are numbers too long to be a rate.

    Raises:
        ValueError: `text` is not such a number; the message is a sentence for the author of a document.

    """
    if _DECIMAL.fullmatch(text) is None:
        shown = f"{text!r}" if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]!r}…"
        message = (
            f"{shown} is not a decimal number (expected digits such as '0.2450', "
            f"at most {MAX_INTEGER_DIGITS} before and {MAX_FRACTION_DIGITS} after the point)"
        )
        raise ValueError(message)
    return Decimal(text)


def to_units(value: Decimal) -> tuple[int, int]:
    """Return (units, scale) of a finite number, with the smallest scale >= 0 that holds it exactly."""
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        message = f"{value} is not a finite number"
        raise ValueError(message)  # noqa: TRY004 - the value is at fault, not its type
    units = int("".join(map(str, digits)))
    if exponent >= 0:
        units *= 10**exponent
        exponent = 0
    while exponent < 0 and units % 10 == 0:
        units //= 10
        exponent += 1
    return (-units if sign else units), -exponent


def units_text(units: int, scale: int) -> str:
    """Return the canonical text of units / 10**scale (0 <= scale < 64). Hot: 0.4 µs."""
    if units <= 0 or scale == 0:
        if units == 0:
            return "0"
        return "-" + units_text(-units, scale) if units < 0 else str(units)
    digits = str(units)
    whole = len(digits) - scale
    if whole <= 0:
        return (_SMALL[-whole] + digits).rstrip("0")
    fraction = digits[whole:].rstrip("0")
    return f"{digits[:whole]}.{fraction}" if fraction else digits[:whole]


def decimal_text(value: Decimal) -> str:
    """Return the canonical text of a finite number."""
    return units_text(*to_units(value))


def divide_half_even(numerator: int, denominator: int) -> int:
    """Return numerator / denominator as an integer, a tie going to the even one (denominator > 0)."""
    quotient, rest = divmod(numerator, denominator)
    rest *= 2
    if rest > denominator or (rest == denominator and quotient & 1):
        quotient += 1
    return quotient


def rescale_half_even(units: int, scale: int, to_scale: int) -> int:
    """Return units at another scale: exact towards a finer one, rounded half even towards a coarser one."""
    if scale <= to_scale:
        power: int = 10 ** (to_scale - scale)
        return units * power
    return divide_half_even(units, 10 ** (scale - to_scale))


def round_money(amount: Fraction) -> int:
    """Return an exact amount in units of 10**-12 of the currency, rounded half even: an interval's one rounding."""
    return divide_half_even(amount.numerator * 10**MONEY_DECIMALS, amount.denominator)


def money_text(money_units: int) -> str:
    """Return the canonical text of an amount in units of 10**-12 of the currency."""
    return units_text(money_units, MONEY_DECIMALS)


def without_tens(number: int) -> tuple[int, int, int]:
    """Return (twos, fives, rest) with number = 2**twos * 5**fives * rest (number > 0).

    A fraction has a finite decimal text exactly when the rest of its denominator divides its numerator.
    """
    twos = fives = 0
    while number % 2 == 0:
        number //= 2
        twos += 1
    while number % 5 == 0:
        number //= 5
        fives += 1
    return twos, fives, number
