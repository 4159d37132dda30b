"""What a meter has counted towards its tiers, where pages come and go, and what of it outlasts a worker."""

import json
from collections.abc import Sequence
from typing import Any

from app.domain.instants import format_instant, parse_instant_us
from app.domain.pricing import PricePlan
from app.domain.reference import ReferenceBook
from app.domain.tariffs import Direction
from app.wire.location import parse_location
from app.wire.tariff import parse_tariff
from tests.simulation import SimulatedPartition, book_of, flat_tariff, message

HALF_HOUR_US = 1800 * 1_000_000
MARCH_US = parse_instant_us("2025-03-01T00:00:00Z")
APRIL_US = parse_instant_us("2025-03-31T23:00:00Z")
"""Midnight in London, where the clocks have gone forward."""


def tiered(tariff_id: str = "tiered", bound: str = "1", **more: Any) -> dict[str, Any]:
    """Return a tariff of 0.10 up to so many kWh of a tier period, and 0.20 from there on."""
    tiers = [{"up_to_kwh": bound, "rate": "0.10"}, {"up_to_kwh": None, "rate": "0.20"}]
    charges = [{"charge_id": "energy", "kind": "energy", "bands": [{"name": "all", "tiers": tiers}]}]
    return flat_tariff(tariff_id) | {"charges": charges} | more


def record(start_us: int, kwh: float, end_us: int | None = None) -> bytes:
    """Return a record of a half hour, or up to another end."""
    end_us = start_us + HALF_HOUR_US if end_us is None else end_us
    times = {"start_time": format_instant(start_us), "end_time": format_instant(end_us)}
    return json.dumps({"location_id": "loc_1", "units": "KWH", "value": kwh} | times).encode()


def linked(*links: tuple[str, int | None, int | None]) -> dict[str, Any]:
    """Return a location on import tariffs, each from an instant to another."""
    found = [
        {"direction": "IMPORT", "tariff_id": tariff_id}
        | ({} if start_us is None else {"valid_from": format_instant(start_us)})
        | ({} if end_us is None else {"valid_to": format_instant(end_us)})
        for tariff_id, start_us, end_us in links
    ]
    return {"location_id": "loc_1", "timezone": "Europe/London", "tariffs": found}


def partition_of(book: ReferenceBook, values: Sequence[bytes]) -> SimulatedPartition:
    return SimulatedPartition([message(value, at) for at, value in enumerate(values)], book)


def take(partition: SimulatedPartition, count: int) -> None:
    """Take so many records, and price all that they publish, in transactions."""
    partition.take(count, 0)
    partition.commit()
    partition.take(0, count)
    partition.commit()


def tiers(partition: SimulatedPartition) -> dict[int, list[tuple[int, float]]]:
    """Return (tier, Wh) of the components of each interval, by its start."""
    newest = {key: json.loads(value) for key, value in partition.priced}
    return {
        parse_instant_us(each["start_time"]): [(c["tier"], c["energy_wh"]) for c in each["components"]]
        for each in newest.values()
    }


def test_an_interval_that_leaves_a_tariff_and_comes_back_counts_only_what_it_has_there() -> None:
    ten_minutes_us = HALF_HOUR_US // 3
    away_us = MARCH_US + ten_minutes_us
    back_us = away_us + ten_minutes_us
    location = linked(("tiered", None, away_us), ("flat", away_us, back_us), ("tiered", back_us, None))
    book = book_of(location, tariffs=[tiered(), flat_tariff()])
    partition = partition_of(book, [record(MARCH_US, 1.2), record(MARCH_US + HALF_HOUR_US, 0.3)])
    partition.finish()
    assert tiers(partition)[MARCH_US + HALF_HOUR_US] == [(1, 200), (2, 100)]  # 0.8 kWh were counted before it


