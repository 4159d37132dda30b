"""A bill as a picture: energy and cost by day, each band in its colour. The only place where matplotlib is imported."""

import warnings
from collections.abc import Sequence
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, NamedTuple

from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, DateFormatter
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from app.cli.bill_table import dates
from app.domain.bill_lines import KINDS
from app.domain.bill_records import credited
from app.domain.bills import BandTotal, Bill, PeriodTotal
from app.domain.calendar import calendar_for, day_of_date
from app.domain.tariffs import Direction

_UWH_PER_KWH: Final = 10**9
_COLOURS: Final = (
    *(
        "#0072b2",
        "#e69f00",
        "#009e73",
        "#cc79a7",
        "#56b4e9",
        "#d55e00",
        "#b8a800",
    ),  # told apart by the colour-blind too
    *(to_hex(colormaps["tab20b"](number)) for number in range(20)),
)
_UNPRICED: Final = "0.75"
_GREYS: Final = dict(zip(KINDS[1:], ("0.3", "0.5", "0.85", "0.7"), strict=True))
"""Of the charges that are not for energy."""

_WARNING: Final = "#f6d5d5"
_NO_DATE: Final[dict[str, dict[str, None]]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {}}
_STYLE: Final[dict[Any, Any]] = {"svg.fonttype": "none", "svg.hashsalt": "bill", "axes.axisbelow": True}
"""Texts of an SVG stay texts, which can be searched; the same bill gives the same bytes."""

_BARS_MAX: Final = 100
"""From more days than this on, steps are drawn, which are one shape each; bars would take seconds."""

_DAILY_TICKS_MAX: Final = 14
_HEADROOM: Final = 1.06
_NARROWEST_DAYS: Final = 8
_NAME_MAX: Final = 44
_HEIGHT: Final = 3.6
_HEIGHT_PER_NAME: Final = 0.24


class _Layer(NamedTuple):
    """What is stacked in one colour: a band of a charge, energy without one, or charges that no interval carries."""

    name: str
    values: list[float]
    colour: str


