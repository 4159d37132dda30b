"""Charges as rows of eeco, and what they come to.

What it models: rows of months, weekdays (0 is Monday) and hours, which may be fractions; tiers whose counter is pooled
over all rows of a month, with bounds of whole kWh that may differ between bands; demand by the month and by the day.
It knows no holidays, clock changes or taxes, and no window past midnight.
"""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any, Final, NamedTuple

from tests.oracles.optional import calculator
from tests.oracles.year import HOURS, Json

costs: Any = calculator("eeco.costs")
numpy: Any = calculator("numpy")
pandas: Any = calculator("pandas")

MINUTES: Final = 30
RESOLUTION: Final = "30m"
WORKDAYS: Final = (0, 4)
WEEKEND: Final = (5, 6)
ALL_DAYS: Final = (0, 6)
SUMMER: Final = ((6, 9),)
WINTER: Final = ((1, 5), (10, 12))
ALL_YEAR: Final = ((1, 12),)


class Hours(NamedTuple):
    """When a band holds: months, weekdays and hours, each from and to."""

    months: tuple[tuple[int, int], ...]
    days: tuple[int, int]
    hours: tuple[tuple[float, float], ...]


ALWAYS: Final = [Hours(ALL_YEAR, ALL_DAYS, ((0, 24),))]


def rows(
    kind: str, name: str, hours: Sequence[Hours], tiers: Sequence[tuple[int, str]], assessed: str = "monthly"
) -> Iterator[Json]:
    """Yield a band's rows; tiers are (where it begins, rate)."""
    for begins, rate in tiers:
        for when in hours:
            for months in when.months:
                for start, end in when.hours:
                    yield {
                        "utility": "electric",
                        "type": kind,
                        "name": name,
                        "assessed": assessed,
                        "month_start": months[0],
                        "month_end": months[1],
                        "weekday_start": when.days[0],
                        "weekday_end": when.days[1],
                        "hour_start": start,
                        "hour_end": end,
                        "basic_charge_limit (metric)": begins,
                        "charge (metric)": float(rate),
                    }


class Month:
    """A month of flows in Wh."""

    def __init__(self, flows: Sequence[int], month: tuple[date, date]) -> None:
        self.first, self.end = month
        start, end = ((on - date(2018, 1, 1)).days * 24 * 60 // MINUTES for on in month)
        assert len(flows) == HOURS * 60 // MINUTES
        self.flows = flows[start:end]

    def calculated(self, given: Sequence[Json]) -> float:
        """Return what rows come to."""
        kw = numpy.array(self.flows) / 1000 * (60 / MINUTES)
        flows = {"imports": numpy.maximum(kw, 0), "exports": numpy.maximum(-kw, 0)}
        cost, _ = costs.calculate_cost(self._charges(given), {"electric": flows}, resolution=RESOLUTION)
        return float(cost)

    def prices(self, given: Sequence[Json]) -> list[float]:
        """Return the price of each step, where rows have no tiers: all that hold are added up."""
        return [float(price) for price in sum(self._charges(given).values())]

    def _charges(self, given: Sequence[Json]) -> Any:
        return costs.get_charge_dict(self.first, self.end, pandas.DataFrame(list(given)), resolution=RESOLUTION)