def test_a_late_record_counts_what_came_before_it_in_the_same_transaction_as_the_first_after_a_restart() -> None:
    book = book_of(linked(("tiered", None, None)), tariffs=[tiered()])
    kwh = {0: 0.5, 1: 0.4, 3: 0.5, 2: 0.5}
    partition = partition_of(book, [record(MARCH_US + at * HALF_HOUR_US, energy) for at, energy in kwh.items()])
    take(partition, 1)
    partition.open()
    for _ in range(3):
        partition.take(1, 0)
        partition.commit()
    partition.take(0, 3)
    partition.finish()
    found = tiers(partition)
    assert [found[MARCH_US + at * HALF_HOUR_US] for at in range(4)] == [
        [(1, 500)],
        [(1, 400)],
        [(1, 100), (2, 400)],
        [(2, 500)],
    ]


def test_counts_of_a_day_are_right_after_many_other_days_were_corrected() -> None:
    day_us = 48 * HALF_HOUR_US
    tenth_us = MARCH_US + 10 * day_us
    later_us = tenth_us + HALF_HOUR_US
    by_day = {"tier_period": "P1D"}
    book = book_of(
        linked(("tiered", None, later_us), ("other", later_us, None)),
        tariffs=[tiered(bound="2.5", **by_day), tiered("other", **by_day)],
    )
    on_other = [record(later_us + number * HALF_HOUR_US, 1) for number in range(6)]
    others = [record(MARCH_US + number * day_us, 1) for number in range(5)]
    partition = partition_of(book, [*on_other, record(tenth_us, 1), *others])
    for count in (6, 1, 1, 1, 1, 1, 1):
        take(partition, count)
    affected = book.put_location(parse_location(linked(("tiered", None, None))))
    partition.pipeline.forget_locations(affected.location_ids)
    partition.reprice("loc_1", affected.start_us, affected.end_us)
    partition.finish()
    found = [tiers(partition)[tenth_us + number * HALF_HOUR_US] for number in range(7)]
    assert found == [[(1, 1000)]] * 2 + [[(1, 500), (2, 500)]] + [[(2, 1000)]] * 4


def relink(partition: SimulatedPartition, *links: tuple[str, int | None, int | None]) -> None:
    """Put a location on other tariffs, and price again what that concerns."""
    affected = partition.book.put_location(parse_location(linked(*links)))
    partition.pipeline.forget_locations(affected.location_ids)
    partition.reprice("loc_1", affected.start_us, affected.end_us)
    while partition.pipeline.walks:
        partition.pipeline.walk(1)
    partition.commit()


def test_energy_counts_once_when_its_location_comes_back_from_a_flat_tariff() -> None:
    day_us = 48 * HALF_HOUR_US
    starts = [MARCH_US + day * day_us + number * HALF_HOUR_US for day in range(3) for number in range(2)]
    book = book_of(linked(("tiered", None, None)), tariffs=[tiered(bound="3.5"), flat_tariff()])
    partition = partition_of(book, [record(start_us, 1) for start_us in starts])
    take(partition, len(starts))
    before = tiers(partition)
    assert [before[start_us][0][0] for start_us in starts] == [1, 1, 1, 1, 2, 2]
    relink(partition, ("flat", None, None))
    relink(partition, ("tiered", None, None))
    assert tiers(partition) == before


def test_energy_counts_towards_another_version_though_it_came_while_that_was_not_linked() -> None:
    """The flat version is valid first, and its energy counts towards the tiers of the other in the same month."""
    change_us = MARCH_US + 96 * HALF_HOUR_US
    change = format_instant(change_us)
    book = book_of(linked(("tiered", None, None)), tariffs=[tiered(bound="2") | {"valid_from": change}])
    flat = tiered(bound="2") | {"version": 2, "valid_to": change}
    flat["charges"][0]["bands"][0]["tiers"] = [{"rate": "0.05"}]
    book.put_tariff(parse_tariff(flat), "tiered/2")
    values = [record(MARCH_US, 0.5), record(change_us, 1), record(MARCH_US + 48 * HALF_HOUR_US, 1.2)]
    partition = partition_of(book, values)
    take(partition, 2)
    assert tiers(partition)[change_us] == [(1, 1000)]
    relink(partition, ("tiered", None, change_us))
    take(partition, 1)
    relink(partition, ("tiered", None, None))
    assert tiers(partition)[change_us] == [(1, 300), (2, 700)]


