"""Rates: the charges of one tariff at one moment, compiled to integers, and the amounts that energy comes to at them.

A component's cost is exact; the sum for an interval is rounded once, half even, to 12 decimals (see `pricing`).
"""

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from math import lcm
from typing import Final, Literal

import msgspec

from app.domain.money import (
    MONEY_DECIMALS,
    decimal_text,
    divide_half_even,
    money_text,
    round_money,
    units_text,
    without_tens,
)
from app.domain.tariffs import Tariff
from app.domain.tiers import Graduated
from app.domain.timeline import ChargeRate

Status = Literal["priced", "pending"]
Reason = Literal["no_tariff", "no_price", "mixed_currency"]

KWH_DECIMALS: Final = 9
"""1 kWh = 10**9 µWh."""

_UWH_PER_WH: Final = 10**6
"""Energies of whole Wh come again and again, finer ones seldom do: only the former's amounts are remembered."""

_MAX_AMOUNTS: Final = 1 << 16


class Component(msgspec.Struct, frozen=True, gc=False):
    """What one charge asks for the energy between two instants. Amounts are decimal texts in the tariff's currency.

    `tariff_id` and `tariff_version` are set where the tariff is another one than the interval's first.
    """

    charge_id: str
    band: str | None
    tier: int | None
    start_us: int
    end_us: int
    energy_uwh: int
    rate: str
    cost: str
    cost_excluding_tax: str
    tariff_id: str | None = None
    tariff_version: int | None = None


class IntervalPrice(msgspec.Struct, frozen=True, gc=False):
    """The price of an interval, or the reason why there is none yet. Amounts are decimal texts, `carbon_g` too."""

    status: Status
    reason: Reason | None
    currency: str | None
    cost: str | None
    cost_excluding_tax: str | None
    tax: str | None
    carbon_g: str | None
    tariff_id: str | None
    tariff_version: int | None
    components: tuple[Component, ...]


Amounts = tuple[str, ...]
"""One energy at one set of rates: its cost, its cost excluding tax, its tax; each charge's cost; each charge's net."""


class AmountMemory:
    """Bounds the amounts remembered by all rates together: when there are too many, all are forgotten."""

    __slots__ = ("_count", "_limit", "_memos")

    def __init__(self, limit: int = _MAX_AMOUNTS) -> None:
        """Remember at most `limit` amounts."""
        self._limit = limit
        self._count = 0
        self._memos: list[dict[int, Amounts]] = []

    def keep(self, memo: dict[int, Amounts], charged_uwh: int, amounts: Amounts) -> None:
        """Remember the amounts of one energy in `memo`."""
        if self._count >= self._limit:
            for other in self._memos:
                other.clear()
            self._memos.clear()
            self._count = 0
        if not memo:
            self._memos.append(memo)
        memo[charged_uwh] = amounts
        self._count += 1


class GraduatedLine:
    """A graduated charge among the rates of a moment: where it stands, and its bounds."""

    __slots__ = ("_bounds", "_charge", "_graduated", "counter", "index", "tiers")

    def __init__(self, index: int, charge: ChargeRate, graduated: Graduated) -> None:
        """Take the charge at a position."""
        self.index = index
        self.counter = graduated.counter
        self.tiers = len(graduated.tiers)
        self._charge = charge
        self._graduated = graduated
        self._bounds: dict[int, tuple[int, ...]] = {}

    def bounds_uwh(self, days: int) -> tuple[int, ...]:
        """Return the bounds of all tiers but the last, in a tier period of so many local days."""
        known = self._bounds.get(days)
        if known is None:
            known = self._bounds[days] = self._graduated.bounds_uwh(days)
        return known

    def in_tier(self, tier: int) -> ChargeRate:
        """Return the charge in one of its tiers, by number from 0."""
        return self._charge._replace(tier=tier + 1, rate=self._graduated.tiers[tier].rate)


def _graduated_lines(charges: tuple[ChargeRate, ...]) -> Iterator[GraduatedLine]:
    for index, charge in enumerate(charges):
        if isinstance(charge.rate, Graduated):
            yield GraduatedLine(index, charge, charge.rate)


