"""What an interval costs: energy times the rates in force, exactly, with the pieces that the sum is made of.

The money rule: a component's cost is exact (energy * rate, * (1 + taxes) where prices exclude tax) and has a finite
decimal text. An interval's cost is the sum of its components' costs, rounded once, half even, to 12 decimals; so is
its cost excluding tax; its tax is their difference, so that the three add up. A component's cost includes tax, as the
interval's does. Signs are the customer's: import costs, export earns, local energy costs where it comes in and earns
where it goes out.

Speed: tens of thousands of intervals a second are priced. Nearly all lie in one segment of one tariff, and many carry
an energy that another one carried before: so segments are remembered by instant, and amounts by energy, each in a
bounded memory.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow
from fractions import Fraction
from math import lcm
from typing import Any, Final, Literal, NamedTuple

import msgspec

from app.domain.calendar import US_PER_DAY
from app.domain.money import (
    MONEY_DECIMALS,
    decimal_text,
    divide_half_even,
    money_text,
    rescale_half_even,
    round_money,
    to_units,
    units_text,
    without_tens,
)
from app.domain.tariffs import CARBON_UNIT, Direction, SeriesDay, SeriesRate, Tariff
from app.domain.timeline import ChargeRate, Timeline

Flow = Literal["INBOUND", "OUTBOUND"]
Status = Literal["priced", "pending"]
Reason = Literal["no_tariff", "no_price", "mixed_currency"]

KWH_DECIMALS: Final = 9
"""1 kWh = 10**9 µWh."""

_UWH_PER_WH: Final = 10**6
"""Energies of whole Wh come again and again, finer ones seldom do: only the former's amounts are remembered."""

_MAX_CELLS: Final = 1 << 13
_MAX_RATES: Final = 1 << 12
_MAX_AMOUNTS: Final = 1 << 16

_EXACT: Final = Context(prec=400, traps=[Inexact, InvalidOperation, Overflow])
"""Wide enough for every product of rates that documents may hold; anything inexact would raise."""

_NO_FLOW: Final[frozenset[str]] = frozenset()
_CREDITED: Final[dict[Direction, frozenset[str]]] = {
    "IMPORT": _NO_FLOW,
    "EXPORT": frozenset({"INBOUND", "OUTBOUND"}),
    "LOCAL": frozenset({"OUTBOUND"}),
}

Part = Sequence[Any]
"""A record's part of an interval: its first three items are start_us, end_us and energy_uwh."""


class Component(msgspec.Struct, frozen=True, gc=False):
    """What one charge asks for the energy between two instants. Amounts are decimal texts in the tariff's currency."""

    charge_id: str
    band: str | None
    tier: int | None
    start_us: int
    end_us: int
    energy_uwh: int
    rate: str
    cost: str
    cost_excluding_tax: str


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


