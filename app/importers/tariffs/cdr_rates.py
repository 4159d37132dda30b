"""Blocks of a Consumer Data Right rate: volumes, which are widths, as the cumulative bounds of our tiers.

What the standard says, and what follows:

- "Volume in kWh that this rate applies to. Only applicable for 'stepped' rates where different rates apply for
  different volumes of usage in a period": a width, within `period`. Rates stand "in order of usage volume".
- `period` is the "usage period for which the block rate applies", and each time of use rate has a `period` and blocks
  of its own: the volume is that of the usage to which *this* rate applies. So blocks count for each band (`tier_scope`
  "band"), not for the charge.
- `period` is P1Y if absent, except in the `singleRate` of a tariff period, for which no default is given.
- Nothing says on which day a customer's month, quarter or year begins: those of the calendar are taken, and named.

A volume of 0 is how Energy Made Easy publishes a rate without a bound. Neighbouring blocks of one price are one block.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from app.importers.tariffs.cdr_fields import objects, read_number, refuse_unknown
from app.importers.tariffs.common import Part, rate_text
from app.wire.documents import shown

_RATE_FIELDS: Final = frozenset({"unitPrice", "measureUnit", "volume"})
_TIER_PERIODS: Final[dict[str, dict[str, Any]]] = {
    "P1D": {"tier_period": "P1D"},
    "P1M": {"tier_period": "P1M"},
    "P1Y": {"tier_period": "P1Y"},
    "P12M": {"tier_period": "P1Y"},
    **{f"P{months}M": {"tier_period": "BILLING", "billing_period": {"months": months}} for months in (2, 3, 4, 6)},
}
_DAILY: Final = "P1D"


class Tier(NamedTuple):
    """A price up to a cumulative bound in kWh; None: no bound."""

    up_to_kwh: Decimal | None
    rate: Decimal


class Blocks(NamedTuple):
    """The tiers of one rate, and the period within which they count, with its path; None where there is one tier."""

    tiers: tuple[Tier, ...]
    period: str | None
    path: str

    def documents(self) -> list[dict[str, Any]]:
        """Return the tiers of our documents."""
        return [
            {
                "up_to_kwh": None if tier.up_to_kwh is None else rate_text(tier.up_to_kwh),
                "rate": rate_text(tier.rate),
            }
            for tier in self.tiers
        ]


def read_blocks(
    item: Mapping[str, Any], path: str, refused: list[Part], *, default_period: str | None, beyond: Decimal | None
) -> Blocks | None:
    """Return the blocks of an object with `rates` and a `period`; None, and refusals, where they cannot be had.

    `beyond` is the price after the last volume; where it is None the last rate needs to be without a volume.
    """
    before = len(refused)
    tiers: list[Tier] = []
    bound = Decimal(0)
    for at, rate in objects(item, "rates", f"{path}.", refused):
        refuse_unknown(rate, _RATE_FIELDS, f"{at}.", refused)
        _check_unit(rate, at, refused)
        price = read_number(rate.get("unitPrice"), f"{at}.unitPrice", refused)
        volume = rate.get("volume")
        width = Decimal(0) if volume is None else read_number(volume, f"{at}.volume", refused)
        if price is None or width is None:
            continue
        if width < 0:
            refused.append(Part(f"{at}.volume", f"{shown(volume)} is negative"))
        if tiers and tiers[-1].up_to_kwh is None:
            refused.append(Part(at, "follows a rate without a volume (expected none after it)"))
        bound += width
        tiers.append(Tier(bound if width else None, price))
    if not tiers and len(refused) == before:
        refused.append(Part(f"{path}.rates", "no rate (expected at least one)"))
    elif tiers and tiers[-1].up_to_kwh is not None:
        if beyond is None:
            end = f"{rate_text(bound)} kWh"
            refused.append(Part(f"{path}.rates", f"the last rate ends at {end} (expected one for what is beyond)"))
        else:
            tiers.append(Tier(None, beyond))
    period = item.get("period") if item.get("period") is not None else default_period
    tiers = _merged(tiers)
    if len(tiers) > 1 and period not in _TIER_PERIODS:
        expected = f"expected one of {', '.join(_TIER_PERIODS)}"
        refused.append(Part(f"{path}.period", f"{shown(period)}: blocks count in no such period of ours ({expected})"))
    if len(refused) > before:
        return None
    return Blocks(tuple(tiers), str(period) if len(tiers) > 1 else None, f"{path}.period")


def _check_unit(rate: Mapping[str, Any], path: str, refused: list[Part]) -> None:
    unit = rate.get("measureUnit")
    if unit not in {None, "KWH"}:
        refused.append(Part(f"{path}.measureUnit", f"{shown(unit)}: prices of energy are by KWH here"))


def _merged(tiers: list[Tier]) -> list[Tier]:
    merged: list[Tier] = []
    for tier in tiers:
        if merged and merged[-1].rate == tier.rate:
            merged.pop()
        merged.append(tier)
    return merged


def tier_period(blocks: Iterable[Blocks], refused: list[Part], left_out: list[Part]) -> dict[str, Any] | None:
    """Return `tier_period` and what belongs to it for all the blocks of one document; None where they differ."""
    stepped = [one for one in blocks if one.period is not None]
    if not stepped:
        return {}
    first = stepped[0]
    fields = _TIER_PERIODS[str(first.period)]
    others = [one for one in stepped[1:] if _TIER_PERIODS[str(one.period)] != fields]
    for one in others:
        reason = f"{one.period} beside {first.period} at {first.path}: a tariff of ours counts blocks in one period"
        refused.append(Part(one.path, reason))
    if first.period != _DAILY:
        reason = f"{first.period}: the plan does not say on which day it begins; blocks count by the calendar"
        left_out.extend(Part(one.path, reason) for one in stepped)
    return None if others else fields
