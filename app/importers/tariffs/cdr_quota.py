"""Quota plans of the Consumer Data Right: "$50/month for up to 150 kWh included usage", and a rate for the excess.

The standard gives `generalUnitPrice`, the price of the excess, with GST where all others are without, and does not say
how the fixed price is written. Read is what says it: one rate whose `measureUnit` is MONTH (or DAYS), with a `volume`
and a `period` to match. A price by KWH might be that of the included energy or of the quota, and is refused.
"""

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, NamedTuple

from app.importers.tariffs.cdr_fields import objects, read_number
from app.importers.tariffs.cdr_rates import Blocks, Tier
from app.importers.tariffs.common import Part, rate_text
from app.wire.documents import shown

GST: Final = Decimal("0.10")
_PER: Final = {("MONTH", "P1M"): "month", ("DAYS", "P1D"): "day"}
_MAX_DECIMALS: Final = 12


class Quota(NamedTuple):
    """The fixed charge of a quota, and what energy costs beyond it."""

    charge: dict[str, Any]
    blocks: Blocks


def read_quota(single: Mapping[str, Any], path: str, refused: list[Part]) -> Quota | None:
    """Return the quota of a `singleRate`; None, and refusals, where it does not say it all."""
    before = len(refused)
    rates = list(objects(single, "rates", f"{path}.", refused))
    excess = read_number(single.get("generalUnitPrice"), f"{path}.generalUnitPrice", refused)
    if len(rates) != 1:
        refused.append(Part(f"{path}.rates", f"{len(rates)} rates in a QUOTA plan (expected one)"))
        return None
    at, rate = rates[0]
    unit, period = rate.get("measureUnit", "KWH"), single.get("period")
    per = _PER.get((str(unit), str(period)))
    if per is None:
        named = f"{shown(unit)} with period {shown(period)}"
        expected = "expected MONTH with 'P1M' or DAYS with 'P1D'"
        refused.append(Part(f"{at}.measureUnit", f"{named}: not said to be the price of the quota ({expected})"))
    amount = read_number(rate.get("unitPrice"), f"{at}.unitPrice", refused)
    volume = read_number(rate.get("volume"), f"{at}.volume", refused)
    if volume is not None and volume <= 0:
        refused.append(Part(f"{at}.volume", f"{shown(rate['volume'])} is not a quota (expected more than 0)"))
    net = None if excess is None else _without_gst(excess)
    if excess is not None and net is None:
        reason = f"{shown(single['generalUnitPrice'])} has GST in it; without it, it is no finite decimal number"
        refused.append(Part(f"{path}.generalUnitPrice", reason))
    if len(refused) > before or amount is None or volume is None or net is None:
        return None
    charge = {"charge_id": "quota", "kind": "fixed", "per": per, "amount": rate_text(amount)}
    return Quota(charge, Blocks((Tier(volume, Decimal(0)), Tier(None, net)), str(period), f"{path}.period"))


def _without_gst(price: Decimal) -> Decimal | None:
    """Return a price without GST; None where that has no end."""
    net = Fraction(price) / (1 + Fraction(GST))
    scaled = net * 10**_MAX_DECIMALS
    return Decimal(scaled.numerator).scaleb(-_MAX_DECIMALS) if scaled.denominator == 1 else None