class Rates:
    """The charges of one tariff at one moment, compiled to integers, and the amounts they came to so far.

    `missing` tells that a charge has no rate here (no point in its series): such energy cannot be priced yet.
    `charged_uwh` is energy with the sign of its cost: negative where the customer is credited.
    """

    __slots__ = (
        "_cost_excess", "_cost_factors", "_cost_lift", "_cost_scale", "_cost_total", "_memory",
        "_net_divisor", "_net_excess", "_net_factors", "_net_scale", "_net_total", "_taxed",
        "charges", "currency", "lines", "memo", "missing", "tariff_id", "tariff_version",
    )  # fmt: skip

    def __init__(self, tariff: Tariff, charges: tuple[ChargeRate, ...], memory: AmountMemory) -> None:
        """Compile `charges`, whose series have been looked up (None: no price)."""
        self.charges = charges
        self.currency = tariff.currency
        self.tariff_id = tariff.tariff_id
        self.tariff_version = tariff.version
        self.memo: dict[int, Amounts] = {}
        self._memory = memory
        rates = [charge.rate for charge in charges if isinstance(charge.rate, Decimal)]
        self.missing = len(rates) < len(charges)
        self.lines = tuple(
            (charge.charge_id, charge.band, charge.tier, decimal_text(rate))
            for charge, rate in zip(charges, rates, strict=False)
        )
        with_tax = sum((Fraction(tax.rate) for tax in tariff.taxes), start=Fraction(1))
        self._compile(rates, with_tax, include_tax=tariff.prices_include_tax)

    def _compile(self, rates: list[Decimal], with_tax: Fraction, *, include_tax: bool) -> None:
        """Find integers: cost = charged * factor / 10**scale, and net = charged * factor / divisor / 10**scale."""
        gross = [Fraction(rate) * (1 if include_tax else with_tax) for rate in rates]
        net = [Fraction(rate) / (with_tax if include_tax else 1) for rate in rates]
        self._taxed = with_tax != 1
        self._cost_factors, self._cost_scale, _ = _common(gross)
        self._net_factors, self._net_scale, self._net_divisor = _common(net)
        self._cost_total = sum(self._cost_factors)
        self._cost_excess: int = 10 ** max(self._cost_scale - MONEY_DECIMALS, 0)
        self._cost_lift: int = 10 ** max(MONEY_DECIMALS - self._cost_scale, 0)
        net_per_uwh = sum(net, start=Fraction(0)) * 10 ** (MONEY_DECIMALS - KWH_DECIMALS)
        self._net_total, self._net_excess = net_per_uwh.numerator, net_per_uwh.denominator

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


class SeriesTable:
    """The points known of one series, by UTC date."""

    __slots__ = ("_days",)

    def __init__(self) -> None:
        """Begin with no points."""
        self._days: dict[int, tuple[SeriesDay, list[int]]] = {}

    def put(self, day: SeriesDay) -> None:
        """Take the points of one UTC date in place of those known."""
        self._days[day.day] = (day, [point.start_us for point in day.points])

    def remove(self, day: SeriesDay) -> None:
        """Forget the points of one UTC date."""
        self._days.pop(day.day, None)

    def point(self, at_us: int, unit: str) -> tuple[int, Decimal | None]:
        """Return (until when, value) at an instant; a gap or another unit is None: never a neighbour's value."""
        number = at_us // US_PER_DAY
        day_end = (number + 1) * US_PER_DAY
        known = self._days.get(number)
        if known is None or known[0].unit != unit:
            return day_end, None
        day, starts = known
        index = bisect_right(starts, at_us)
        if index and at_us < day.points[index - 1].end_us:
            return day.points[index - 1].end_us, day.points[index - 1].value
        return (starts[index] if index < len(starts) else day_end), None


class TariffPricer:
    """One tariff's rates by instant. `cells` remembers, for the instants asked for, (until when, rates)."""

    __slots__ = ("_memory", "_rates", "_tables", "_timeline", "cells", "tariff")

    def __init__(self, tariff: Tariff, tables: Mapping[str, SeriesTable], memory: AmountMemory) -> None:
        """Compile a tariff; `tables` holds every series that it follows.

        Raises:
            ValueError: it asks for what cannot be priced.

        """
        self.tariff = tariff
        self.cells: dict[int, tuple[int, Rates]] = {}
        self._timeline = Timeline(tariff)
        self._tables = {series_id: tables[series_id] for series_id in tariff.series_ids}
        self._rates: dict[tuple[ChargeRate, ...], Rates] = {}
        self._memory = memory

    def cell(self, at_us: int) -> tuple[int, Rates]:
        """Return (until when, rates) at an instant, and remember it."""
        if len(self.cells) >= _MAX_CELLS:
            self.cells.clear()
        segment = self._timeline.segment(at_us)
        end_us, charges = segment.end_us, segment.charges
        if self._tables:
            end_us, charges = self._looked_up(at_us, end_us, charges)
        rates = self._rates.get(charges)
        if rates is None:
            if len(self._rates) >= _MAX_RATES:
                self._rates.clear()
            rates = self._rates[charges] = Rates(self.tariff, charges, self._memory)
        found = self.cells[at_us] = (end_us, rates)
        return found

    def forget(self) -> None:
        """Forget what was looked up in series: one of them has changed."""
        self.cells.clear()

    def _looked_up(
        self, at_us: int, end_us: int, charges: tuple[ChargeRate, ...]
    ) -> tuple[int, tuple[ChargeRate, ...]]:
        """Put the series' values at an instant in the place of the series."""
        unit = f"{self.tariff.currency}/kWh"
        found = []
        for charge in charges:
            rate = charge.rate
            if isinstance(rate, SeriesRate):
                until_us, value = self._tables[rate.series_id].point(at_us, unit)
                end_us = min(end_us, until_us)
                rate = None if value is None else series_rate(rate, value)
            found.append(charge._replace(rate=rate))
        return end_us, tuple(found)


