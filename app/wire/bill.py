"""Bills -> JSON, and priced records back into what a bill reads.

Amounts, rates and quantities are decimal strings. What is not rounded on a line (quantities, means, sums before
rounding) is shown with at most 12 decimals, half even; it is never computed with again.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import msgspec

from app.domain.bill_coverage import Problem
from app.domain.bill_lines import KINDS, CurrencyTotal, Line, TaxAmount
from app.domain.bill_records import PricedComponent, PricedInterval
from app.domain.bills import BandTotal, Bill, PeriodTotal
from app.domain.energy import UWH_PER_WH
from app.domain.instants import InstantError, format_instant, parse_instant_us
from app.domain.money import decimal_text, money_text, round_money, units_text
from app.domain.records import EnergyFlow, MeterId, TariffDirection

_KWH_DECIMALS: Final = 9
"""1 kWh = 10**9 µWh."""


class PricedRecordError(ValueError):
    """Bytes that are no priced record; the message says why."""


class _Head(msgspec.Struct, gc=False):
    interval_id: str
    location_id: str
    sequence: int
    start_time: str
    end_time: str
    covered_seconds: float = 0


class _Component(msgspec.Struct, gc=False):
    charge_id: str
    band: str | None
    tier: int | None
    start_time: str
    end_time: str
    energy_wh: Decimal
    rate: Decimal
    cost: Decimal
    tariff_id: str | None = None
    tariff_version: int | None = None


class _Priced(msgspec.Struct, gc=False):
    location_id: str
    device_id: str | None
    energy_flow_direction: EnergyFlow
    tariff_direction: TariffDirection
    start_time: str
    end_time: str
    energy_wh: Decimal
    covered_seconds: float
    complete: bool
    status: str
    reason: str | None
    tariff_id: str | None
    tariff_version: int | None
    components: list[_Component]


_decode_head: Final = msgspec.json.Decoder(_Head).decode
_decode_priced: Final = msgspec.json.Decoder(_Priced).decode


class NewestPriced:
    """Keeps the newest record of each interval of one location: the one with the highest sequence.

    Of two with one sequence the later one is kept. What lies outside [start_us, end_us) is let go at once, but for one
    record of each meter that was heard before: it tells a bill that there is such a meter.
    """

    def __init__(self, location_id: str, start_us: int, end_us: int) -> None:
        """Keep nothing yet."""
        self._location_id = location_id
        self._start_us = start_us
        self._end_us = end_us
        self._newest: dict[str, tuple[int, bytes]] = {}
        self._before: dict[str, bytes] = {}
        self._parse_us = _Instants().__getitem__

    def take(self, value: bytes) -> None:
        """Look at a record, of any location.

        Raises:
            PricedRecordError: it is no priced record.

        """
        try:
            head = _decode_head(value)
            if head.location_id != self._location_id:
                return
            start_us, end_us = self._parse_us(head.start_time), self._parse_us(head.end_time)
        except (msgspec.MsgspecError, InstantError, ValueError) as error:
            raise PricedRecordError(str(error)) from None
        if end_us <= self._start_us:
            if head.covered_seconds:
                self._before[head.interval_id.rpartition("|")[0]] = value
        elif start_us < self._end_us and head.sequence >= self._newest.get(head.interval_id, (0, b""))[0]:
            self._newest[head.interval_id] = (head.sequence, value)

    def forget(self, interval_id: str) -> None:
        """Let go of an interval: its record was deleted."""
        self._newest.pop(interval_id, None)

    def intervals(self) -> list[PricedInterval]:
        """Return what was kept, as bills read it.

        Raises:
            PricedRecordError: one of them is no priced record.

        """
        kept = (*self._before.values(), *(value for _, value in self._newest.values()))
        return [read_priced(value, self._parse_us) for value in kept]


class _Instants(dict[str, int]):
    """Instants by their texts: a record's, and those of its components, are mostly the same."""

    def __missing__(self, text: str) -> int:
        at_us = self[text] = parse_instant_us(text)
        return at_us


def read_priced(value: bytes, parse_us: Callable[[str], int] = parse_instant_us) -> PricedInterval:
    """Return a priced record as bills read it.

    Raises:
        PricedRecordError: the bytes are no priced record.

    """
    try:
        found = _decode_priced(value)
        meter = MeterId(found.location_id, found.device_id or "", found.energy_flow_direction, found.tariff_direction)
        return PricedInterval(
            meter=meter,
            start_us=parse_us(found.start_time),
            end_us=parse_us(found.end_time),
            energy_uwh=_uwh(found.energy_wh),
            empty=found.covered_seconds == 0,
            complete=found.complete,
            reason=None if found.status == "priced" else found.reason or found.status,
            components=tuple(
                PricedComponent(
                    charge_id=c.charge_id,
                    band=c.band,
                    tier=c.tier,
                    start_us=parse_us(c.start_time),
                    end_us=parse_us(c.end_time),
                    energy_uwh=_uwh(c.energy_wh),
                    rate=c.rate,
                    cost=c.cost,
                    tariff=_tariff(c, found),
                )
                for c in found.components
            ),
        )
    except (msgspec.MsgspecError, InstantError, ValueError) as error:
        raise PricedRecordError(str(error)) from None