def test_a_month_that_replaced_its_half_hours_counts_into_the_billing_period_that_begins_in_it() -> None:
    """March has 743 hours in London; 28 March is 95 of them before April."""
    book = book_of(
        linked(("tiered", None, None)),
        tariffs=[tiered(bound="96", tier_period="BILLING", billing_period={"anchor_day": 28})],
    )
    for numbers in (range(3), range(1290, 1300)):  # before and after the 28th
        replaced = [record(MARCH_US + number * HALF_HOUR_US, 1) for number in numbers]
        values = [*replaced, record(MARCH_US, 743, APRIL_US), record(APRIL_US, 2)]
        partition = partition_of(book, values)
        take(partition, len(replaced))
        take(partition, 1)
        take(partition, len(replaced))
        partition.open()  # what was counted is read from the table again
        partition.finish()
        assert tiers(partition)[APRIL_US] == [(1, 1000), (2, 1000)]


def test_a_correction_at_the_beginning_of_a_year_asks_for_one_walk_a_meter() -> None:
    book = book_of(linked(("tiered", None, None)), tariffs=[tiered(bound="5", tier_period="P1Y")])
    days = [record(MARCH_US + number * 48 * HALF_HOUR_US, 0.1) for number in range(100)]
    partition = partition_of(book, [*days, record(MARCH_US, 1000)])
    take(partition, 100)
    take(partition, 1)
    assert len(partition.pipeline.walks) == 1
    assert sum(key.startswith(b"w") and value is not None for key, value in partition.changelog) == 1


def test_walks_outlast_a_crash_and_a_lost_store_and_leave_nothing_behind() -> None:
    book = book_of(linked(("tiered", None, None)), tariffs=[tiered()])
    values = [record(MARCH_US + number * HALF_HOUR_US, 0.1) for number in range(30)]
    partition = partition_of(book, [*values, record(MARCH_US, 0.5), record(MARCH_US + HALF_HOUR_US, 0)])
    take(partition, 30)
    take(partition, 1)
    partition.pipeline.walk(2)
    partition.open()
    assert partition.pipeline.walks
    take(partition, 1)
    partition.lose_the_store()
    assert partition.pipeline.walks
    partition.finish()
    assert not partition.pipeline.walks
    assert list(partition.store.items(b"w", b"x")) == []
    moved = {number: tiers(partition)[MARCH_US + number * HALF_HOUR_US] for number in range(30)}
    assert moved == {0: [(1, 500)], 1: [(1, 0)]} | {n: [(1 if n < 7 else 2, 100)] for n in range(2, 30)}


class FailingBook(ReferenceBook):
    """A book with a fault: it cannot say how a location is priced once it is told to fail."""

    __slots__ = ("fails_at",)

    def plan(self, location_id: str, direction: Direction) -> PricePlan:
        if location_id == getattr(self, "fails_at", None):
            raise ZeroDivisionError
        return super().plan(location_id, direction)


def test_an_interval_that_cannot_be_priced_again_keeps_its_price_and_holds_up_no_other() -> None:
    book = FailingBook()
    book.put_tariff(parse_tariff(flat_tariff()))
    for location_id in ("loc_0", "loc_1"):
        book.put_location(parse_location(linked(("flat", None, None)) | {"location_id": location_id}))
    values = [record(MARCH_US, 1).replace(b"loc_1", location_id) for location_id in (b"loc_0", b"loc_1")]
    partition = partition_of(book, values)
    partition.finish()
    book.fails_at = "loc_0"
    affected = book.put_tariff(parse_tariff(flat_tariff(rate="0.50")))
    for location_id in sorted(affected.location_ids):
        partition.reprice(location_id)
    partition.finish()
    costs = {key.partition(b"|")[0]: json.loads(value)["cost"] for key, value in partition.priced}
    assert costs == {b"loc_0": "0.2", b"loc_1": "0.5"}
