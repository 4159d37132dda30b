"""Demand: windows, bands, tiers; by month and by day."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from app.domain.bills import Bill
from app.domain.calendar import grid_for
from app.domain.demand import InTier, in_tiers, window_energies
from app.domain.tariffs import DemandBand, DemandTier
from tests.golden_bills.making import Json, bill_of, energy, location, record, tariff

KWH = 10**9
MINUTE_US = 60_000_000


def demand(*bands: Json, **fields: Any) -> Json:
    rest = {"name": "all", "when": [], "tiers": [{"up_to_kw": None, "rate": "10"}]}
    return {"charge_id": "demand", "kind": "demand", "bands": list(bands) or [rest]} | fields


def hours(*kwh: float, day: str = "2025-03-03", **fields: Any) -> list[Json]:
    """Return records of one hour each, from midnight."""
    return [
        record(f"{day}T{number:02d}:00:00Z", f"{day}T{number + 1:02d}:00:00Z", value, **fields)
        for number, value in enumerate(kwh)
    ]


def bill(records: list[Json], charge: Json, end: str = "2025-03-04", **fields: Any) -> Bill:
    return bill_of(records, location("tou", **fields), [tariff(energy(), charge)], ("2025-03-03", end))


def demand_lines(made: Bill) -> list[tuple[str | None, int | None, Fraction, str, Decimal]]:
    lines = [line for line in made.lines if line.key.kind == "demand"]
    return [(line.key.band, line.key.tier, line.quantity, line.unit, line.total) for line in lines]


def test_an_interval_within_a_window_gives_it_all() -> None:
    grid = grid_for("UTC", 30)
    assert window_energies([(0, 15 * MINUTE_US, 5), (15 * MINUTE_US, 30 * MINUTE_US, 7)], grid) == {0: 12}


def test_an_interval_over_several_windows_gives_each_its_share() -> None:
    found = window_energies([(0, 60 * MINUTE_US, 10)], grid_for("UTC", 15))
    assert list(found.values()) == [Fraction(5, 2)] * 4


def test_a_bound_belongs_to_the_tier_below_it() -> None:
    band = DemandBand("all", (), (DemandTier(Decimal(2), Decimal(5)), DemandTier(None, Decimal(8))))
    assert in_tiers(band, Fraction(2)) == [InTier(1, Fraction(2), Decimal(5))]
    assert in_tiers(band, Fraction(3)) == [InTier(1, Fraction(2), Decimal(5)), InTier(2, Fraction(1), Decimal(8))]
    assert in_tiers(band, Fraction(0)) == [InTier(1, Fraction(0), Decimal(5))]


def test_a_month_is_due_for_its_part_in_the_bill() -> None:
    made = bill(hours(1, 3, 2), demand())
    assert demand_lines(made) == [("all", 1, Fraction(3, 31), "kW month", Decimal("0.97"))]
    (peak,) = [line.peak for line in made.lines if line.peak]
    assert peak.kw == 3


def test_a_day_rate_is_due_for_each_day_at_the_months_demand() -> None:
    records = [*hours(1, 3), *hours(2, day="2025-03-04")]
    made = bill(records, demand(per="day"), end="2025-03-05")
    assert demand_lines(made) == [("all", 1, Fraction(6), "kW day", Decimal(60))]


def test_measured_by_the_day_each_day_has_its_own_demand() -> None:
    records = [*hours(1, 3), *hours(2, day="2025-03-04")]
    made = bill(records, demand(per="day", measured_over="day"), end="2025-03-05")
    assert demand_lines(made) == [("all", 1, Fraction(5), "kW day", Decimal(50))]
    assert [sum(day.costs["GBP"]["demand"] for _ in [0]) for day in made.days] == [30, 20]


def test_each_month_has_its_own_line() -> None:
    made = bill_of(
        [*hours(3), *hours(2, day="2025-04-01")],
        location("tou"),
        [tariff(energy(), demand())],
        ("2025-03-01", "2025-05-01"),
    )
    assert [(line.key.month, line.total) for line in made.lines if line.key.kind == "demand"] == [
        ("2025-03", Decimal(30)),
        ("2025-04", Decimal(20)),
    ]


def test_what_is_missing_in_a_window_counts_as_nothing_and_the_bill_says_so() -> None:
    made = bill([record("2025-03-03T10:00:00Z", "2025-03-03T10:15:00Z", 2)], demand(measurement_minutes=30))
    (peak,) = [line.peak for line in made.lines if line.peak]
    assert peak.kw == 4  # 2 kWh over half an hour, of which a quarter was not measured
    assert "incomplete" in {problem.kind for problem in made.problems}


def test_an_interval_longer_than_a_window_counts_with_its_mean_power_and_the_bill_says_so() -> None:
    made = bill(hours(4), demand(measurement_minutes=15), interval_minutes=60)
    (peak,) = [line.peak for line in made.lines if line.peak]
    assert peak.kw == 4
    assert "longer than the measurement window of 15 minutes" in made.notes[0]
    assert bill(hours(4), demand(measurement_minutes=30)).notes == ()


def test_windows_longer_than_intervals_take_the_mean() -> None:
    records = [
        record("2025-03-03T10:00:00Z", "2025-03-03T10:15:00Z", 2),
        record("2025-03-03T10:15:00Z", "2025-03-03T11:00:00Z", 0.5),
    ]
    made = bill(records, demand(measurement_minutes=60), interval_minutes=15)
    (peak,) = [line.peak for line in made.lines if line.peak]
    assert peak.kw == Fraction("2.5")


def test_a_window_belongs_to_the_band_at_its_start() -> None:
    evening = {
        "name": "evening",
        "when": [{"start": "17:15", "end": "18:15"}],
        "tiers": [{"up_to_kw": None, "rate": "1"}],
    }
    at_five = record("2025-03-03T17:00:00Z", "2025-03-03T17:30:00Z", 5)
    at_six = record("2025-03-03T18:00:00Z", "2025-03-03T18:30:00Z", 2)
    made = bill([at_five, at_six], demand(evening, measurement_minutes=30, per="day"))
    assert demand_lines(made) == [("evening", 1, Fraction(4), "kW day", Decimal(4))]


def test_windows_hang_from_local_midnight() -> None:
    records = [record("2025-03-03T18:30:00Z", "2025-03-03T19:30:00Z", 6)]
    india = tariff(energy(), demand(measurement_minutes=60, per="day"), timezone="Asia/Kolkata")
    made = bill_of(records, location("tou", timezone="Asia/Kolkata"), [india], ("2025-03-04", "2025-03-05"))
    assert [line.peak.kw for line in made.lines if line.peak] == [6]  # 00:00 to 01:00 by the clock there


def test_local_energy_that_flows_out_is_no_demand() -> None:
    local = tariff(energy(), demand(per="day"), direction="LOCAL")
    place = location() | {"tariffs": [{"direction": "LOCAL", "tariff_id": "tou"}]}
    records = [
        *hours(1, tariff_direction="LOCAL"),
        *hours(9, tariff_direction="LOCAL", energy_flow_direction="OUTBOUND"),
    ]
    made = bill_of(records, place, [local], ("2025-03-03", "2025-03-04"))
    assert [line.peak.kw for line in made.lines if line.peak] == [1]


def test_energy_without_a_price_has_power_all_the_same() -> None:
    market = {"charge_id": "market", "kind": "energy", "series": {"series_id": "S", "multiplier": "1", "adder": "0"}}
    made = bill_of(hours(5), location("tou"), [tariff(market, demand(per="day"))], ("2025-03-03", "2025-03-04"))
    assert demand_lines(made) == [("all", 1, Fraction(5), "kW day", Decimal(50))]


@pytest.mark.parametrize(("minimum", "billed"), [("2", 3), ("3", 3), ("4", 4)])
def test_demand_is_at_least_the_minimum(minimum: str, billed: int) -> None:
    assert demand_lines(bill(hours(3), demand(per="day", minimum_kw=minimum)))[0][2] == billed
