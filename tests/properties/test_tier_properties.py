"""Graduated tiers: whatever the order of records, corrections and crashes, prices are those of the energy before them.

The expectation walks each meter's intervals from the first to the last and counts in a dictionary; what is proved is that
the pipeline, which counts in pages and prices again only where a bound may be crossed, always ends there too.
"""

import json
from collections import Counter as Tally
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.instants import format_instant, parse_instant_us
from app.domain.rates import IntervalPrice
from app.domain.reference import ReferenceBook
from app.domain.tiers import Counter, TierPeriod
from app.streams.sources import OfflineMessage
from app.wire.location import parse_location
from app.wire.tariff import parse_tariff
from tests.simulation import SimulatedPartition, book_of, flat_tariff, message

MINUTE_US = 60_000_000
EVENING_US = parse_instant_us("2025-02-28T20:00:00Z")
"""Four hours before a day, a month and a billing period begin in London."""

SLOTS = 108
"""Of five minutes: nine hours, in which a day begins in St. John's too."""


def tiers_of(bounds: Sequence[str], first: int) -> list[dict[str, Any]]:
    ends = [*bounds, None]
    return [{"up_to_kwh": end, "rate": f"0.{first + number}"} for number, end in enumerate(ends)]


def tariff_of(  # noqa: PLR0917 - Hypothesis gives them by position
    name: str, version: int, period: str, scope: str, bounds: tuple[list[str], list[str]], timezone: str
) -> dict[str, Any]:
    bands = [
        {"name": "late", "when": [{"start": "23:40", "end": "01:10"}], "tiers": tiers_of(bounds[0], 31)},
        {"name": "rest", "when": [], "tiers": tiers_of(bounds[1], 11)},
    ]
    grid = [{"name": "all", "tiers": [{"rate": "0.05"}]}]
    charges = [
        {"charge_id": "energy", "kind": "energy", "tier_scope": scope, "bands": bands},
        {"charge_id": "grid", "kind": "energy", "bands": grid},
    ]
    more = {"billing_period": {"anchor_day": 28}, "tier_period": period, "timezone": timezone, "charges": charges}
    return flat_tariff(name) | {"version": version} | more


ladders = st.lists(st.sampled_from(["0.1", "0.3", "0.75", "1", "2.5"]), max_size=3, unique=True).map(
    lambda bounds: sorted(bounds, key=float)
)
tariffs = st.builds(
    tariff_of,
    st.just("tiered"),
    st.sampled_from([1, 2]),
    st.sampled_from(["P1D", "P1M", "P1Y", "BILLING"]),
    st.sampled_from(["charge", "band"]),
    st.tuples(ladders, ladders),
    st.sampled_from(["Europe/London", "Europe/London", "Asia/Kolkata", "America/St_Johns"]),
)


def link(tariff_id: str, start: int | None = None, end: int | None = None) -> dict[str, Any]:
    bounds = (None if slot is None else format_instant(EVENING_US + slot * 5 * MINUTE_US) for slot in (start, end))
    return {"direction": "IMPORT", "tariff_id": tariff_id} | dict(zip(("valid_from", "valid_to"), bounds, strict=True))


links = st.one_of(
    st.just([link("tiered")]),
    st.integers(1, SLOTS).map(lambda at: [link("tiered", None, at), link("flat", at)]),
    st.tuples(st.integers(1, 30), st.integers(31, SLOTS)).map(
        lambda at: [link("tiered", None, at[0]), link("flat", *at), link("tiered", at[1])]
    ),
)


def location_of(linked: list[dict[str, Any]], minutes: int = 30) -> dict[str, Any]:
    return {"location_id": "loc_1", "timezone": "Europe/London", "interval_minutes": minutes, "tariffs": linked}


def record_of(slot: int, minutes: int, value: float, device: str | None) -> bytes:
    start_us = EVENING_US + slot * 5 * MINUTE_US
    period = {"start_time": format_instant(start_us), "end_time": format_instant(start_us + minutes * MINUTE_US)}
    found = {"location_id": "loc_1", "device_id": device, "units": "KWH", "value": value}
    return json.dumps(found | period).encode()


