"""A bill as tables for people, at most 100 columns wide."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction
from itertools import groupby
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.domain.bill_coverage import Problem
from app.domain.bill_lines import KINDS, CurrencyTotal, Line
from app.domain.bills import Bill, PeriodTotal
from app.domain.calendar import calendar_for
from app.domain.instants import US_PER_MINUTE, format_instant
from app.domain.money import decimal_text, money_text, round_money
from app.domain.records import MeterId
from app.wire.bill import kwh_text

WIDTH: Final = 100
_PROBLEMS_SHOWN: Final = 30
_MINUTES_PER_HOUR: Final = 60
_COLUMNS: Final = (
    ("Charge", 17, "left"),
    ("Band", 15, "left"),
    ("Tier", 4, "right"),
    ("Quantity", 17, "right"),
    ("Rate", 10, "right"),
    ("Net", 9, "right"),
    ("Tax", 8, "right"),
    ("Total", 10, "right"),
)
_WHY_NOT: Final = {
    "own_meter": "the location's own meter has its energy too (--device bills it by itself)",
    "other_device": "another device was asked for",
}


def print_bill(bill: Bill, *, days: bool) -> None:
    """Print a bill; `days`: with the totals of each day."""
    console = Console(highlight=False, markup=False, emoji=False)
    console.width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    console.print(_heading(bill))
    for one in bill.meters:
        if one.not_billed:
            console.print(f"Not billed: {meter_name(one.meter)}: {_WHY_NOT[one.not_billed]}", style="dim")
    console.print()
    console.print(_table(()))
    for title, lines in groupby(bill.lines, key=_section):
        inside = list(lines)
        console.print(Text(title, style="bold"))
        console.print(_table([_cells(line) for line in inside], header=False))
        for text in _peaks(inside, bill.timezone):
            console.print(text, style="dim")
    if not bill.lines:
        console.print("no charges", style="dim")
    console.print()
    for total in bill.totals:
        _print_total(console, total)
    console.print()
    console.print(_periods("Month", bill.months, bill))
    if days:
        console.print()
        console.print(_periods("Day", bill.days, bill))
    console.print("Costs by month and day include tax, and are shown before the lines' rounding.", style="dim")
    _print_problems(console, bill)


def _heading(bill: Bill) -> Text:
    whose = bill.location_id + (f", device {bill.device_id}" if bill.device_id else "")
    text = Text(f"Bill of {whose}, {dates(bill)} ({bill.timezone}): ", style="bold")
    return text.append("complete", style="green") if bill.complete else text.append("INCOMPLETE", style="bold red")


def dates(bill: Bill) -> str:
    """Name the days of a bill as people do: the last one is in it."""
    days = (bill.end - bill.first).days
    if days == 1:
        return f"{bill.first}"
    return f"{bill.first} to {bill.end - timedelta(days=1)} inclusive, {days} days"


def meter_name(meter: MeterId) -> str:
    """Name a meter: the location's own, or a device."""
    flow = f" {meter.energy_flow_direction.lower()}" if meter.tariff_direction == "LOCAL" else ""
    return f"{meter.tariff_direction}{flow}, " + (f"device {meter.device_id}" if meter.device_id else "own meter")


def _section(line: Line) -> str:
    whose = line.key.direction if line.key.meter is None else meter_name(line.key.meter)
    return f"{whose}: tariff {line.key.tariff_id}, version {line.key.tariff_version}, {line.currency}"


def _table(rows: Sequence[Sequence[str]], *, header: bool = True) -> Table:
    table = Table(box=None, show_header=header, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for name, width, justify in _COLUMNS:
        table.add_column(name, width=width, justify="right" if justify == "right" else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _cells(line: Line) -> tuple[str, ...]:
    key = line.key
    rate = "" if line.rate is None else decimal_text(rounded(line.rate, 6)).rstrip()
    return (
        f"  {key.charge_id}" + (f" {key.month}" if key.month else ""),
        key.band or "",
        "" if key.tier is None else str(key.tier),
        f"{_quantity(line)} {_unit(line)}",
        f"~{rate}" if line.rate_is_mean and rate else rate,
        _money(line.net),
        _money(line.tax),
        _money(line.total),
    )


def _quantity(line: Line) -> str:
    if line.unit == "kWh":
        return f"{rounded(line.quantity, 3):f}"
    return decimal_text(rounded(line.quantity, 3))


def _unit(line: Line) -> str:
    return line.unit if line.unit == "kWh" or line.quantity == 1 else f"{line.unit}s"


def _money(amount: Decimal) -> str:
    """Write an amount with at least two decimals."""
    text = decimal_text(amount)
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction:0<2}"


def rounded(amount: Fraction, decimals: int) -> Decimal:
    """Return an exact amount with so many decimals, half even: to be looked at only."""
    with localcontext(prec=60):
        exact = Decimal(money_text(round_money(amount)))
        return exact.quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_EVEN)