def draw(bill: Bill, path: Path) -> None:
    """Draw a bill into a file, in the format of its suffix.

    Import is above the line and export below it; so are costs and credits. Days on which something is missing,
    incomplete or unpriced are shaded.

    Raises:
        OSError: the file cannot be written.

    """
    with rc_context(_STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a name may have letters that the font has not: boxes are drawn
        figure = _figure(bill)
        figure.savefig(path, dpi=120, metadata=_NO_DATE[path.suffix.lower()])


def _figure(bill: Bill) -> Figure:
    days = [day_of_date(date.fromisoformat(total.name)) for total in bill.days]
    colours = _colours(bill)
    stacks = [("kWh per day", _energy_layers(bill, colours))]
    stacks += [
        (f"{total.currency} per day, incl. tax", _cost_layers(bill, total.currency, colours)) for total in bill.totals
    ]
    heights = [max(_HEIGHT, _HEIGHT_PER_NAME * (len(layers) + 2)) for _, layers in stacks]
    figure = Figure(figsize=(12, sum(heights) + 0.4), layout="constrained")
    all_axes = figure.subplots(len(stacks), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axes, (unit, layers) in zip(all_axes, stacks, strict=True):
        _stack(axes, days, layers)
        _shade(axes, bill)
        _legend(axes, layers, shaded=not bill.complete)
        axes.set_ylabel(unit)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        axes.axhline(0, color="black", linewidth=0.8, zorder=3)
        axes.grid(axis="y", alpha=0.3)
    _date_axis(all_axes[-1], days)
    state = "complete" if bill.complete else "INCOMPLETE"
    device = f", device {bill.device_id}" if bill.device_id else ""
    figure.suptitle(f"{bill.location_id}{device}: {dates(bill)}, {state}", parse_math=False)
    return figure


def _date_axis(axes: Axes, days: Sequence[int]) -> None:
    """Put ticks on whole days. Few days do not fill the width: bars as wide as a hand tell nothing more."""
    beside = max(0.6, (_NARROWEST_DAYS - len(days)) / 2)
    axes.set_xlim(days[0] - beside, days[-1] + beside)
    axes.xaxis_date()
    if len(days) <= _DAILY_TICKS_MAX:
        axes.set_xticks(days)
        axes.xaxis.set_major_formatter(DateFormatter("%d %b\n%Y"))  # type: ignore[no-untyped-call]
        return
    locator = AutoDateLocator()  # type: ignore[no-untyped-call] # matplotlib has types for most, not for this
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call] # the same


def _colours(bill: Bill) -> dict[tuple[Direction, str, str | None], str]:
    """Give each band of each charge a colour, the same in all axes."""
    keys = (line.key for line in bill.lines if line.key.kind == "energy")
    bands = dict.fromkeys((key.direction, key.charge_id, key.band) for key in keys)
    return {key: _COLOURS[number % len(_COLOURS)] for number, key in enumerate(bands)}


def _band_key(band: BandTotal) -> tuple[Direction, str, str | None]:
    return band.direction, band.charge_id, band.band


def _name(key: tuple[Direction, str, str | None]) -> str:
    direction, charge_id, band = key
    return f"{direction.lower()} {charge_id}" + (f" {band}" if band else "")


def _energy_layers(bill: Bill, colours: dict[tuple[Direction, str, str | None], str]) -> list[_Layer]:
    """Return the energy of each band; export is below 0."""
    layers = []
    shown = _shown(bill)
    for direction in dict.fromkeys(one.meter.tariff_direction for one in bill.meters if one.not_billed is None):
        scale = _UWH_PER_KWH * (-1 if direction == "EXPORT" else 1)
        rest = [_metered(total, direction) for total in bill.days]
        for key, colour in colours.items():
            if key[:2] not in shown or key[0] != direction:
                continue
            values = [sum(band.energy_uwh for band in total.bands if _band_key(band) == key) for total in bill.days]
            rest = [left - value for left, value in zip(rest, values, strict=True)]
            if any(values):
                layers.append(_Layer(_name(key), [value / scale for value in values], colour))
        if any(rest):
            layers.append(_Layer(f"{direction.lower()} without a price", [left / scale for left in rest], _UNPRICED))
    return layers


def _shown(bill: Bill) -> set[tuple[Direction, str]]:
    """Return the charges, each with its direction, by whose bands energy is shown: one for each tariff.

    The charges of a tariff add up and are for the same energy: the one with most bands tells most, but for one that
    shows another tariff's energy already. Charges of two tariffs are for different energy.
    """
    bands: dict[tuple[Direction, str, int], dict[str, set[str | None]]] = {}
    for key in (line.key for line in bill.lines if line.key.kind == "energy"):
        charges = bands.setdefault((key.direction, key.tariff_id, key.tariff_version), {})
        charges.setdefault(key.charge_id, set()).add(key.band)
    found: set[tuple[Direction, str]] = set()
    for (direction, _, _), charges in sorted(bands.items(), key=lambda of: len(of[1])):
        if not any((direction, charge_id) in found for charge_id in charges):
            found.add((direction, max(charges, key=lambda charge_id: len(charges[charge_id]))))
    return found


def _metered(total: PeriodTotal, direction: Direction) -> int:
    """Return a day's energy of a direction; local energy that flows out is shown where it comes in."""
    return sum(
        energy_uwh
        for meter, energy_uwh in total.energy.items()
        if meter.tariff_direction == direction
        and (direction == "EXPORT" or not credited(direction, meter.energy_flow_direction))
    )


def _cost_layers(bill: Bill, currency: str, colours: dict[tuple[Direction, str, str | None], str]) -> list[_Layer]:
    """Return the cost of each band in one currency, and of the charges that no interval carries."""
    layers = []
    for key, colour in colours.items():
        values = [
            sum(
                (band.cost for band in total.bands if _band_key(band) == key and band.currency == currency), Fraction(0)
            )
            for total in bill.days
        ]
        if any(values):
            layers.append(_Layer(_name(key), [float(value) for value in values], colour))
    for kind, grey in _GREYS.items():
        costs = [total.costs.get(currency, {}).get(kind, Fraction(0)) for total in bill.days]
        if any(costs):
            layers.append(_Layer(kind, [float(cost) for cost in costs], grey))
    return layers


def _stack(axes: Axes, days: Sequence[int], layers: Sequence[_Layer]) -> None:
    """Stack bars, what is above 0 upwards and what is below it downwards. Matplotlib counts days as we do, from 1970."""
    up, down = [0.0] * len(days), [0.0] * len(days)
    edges = [day - 0.5 for day in days] + [days[-1] + 0.5]
    for layer in layers:
        bottoms = [up[n] if value >= 0 else down[n] for n, value in enumerate(layer.values)]
        tops = [bottom + value for bottom, value in zip(bottoms, layer.values, strict=True)]
        if len(days) > _BARS_MAX:
            axes.stairs(tops, edges, baseline=bottoms, fill=True, color=layer.colour, linewidth=0, zorder=2)
        else:
            axes.bar(days, layer.values, bottom=bottoms, color=layer.colour, width=0.9, zorder=2)
        up = [max(at, top) for at, top in zip(up, tops, strict=True)]
        down = [min(at, top) for at, top in zip(down, tops, strict=True)]
    if any(up) or any(down):
        axes.set_ylim(min(down) * _HEADROOM, max(up) * _HEADROOM)


def _legend(axes: Axes, layers: Sequence[_Layer], *, shaded: bool) -> None:
    """Name the colours from the top of the stack downwards."""
    above = [layer for layer in layers if max(layer.values) > 0]
    below = [layer for layer in layers if max(layer.values) <= 0]
    handles = [Patch(color=layer.colour, label=_short(layer.name)) for layer in (*reversed(above), *below)]
    if shaded:
        handles.append(Patch(color=_WARNING, label="incomplete day"))
    if not handles:
        return
    legend = axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small", frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)  # a name with two dollar signs is a name


def _short(name: str) -> str:
    return name if len(name) <= _NAME_MAX else f"{name[: _NAME_MAX - 1]}…"


def _shade(axes: Axes, bill: Bill) -> None:
    """Shade the days on which something is missing, incomplete or not on the bill, behind their bars."""
    calendar = calendar_for(bill.timezone)
    for problem in bill.problems:
        first, last = calendar.day_number(problem.start_us), calendar.day_number(problem.end_us - 1)
        axes.axvspan(first - 0.5, last + 0.5, color=_WARNING, linewidth=0, zorder=0)
