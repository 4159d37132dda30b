"""What a bill reads: priced intervals, which meters of a location are billed, and what is wrong with an interval.

A location's own meter measures what its devices use too. Where both have energy of one tariff direction, a sum would
bill the same energy twice: so the own meter is billed, and devices are where the location has no own meter of that
direction.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Context, Decimal
from typing import Final, Literal, NamedTuple

from app.domain.records import MeterId
from app.domain.tariffs import Direction, EnergyCharge, Tariff

DIRECTIONS: Final[tuple[Direction, ...]] = ("IMPORT", "LOCAL", "EXPORT")
"""In the order in which a bill lists them."""

TariffKey = tuple[str, int]
"""tariff_id, version."""

NotBilled = Literal["own_meter", "other_device"]
"""Why a meter is not billed: the location's own meter has its energy too; another device was asked for."""

ProblemKind = Literal["missing", "incomplete", "unpriced", "unbilled"]
Unbilled = Literal["straddles", "overlaps", "tariff_unknown", "tariff_changed", "sessions_unknown"]

_NO_SUCH: Final = Decimal("NaN")
_WIDE: Final = Context(prec=300)
_UWH_PER_KWH: Final = Decimal(10**9)


class PricedComponent(NamedTuple):
    """What one charge asks for the energy in [start_us, end_us), as it was published. `cost` includes tax."""

    charge_id: str
    band: str | None
    tier: int | None
    start_us: int
    end_us: int
    energy_uwh: int
    rate: Decimal
    cost: Decimal
    tariff: TariffKey


class PricedInterval(NamedTuple):
    """A priced record. `reason` tells why it is pending; None: it is priced. `empty`: no reading has any time in it."""

    meter: MeterId
    start_us: int
    end_us: int
    energy_uwh: int
    empty: bool
    complete: bool
    reason: str | None
    components: tuple[PricedComponent, ...]


class Choice(NamedTuple):
    """The meters of a location that are billed, and those that are not, with the reason."""

    billed: tuple[MeterId, ...]
    not_billed: tuple[tuple[MeterId, NotBilled], ...]


def meter_order(meter: MeterId) -> tuple[int, str, str]:
    """Return where a meter stands on a bill: by direction, the location's own before its devices."""
    return DIRECTIONS.index(meter.tariff_direction), meter.device_id, meter.energy_flow_direction


def choose_meters(meters: Collection[MeterId], device_id: str | None) -> Choice:
    """Choose whom to bill: one device if it is named, else by direction the location's own meters before its devices."""
    billed, others = [], []
    own = {meter.tariff_direction for meter in meters if not meter.device_id}
    for meter in sorted(meters, key=meter_order):
        reason: NotBilled | None = None
        if device_id is not None:
            reason = None if meter.device_id == device_id else "other_device"
        elif meter.device_id and meter.tariff_direction in own:
            reason = "own_meter"
        if reason is None:
            billed.append(meter)
        else:
            others.append((meter, reason))
    return Choice(tuple(billed), tuple(others))


def credited(direction: Direction, flow: str) -> bool:
    """Tell whether energy earns: exported, or local energy that flows out."""
    return direction == "EXPORT" or (direction == "LOCAL" and flow == "OUTBOUND")


def by_key(tariffs: Mapping[str, Sequence[Tariff]]) -> dict[TariffKey, Tariff]:
    """Return every version of every tariff by its id and version."""
    return {(tariff.tariff_id, tariff.version): tariff for versions in tariffs.values() for tariff in versions}


class Inspector:
    """Finds what is wrong with the prices of intervals: whether the tariffs at hand are those that priced them."""

    __slots__ = ("_factors", "_rates", "_tariffs")

    def __init__(self, tariffs: Mapping[TariffKey, Tariff]) -> None:
        """Take all versions that are known."""
        self._tariffs = tariffs
        self._rates: Final = {key: _rates_of(tariff) for key, tariff in tariffs.items()}
        self._factors: dict[tuple[TariffKey, str], Decimal] = {}

    def problem(self, interval: PricedInterval, start_us: int, end_us: int) -> Unbilled | None:
        """Return why an interval cannot be on a bill of [start_us, end_us); None: it can.

        A price that does not follow from the tariff's document, to the last digit, was made with another one.
        """
        inside = interval.start_us >= start_us and interval.end_us <= end_us
        if not inside and (not interval.components or any(_cut(c, start_us, end_us) for c in interval.components)):
            return "straddles"
        meter = interval.meter
        sign = -1 if credited(meter.tariff_direction, meter.energy_flow_direction) else 1
        for component in interval.components:
            tariff = self._tariffs.get(component.tariff)
            if tariff is None:
                return "tariff_unknown"
            stated = self._rates[component.tariff].get((component.charge_id, component.band, component.tier), _NO_SUCH)
            if tariff.direction != meter.tariff_direction or (stated is not None and stated != component.rate):
                return "tariff_changed"
            amount = _WIDE.multiply(Decimal(sign * component.energy_uwh), component.rate)
            expected = _WIDE.multiply(amount, self._factor(component.tariff, tariff, component.charge_id))
            if _WIDE.multiply(component.cost, _UWH_PER_KWH) != expected:
                return "tariff_changed"
        return None

    def _factor(self, key: TariffKey, tariff: Tariff, charge_id: str) -> Decimal:
        """Return cost divided by the amount that the tariff's rates give: 1 + taxes where they come on top."""
        factor = self._factors.get((key, charge_id))
        if factor is None:
            factor = Decimal(1)
            if not tariff.prices_include_tax:
                for tax in tariff.taxes:
                    factor = _WIDE.add(factor, tax.rate) if tax.falls_on(charge_id) else factor
            self._factors[key, charge_id] = factor
        return factor


def _rates_of(tariff: Tariff) -> dict[tuple[str, str | None, int | None], Decimal | None]:
    """Return what a document asks for by charge, band and tier; None: what the series says, which is not in it."""
    found: dict[tuple[str, str | None, int | None], Decimal | None] = {}
    for charge in tariff.charges:
        if not isinstance(charge, EnergyCharge):
            continue
        if charge.series is not None:
            found[charge.charge_id, None, None] = None
        for band in charge.bands:
            for number, tier in enumerate(band.tiers, start=1):
                found[charge.charge_id, band.name, number] = tier.rate
    return found


def _cut(component: PricedComponent, start_us: int, end_us: int) -> bool:
    """Tell whether the edge of a bill runs through a component."""
    return any(component.start_us < edge < component.end_us for edge in (start_us, end_us))


def inside_uwh(interval: PricedInterval, start_us: int, end_us: int) -> int:
    """Return the energy of an interval within a bill, of one that `Inspector` has nothing against.

    Of an interval beyond the bill's edge it is what its components inside are for, each charge's being the same.
    """
    if interval.start_us >= start_us and interval.end_us <= end_us:
        return interval.energy_uwh
    by_charge: dict[str, int] = {}
    for component in components_inside(interval, start_us, end_us):
        by_charge[component.charge_id] = by_charge.get(component.charge_id, 0) + component.energy_uwh
    return max(by_charge.values(), default=0)


def components_inside(interval: PricedInterval, start_us: int, end_us: int) -> Iterator[PricedComponent]:
    """Yield the components that lie in a bill, of an interval that `Inspector` has nothing against."""
    for component in interval.components:
        if component.start_us >= start_us and component.end_us <= end_us:
            yield component
