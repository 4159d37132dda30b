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

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from app.domain.money import (
    MONEY_DECIMALS,
    money_text,
    rescale_half_even,
    round_money,
    to_units,
)
from app.domain.rates import KWH_DECIMALS, Component, IntervalPrice, Rates, pending
from app.domain.series import SeriesTable
from app.domain.tariff_pricer import Cell, Ladder, TariffPricer
from app.domain.tariffs import CARBON_UNIT, Direction
from app.domain.tiers import NOTHING_COUNTED, Counter, Counts, crossing_us, tier_of, tiers_of

_MAX_CELLS: Final = 1 << 13


_NO_FLOW: Final[frozenset[str]] = frozenset()
_CREDITED: Final[dict[Direction, frozenset[str]]] = {
    "IMPORT": _NO_FLOW,
    "EXPORT": frozenset({"INBOUND", "OUTBOUND"}),
    "LOCAL": frozenset({"OUTBOUND"}),
}

Part = Sequence[Any]
"""A record's part of an interval: its first three items are start_us, end_us and energy_uwh."""


class Span:
    """A stretch of a location's time under one link. Without a pricer it is `free`, or a tariff is missing."""

    __slots__ = ("cells", "end_us", "free", "pricer", "start_us")

    def __init__(self, start_us: int, end_us: int, pricer: TariffPricer | None, *, free: bool = False) -> None:
        """Lay a pricer on [start_us, end_us)."""
        self.start_us = start_us
        self.end_us = end_us
        self.pricer = pricer
        self.free = free
        self.cells: dict[int, Cell] = {} if pricer is None else pricer.cells


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
    ladder: Ladder | None


_Whole = tuple[int, int, int]
"""An interval: start_us, end_us, energy_uwh."""


def _in_one_tier(rates: Rates, ladder: Ladder, start_us: int, energy_uwh: int, counts: Counts) -> Rates | None:
    """Return the rates of the tiers in which all of an interval lies; None where it crosses a bound. Hot."""
    period, lines = ladder
    if len(lines) == 1:
        ((counter, bounds_uwh),) = lines
        before_uwh = counts.before_uwh(rates.tariff_id, period, counter, start_us)
        tier = bisect_left(bounds_uwh, before_uwh + energy_uwh)
        if tier and energy_uwh and before_uwh < bounds_uwh[tier - 1]:
            return None
        return rates.ladder[tier]
    tiers = []
    for counter, bounds_uwh in lines:
        before_uwh = counts.before_uwh(rates.tariff_id, period, counter, start_us)
        only = tier_of(bounds_uwh, before_uwh, energy_uwh)
        if only is None:
            return None
        tiers.append(only)
    return rates.resolved(tuple(tiers))


class _Sum:
    """The exact price of an interval, gathered piece by piece, with what its own pieces have counted so far."""

    def __init__(
        self, whole: _Whole, parts: Sequence[Part], counts: Counts, head: Rates | None, *, credited: bool
    ) -> None:
        self.cost = self.net = Fraction(0)
        self.components: list[Component] = []
        self._start_us = whole[0]
        self._head = None if head is None else (head.tariff_id, head.tariff_version)
        self._parts = parts or (whole,)
        self._counts = counts
        self._credited = credited
        self._counted: dict[tuple[str, Counter], tuple[list[int], list[int]]] = {}
        """The starts of the pieces that counted, and their sums."""

    def add(self, piece: _Piece, rates: Rates, pricer: TariffPricer, energy_uwh: int) -> None:
        """Price a piece."""
        ladder = piece.ladder
        if ladder is None or not rates.graduated:
            self._add_at(rates, piece.start_us, piece.end_us, energy_uwh)
        else:
            lines = {line.index: of for line, of in zip(rates.graduated, ladder.lines, strict=True)}
            for index in range(len(rates.charges)):
                if index not in lines:
                    self._add_at(rates.single(index, 0), piece.start_us, piece.end_us, energy_uwh)
                    continue
                counter, bounds_uwh = lines[index]
                before_uwh = self._counts.before_uwh(rates.tariff_id, ladder.period, counter, self._start_us)
                before_uwh += self._counted_since(ladder.period.start_us, (rates.tariff_id, counter))
                self._add_tiers(piece, rates, index, tiers_of(bounds_uwh, before_uwh, energy_uwh))
        if pricer.counted:
            for charge in rates.charges:
                asked = {Counter(charge.charge_id, None), Counter(charge.charge_id, charge.band)}
                for counter in asked & pricer.counted:
                    starts, sums = self._counted.setdefault((rates.tariff_id, counter), ([], [0]))
                    starts.append(piece.start_us)
                    sums.append(sums[-1] + energy_uwh)

    def _counted_since(self, start_us: int, key: tuple[str, Counter]) -> int:
        """Return what earlier pieces counted since a tier period began, whichever version priced them."""
        starts, sums = self._counted.get(key, ([], [0]))
        return sums[-1] - sums[bisect_left(starts, start_us)]

    def _add_tiers(self, piece: _Piece, rates: Rates, index: int, tiers: list[tuple[int, int]]) -> None:
        """Price a charge whose energy may lie in several tiers: cut where the records' power reaches each bound."""
        start_us, upto_uwh = piece.start_us, 0
        for number, (tier, energy_uwh) in enumerate(tiers, start=1):
            upto_uwh += energy_uwh
            end_us = piece.end_us
            if number < len(tiers):
                end_us = crossing_us(piece.start_us, piece.end_us, self._parts, upto_uwh)
            self._add_at(rates.single(index, tier), start_us, end_us, energy_uwh)
            start_us = end_us

    def _add_at(self, rates: Rates, start_us: int, end_us: int, energy_uwh: int) -> None:
        charged_uwh = -energy_uwh if self._credited else energy_uwh
        cost, net = rates.exact(charged_uwh)
        self.cost += cost
        self.net += net
        tariff = (rates.tariff_id, rates.tariff_version)
        for component in rates.components(start_us, end_us, energy_uwh, charged_uwh):
            if tariff == self._head:
                self.components.append(component)
            else:
                self.components.append(replace(component, tariff_id=tariff[0], tariff_version=tariff[1]))


