"""What a tariff says: charges, bands, tiers, taxes; and the series of prices or carbon that a charge may follow.

These are the documents as values, complete and checked. Rates are currency per kWh as `Decimal`, wall-clock times are
minutes since local midnight (0 to 1440), seasons are (month, day) pairs, instants are µs since the epoch. How a
tariff lies on the time line is `timeline`'s affair, what an interval costs is `pricing`'s.
"""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final, Literal

from app.domain.calendar import US_PER_DAY, date_of_day

Direction = Literal["IMPORT", "EXPORT", "LOCAL"]
DayName = Literal["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN", "HOL"]
TierPeriod = Literal["P1D", "P1M", "P1Y"]
RoundingMode = Literal["HALF_UP", "HALF_EVEN", "HALF_DOWN", "UP", "DOWN", "CEILING", "FLOOR"]
SeriesKind = Literal["price", "carbon"]

WEEKDAYS: Final[tuple[DayName, ...]] = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
HOLIDAY: Final[DayName] = "HOL"
DAY_NAMES: Final[tuple[DayName, ...]] = (*WEEKDAYS, HOLIDAY)
EVERY_DAY: Final[frozenset[DayName]] = frozenset(DAY_NAMES)
MINUTES_PER_DAY: Final = 1440
CARBON_UNIT: Final = "gCO2e/kWh"


@dataclass(frozen=True, slots=True)
class When:
    """One window of the local clock: a season, a set of days, and a time of day [start_minute, end_minute).

    Both dates of the season are inclusive; a season that ends before it begins wraps over new year. A time of day
    that ends at or before its start wraps past midnight and belongs, with its season and its day, to the day on which
    it started.
    """

    first: tuple[int, int] = (1, 1)
    last: tuple[int, int] = (12, 31)
    days: frozenset[DayName] = EVERY_DAY
    start_minute: int = 0
    end_minute: int = MINUTES_PER_DAY

    def matches_day(self, on: date, day_name: DayName) -> bool:
        """Tell whether a window may start on this date, which counts as `day_name`."""
        at = (on.month, on.day)
        wraps = self.last < self.first
        in_season = (at >= self.first or at <= self.last) if wraps else self.first <= at <= self.last
        return in_season and day_name in self.days

    @property
    def wraps(self) -> bool:
        """Tell whether the window runs past midnight."""
        return self.end_minute <= self.start_minute


@dataclass(frozen=True, slots=True)
class Tier:
    """A rate up to a bound of energy within the tier period; the bound itself belongs to it. None: no bound."""

    up_to_kwh: Decimal | None
    rate: Decimal


def tier_problem(tiers: tuple[Tier, ...]) -> str | None:
    """Return, with its path in the band, why a band's tiers cannot be priced; None if they can."""
    if not tiers:
        return "tiers: empty (expected one tier with its rate)"
    if len(tiers) > 1:
        return "tiers: graduated tiers are not supported yet (expected one tier, with up_to_kwh null)"
    if tiers[0].up_to_kwh is not None:
        return f"tiers[0].up_to_kwh: '{tiers[0].up_to_kwh}' bounds the last tier (expected null)"
    return None


@dataclass(frozen=True, slots=True)
class Band:
    """A named price with the windows in which it holds; no window at all: whatever the bands before it left."""

    name: str
    when: tuple[When, ...]
    tiers: tuple[Tier, ...]


@dataclass(frozen=True, slots=True)
class SeriesRate:
    """A rate that follows a series: value * multiplier + adder, then at most `cap`, then at least `floor`."""

    series_id: str
    multiplier: Decimal = Decimal(1)
    adder: Decimal = Decimal(0)
    cap: Decimal | None = None
    floor: Decimal | None = None


@dataclass(frozen=True, slots=True)
class EnergyCharge:
    """A charge for energy. It has bands or a series, never both; all energy charges of a tariff add up."""

    charge_id: str
    bands: tuple[Band, ...] = ()
    series: SeriesRate | None = None
    tier_scope: Literal["charge", "band"] = "charge"


@dataclass(frozen=True, slots=True)
class FixedCharge:
    """A charge for time, billed by the day or the month; no interval carries a share of it."""

    charge_id: str
    per: Literal["day", "month"]
    amount: Decimal


Charge = EnergyCharge | FixedCharge


@dataclass(frozen=True, slots=True)
class Tax:
    """A share of every charge; several taxes add up."""

    name: str
    rate: Decimal


@dataclass(frozen=True, slots=True)
class Rounding:
    """How a bill's line is rounded. Intervals are not rounded by it."""

    line_quantum: Decimal = Decimal("0.01")
    line_mode: RoundingMode = "HALF_UP"


@dataclass(frozen=True, slots=True)
class Tariff:
    """A tariff document: what energy of one direction costs, in one currency, by one zone's clock."""

    tariff_id: str
    version: int
    direction: Direction
    currency: str
    timezone: str
    charges: tuple[Charge, ...]
    valid_from_us: int | None = None
    valid_to_us: int | None = None
    prices_include_tax: bool = False
    taxes: tuple[Tax, ...] = ()
    holidays: frozenset[date] = frozenset()
    tier_period: TierPeriod = "P1M"
    rounding: Rounding = Rounding()

    def day_name(self, on: date) -> DayName:
        """Return what a date counts as: a holiday is no weekday."""
        return HOLIDAY if on in self.holidays else WEEKDAYS[on.weekday()]

    @property
    def series_ids(self) -> frozenset[str]:
        """Return the series that its charges follow."""
        return frozenset(
            charge.series.series_id
            for charge in self.charges
            if isinstance(charge, EnergyCharge) and charge.series is not None
        )


@dataclass(frozen=True, slots=True)
class SeriesPoint:
    """The value of a series over [start_us, end_us)."""

    start_us: int
    end_us: int
    value: Decimal


@dataclass(frozen=True, slots=True)
class SeriesDay:
    """The points of a series within one UTC date, in order and without overlap; there may be gaps between them."""

    series_id: str
    kind: SeriesKind
    unit: str
    points: tuple[SeriesPoint, ...]

    @property
    def day(self) -> int:
        """Return the number of its UTC date (0 is 1970-01-01)."""
        return self.points[0].start_us // US_PER_DAY

    @property
    def key(self) -> str:
        """Return the key of its document: the series and the UTC date."""
        return f"{self.series_id}/{date_of_day(self.day).isoformat()}"