values = st.builds(
    record_of,
    st.integers(0, SLOTS).map(lambda slot: slot // 3 * 3),
    st.sampled_from([15, 30, 30, 60]),
    st.sampled_from([0, 0.1, 0.25, 0.3, 0.7, 1.0, 2.1]),
    st.sampled_from([None, None, None, "charger"]),
)
logs = st.lists(values, max_size=16).map(lambda found: [message(value, at) for at, value in enumerate(found)])


class Step(NamedTuple):
    """A part of a transaction, and what becomes of it then."""

    records: int
    intervals: int
    walk: int
    fate: str


fates = ["go on", "commit", "commit", "crash", "commit and crash", "commit and lose the store"]
steps = st.lists(
    st.builds(Step, st.integers(0, 5), st.integers(0, 5), st.integers(0, 3), st.sampled_from(fates)), max_size=8
)


def work(partition: SimulatedPartition, plan: Sequence[Step]) -> None:
    for step in plan:
        partition.take(step.records, step.intervals)
        partition.pipeline.walk(step.walk)
        if step.fate.startswith("commit"):
            partition.commit()
        if step.fate.endswith("crash"):
            partition.open()
        if step.fate.endswith("lose the store"):
            partition.lose_the_store()


class Walked:
    """Counts one meter's energy from its first interval to its last."""

    def __init__(self, book: ReferenceBook) -> None:
        self._book = book
        self._counted: list[tuple[str, Counter, int, int]] = []

    def before_uwh(self, tariff_id: str, period: TierPeriod, counter: Counter, start_us: int) -> int:
        del start_us  # everything counted so far lies before it
        return sum(
            energy_uwh
            for name, of, at_us, energy_uwh in self._counted
            if name == tariff_id
            and of.charge_id == counter.charge_id
            and counter.band in {None, of.band}
            and period.start_us <= at_us < period.end_us
        )

    def count(self, price: IntervalPrice) -> None:
        for one in price.components:
            tariff_id = one.tariff_id or price.tariff_id or ""
            self._counted.append((tariff_id, Counter(one.charge_id, one.band), one.start_us, one.energy_uwh))


def expected_costs(partition: SimulatedPartition) -> dict[str, list[tuple[Any, ...]]]:
    """Return, for each interval, its cost and its components as (charge, band, tier, energy, cost)."""
    found = {}
    meters: dict[str, Walked] = {}
    for interval_id, state in sorted(partition.states().items()):
        counts = meters.setdefault(interval_id.rpartition("|")[0], Walked(partition.book))
        plan = partition.book.plan("loc_1", "IMPORT")
        price = plan.price(state.start_us, state.end_us, state.energy_uwh(), state.parts(), "INBOUND", counts)
        counts.count(price)
        lines = [(c.charge_id, c.band, c.tier, c.energy_uwh, c.cost) for c in price.components]
        found[interval_id] = [(price.cost,), *lines]
    return found


def published_costs(partition: SimulatedPartition) -> dict[str, list[tuple[Any, ...]]]:
    found = {}
    for key, value in dict(partition.priced).items():
        record = json.loads(value)
        lines = [
            (c["charge_id"], c["band"], c["tier"], round(c["energy_wh"] * 1_000_000), c["cost"])
            for c in record["components"]
        ]
        found[key.decode()] = [(record["cost"],), *lines]
    return found


@settings(max_examples=300, deadline=None)
@given(tariffs, links, logs, steps, st.sampled_from([0.0, 2.0]), st.sampled_from([30, 60]))
def test_each_interval_is_priced_by_what_was_used_before_it(  # noqa: PLR0917 - given by Hypothesis
    tariff: dict[str, Any],
    linked: list[dict[str, Any]],
    log: list[OfflineMessage],
    plan: list[Step],
    emit_every_s: float,
    minutes: int,
) -> None:
    book = book_of(location_of(linked, minutes), tariffs=[tariff, flat_tariff()])
    partition = SimulatedPartition(log, book, emit_every_s=emit_every_s)
    work(partition, plan)
    partition.finish()
    assert published_costs(partition) == expected_costs(partition)
    for published in partition.published_bodies().values():
        assert all(before != after for (_, before), (_, after) in pairwise(published)), "published again unchanged"


def reprice(partition: SimulatedPartition, affected: Any) -> None:
    for location_id in affected.location_ids:
        partition.pipeline.forget_locations([location_id])
        partition.reprice(location_id, affected.start_us, affected.end_us)


@settings(max_examples=200, deadline=None)
@given(tariffs, tariffs, links, links, logs, steps)
def test_after_another_tariff_or_link_all_is_as_if_it_had_always_been_so(  # noqa: PLR0917 - given by Hypothesis
    first: dict[str, Any],
    second: dict[str, Any],
    linked: list[dict[str, Any]],
    relinked: list[dict[str, Any]],
    log: list[OfflineMessage],
    plan: list[Step],
) -> None:
    partition = SimulatedPartition(log, book_of(location_of(linked), tariffs=[first, flat_tariff()]))
    work(partition, plan)
    reprice(partition, partition.book.put_tariff(parse_tariff(second)))
    partition.commit()
    reprice(partition, partition.book.put_location(parse_location(location_of(relinked))))
    partition.finish()
    assert published_costs(partition) == expected_costs(partition)


@settings(max_examples=100, deadline=None)
@given(tariffs, logs, steps, st.sampled_from([(30, 60), (60, 15), (15, 30)]))
def test_after_another_interval_length_energy_still_counts_once(
    tariff: dict[str, Any], log: list[OfflineMessage], plan: list[Step], minutes: tuple[int, int]
) -> None:
    linked = [link("tiered")]
    partition = SimulatedPartition(log, book_of(location_of(linked, minutes[0]), tariffs=[tariff]))
    work(partition, plan)
    affected = partition.book.put_location(parse_location(location_of(linked, minutes[1])))
    partition.pipeline.forget_locations(affected.location_ids)
    reprice(partition, affected)
    partition.finish()
    reprice(partition, affected)
    partition.finish()
    assert published_costs(partition) == expected_costs(partition)


@settings(max_examples=100, deadline=None)
@given(tariffs, tariffs, st.integers(0, SLOTS), logs, steps)
def test_two_versions_side_by_side_count_together(
    first: dict[str, Any], second: dict[str, Any], at: int, log: list[OfflineMessage], plan: list[Step]
) -> None:
    newer = second | {"version": 3, "valid_from": format_instant(EVENING_US + at * 5 * MINUTE_US)}
    partition = SimulatedPartition(log, book_of(location_of([link("tiered")]), tariffs=[first]))
    work(partition, plan)
    reprice(partition, partition.book.put_tariff(parse_tariff(newer), "tiered/3"))
    partition.finish()
    assert published_costs(partition) == expected_costs(partition)
    for value in dict(partition.priced).values():
        record = json.loads(value)
        for component in record["components"]:
            version = component.get("tariff_version", record["tariff_version"])
            assert version == (3 if component["start_time"] >= newer["valid_from"] else first["version"])


def test_a_correction_downwards_prices_again_what_had_crossed_a_bound_on_a_later_day() -> None:
    tariff = tariff_of("tiered", 1, "P1M", "charge", (["1"], ["1"]), "Europe/London")
    values = [(4, 0.98), (5, 0.1), (6, 0.1), (7, 0.1), (4, 0.88)]
    log = [message(record_of(288 * day, 30, value, None), at) for at, (day, value) in enumerate(values)]
    partition = SimulatedPartition(log, book_of(location_of([link("tiered")]), tariffs=[tariff]))
    partition.take(4, 0)
    partition.commit()
    partition.finish()
    assert published_costs(partition) == expected_costs(partition)
    published = [len(bodies) for _, bodies in sorted(partition.published_bodies().items())]
    assert published == [2, 2, 2, 1]


def test_after_a_restart_an_interval_that_reaches_into_the_day_counts_with_what_it_has_there() -> None:
    """Midnight in St. John's is half past three UTC, inside an hourly interval of London."""
    tariff = tariff_of("tiered", 1, "P1D", "charge", (["1"], ["1"]), "America/St_Johns")
    book = book_of(location_of([link("tiered")], 60), tariffs=[tariff])
    log = [message(record_of(slot, 60, 2, None), at) for at, slot in enumerate((84, 96))]
    partition = SimulatedPartition(log, book)
    work(partition, [Step(1, 0, 0, "commit"), Step(0, 1, 0, "commit and crash")])
    partition.finish()
    assert published_costs(partition) == expected_costs(partition)
    _, second = sorted(published_costs(partition).items())
    assert [tier for charge, _, tier, *_ in second[1][1:] if charge == "energy"] == [2, 2]


@settings(max_examples=60, deadline=None)
@given(tariffs, logs)
def test_tiers_share_out_an_intervals_energy_once_for_each_charge(
    tariff: dict[str, Any], log: list[OfflineMessage]
) -> None:
    partition = SimulatedPartition(log, book_of(location_of([link("tiered")]), tariffs=[tariff]))
    partition.finish()
    for value in dict(partition.priced).values():
        record = json.loads(value)
        shared = Tally[str]()
        for component in record["components"]:
            shared[component["charge_id"]] += round(component["energy_wh"] * 1_000_000)
        assert set(shared.values()) == {round(record["energy_wh"] * 1_000_000)}
        ends = [(c["charge_id"], c["start_time"], c["end_time"]) for c in record["components"]]
        for charge_id in shared:
            times = [(start, end) for name, start, end in ends if name == charge_id]
            assert all(one[1] <= other[0] for one, other in pairwise(times))


def month_after(first: dict[str, Any], second: dict[str, Any], since: str) -> dict[str, list[tuple[Any, ...]]]:
    """Price one record of March, and one hour after it, with a second version that holds from an instant in March."""
    newer = second | {"version": 2, "valid_from": since}
    book = book_of(location_of([link("tiered")], 60), tariffs=[first])
    book.put_tariff(parse_tariff(newer), "tiered/2")
    march = {"start_time": "2025-03-01T00:00:00Z", "end_time": "2025-03-31T23:00:00Z"}
    april = {"start_time": "2025-03-31T23:00:00Z", "end_time": "2025-04-01T00:00:00Z"}
    record = {"location_id": "loc_1", "units": "KWH"}
    values = [record | march | {"value": 743}, record | april | {"value": 1}]
    partition = SimulatedPartition([message(json.dumps(one).encode(), at) for at, one in enumerate(values)], book)
    partition.finish()
    return published_costs(partition)


def plain_tariff(**fields: Any) -> dict[str, Any]:
    return flat_tariff("tiered") | {"timezone": "Europe/London"} | fields


def tiered_tariff(period: str, bound: str, **fields: Any) -> dict[str, Any]:
    tiers = [{"up_to_kwh": bound, "rate": "0.10"}, {"rate": "0.20"}]
    charge = {"charge_id": "energy", "kind": "energy", "bands": [{"name": "all", "tiers": tiers}]}
    return plain_tariff(tier_period=period, charges=[charge], **fields)


def energies(lines: list[tuple[Any, ...]]) -> list[tuple[int, int]]:
    """Return (tier, energy in Wh) of each component, of one hour for each kWh."""
    return [(tier, energy_uwh // 1_000_000) for _, _, tier, energy_uwh, _ in lines[1:]]


def test_what_a_version_without_tiers_priced_in_the_same_interval_counts() -> None:
    month, _ = month_after(plain_tariff(), tiered_tariff("P1M", "500"), "2025-03-11T00:00:00Z").values()
    assert energies(month) == [(1, 240_000), (1, 260_000), (2, 243_000)]


def test_energy_counts_in_the_tier_period_of_the_version_that_asks_for_it() -> None:
    """A version without tiers ends at noon: of what it priced, the morning counts towards the day of the next one."""
    month, hour = month_after(plain_tariff(), tiered_tariff("P1D", "20"), "2025-03-31T11:00:00Z").values()
    assert sum(energy for _, energy in energies(month)) == 743_000
    assert energies(month)[-2:] == [(1, 8_000), (2, 4_000)]
    assert energies(hour) == [(1, 1_000)]


def test_energy_of_a_month_counts_in_a_tier_period_that_began_inside_it() -> None:
    tiered = tiered_tariff("BILLING", "100", billing_period={"anchor_day": 29})
    _, hour = month_after(plain_tariff(), tiered, "2025-03-31T23:00:00Z").values()
    assert energies(hour) == [(1, 1_000)]
    tiered = tiered_tariff("BILLING", "71", billing_period={"anchor_day": 29})
    _, hour = month_after(plain_tariff(), tiered, "2025-03-31T23:00:00Z").values()
    assert energies(hour) == [(2, 1_000)]