class Rates:
    """The charges of one tariff at one moment, compiled to integers, and the amounts they came to so far.

    `missing` tells that a charge has no rate here (no point in its series): such energy cannot be priced yet.
    `graduated` are the charges whose rate depends on what was counted before: while there are any, these rates have no
    amounts, and `resolved` gives those of chosen tiers (`ladder`, where only one is graduated). `charged_uwh` is energy
    with the sign of its cost: negative where the customer is credited.
    """

    __slots__ = (
        "_cost_excess", "_cost_factors", "_cost_lift", "_cost_scale", "_cost_total", "_memory",
        "_net_divisor", "_net_excess", "_net_factors", "_net_scale", "_net_total", "_resolved", "_singles", "_tariff",
        "_taxed", "charges", "currency", "graduated", "ladder", "lines", "memo", "missing", "only", "tariff_id", "tariff_version",
    )  # fmt: skip

    def __init__(self, tariff: Tariff, charges: tuple[ChargeRate, ...], memory: AmountMemory) -> None:
        """Compile `charges`, whose series have been looked up (None: no price)."""
        self.charges = charges
        self.currency = tariff.currency
        self.tariff_id = tariff.tariff_id
        self.tariff_version = tariff.version
        self.memo: dict[int, Amounts] = {}
        self._memory = memory
        self._tariff = tariff
        self._resolved: dict[tuple[int, ...], Rates] = {}
        self._singles: dict[tuple[int, int], Rates] = {}
        self.missing = any(charge.rate is None for charge in charges)
        self.graduated = () if self.missing else tuple(_graduated_lines(charges))
        self.ladder = (
            tuple(self.resolved((tier,)) for tier in range(self.graduated[0].tiers)) if len(self.graduated) == 1 else ()
        )
        rated = [(charge, charge.rate) for charge in charges if isinstance(charge.rate, Decimal)]
        self.lines = tuple((charge.charge_id, charge.band, charge.tier, decimal_text(rate)) for charge, rate in rated)
        self.only = self.lines[0] if len(self.lines) == 1 else None
        self._compile(
            [(Fraction(rate), 1 + tariff.tax_on(charge.charge_id)) for charge, rate in rated],
            include_tax=tariff.prices_include_tax,
        )

    def _compile(self, rates: list[tuple[Fraction, Fraction]], *, include_tax: bool) -> None:
        """Find integers: cost = charged * factor / 10**scale, and net = charged * factor / divisor / 10**scale.

        Each rate comes with 1 + the taxes that fall on its charge.
        """
        gross = [rate * (1 if include_tax else with_tax) for rate, with_tax in rates]
        net = [rate / (with_tax if include_tax else 1) for rate, with_tax in rates]
        self._taxed = any(with_tax != 1 for _, with_tax in rates)
        self._cost_factors, self._cost_scale, _ = _common(gross)
        self._net_factors, self._net_scale, self._net_divisor = _common(net)
        self._cost_total = sum(self._cost_factors)
        self._cost_excess: int = 10 ** max(self._cost_scale - MONEY_DECIMALS, 0)
        self._cost_lift: int = 10 ** max(MONEY_DECIMALS - self._cost_scale, 0)
        net_per_uwh = sum(net, start=Fraction(0)) * 10 ** (MONEY_DECIMALS - KWH_DECIMALS)
        self._net_total, self._net_excess = net_per_uwh.numerator, net_per_uwh.denominator

    def resolved(self, tiers: tuple[int, ...]) -> "Rates":
        """Return the rates with each graduated charge in the tier given for it, by number from 0."""
        known = self._resolved.get(tiers)
        if known is None:
            charges = list(self.charges)
            for line, tier in zip(self.graduated, tiers, strict=True):
                charges[line.index] = line.in_tier(tier)
            known = self._resolved[tiers] = Rates(self._tariff, tuple(charges), self._memory)
        return known

    def single(self, index: int, tier: int) -> "Rates":
        """Return the rates of one charge alone, in one tier by number from 0 (where it is graduated)."""
        known = self._singles.get((index, tier))
        if known is None:
            charge = self.charges[index]
            line = next((line for line in self.graduated if line.index == index), None)
            charges = (charge if line is None else line.in_tier(tier),)
            known = self._singles[index, tier] = Rates(self._tariff, charges, self._memory)
        return known

    def amounts(self, charged_uwh: int) -> Amounts:
        """Compute what `charged_uwh` costs by itself, and remember it if it may come again: `memo` had no answer."""
        if len(self.lines) != 1:
            found = self._amounts_of_all(charged_uwh)
        elif self._taxed:
            found = self._taxed_amounts_of_one(charged_uwh)
        else:
            found = self._amounts_of_one(charged_uwh)
        if charged_uwh % _UWH_PER_WH == 0:
            self._memory.keep(self.memo, charged_uwh, found)
        return found

    def _amounts_of_one(self, charged_uwh: int) -> Amounts:
        """Price at a single untaxed charge, whose text is the interval's too unless it has to be rounded."""
        units = charged_uwh * self._cost_total
        cost = line_cost = units_text(units, self._cost_scale)
        if units % self._cost_excess:
            cost = money_text(divide_half_even(units, self._cost_excess))
        return cost, cost, "0", line_cost, line_cost

    def _taxed_amounts_of_one(self, charged_uwh: int) -> Amounts:
        units = charged_uwh * self._cost_total
        cost = line_cost = units_text(units, self._cost_scale)
        cost_units, rest = divmod(units, self._cost_excess)
        if rest:
            cost_units = divide_half_even(units, self._cost_excess)
            cost = units_text(cost_units, MONEY_DECIMALS)
        units = charged_uwh * self._net_total
        net_units, rest = divmod(units, self._net_excess)
        if rest:
            net_units = divide_half_even(units, self._net_excess)
            line_net = self._net_text(charged_uwh * self._net_factors[0])
            net = units_text(net_units, MONEY_DECIMALS)
        else:
            net = line_net = units_text(net_units, MONEY_DECIMALS)
        tax = units_text(cost_units * self._cost_lift - net_units, MONEY_DECIMALS)
        return cost, net, tax, line_cost, line_net

    def _amounts_of_all(self, charged_uwh: int) -> Amounts:
        cost_units = divide_half_even(charged_uwh * self._cost_total, self._cost_excess) * self._cost_lift
        net_units = divide_half_even(charged_uwh * self._net_total, self._net_excess)
        costs = [units_text(charged_uwh * factor, self._cost_scale) for factor in self._cost_factors]
        nets = [self._net_text(charged_uwh * factor) for factor in self._net_factors] if self._taxed else costs
        return (
            money_text(cost_units), money_text(net_units), money_text(cost_units - net_units), *costs, *nets
        )  # fmt: skip

    def exact(self, charged_uwh: int) -> tuple[Fraction, Fraction]:
        """Return the unrounded cost, and cost excluding tax, of `charged_uwh`."""
        return (
            Fraction(charged_uwh * self._cost_total, 10**self._cost_scale),
            Fraction(charged_uwh * self._net_total, self._net_excess * 10**MONEY_DECIMALS),
        )

    def components(self, start_us: int, end_us: int, energy_uwh: int, charged_uwh: int) -> list[Component]:
        """Return a component for each charge."""
        _, _, _, *texts = self.memo.get(charged_uwh) or self.amounts(charged_uwh)
        half = len(self.lines)
        return [
            Component(charge_id, band, tier, start_us, end_us, energy_uwh, rate, cost, net)
            for (charge_id, band, tier, rate), cost, net in zip(self.lines, texts[:half], texts[half:], strict=True)
        ]

    def _net_text(self, units: int) -> str:
        """Return a charge's cost excluding tax: exact where its text is finite, else half even to 12 decimals."""
        if self._net_divisor != 1:
            units, rest = divmod(units, self._net_divisor)
            if rest:
                exact = Fraction(units * self._net_divisor + rest, self._net_divisor * 10**self._net_scale)
                return money_text(round_money(exact))
        return units_text(units, self._net_scale)


def _common(values: list[Fraction]) -> tuple[list[int], int, int]:
    """Return (factors, scale, divisor): a µWh costs factor / divisor / 10**scale; neither 2 nor 5 divides divisor."""
    parts = [without_tens(value.denominator) for value in values]
    scale = max((max(twos, fives) for twos, fives, _ in parts), default=0)
    divisor = lcm(*(rest for _, _, rest in parts))
    factors = [int(value * divisor * 10**scale) for value in values]
    return factors, scale + KWH_DECIMALS, divisor


def pending(reason: Reason, head: Rates | None, carbon_g: str | None) -> IntervalPrice:
    """Say why an interval has no cost yet. Missing is not zero."""
    return IntervalPrice(
        status="pending",
        reason=reason,
        currency=None if head is None or reason == "mixed_currency" else head.currency,
        cost=None,
        cost_excluding_tax=None,
        tax=None,
        carbon_g=carbon_g,
        tariff_id=None if head is None else head.tariff_id,
        tariff_version=None if head is None else head.tariff_version,
        components=(),
    )
