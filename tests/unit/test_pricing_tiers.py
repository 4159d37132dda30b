"""What intervals cost where rates depend on how much was used before: case by case, each with its arithmetic."""

from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.instants import parse_instant_us
from app.domain.rates import IntervalPrice
from app.domain.reference import ReferenceBook
from app.domain.tariffs import Direction
from app.domain.tiers import Counter, TierPeriod
from app.wire.location import parse_location
from app.wire.tariff import parse_tariff

WH = 10**6
KWH = 10**9
NOON_US = parse_instant_us("2025-06-01T12:00:00Z")
MINUTE_US = 60_000_000
HALF_HOUR = (NOON_US, NOON_US + 30 * MINUTE_US)

Parts = list[tuple[int, int, int]]


class Before(NamedTuple):
    """Counts of a meter whose every counter stands at one number."""

    energy_uwh: int

    def before_uwh(self, tariff_id: str, period: TierPeriod, counter: Counter, start_us: int) -> int:  # noqa: ARG002
        return self.energy_uwh


def tiers(*ends: tuple[str | None, str]) -> list[dict[str, Any]]:
    return [{"up_to_kwh": end, "rate": rate} for end, rate in ends]


THREE = tiers(("1", "0.10"), ("3", "0.20"), (None, "0.40"))
FREE = {"charge_id": "free", "kind": "energy", "bands": [{"name": "all", "tiers": [{"rate": "0"}]}]}


def energy(rates: list[dict[str, Any]] = THREE) -> dict[str, Any]:
    return {"charge_id": "energy", "kind": "energy", "bands": [{"name": "all", "tiers": rates}]}


def priced(
    before_uwh: int,
    energy_uwh: int,
    *charges: dict[str, Any],
    parts: Parts | None = None,
    direction: Direction = "IMPORT",
    **fields: Any,
) -> IntervalPrice:
    """Price the half hour from noon, of which the counters stand at `before_uwh`."""
    document = {"tariff_id": "t", "direction": direction, "currency": "GBP", "timezone": "UTC"}
    book = ReferenceBook()
    book.put_tariff(parse_tariff(document | {"charges": list(charges) or [energy()]} | fields))
    links = [{"tariff_id": "t", "direction": direction}]
    book.put_location(parse_location({"location_id": "l", "timezone": "UTC", "tariffs": links}))
    flow = "OUTBOUND" if direction == "EXPORT" else "INBOUND"
    return book.plan("l", direction).price(*HALF_HOUR, energy_uwh, parts or [], flow, Before(before_uwh))


def lines(price: IntervalPrice, charge_id: str = "energy") -> list[tuple[int | None, int, str]]:
    return [(c.tier, c.energy_uwh, c.cost) for c in price.components if c.charge_id == charge_id]


@pytest.mark.parametrize(
    ("before_uwh", "energy_uwh", "expected"),
    [
        (0, KWH, [(1, KWH, "0.1")]),
        (0, KWH + 1, [(1, KWH, "0.1"), (2, 1, "0.0000000002")]),
        (KWH, KWH, [(2, KWH, "0.2")]),
        (KWH - 1, 2, [(1, 1, "0.0000000001"), (2, 1, "0.0000000002")]),
        (0, 5 * KWH, [(1, KWH, "0.1"), (2, 2 * KWH, "0.4"), (3, 2 * KWH, "0.8")]),
        (2 * KWH, KWH, [(2, KWH, "0.2")]),
        (3 * KWH, KWH, [(3, KWH, "0.4")]),
        (0, 0, [(1, 0, "0")]),
        (KWH, 0, [(1, 0, "0")]),
        (KWH + 1, 0, [(2, 0, "0")]),
    ],
)
def test_each_tier_has_its_share_and_a_bound_belongs_to_the_tier_below(
    before_uwh: int, energy_uwh: int, expected: list[tuple[int | None, int, str]]
) -> None:
    assert lines(priced(before_uwh, energy_uwh)) == expected


def test_the_interval_is_the_sum_of_its_tiers_rounded_once() -> None:
    # 1 µWh at 0.0001 and 2 µWh at 0.0002 a kWh: 0.1e-12 + 0.4e-12 = 0.5e-12, and half goes to the even one.
    found = priced(KWH - 1, 3, energy(tiers(("1", "0.0001"), (None, "0.0002"))))
    assert found.cost == "0"
    found = priced(KWH - 1, 3, energy(tiers(("1", "0.0001"), (None, "0.00025"))))
    assert found.cost == "0.000000000001"