def series_rate(rule: SeriesRate, value: Decimal) -> Decimal:
    """Return the rate that a value means: value * multiplier + adder, at most the cap, then at least the floor."""
    rate = _EXACT.add(_EXACT.multiply(value, rule.multiplier), rule.adder)
    if rule.cap is not None:
        rate = min(rate, rule.cap)
    if rule.floor is not None:
        rate = max(rate, rule.floor)
    return rate


class Span:
    """A stretch of a location's time under one link. Without a pricer it is `free`, or a tariff is missing."""

    __slots__ = ("cells", "end_us", "free", "pricer", "start_us")

    def __init__(self, start_us: int, end_us: int, pricer: TariffPricer | None, *, free: bool = False) -> None:
        """Lay a pricer on [start_us, end_us)."""
        self.start_us = start_us
        self.end_us = end_us
        self.pricer = pricer
        self.free = free
        self.cells: dict[int, tuple[int, Rates]] = {} if pricer is None else pricer.cells


class Carbon:
    """The grams that energy carries, by one series of gCO2e/kWh."""

    __slots__ = ("_cells", "_table")

    def __init__(self, table: SeriesTable) -> None:
        """Follow a series."""
        self._table = table
        self._cells: dict[int, tuple[int, tuple[int, int] | None]] = {}

    def forget(self) -> None:
        """Forget what was looked up: the series has changed."""
        self._cells.clear()

    def grams(self, start_us: int, end_us: int, energy_uwh: int, parts: Sequence[Part]) -> str | None:
        """Return the grams as a decimal text, rounded once half even to 12 decimals; None where a point is missing."""
        until_us, value = self._cells.get(start_us) or self._cell(start_us)
        if end_us <= until_us:
            if value is None:
                return None
            units, scale = value
            return money_text(rescale_half_even(energy_uwh * units, scale + KWH_DECIMALS, MONEY_DECIMALS))
        return self._grams_of_pieces(start_us, end_us, energy_uwh, parts)

    def _cell(self, at_us: int) -> tuple[int, tuple[int, int] | None]:
        if len(self._cells) >= _MAX_CELLS:
            self._cells.clear()
        until_us, value = self._table.point(at_us, CARBON_UNIT)
        found = self._cells[at_us] = (until_us, None if value is None else to_units(value))
        return found

    def _grams_of_pieces(self, start_us: int, end_us: int, energy_uwh: int, parts: Sequence[Part]) -> str | None:
        starts, values = [], []
        at = start_us
        while at < end_us:
            until_us, value = self._cells.get(at) or self._cell(at)
            starts.append(at)
            values.append(value)
            at = until_us
        total = Fraction(0)
        for value, piece in zip(values, split(start_us, end_us, energy_uwh, parts, starts), strict=True):
            if piece is None:
                continue
            if value is None:
                return None
            units, scale = value
            total += Fraction(piece * units, 10 ** (scale + KWH_DECIMALS))
        return money_text(round_money(total))


