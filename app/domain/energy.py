"""Energy from a record's value and units, in whole µWh.

A JSON number is read as the shortest decimal that its IEEE 754 double prints as: texts of up to 15 significant digits are
exact. Rounding to µWh happens once, half to even.
"""

from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import Final

import msgspec

from app.domain.records import Units

UWH_PER_WH: Final = 1_000_000
UWH_PER_KWH: Final = 1_000_000_000
US_PER_HOUR: Final = 3_600_000_000
ENERGY_LIMIT_UWH: Final = 10**15
"""Most energy of one record (1 GWh): up to here a double carries every µWh."""

_POWER_UNITS_W: Final[dict[Units, int]] = {"W": 1, "KW": 1000}
_ENERGY_UNITS_UWH: Final[dict[Units, int]] = {"WH": UWH_PER_WH, "KWH": UWH_PER_KWH}
_SAFE_UWH: Final = 1e12
_TIE_MARGIN: Final = 1e-3
_FIRST_WITHOUT_EXPONENT_UWH: Final = 100
_FIRST_OF_16_DIGITS_UWH: Final = 10**15
_encode_json: Final = msgspec.json.Encoder().encode


def energy_uwh(value: float, units: Units, duration_us: int) -> int:
    """Return the energy of `value` in µWh; W and KW mean constant power over the whole period.

    Binary floating point decides only where its error (below 3e-4 µWh under 10^12 µWh) cannot change the rounding;
    everything else is computed with decimals.
    """
    scale = _ENERGY_UNITS_UWH.get(units)
    estimate = value * (_POWER_UNITS_W[units] * duration_us) / 3600.0 if scale is None else value * scale
    if -_SAFE_UWH < estimate < _SAFE_UWH:
        nearest = round(estimate)
        if abs(estimate - nearest) < 0.5 - _TIE_MARGIN:
            return nearest
    return _exact_energy_uwh(value, units, duration_us)


def _exact_energy_uwh(value: float, units: Units, duration_us: int) -> int:
    """Compute with decimals what `energy_uwh` promises."""
    with localcontext(prec=60):
        exact = Decimal(repr(float(value)))
        scale = _ENERGY_UNITS_UWH.get(units)
        if scale is not None:
            exact *= scale
        else:
            numerator = exact * (_POWER_UNITS_W[units] * duration_us)
            whole, rest = divmod(numerator, 3600)
            # The quotient may be infinite (thirds): decide the tie from the exact remainder instead.
            twice = 2 * rest
            if twice > 3600 or (twice == 3600 and whole % 2 == 1):  # noqa: PLR2004 - seconds in an hour
                whole += 1
            return int(whole)
        return int(exact.to_integral_value(rounding=ROUND_HALF_EVEN))


def watt_hours_text(amount_uwh: int) -> str:
    """Return an energy as a JSON number of Wh with up to six decimals, exact. Hot.

    A decimal of at most 15 digits is the shortest text of the double that is nearest to it, and the encoder writes that;
    with an exponent only where there is nothing before the fourth decimal.
    """
    if not amount_uwh % UWH_PER_WH:
        return str(amount_uwh // UWH_PER_WH)
    if _FIRST_WITHOUT_EXPONENT_UWH <= amount_uwh < _FIRST_OF_16_DIGITS_UWH:
        return _encode_json(amount_uwh / UWH_PER_WH).decode()
    sign = "-" if amount_uwh < 0 else ""
    whole, micro = divmod(abs(amount_uwh), UWH_PER_WH)
    return f"{sign}{whole}.{micro:06d}".rstrip("0")


def parse_watt_hours_uwh(text: str) -> int:
    """Return the µWh of a JSON number of Wh; the inverse of `watt_hours_text`.

    Raises:
        ValueError: the number is finer than a µWh.

    """
    with localcontext(prec=60):
        exact = Decimal(text) * UWH_PER_WH
        whole = int(exact)
        if whole != exact:
            message = f"{text} Wh is finer than a µWh"
            raise ValueError(message)
        return whole