class PricePlan:
    """How the energy of one direction is priced at a location, for all time. Locations with the same links share it."""

    __slots__ = ("__weakref__", "_carbon", "_credited", "_span", "_spans", "_starts", "direction", "is_graduated")

    def __init__(self, direction: Direction, spans: Sequence[Span], carbon: Carbon | None) -> None:
        """Take spans that tile all of time, in order."""
        self.direction = direction
        self._spans = tuple(spans)
        self._starts = [span.start_us for span in spans]
        self._span = self._spans[-1]
        self._carbon = carbon
        self._credited = _CREDITED[direction]
        self.is_graduated = any(span.pricer is not None and span.pricer.counters for span in self._spans)
        """Whether prices depend on what earlier intervals counted."""

    def price(  # noqa: PLR0917 - hot: keywords cost more than the names would help
        self,
        start_us: int,
        end_us: int,
        energy_uwh: int,
        parts: Sequence[Part],
        flow: str,
        counts: Counts = NOTHING_COUNTED,
    ) -> IntervalPrice:
        """Price the interval [start_us, end_us).

        `parts` are its records' own parts, (start_us, end_us, energy_uwh, …), which sum to `energy_uwh`. They are
        looked at only where a boundary (of a band, a tier, a point of a series, a link) falls inside the interval.
        `flow` is INBOUND or OUTBOUND; `counts` tells how much graduated charges have counted in earlier intervals.

        Raises:
            ValueError: such a boundary, and the parts lie outside the interval or do not sum to its energy.

        """
        span = self._span
        if start_us < span.start_us or start_us >= span.end_us:
            span = self._span = self._spans[bisect_right(self._starts, start_us) - 1]
        cell = span.cells.get(start_us)
        if cell is None:
            if span.pricer is None:
                return self._price_pieces((start_us, end_us, energy_uwh), parts, flow, counts)
            cell = span.pricer.cell(start_us)
        segment_end_us, rates, ladder = cell
        if end_us > segment_end_us or end_us > span.end_us:
            return self._price_pieces((start_us, end_us, energy_uwh), parts, flow, counts)
        if ladder is not None and rates.graduated:
            found = _in_one_tier(rates, ladder, start_us, energy_uwh, counts)
            if found is None:
                return self._price_over_bounds((start_us, end_us, energy_uwh), parts, flow, counts, cell)
            rates = found
        carbon = self._carbon
        carbon_g = None if carbon is None else carbon.grams(start_us, end_us, energy_uwh, parts)
        if rates.missing:
            return pending("no_price", rates, carbon_g)
        charged_uwh = -energy_uwh if flow in self._credited else energy_uwh
        amounts = rates.memo.get(charged_uwh)
        if amounts is None:
            amounts = rates.amounts(charged_uwh)
        if rates.only is not None:
            charge_id, band, tier, rate = rates.only
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

    def _price_over_bounds(
        self, whole: _Whole, parts: Sequence[Part], flow: str, counts: Counts, cell: Cell
    ) -> IntervalPrice:
        """Price an interval of one segment that crosses bounds of tiers.

        That happens to each meter in each tier period. Where the charge is the only one, the way is shorter than piece
        by piece.
        """
        _, rates, ladder = cell
        if ladder is None or len(rates.charges) > 1:
            return self._price_pieces(whole, parts, flow, counts)
        start_us, end_us, energy_uwh = whole
        split(start_us, end_us, energy_uwh, parts, (start_us,))  # for its demands of the parts
        carbon_g = None if self._carbon is None else self._carbon.grams(start_us, end_us, energy_uwh, parts)
        ((counter, bounds_uwh),) = ladder.lines
        before_uwh = counts.before_uwh(rates.tariff_id, ladder.period, counter, start_us)
        credited = flow in self._credited
        components: list[Component] = []
        cost = net = Fraction(0)
        at_us, upto_uwh = start_us, 0
        for tier, tier_uwh in tiers_of(bounds_uwh, before_uwh, energy_uwh):
            upto_uwh += tier_uwh
            until_us = end_us if upto_uwh == energy_uwh else crossing_us(start_us, end_us, parts or (whole,), upto_uwh)
            charged_uwh = -tier_uwh if credited else tier_uwh
            in_tier = rates.ladder[tier]
            components += in_tier.components(at_us, until_us, tier_uwh, charged_uwh)
            tier_cost, tier_net = in_tier.exact(charged_uwh)
            cost += tier_cost
            net += tier_net
            at_us = until_us
        cost_units, net_units = round_money(cost), round_money(net)
        return IntervalPrice(
            "priced", None, rates.currency,
            money_text(cost_units), money_text(net_units), money_text(cost_units - net_units),
            carbon_g, rates.tariff_id, rates.tariff_version, tuple(components),
        )  # fmt: skip

    def _price_pieces(self, whole: _Whole, parts: Sequence[Part], flow: str, counts: Counts) -> IntervalPrice:
        """Price an interval that is cut by a boundary, or has no tariff: piece by piece, by its records' periods."""
        start_us, end_us, energy_uwh = whole
        carbon_g = None if self._carbon is None else self._carbon.grams(start_us, end_us, energy_uwh, parts)
        pieces = self._pieces(start_us, end_us)
        energies = split(start_us, end_us, energy_uwh, parts, [piece.start_us for piece in pieces])
        covered = [(piece, energy) for piece, energy in zip(pieces, energies, strict=True) if energy is not None]
        if any(piece.rates is None and not piece.span.free for piece, _ in covered):
            return pending("no_tariff", None, carbon_g)
        rated = [piece.rates for piece, _ in covered if piece.rates is not None]
        # The tariff that an interval names is its first one: of those that price anything in it.
        head = rated[0] if rated else None
        if any(rates.missing for rates in rated):
            return pending("no_price", head, carbon_g)
        if len({rates.currency for rates in rated}) > 1:
            return pending("mixed_currency", head, carbon_g)
        sum_up = _Sum(whole, parts, counts, head, credited=flow in self._credited)
        for piece, piece_uwh in covered:
            if piece.rates is not None and piece.span.pricer is not None:
                sum_up.add(piece, piece.rates, piece.span.pricer, piece_uwh)
        cost_units, net_units = round_money(sum_up.cost), round_money(sum_up.net)
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
            components=tuple(sum_up.components),
        )

    def _pieces(self, start_us: int, end_us: int) -> list[_Piece]:
        """Cut an interval at every boundary at which its price changes; neighbours of the same rates are one."""
        pieces: list[_Piece] = []
        at = start_us
        while at < end_us:
            span = self._spans[bisect_right(self._starts, at) - 1]
            until_us, rates, ladder = span.end_us, None, None
            if span.pricer is not None:
                cell_end_us, rates, ladder = span.cells.get(at) or span.pricer.cell(at)
                until_us = min(until_us, cell_end_us)
            until_us = min(until_us, end_us)
            piece = _Piece(at, until_us, span, rates, ladder)
            if pieces and _same_price(pieces[-1], piece):
                piece = pieces.pop()._replace(end_us=until_us)
            pieces.append(piece)
            at = until_us
        return pieces


def _same_price(one: _Piece, other: _Piece) -> bool:
    """Tell whether two pieces are priced alike: rates are compared by value, they may be compiled twice."""
    if one.span.pricer is not other.span.pricer or one.span.free != other.span.free:
        return False
    if (one.ladder and one.ladder.period) != (other.ladder and other.ladder.period):
        return False
    if one.span.pricer is not None and one.span.pricer.counts_anew(other.start_us):
        return False
    return one.rates is other.rates or (
        one.rates is not None and other.rates is not None and one.rates.charges == other.rates.charges
    )