def split(
    start_us: int, end_us: int, energy_uwh: int, parts: Sequence[Part], starts: Sequence[int]
) -> list[int | None]:
    """Return the energy of an interval's records in each piece of it; None for a piece that no record touches.

    Pieces begin at `starts`, in order, the first with the interval. A part that crosses a start is cut there at
    constant power, by cumulative rounding, so that its pieces sum to it exactly. A part without duration lies in the
    piece at its instant. Without parts the interval is one part itself.

    Raises:
        ValueError: the parts do not lie in the interval, or do not sum to its energy.

    """
    energies: list[int | None] = [None] * len(starts)
    total = 0
    for part in parts or ((start_us, end_us, energy_uwh),):
        part_start, part_end, part_uwh = part[:3]
        if not start_us <= part_start <= part_end <= end_us:
            message = f"part {part_start}..{part_end} lies outside its interval {start_us}..{end_us}"
            raise ValueError(message)
        total += part_uwh
        index = bisect_right(starts, min(part_start, end_us - 1)) - 1
        duration_us, given = part_end - part_start, 0
        while True:
            last = index + 1 == len(starts) or starts[index + 1] >= part_end
            upto = part_uwh if last else part_uwh * (starts[index + 1] - part_start) // duration_us
            energies[index] = (energies[index] or 0) + upto - given
            if last:
                break
            index, given = index + 1, upto
    if total != energy_uwh:
        message = f"parts sum to {total} µWh, their interval has {energy_uwh} µWh"
        raise ValueError(message)
    return energies


class _Piece(NamedTuple):
    start_us: int
    end_us: int
    span: Span
    rates: Rates | None