def _uwh(energy_wh: Decimal) -> int:
    """Return whole µWh. Raises `ValueError` for what is finer."""
    scaled = energy_wh * UWH_PER_WH
    whole = int(scaled)
    if whole != scaled:
        raise ValueError(f"energy_wh: {energy_wh} is finer than a µWh")
    return whole


def _tariff(component: _Component, record: _Priced) -> tuple[str, int]:
    tariff_id, version = component.tariff_id, component.tariff_version
    if tariff_id is None or version is None:
        tariff_id, version = record.tariff_id, record.tariff_version
    if tariff_id is None or version is None:
        raise ValueError("components without a tariff_id and tariff_version")
    return tariff_id, version


def to_document(bill: Bill) -> dict[str, Any]:
    """Return a bill as its JSON object."""
    return {
        "location_id": bill.location_id,
        "device_id": bill.device_id,
        "timezone": bill.timezone,
        "from": bill.first.isoformat(),
        "to": bill.end.isoformat(),
        "start_time": format_instant(bill.start_us),
        "end_time": format_instant(bill.end_us),
        "complete": bill.complete,
        "meters": [
            _meter(one.meter)
            | {
                "billed": one.not_billed is None,
                "reason": one.not_billed,
                "energy_kwh": None if one.not_billed else kwh_text(one.energy_uwh),
            }
            for one in bill.meters
        ],
        "lines": [_line(line) for line in bill.lines],
        "totals": [_total(total) for total in bill.totals],
        "months": [_period("month", total) for total in bill.months],
        "days": [_period("day", total) for total in bill.days],
        "problems": [_problem(problem) for problem in bill.problems],
        "notes": list(bill.notes),
    }


def kwh_text(energy_uwh: int) -> str:
    """Return an energy as the exact decimal text of its kWh."""
    return units_text(energy_uwh, _KWH_DECIMALS)


def exact_text(amount: Fraction) -> str:
    """Return an exact amount as a decimal text, with at most 12 decimals, half even."""
    return money_text(round_money(amount))


def _meter(meter: MeterId) -> dict[str, Any]:
    return {
        "device_id": meter.device_id or None,
        "energy_flow_direction": meter.energy_flow_direction,
        "tariff_direction": meter.tariff_direction,
    }


def _line(line: Line) -> dict[str, Any]:
    key = line.key
    meter = {"device_id": None, "energy_flow_direction": None, "tariff_direction": key.direction}
    shown = {
        "kind": key.kind,
        **(meter if key.meter is None else _meter(key.meter)),
        "tariff_id": key.tariff_id,
        "tariff_version": key.tariff_version,
        "charge_id": key.charge_id,
        "band": key.band,
        "tier": key.tier,
        "month": key.month,
        "quantity": exact_text(line.quantity),
        "unit": line.unit,
        "rate": None if line.rate is None else exact_text(line.rate) if line.rate_is_mean else _rate(key.rate),
        "rate_is_mean": line.rate_is_mean,
        "currency": line.currency,
        **_amounts(line.net, line.taxes, line.tax, line.total),
        "unrounded": exact_text(line.unrounded),
    }
    if line.peak is not None:
        at_us = line.peak.at_us
        shown |= {
            "demand_kw": exact_text(line.peak.kw),
            "demand_at": None if at_us is None else format_instant(at_us),
        }
    return shown


def _rate(rate: Decimal | None) -> str | None:
    return None if rate is None else decimal_text(rate)


def _amounts(net: Decimal, taxes: tuple[TaxAmount, ...], tax: Decimal, total: Decimal) -> dict[str, Any]:
    return {
        "net": decimal_text(net),
        "taxes": [
            {"name": one.name, "rate": decimal_text(one.rate), "amount": decimal_text(one.amount)} for one in taxes
        ],
        "tax": decimal_text(tax),
        "total": decimal_text(total),
    }


def _total(total: CurrencyTotal) -> dict[str, Any]:
    return {
        "currency": total.currency,
        **_amounts(total.net, total.taxes, total.tax, total.total),
        "unrounded": exact_text(total.unrounded),
    }


def _period(name: str, total: PeriodTotal) -> dict[str, Any]:
    return {
        name: total.name,
        "energy": [_meter(meter) | {"energy_kwh": kwh_text(uwh)} for meter, uwh in sorted(total.energy.items())],
        "costs": [_costs(currency, kinds) for currency, kinds in sorted(total.costs.items())],
        "bands": [_band(band) for band in total.bands],
    }


def _costs(currency: str, kinds: Mapping[Any, Fraction]) -> dict[str, str]:
    zero = Fraction(0)
    by_kind: dict[str, str] = {kind: exact_text(kinds.get(kind, zero)) for kind in KINDS}
    return {"currency": currency, **by_kind, "total": exact_text(sum(kinds.values(), start=zero))}


def _band(band: BandTotal) -> dict[str, Any]:
    return {
        "tariff_direction": band.direction,
        "charge_id": band.charge_id,
        "band": band.band,
        "energy_kwh": kwh_text(band.energy_uwh),
        "currency": band.currency,
        "cost": exact_text(band.cost),
    }


def _problem(problem: Problem) -> dict[str, Any]:
    return {
        "kind": problem.kind,
        "reason": problem.reason,
        **_meter(problem.meter),
        "start_time": format_instant(problem.start_us),
        "end_time": format_instant(problem.end_us),
        "intervals": problem.intervals,
    }
