"""A bill as tables for people, at most 100 columns wide."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction
from itertools import groupby
from typing import Final, Literal

from rich.console import Console
from rich.padding import Padding
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
"""What texts and names are wrapped to. A number is never cut: a table of very large ones is wider."""

_UNBOUNDED: Final = 10_000
_PROBLEMS_SHOWN: Final = 30
_MINUTES_PER_HOUR: Final = 60
_INDENT: Final = 2
_GAP: Final = 2
_NAMES: Final = (("Charge", 15), ("Band", 15))
"""The columns that are wrapped, and the least that they are wide."""

_NUMBERS: Final = ("Tier", "Quantity", "Rate", "Net", "Tax", "Total")
_WHY_NOT: Final = {
    "own_meter": "the location's own meter has its energy too (--device bills it by itself)",
    "other_device": "another device was asked for",
}


def print_bill(bill: Bill, *, days: bool) -> None:
    """Print a bill; `days`: with the totals of each day."""
    console = Console(highlight=False, markup=False, emoji=False, width=_UNBOUNDED)
    console.print(_heading(bill), width=WIDTH)
    for one in bill.meters:
        if one.not_billed:
            text = f"Not billed: {meter_name(one.meter)}: {_WHY_NOT[one.not_billed]}"
            console.print(text, style="dim", width=WIDTH)
    console.print()
    _print_lines(console, bill)
    console.print()
    console.print(_periods("Month", bill.months, bill))
    if days:
        console.print()
        console.print(_periods("Day", bill.days, bill))
    console.print("Costs by month and day include tax, and are shown before the lines' rounding.", style="dim")
    _print_problems(console, bill)


def _print_lines(console: Console, bill: Bill) -> None:
    """Print the lines by section, and the totals, all in the same columns."""
    sums = [_total_cells(total) for total in bill.totals]
    widths = _widths([*(_cells(line) for line in bill.lines), *sums])
    header = _table(widths, [(*(name for name, _ in _NAMES), *_NUMBERS)])
    header.row_styles = ["bold"]
    console.print(header)
    for title, lines in groupby(bill.lines, key=_section):
        inside = list(lines)
        console.print(Text(title, style="bold"), width=WIDTH)
        cells = _table((widths[0] - _INDENT, *widths[1:]), [_cells(line) for line in inside])
        console.print(Padding(cells, (0, 0, 0, _INDENT), expand=False))
        for text in (*_peaks(inside, bill.timezone), *_leasts(inside)):
            console.print(text, style="dim", width=WIDTH)
    if not bill.lines:
        console.print("no charges", style="dim")
    for total, cells_of_total in zip(bill.totals, sums, strict=True):
        console.print()
        table = _table(widths, [cells_of_total])
        table.row_styles = ["bold"]
        console.print(table)
        for tax in total.taxes:
            percent = decimal_text(tax.rate * 100)
            console.print(f"  of it {tax.name} {percent} %: {_money(tax.amount)} {total.currency}", style="dim")


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


def _widths(rows: Sequence[Sequence[str]]) -> tuple[int, ...]:
    """Return how wide each column is: numbers as they need it, and names share what is left."""
    numbers = [
        max(len(name), *(len(row[column]) for row in rows), 0)
        for column, name in enumerate(_NUMBERS, start=len(_NAMES))
    ]
    left = WIDTH - sum(width + _GAP for width in numbers)
    least = sum(width + _GAP for _, width in _NAMES)
    charge = _NAMES[0][1] + max(0, left - least) // 2
    return charge, max(_NAMES[1][1], left - charge - _GAP * len(_NAMES)), *numbers


def _table(widths: Sequence[int], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, _GAP, 0, 0), pad_edge=False)
    for column, width in enumerate(widths):
        justify: Literal["left", "right"] = "left" if column < len(_NAMES) else "right"
        table.add_column(width=width, justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _cells(line: Line) -> tuple[str, ...]:
    key = line.key
    rate = "" if line.rate is None else _money(rounded(line.rate, 6))
    return (
        f"{key.charge_id}" + (f" {key.month}" if key.month else ""),
        key.band or "",
        "" if key.tier is None else str(key.tier),
        f"{_quantity(line)} {_unit(line)}",
        f"~{rate}" if line.rate_is_mean and rate else rate,
        _money(line.net),
        _money(line.tax),
        _money(line.total),
    )


def _total_cells(total: CurrencyTotal) -> tuple[str, ...]:
    return ("Total", total.currency, "", "", "", _money(total.net), _money(total.tax), _money(total.total))


def _quantity(line: Line) -> str:
    if line.unit == "kWh":
        return f"{rounded(line.quantity, 3):f}"
    return decimal_text(rounded(line.quantity, 6))  # parts of months, which somebody may want to multiply


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
        return exact.quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_EVEN) + 0  # never -0


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


def _leasts(lines: Sequence[Line]) -> Iterator[str]:
    """Say what a minimum charge asks for: its line is only what was lacking."""
    for line in lines:
        if line.key.kind == "minimum" and line.rate is not None:
            least = _money(rounded(line.quantity * line.rate, 6))
            yield f"    {line.key.charge_id}, {line.key.month}: what is lacking to {least} {line.currency}"


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
    """Print what keeps a bill from being complete, meter by meter, and the notes."""
    if bill.problems:
        console.print()
        intervals = sum(problem.intervals for problem in bill.problems)
        console.print(Text("Not complete" + (f": {_intervals(intervals)}" if intervals else ""), style="bold red"))
        for meter, problems in groupby(bill.problems[:_PROBLEMS_SHOWN], key=lambda problem: problem.meter):
            console.print(f"  {meter_name(meter)}", width=WIDTH)
            for problem in problems:
                console.print(f"    {_problem(problem, bill.timezone)}")
        if len(bill.problems) > _PROBLEMS_SHOWN:
            console.print(f"    … and {len(bill.problems) - _PROBLEMS_SHOWN} more ranges (--json names all)")
    for note in bill.notes:
        console.print(f"Note: {note}", style="dim", width=WIDTH)


def _problem(problem: Problem, timezone: str) -> str:
    what = problem.kind + (f" ({problem.reason})" if problem.reason else "")
    period = f"{_local(problem.start_us, timezone)} to {_local(problem.end_us, timezone)}"
    return f"{period}  {what}" + (f", {_intervals(problem.intervals)}" if problem.intervals else "")


def _intervals(count: int) -> str:
    return f"{count} interval" + ("s" if count != 1 else "")


def _local(at_us: int, timezone: str) -> str:
    """Write an instant by the clock on the wall, with its offset from UTC."""
    offset_us = calendar_for(timezone).offset_us(at_us)
    hours, minutes = divmod(abs(offset_us) // US_PER_MINUTE, _MINUTES_PER_HOUR)
    text = format_instant(at_us + offset_us).removesuffix("Z").removesuffix(":00").replace("T", " ")
    return f"{text}{'-' if offset_us < 0 else '+'}{hours:02d}:{minutes:02d}"