class PricePlan:
    """How the energy of one direction is priced at a location, for all time. Locations with the same links share it."""

    __slots__ = ("__weakref__", "_carbon", "_credited", "_span", "_spans", "_starts", "direction")

    def __init__(self, direction: Direction, spans: Sequence[Span], carbon: Carbon | None) -> None:
        """Take spans that tile all of time, in order."""
        self.direction = direction
        self._spans = tuple(spans)
        self._starts = [span.start_us for span in spans]
        self._span = self._spans[-1]
        self._carbon = carbon
        self._credited = _CREDITED[direction]

    def price(self, start_us: int, end_us: int, energy_uwh: int, parts: Sequence[Part], flow: str) -> IntervalPrice:
        """Price the interval [start_us, end_us).

        `parts` are its records' own parts, (start_us, end_us, energy_uwh, …), which sum to `energy_uwh`. They are
        looked at only where a boundary (of a band, a point of a series, a link) falls inside the interval. `flow` is
        INBOUND or OUTBOUND.

        Raises:
            ValueError: such a boundary, and the parts lie outside the interval or do not sum to its energy.

        """
        span = self._span
        if start_us < span.start_us or start_us >= span.end_us:
            span = self._span = self._spans[bisect_right(self._starts, start_us) - 1]
        cell = span.cells.get(start_us)
        if cell is None:
            if span.pricer is None:
                return self._price_pieces(start_us, end_us, energy_uwh, parts, flow)
            cell = span.pricer.cell(start_us)
        segment_end_us, rates = cell
        if end_us > segment_end_us or end_us > span.end_us:
            return self._price_pieces(start_us, end_us, energy_uwh, parts, flow)
        carbon = self._carbon
        carbon_g = None if carbon is None else carbon.grams(start_us, end_us, energy_uwh, parts)
        if rates.missing:
            return _pending("no_price", rates, carbon_g)
        charged_uwh = -energy_uwh if flow in self._credited else energy_uwh
        amounts = rates.memo.get(charged_uwh)
        if amounts is None:
            amounts = rates.amounts(charged_uwh)
        if len(rates.lines) == 1:
            ((charge_id, band, tier, rate),) = rates.lines
            cost, net, tax, line_cost, line_net = amounts
            components: tuple[Component, ...] = (
                Component(charge_id, band, tier, start_us, end_us, energy_uwh, rate, line_cost, line_net),
            )
        else:
            cost, net, tax = amounts[:3]
            components = tuple(rates.components(start_us, end_us, energy_uwh, charged_uwh))
        return IntervalPrice(
            "priced", None, rates.currency, cost, net, tax, carbon_g, rates.tariff_id, rates.tariff_version, components
        )

    def _price_pieces(
        self, start_us: int, end_us: int, energy_uwh: int, parts: Sequence[Part], flow: str
    ) -> IntervalPrice:
        """Price an interval that is cut by a boundary, or has no tariff: piece by piece, by its records' periods."""
        carbon_g = None if self._carbon is None else self._carbon.grams(start_us, end_us, energy_uwh, parts)
        pieces = self._pieces(start_us, end_us)
        energies = split(start_us, end_us, energy_uwh, parts, [piece.start_us for piece in pieces])
        covered = [(piece, energy) for piece, energy in zip(pieces, energies, strict=True) if energy is not None]
        if any(piece.rates is None and not piece.span.free for piece, _ in covered):
            return _pending("no_tariff", None, carbon_g)
        rated = [piece.rates for piece, _ in covered if piece.rates is not None]
        # The tariff that an interval names is its first one: of those that price anything in it.
        head = rated[0] if rated else None
        if any(rates.missing for rates in rated):
            return _pending("no_price", head, carbon_g)
        if len({rates.currency for rates in rated}) > 1:
            return _pending("mixed_currency", head, carbon_g)
        return self._sum(covered, head, carbon_g, credited=flow in self._credited)

    def _sum(
        self, covered: Sequence[tuple[_Piece, int]], head: Rates | None, carbon_g: str | None, *, credited: bool
    ) -> IntervalPrice:
        """Add up priced pieces exactly, and round once."""
        cost = net = Fraction(0)
        components: list[Component] = []
        for piece, energy_uwh in covered:
            if piece.rates is None:
                continue
            charged_uwh = -energy_uwh if credited else energy_uwh
            piece_cost, piece_net = piece.rates.exact(charged_uwh)
            cost += piece_cost
            net += piece_net
            components += piece.rates.components(piece.start_us, piece.end_us, energy_uwh, charged_uwh)
        cost_units, net_units = round_money(cost), round_money(net)
        return IntervalPrice(
            status="priced",
            reason=None,
            currency=None if head is None else head.currency,
            cost=money_text(cost_units),
            cost_excluding_tax=money_text(net_units),
            tax=money_text(cost_units - net_units),
            carbon_g=carbon_g,
            tariff_id=None if head is None else head.tariff_id,
            tariff_version=None if head is None else head.tariff_version,
            components=tuple(components),
        )

    def _pieces(self, start_us: int, end_us: int) -> list[_Piece]:
        """Cut an interval at every boundary at which its price changes; neighbours of the same rates are one."""
        pieces: list[_Piece] = []
        at = start_us
        while at < end_us:
            span = self._spans[bisect_right(self._starts, at) - 1]
            until_us, rates = span.end_us, None
            if span.pricer is not None:
                cell_end_us, rates = span.cells.get(at) or span.pricer.cell(at)
                until_us = min(until_us, cell_end_us)
            until_us = min(until_us, end_us)
            piece = _Piece(at, until_us, span, rates)
            if pieces and _same_price(pieces[-1], piece):
                piece = pieces.pop()._replace(end_us=until_us)
            pieces.append(piece)
            at = until_us
        return pieces


def _same_price(one: _Piece, other: _Piece) -> bool:
    """Tell whether two pieces are priced alike: rates are compared by value, they may be compiled twice."""
    if one.span.pricer is not other.span.pricer or one.span.free != other.span.free:
        return False
    return one.rates is other.rates or (
        one.rates is not None and other.rates is not None and one.rates.charges == other.rates.charges
    )


def _pending(reason: Reason, head: Rates | None, carbon_g: str | None) -> IntervalPrice:
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