def _peaks(lines: Sequence[Line], timezone: str) -> Iterator[str]:
    """Say where demand was highest, once for each band and month."""
    said = set()
    for line in lines:
        peak, key = line.peak, line.key
        if peak is None or (key.charge_id, key.band, key.month) in said:
            continue
        said.add((key.charge_id, key.band, key.month))
        when = "the least that is billed" if peak.kw else "as nothing was measured"
        if peak.at_us is not None:
            when = f"in the window from {_local(peak.at_us, timezone)}"
        yield f"    {key.charge_id} {key.band}, {key.month}: {decimal_text(rounded(peak.kw, 3))} kW, {when}"


def _print_total(console: Console, total: CurrencyTotal) -> None:
    row = ("Total", total.currency, "", "", "", _money(total.net), _money(total.tax), _money(total.total))
    table = _table([row], header=False)
    table.row_styles = ["bold"]
    console.print(table)
    for tax in total.taxes:
        percent = decimal_text(tax.rate * 100)
        console.print(f"  of it {tax.name} {percent} %: {_money(tax.amount)} {total.currency}", style="dim")


def _periods(name: str, totals: Sequence[PeriodTotal], bill: Bill) -> Table:
    """Return energy by direction, and costs by kind before rounding, for each day or month."""
    kinds = [kind for kind in KINDS if any(line.key.kind == kind for line in bill.lines)]
    flows = list(dict.fromkeys(_flow(one.meter) for one in bill.meters if one.not_billed is None))
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    table.add_column(name)
    for flow in flows:
        table.add_column(f"{flow} kWh", justify="right")
    for kind in kinds:
        table.add_column(kind, justify="right")
    table.add_column("cost", justify="right")
    currencies = [total.currency for total in bill.totals]
    for total in totals:
        energies = dict.fromkeys(flows, 0)
        for meter, energy_uwh in total.energy.items():
            energies[_flow(meter)] += energy_uwh
        for number, currency in enumerate(currencies or [""]):
            costs = total.costs.get(currency, {})
            whole = sum(costs.values(), start=Fraction(0))
            table.add_row(
                *([total.name] if not number else [""]),
                *(_kwh(energies[flow]) if not number else "" for flow in flows),
                *(f"{rounded(costs.get(kind, Fraction(0)), 4):f}" for kind in kinds),
                f"{rounded(whole, 4):f} {currency}".rstrip(),
            )
    return table


def _kwh(energy_uwh: int) -> str:
    return f"{Decimal(kwh_text(energy_uwh)).quantize(Decimal('0.001'), rounding=ROUND_HALF_EVEN):f}"


def _flow(meter: MeterId) -> str:
    """Name what may be added up over meters: one direction, local energy by its flow."""
    if meter.tariff_direction != "LOCAL":
        return meter.tariff_direction
    return "LOCAL in" if meter.energy_flow_direction == "INBOUND" else "LOCAL out"


def _print_problems(console: Console, bill: Bill) -> None:
    """Print what keeps a bill from being complete, and the notes."""
    if bill.problems:
        console.print()
        intervals = sum(problem.intervals for problem in bill.problems)
        console.print(Text(f"Not complete: {intervals} intervals", style="bold red"))
        for problem in bill.problems[:_PROBLEMS_SHOWN]:
            console.print(f"  {_problem(problem, bill.timezone)}")
        if len(bill.problems) > _PROBLEMS_SHOWN:
            console.print(f"  … and {len(bill.problems) - _PROBLEMS_SHOWN} more ranges (--json names all)")
    for note in bill.notes:
        console.print(f"Note: {note}", style="dim")


def _problem(problem: Problem, timezone: str) -> str:
    what = problem.kind + (f" ({problem.reason})" if problem.reason else "")
    period = f"{_local(problem.start_us, timezone)} to {_local(problem.end_us, timezone)}"
    count = f"{problem.intervals} interval" + ("s" if problem.intervals != 1 else "")
    return f"{period}  {what}, {count}; {meter_name(problem.meter)}"


def _local(at_us: int, timezone: str) -> str:
    """Write an instant by the clock on the wall, with its offset from UTC."""
    offset_us = calendar_for(timezone).offset_us(at_us)
    hours, minutes = divmod(abs(offset_us) // US_PER_MINUTE, _MINUTES_PER_HOUR)
    text = format_instant(at_us + offset_us).removesuffix("Z").removesuffix(":00").replace("T", " ")
    return f"{text}{'-' if offset_us < 0 else '+'}{hours:02d}:{minutes:02d}"
