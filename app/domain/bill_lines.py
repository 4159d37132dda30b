"""Lines of a bill: exact amounts, their taxes, and the one rounding.

A line's amount in the terms of its tariff's document (with tax where its prices include tax, else without) is summed
exactly and rounded once, by the tariff's rule. So is each tax, from the exact net amount and not from the rounded one.
The third figure is their sum or difference: net + taxes = total holds in rounded figures. A bill's totals are sums of
rounded lines, as EN 16931 asks of invoices (BR-CO-10, BR-CO-15): who adds up the lines gets the total.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Final, Literal, NamedTuple

from app.domain.bill_records import credited
from app.domain.money import to_units, units_text
from app.domain.records import MeterId
from app.domain.tariffs import Direction, Rounding, RoundingMode, Tariff

ChargeKind = Literal["energy", "fixed", "demand", "session", "minimum"]
Unit = Literal["kWh", "day", "month", "kW day", "kW month", "session", "hour"]
KINDS: Final[tuple[ChargeKind, ...]] = ("energy", "fixed", "demand", "session", "minimum")


class LineKey(NamedTuple):
    """What a line is for. Whatever has the same key is on the same line.

    `rate` is None for a series. `month` ("2025-03") is set for demand and minimum charges, which are found by the month.
    """

    kind: ChargeKind
    direction: Direction
    meter: MeterId | None
    tariff_id: str
    tariff_version: int
    charge_id: str
    band: str | None = None
    tier: int | None = None
    rate: Decimal | None = None
    month: str | None = None


class DemandPeak(NamedTuple):
    """The demand that a line is for, in kW; and the window that set it (None: the least that the tariff bills)."""

    kw: Fraction
    at_us: int | None


@dataclass(slots=True)
class Entry:
    """What was posted to a line so far: exact, in the terms of the tariff's document, by local day."""

    unit: Unit
    quantity: Fraction = Fraction(0)
    by_day: dict[int, Fraction] = field(default_factory=dict)
    energy_by_day: dict[int, int] = field(default_factory=dict)
    peak: DemandPeak | None = None

    def post(self, day: int, quantity: Fraction, amount: Fraction) -> None:
        """Add a quantity and its amount on a day."""
        self.quantity += quantity
        self.by_day[day] = self.by_day.get(day, Fraction(0)) + amount

    @property
    def amount(self) -> Fraction:
        """Return the sum over all days."""
        return sum(self.by_day.values(), start=Fraction(0))


Ledger = dict[LineKey, Entry]


class TaxAmount(NamedTuple):
    """One tax on a line, or on all lines of a currency: rounded."""

    name: str
    rate: Decimal
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a bill. `net`, `taxes` and `total` are rounded and add up; `unrounded` is the total before rounding.

    `rate` is in the terms of the tariff's document; that of a series (`rate_is_mean`) is the mean, weighted by energy.
    """

    key: LineKey
    quantity: Fraction
    unit: Unit
    rate: Fraction | None
    rate_is_mean: bool
    currency: str
    net: Decimal
    taxes: tuple[TaxAmount, ...]
    total: Decimal
    unrounded: Fraction
    peak: DemandPeak | None = None

    @property
    def tax(self) -> Decimal:
        """Return the sum of its taxes."""
        return add(tax.amount for tax in self.taxes)


@dataclass(frozen=True, slots=True)
class CurrencyTotal:
    """The sums of all lines in one currency."""

    currency: str
    net: Decimal
    taxes: tuple[TaxAmount, ...]
    total: Decimal
    unrounded: Fraction

    @property
    def tax(self) -> Decimal:
        """Return the sum of the taxes."""
        return add(tax.amount for tax in self.taxes)


def with_tax(tariff: Tariff, charge_id: str, amount: Fraction) -> Fraction:
    """Return an amount in the terms of a tariff's document as what it comes to with tax."""
    return amount if tariff.prices_include_tax else amount * (1 + tariff.tax_on(charge_id))


def settle(key: LineKey, entry: Entry, tariff: Tariff) -> Line:
    """Return the line of a posted entry: this is where a bill rounds, and the only place."""
    exact = entry.amount
    on_top = tariff.tax_on(key.charge_id)
    exact_net = exact / (1 + on_top) if tariff.prices_include_tax else exact
    taxes = tuple(
        TaxAmount(tax.name, tax.rate, round_line(exact_net * Fraction(tax.rate), tariff.rounding))
        for tax in tariff.taxes
        if tax.falls_on(key.charge_id)
    )
    stated, tax_sum = round_line(exact, tariff.rounding), add(tax.amount for tax in taxes)
    net, total = (add((stated, -tax_sum)), stated) if tariff.prices_include_tax else (stated, add((stated, tax_sum)))
    is_mean = key.kind == "energy" and key.rate is None
    rate = None if key.rate is None else Fraction(key.rate)
    if is_mean and entry.quantity:
        earns = key.meter is not None and credited(key.direction, key.meter.energy_flow_direction)
        rate = exact / entry.quantity * (-1 if earns else 1)
    return Line(
        key=key,
        quantity=entry.quantity,
        unit=entry.unit,
        rate=rate,
        rate_is_mean=is_mean,
        currency=tariff.currency,
        net=net,
        taxes=taxes,
        total=total,
        unrounded=exact_net * (1 + on_top),
        peak=entry.peak,
    )


def totals(lines: Iterable[Line]) -> tuple[CurrencyTotal, ...]:
    """Return the sums of the rounded lines by currency; taxes by name and rate."""
    by_currency: dict[str, list[Line]] = {}
    for line in lines:
        by_currency.setdefault(line.currency, []).append(line)
    found = []
    for currency, inside in sorted(by_currency.items()):
        taxes: dict[tuple[str, Decimal], list[Decimal]] = {}
        for line in inside:
            for tax in line.taxes:
                taxes.setdefault((tax.name, tax.rate), []).append(tax.amount)
        found.append(
            CurrencyTotal(
                currency,
                add(line.net for line in inside),
                tuple(TaxAmount(name, rate, add(amounts)) for (name, rate), amounts in taxes.items()),
                add(line.total for line in inside),
                sum((line.unrounded for line in inside), start=Fraction(0)),
            )
        )
    return tuple(found)


def add(amounts: Iterable[Decimal]) -> Decimal:
    """Return an exact sum: a context's precision has no say."""
    total = sum((Fraction(amount) for amount in amounts), start=Fraction(0))
    scale = 0
    while total.denominator != 1:
        total *= 10
        scale += 1
    return Decimal(units_text(total.numerator, scale))


def round_line(amount: Fraction, rounding: Rounding) -> Decimal:
    """Return an amount as a multiple of the rule's quantum. Modes are those of `decimal`: UP is away from zero."""
    quantum_units, scale = to_units(rounding.line_quantum)
    quanta = amount * 10**scale / quantum_units
    return Decimal(units_text(round_to_integer(quanta, rounding.line_mode) * quantum_units, scale))


def round_to_integer(value: Fraction, mode: RoundingMode) -> int:
    """Return the integer beside a number that a mode chooses."""
    floor, rest = divmod(value.numerator, value.denominator)
    if not rest:
        return floor
    beyond_half = 2 * rest - value.denominator
    positive = value > 0
    above = {
        "FLOOR": False,
        "CEILING": True,
        "DOWN": not positive,
        "UP": positive,
        "HALF_DOWN": beyond_half > 0 or (beyond_half == 0 and not positive),
        "HALF_UP": beyond_half > 0 or (beyond_half == 0 and positive),
        "HALF_EVEN": beyond_half > 0 or (beyond_half == 0 and floor % 2 == 1),
    }
    return floor + above[mode]
