"""The engine against the slow reference: the same documents and records through both, equal to the last digit."""

import os

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.oracles.comparing import differences, our_prices
from tests.oracles.scenarios import DIFFICULT, Scenario, months, scenarios

pytestmark = pytest.mark.oracle

SEEDS = [int(number) for number in os.environ.get("ORACLE_SEEDS", "1").split(",")]
"""More of them find more: ORACLE_SEEDS=2,3,4."""

unhurried = settings(
    deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck), print_blob=False
)
"""Without shrinking: prices are slow to compute twice, and a fault should be told in a minute."""

seeds = pytest.mark.parametrize("number", SEEDS)
zones = pytest.mark.parametrize("zone", sorted(DIFFICULT))


def agree(scenes: st.SearchStrategy[Scenario], number: int, count: int) -> None:
    """Hold the engine to the reference in scenes that a seed chooses: the same ones each time, on every machine."""

    @seed(number)
    @settings(unhurried, max_examples=count)
    @given(scenes)
    def in_each(scene: Scenario) -> None:
        assert differences(*scene) == []

    in_each()


@seeds
@zones
def test_tariffs_without_tiers_cost_what_the_definition_says(zone: str, number: int) -> None:
    agree(scenarios(zone, graduated=False), number, 4)


@seeds
@zones
def test_tariffs_with_tiers_cost_what_the_definition_says(zone: str, number: int) -> None:
    agree(scenarios(zone, graduated=True), number, 10)


@seeds
@pytest.mark.parametrize("zone", ["America/St_Johns", "Australia/Lord_Howe", "Europe/London"])
def test_a_record_of_a_whole_month_costs_what_the_definition_says(zone: str, number: int) -> None:
    agree(months(zone), number, 2)


@pytest.mark.parametrize("graduated", [1, 2])
def test_a_counter_that_stands_on_a_bound_is_in_the_tier_below_it(graduated: int) -> None:
    """Random energies seldom come to a bound exactly, and then go on with none."""
    tiers = [{"up_to_kwh": "1", "rate": "0.10"}, {"up_to_kwh": "1.5", "rate": "0.20"}, {"rate": "0.30"}]
    bands = [{"name": "all", "tiers": tiers}]
    charges = [{"charge_id": f"charge {n}", "kind": "energy", "bands": bands} for n in range(graduated)]
    tariff = {"tariff_id": "in", "direction": "IMPORT", "currency": "GBP", "timezone": "UTC", "charges": charges}
    place = {"location_id": "home", "timezone": "UTC", "tariffs": [{"direction": "IMPORT", "tariff_id": "in"}]}
    record = {"location_id": "home", "units": "KWH"}
    records = [
        record
        | {"value": value, "start_time": f"2025-03-01T{at:02d}:00:00Z", "end_time": f"2025-03-01T{at:02d}:30:00Z"}
        for at, value in enumerate([0, 0.4, 0.6, 0, 0.5, 0, 0.1, 0])
    ]
    assert differences(records, [place], [tariff]) == []
    ours = our_prices(records, [place], [tariff])
    tiers_of = [[component["tier"] for component in one["components"]] for _, one in sorted(ours.items())]
    assert tiers_of == [[tier] * graduated for tier in (1, 1, 1, 1, 2, 2, 3, 3)]
