"""What a tariff says: charges, bands, tiers, taxes; and the series of prices or carbon that a charge may follow.

These are the documents as values, complete and checked. Rates are currency per kWh as `Decimal`, wall-clock times are
minutes since local midnight (0 to 1440), seasons are (month, day) pairs, instants are µs since the epoch. How a
tariff lies on the time line is `timeline`'s affair, what an interval costs is `pricing`'s.
"""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Final, Literal

from app.domain.calendar import US_PER_DAY, date_of_day

Direction = Literal["IMPORT", "EXPORT", "LOCAL"]
DayName = Literal["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN", "HOL"]
TierPeriod = Literal["P1D", "P1M", "P1Y", "BILLING"]
Per = Literal["day", "month"]
SessionPer = Literal["session", "hour"]
Counted = Literal["connected", "charging"]
RoundingMode = Literal["HALF_UP", "HALF_EVEN", "HALF_DOWN", "UP", "DOWN", "CEILING", "FLOOR"]
SeriesKind = Literal["price", "carbon"]

WEEKDAYS: Final[tuple[DayName, ...]] = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
HOLIDAY: Final[DayName] = "HOL"
DAY_NAMES: Final[tuple[DayName, ...]] = (*WEEKDAYS, HOLIDAY)
EVERY_DAY: Final[frozenset[DayName]] = frozenset(DAY_NAMES)
MINUTES_PER_DAY: Final = 1440
CARBON_UNIT: Final = "gCO2e/kWh"


def in_season(first: tuple[int, int], last: tuple[int, int], on: date) -> bool:
    """Tell whether a date lies in a season of (month, day) pairs, both inclusive, which may wrap over new year."""
    at = (on.month, on.day)
    return first <= at <= last if first <= last else at >= first or at <= last


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
        return day_name in self.days and in_season(self.first, self.last, on)

    @property
    def wraps(self) -> bool:
        """Tell whether the window runs past midnight."""
        return self.end_minute <= self.start_minute


@dataclass(frozen=True, slots=True)
class Tier:
    """A rate up to a bound of energy within the tier period; the bound itself belongs to it. Neither: no bound.

    `up_to_kwh` is the bound; `up_to_kwh_per_day` is one that grows with the tier period: times its local days.
    """

    up_to_kwh: Decimal | None
    rate: Decimal
    up_to_kwh_per_day: Decimal | None = None

    @property
    def bounded(self) -> bool:
        """Tell whether the tier ends somewhere."""
        return self.up_to_kwh is not None or self.up_to_kwh_per_day is not None


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
    """A charge for time, billed by the local day or month; no interval carries a share of it.

    It is due on the days of a season, whose dates are inclusive as those of a `When`.
    """

    charge_id: str
    per: Per
    amount: Decimal
    first: tuple[int, int] = (1, 1)
    last: tuple[int, int] = (12, 31)

    def due_on(self, on: date) -> bool:
        """Tell whether a local date is in the season."""
        return in_season(self.first, self.last, on)


@dataclass(frozen=True, slots=True)
class DemandTier:
    """A rate, currency per kW, up to a bound of demand; the bound itself belongs to it. None: no bound."""

    up_to_kw: Decimal | None
    rate: Decimal


@dataclass(frozen=True, slots=True)
class DemandBand:
    """A price of demand with the windows in which it is measured; no window at all: whatever bands before it left."""

    name: str
    when: tuple[When, ...]
    tiers: tuple[DemandTier, ...]


@dataclass(frozen=True, slots=True)
class DemandCharge:
    """A charge for the highest mean power of a measurement window within a local day or month.

    Windows of `measurement_minutes` are aligned to local midnight and belong to the band at their start. A band's
    demand is at least `minimum_kw`. Rates are currency per kW and `per`; no interval carries a share of it.
    """

    charge_id: str
    bands: tuple[DemandBand, ...]
    measurement_minutes: int = 30
    measured_over: Per = "month"
    per: Per = "month"
    minimum_kw: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class MinimumCharge:
    """The least that a tariff's charges come to by the local day or month: what is lacking is billed."""

    charge_id: str
    per: Per
    amount: Decimal


@dataclass(frozen=True, slots=True)
class SessionBand:
    """An amount with the windows in which it holds; no window at all: whatever bands before it left.

    Time that is last billed by this band is billed in steps of `step_seconds`, the last one in full.
    """

    name: str
    when: tuple[When, ...]
    amount: Decimal
    step_seconds: int = 1


@dataclass(frozen=True, slots=True)
class SessionCharge:
    """A charge for charging sessions: an amount for each, or for an hour of it; no interval carries a share of it.

    Bands may leave holes, in which nothing is due. `counted` is which hours are: all from the session's start to its
    end, or those in which energy flows.
    """

    charge_id: str
    per: SessionPer
    bands: tuple[SessionBand, ...]
    counted: Counted = "connected"


Charge = EnergyCharge | FixedCharge | DemandCharge | MinimumCharge | SessionCharge


@dataclass(frozen=True, slots=True)
class Tax:
    """A share of the charges that it names, or of every charge (None); several taxes add up."""

    name: str
    rate: Decimal
    charges: frozenset[str] | None = None

    def falls_on(self, charge_id: str) -> bool:
        """Tell whether a charge bears this tax."""
        return self.charges is None or charge_id in self.charges


@dataclass(frozen=True, slots=True)
class BillingPeriod:
    """Periods of whole months that begin on an anchor day: the month's last day where it has no such day.

    Periods of several months are counted from `anchor_month`.
    """

    months: int = 1
    anchor_day: int = 1
    anchor_month: int = 1


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
    billing_period: BillingPeriod | None = None

    def day_name(self, on: date) -> DayName:
        """Return what a date counts as: a holiday is no weekday."""
        return HOLIDAY if on in self.holidays else WEEKDAYS[on.weekday()]

    def tax_on(self, charge_id: str) -> Fraction:
        """Return the sum of the taxes that fall on a charge, as a share of its net amount."""
        return sum((Fraction(tax.rate) for tax in self.taxes if tax.falls_on(charge_id)), start=Fraction(0))

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