def test_taxes_come_on_top_of_every_tier() -> None:
    found = priced(0, 2 * KWH, taxes=[{"name": "VAT", "rate": "0.05"}])
    assert lines(found) == [(1, KWH, "0.105"), (2, KWH, "0.21")]
    assert (found.cost, found.cost_excluding_tax, found.tax) == ("0.315", "0.3", "0.015")


def test_taxes_are_taken_out_of_every_tier_where_prices_include_them() -> None:
    found = priced(0, 2 * KWH, taxes=[{"name": "VAT", "rate": "0.05"}], prices_include_tax=True)
    assert (found.cost, found.cost_excluding_tax, found.tax) == ("0.3", "0.285714285714", "0.014285714286")


def test_the_bound_is_crossed_when_the_records_power_reaches_it() -> None:
    at = [NOON_US + minutes * MINUTE_US for minutes in (0, 10, 20, 30)]
    parts = [(at[0], at[1], 500 * WH), (at[1], at[2], 0), (at[2], at[3], 2000 * WH)]
    found = priced(0, 2500 * WH, parts=parts)
    assert [
        (c.tier, (c.start_us - NOON_US) / MINUTE_US, (c.end_us - NOON_US) / MINUTE_US) for c in found.components
    ] == [
        (1, 0, 22.5),
        (2, 22.5, 30),
    ]
    even = priced(0, 2500 * WH)
    assert [(c.end_us - NOON_US) / MINUTE_US for c in even.components] == [12, 30]


def test_parts_that_are_not_the_intervals_own_are_a_bug_where_a_bound_is_crossed() -> None:
    with pytest.raises(ValueError, match="sum to"):
        priced(0, 2 * KWH, parts=[(*HALF_HOUR, KWH)])


def test_a_credit_has_tiers_too() -> None:
    found = priced(0, 2 * KWH, direction="EXPORT")
    assert lines(found) == [(1, KWH, "-0.1"), (2, KWH, "-0.2")]
    assert found.cost == "-0.3"


def test_each_charge_has_its_own_bounds() -> None:
    grid = {"charge_id": "grid", "kind": "energy", "bands": [{"name": "all", "tiers": tiers(("2", "1"), (None, "2"))}]}
    found = priced(KWH // 2, 2 * KWH, energy(), grid)
    assert lines(found) == [(1, KWH // 2, "0.05"), (2, 3 * KWH // 2, "0.3")]
    assert lines(found, "grid") == [(1, 3 * KWH // 2, "1.5"), (2, KWH // 2, "1")]
    assert found.cost == "2.85"


def test_a_bound_by_the_day_grows_with_the_tier_period() -> None:
    daily = [{"up_to_kwh_per_day": "0.1", "rate": "0.10"}, {"up_to_kwh": None, "rate": "0.40"}]
    june = priced(0, 4 * KWH, energy(daily), tier_period="P1M")
    assert lines(june) == [(1, 3 * KWH, "0.3"), (2, KWH, "0.4")]
    day = priced(0, 4 * KWH, energy(daily), tier_period="P1D")
    assert lines(day) == [(1, KWH // 10, "0.01"), (2, 39 * KWH // 10, "1.56")]


@given(
    st.integers(0, 4 * KWH),
    st.integers(0, 5 * KWH),
    st.lists(st.integers(0, 30 * MINUTE_US), max_size=3),
    st.sampled_from(["IMPORT", "EXPORT"]),
    st.booleans(),
)
def test_a_charge_alone_costs_what_it_costs_beside_one_that_is_free(
    before_uwh: int,
    energy_uwh: int,
    cuts: list[int],
    direction: Direction,
    included: bool,  # noqa: FBT001
) -> None:
    """A single charge goes a shorter way than several do: both must say the same."""
    edges = [0, *sorted(set(cuts) - {0, 30 * MINUTE_US}), 30 * MINUTE_US]
    upto = [energy_uwh * edge * edge // edges[-1] ** 2 for edge in edges]  # rising power
    parts = [(NOON_US + start, NOON_US + end, upto[n + 1] - upto[n]) for n, (start, end) in enumerate(pairwise(edges))]
    rates = energy(tiers(("1", "0.1234567"), ("1.000000001", "-0.2"), ("3", "0.7"), (None, "0.3")))
    more: dict[str, Any] = {"direction": direction, "prices_include_tax": included}
    more |= {"taxes": [{"name": "VAT", "rate": "0.19"}], "parts": parts}
    alone, beside = priced(before_uwh, energy_uwh, rates, **more), priced(before_uwh, energy_uwh, rates, FREE, **more)
    assert (alone.cost, alone.cost_excluding_tax, alone.tax) == (beside.cost, beside.cost_excluding_tax, beside.tax)
    assert list(alone.components) == [c for c in beside.components if c.charge_id == "energy"]
