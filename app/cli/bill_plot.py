"""A bill as a picture: energy and cost by day, each band in its colour. The only place where matplotlib is imported."""

from collections.abc import Sequence
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Final, NamedTuple

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from app.domain.bill_lines import KINDS
from app.domain.bill_records import credited
from app.domain.bills import BandTotal, Bill, PeriodTotal
from app.domain.calendar import calendar_for, day_of_date
from app.domain.tariffs import Direction

_UWH_PER_KWH: Final = 10**9
_COLOURS: Final = colormaps["tab20"]
_GREY: Final = "0.75"
_WARNING: Final = "tab:red"
_NO_DATE: Final[dict[str, dict[str, None]]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {}}


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
    days = [day_of_date(date.fromisoformat(total.name)) for total in bill.days]
    currencies = [total.currency for total in bill.totals]
    figure = Figure(figsize=(12, 3.6 * (1 + max(1, len(currencies)))), layout="constrained")
    energy_axes, *cost_axes = figure.subplots(1 + max(1, len(currencies)), 1, sharex=True, squeeze=False)[:, 0]
    colours = _colours(bill)
    _stack(energy_axes, days, _energy_layers(bill, colours))
    energy_axes.set_ylabel("kWh a day (export below 0)")
    for axes, currency in zip(cost_axes, currencies, strict=False):
        _stack(axes, days, _cost_layers(bill, currency, colours))
        axes.set_ylabel(f"{currency} a day, with tax")
    state = "complete" if bill.complete else "incomplete (shaded)"
    device = f", device {bill.device_id}" if bill.device_id else ""
    figure.suptitle(f"{bill.location_id}{device}: {bill.first} to {bill.end}, {state}")
    for axes in (energy_axes, *cost_axes):
        _shade(axes, bill)
        axes.axhline(0, color="black", linewidth=0.8)
        axes.margins(x=0.01)
        axes.grid(axis="y", alpha=0.3)
    cost_axes[-1].xaxis_date()
    locator = AutoDateLocator()  # type: ignore[no-untyped-call] # matplotlib has types for most, not for this
    cost_axes[-1].xaxis.set_major_locator(locator)
    cost_axes[-1].xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call] # the same
    figure.savefig(path, dpi=120, metadata=_NO_DATE[path.suffix.lower()])


def _colours(bill: Bill) -> dict[tuple[Direction, str, str | None], str]:
    """Give each band of each charge a colour, the same in all axes."""
    bands = dict.fromkeys(_band_key(band) for total in bill.months for band in total.bands)
    return {key: to_hex(_COLOURS(number % _COLOURS.N)) for number, key in enumerate(bands)}


def _band_key(band: BandTotal) -> tuple[Direction, str, str | None]:
    return band.direction, band.charge_id, band.band


def _name(key: tuple[Direction, str, str | None]) -> str:
    direction, charge_id, band = key
    return f"{direction.lower()} {charge_id}" + (f" {band}" if band else "")


def _energy_layers(bill: Bill, colours: dict[tuple[Direction, str, str | None], str]) -> list[_Layer]:
    """Return the energy of each band. Charges that add up are for the same energy: the one with most bands is shown."""
    layers = []
    directions = dict.fromkeys(one.meter.tariff_direction for one in bill.meters if one.not_billed is None)
    for direction in directions:
        keys = [key for key in colours if key[0] == direction]
        counts = {charge_id: sum(key[1] == charge_id for key in keys) for _, charge_id, _ in keys}
        shown = max(counts, key=lambda charge_id: counts[charge_id], default=None)
        sign = -1 if direction == "EXPORT" else 1
        rest = [_metered(total, direction) for total in bill.days]
        for key in keys:
            if key[1] != shown:
                continue
            values = [sum(band.energy_uwh for band in total.bands if _band_key(band) == key) for total in bill.days]
            rest = [left - value for left, value in zip(rest, values, strict=True)]
            layers.append(_Layer(_name(key), [sign * value / _UWH_PER_KWH for value in values], colours[key]))
        if any(rest):
            values_kwh = [sign * value / _UWH_PER_KWH for value in rest]
            layers.append(_Layer(f"{direction.lower()} without a price", values_kwh, _GREY))
    return layers


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
    for number, kind in enumerate(KINDS[1:]):
        costs = [total.costs.get(currency, {}).get(kind, Fraction(0)) for total in bill.days]
        if any(costs):
            layers.append(_Layer(kind, [float(cost) for cost in costs], str(0.3 + 0.2 * number)))
    return layers


def _stack(axes: Axes, days: Sequence[int], layers: Sequence[_Layer]) -> None:
    """Stack bars, what is above 0 upwards and what is below it downwards. Matplotlib counts days as we do, from 1970."""
    up, down = [0.0] * len(days), [0.0] * len(days)
    for layer in layers:
        bottoms = [up[n] if value >= 0 else down[n] for n, value in enumerate(layer.values)]
        axes.bar(days, layer.values, bottom=bottoms, color=layer.colour, width=0.9)
        up = [at + max(value, 0) for at, value in zip(up, layer.values, strict=True)]
        down = [at + min(value, 0) for at, value in zip(down, layer.values, strict=True)]
    handles = [Patch(color=layer.colour, label=layer.name) for layer in layers]
    if handles:
        axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small", frameon=False)


def _shade(axes: Axes, bill: Bill) -> None:
    """Shade the days on which something is missing, incomplete or not on the bill."""
    calendar = calendar_for(bill.timezone)
    days = {
        day
        for problem in bill.problems
        for day in range(calendar.day_number(problem.start_us), calendar.day_number(problem.end_us - 1) + 1)
    }
    for day in days:
        axes.axvspan(day - 0.5, day + 0.5, color=_WARNING, alpha=0.15, linewidth=0)
