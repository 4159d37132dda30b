"""Completeness: what is missing, incomplete, unpriced or cannot be billed, as ranges of time."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from app.domain.bill_coverage import Problem, merged, sort_out
from app.domain.bill_records import PricedInterval
from app.domain.bills import Bill, make_bill
from app.domain.calendar import grid_for
from app.domain.instants import format_instant, parse_instant_us
from app.domain.records import MeterId
from app.wire.location import parse_location
from tests.golden_bills.making import Json, bill_of, energy, location, parsed, priced, record, tariff

METER = MeterId("loc_1", "", "INBOUND", "IMPORT")
GRID = grid_for("Europe/London", 30)
HALF_HOUR_US = 1_800_000_000
START_US = parse_instant_us("2025-03-03T00:00:00Z")
MARCH_3 = ("2025-03-03", "2025-03-04")
FLAT = tariff(energy())
OUT = tariff(energy("0.10"), tariff_id="out", direction="EXPORT")
EXPORT_METER = MeterId("loc_1", "", "OUTBOUND", "EXPORT")

Shown = tuple[str, str | None, str, str, int]


def at(number: int) -> int:
    """Return the beginning of a half hour of 3 March."""
    return START_US + number * HALF_HOUR_US


def interval(first: int, last: int | None = None, **fields: Any) -> PricedInterval:
    """Return an interval over some half hours, priced and complete."""
    end = first + 1 if last is None else last
    return PricedInterval(METER, at(first), at(end), 1000, False, True, None, ())._replace(**fields)


def sorted_out(*intervals: PricedInterval, end: int = 10) -> list[tuple[str, str | None, int, int, int]]:
    found = sort_out(METER, [(one, None) for one in intervals], GRID, (at(0), at(end)))
    return [
        (
            one.kind,
            one.reason,
            (one.start_us - at(0)) // HALF_HOUR_US,
            (one.end_us - at(0)) // HALF_HOUR_US,
            one.intervals,
        )
        for one in found.problems
    ]


def shown(bill: Bill) -> list[Shown]:
    return [
        (one.kind, one.reason, format_instant(one.start_us), format_instant(one.end_us), one.intervals)
        for one in bill.problems
    ]


def day(on: str, **fields: Any) -> Json:
    following = date.fromordinal(date.fromisoformat(on).toordinal() + 1)
    return record(f"{on}T00:00:00Z", f"{following}T00:00:00Z", 24, **fields)


# --- one meter's intervals ---


def test_where_every_interval_is_there_nothing_is_wrong() -> None:
    assert sorted_out(*(interval(number) for number in range(10))) == []


def test_gaps_at_the_edges_and_inside_are_named_each() -> None:
    assert sorted_out(interval(2), interval(3), interval(6)) == [
        ("missing", None, 0, 2, 2),
        ("missing", None, 4, 6, 2),
        ("missing", None, 7, 10, 3),
    ]


def test_of_a_silent_meter_all_is_missing() -> None:
    assert sorted_out() == [("missing", None, 0, 10, 10)]


def test_an_interval_without_any_reading_in_it_is_missing() -> None:
    assert sorted_out(interval(0, 5), interval(5, empty=True), interval(6, 10)) == [("missing", None, 5, 6, 1)]


def test_neighbours_with_the_same_problem_are_one_range_and_others_are_not() -> None:
    partial = [interval(number, complete=False) for number in (1, 2, 3, 5)]
    rest = [interval(number) for number in (0, 4, 6, 7, 8, 9)]
    assert sorted_out(*partial, *rest) == [("incomplete", None, 1, 4, 3), ("incomplete", None, 5, 6, 1)]


def test_reasons_are_kept_apart() -> None:
    pending = [interval(number, reason="no_price" if number < 3 else "no_tariff") for number in range(10)]
    assert sorted_out(*pending) == [("unpriced", "no_price", 0, 3, 3), ("unpriced", "no_tariff", 3, 10, 7)]


def test_an_interval_may_be_incomplete_and_unpriced_at_once() -> None:
    assert sorted_out(interval(0, complete=False, reason="no_price"), interval(1, 10)) == [
        ("incomplete", None, 0, 1, 1),
        ("unpriced", "no_price", 0, 1, 1),
    ]


def test_what_overlaps_an_earlier_interval_is_not_billed() -> None:
    found = sort_out(METER, [(interval(0, 2), None), (interval(1), None)], GRID, (at(0), at(2)))
    assert found.billed == [interval(0, 2)]
    assert [(one.kind, one.reason, one.intervals) for one in found.problems] == [("unbilled", "overlaps", 1)]


def test_what_cannot_be_billed_is_neither_missing_nor_billed() -> None:
    found = sort_out(METER, [(interval(0, 10), "tariff_unknown")], GRID, (at(0), at(10)))
    assert (found.billed, found.unpriced) == ([], [])
    assert [(one.kind, one.reason) for one in found.problems] == [("unbilled", "tariff_unknown")]


def test_the_edges_of_the_bill_cut_ranges_and_what_lies_outside_does_not_matter() -> None:
    outside = [interval(-3), interval(-1, reason="no_price"), interval(10, complete=False)]
    crossing = [interval(-1, 1, complete=False), interval(9, 12, complete=False)]
    assert sorted_out(*outside, *crossing, interval(1, 9)) == [
        ("incomplete", None, 0, 1, 1),
        ("incomplete", None, 9, 10, 1),
    ]


def test_ranges_are_merged_for_one_meter_only() -> None:
    other = METER._replace(device_id="car")
    ranges = [Problem("missing", None, METER, 0, 5, 1), Problem("missing", None, other, 5, 9, 1)]
    assert merged(ranges) == ranges


# --- clock changes, months, other lengths ---


@pytest.mark.parametrize(("on", "end", "count"), [("2025-03-30", "2025-03-31", 46), ("2025-10-26", "2025-10-27", 50)])
def test_a_day_on_which_clocks_change_misses_as_many_intervals_as_it_has(on: str, end: str, count: int) -> None:
    assert [one[-1] for one in shown(bill_of([], location("tou"), [FLAT], (on, end)))] == [count]


def test_the_hour_that_stands_twice_is_missed_where_it_is() -> None:
    records = [
        record("2025-10-25T23:00:00Z", "2025-10-26T00:30:00Z", 1),  # to 01:30, the first time
        record("2025-10-26T01:30:00Z", "2025-10-27T00:00:00Z", 1),
    ]
    made = bill_of(records, location("tou"), [FLAT], ("2025-10-26", "2025-10-27"))
    assert shown(made) == [("missing", None, "2025-10-26T00:30:00Z", "2025-10-26T01:30:00Z", 2)]


@pytest.mark.parametrize(("minutes", "count"), [(5, 288), (15, 96), (60, 24)])
def test_intervals_are_counted_by_the_locations_length(minutes: int, count: int) -> None:
    made = bill_of([], location("tou", interval_minutes=minutes), [FLAT], ("2025-03-03", "2025-03-04"))
    assert [one[-1] for one in shown(made)] == [count]


def test_a_monthly_reading_makes_its_month_complete() -> None:
    march = record("2025-03-01T00:00:00Z", "2025-03-31T23:00:00Z", 310)
    made = bill_of([march], location("tou"), [FLAT], ("2025-03-01", "2025-05-01"))
    assert shown(made) == [("missing", None, "2025-03-31T23:00:00Z", "2025-04-30T23:00:00Z", 1440)]
    assert made.lines[0].quantity == 310
    assert sum(total.energy[METER] for total in made.days[:31]) == 310 * 10**9


def test_a_monthly_reading_that_the_edge_cuts_is_not_guessed() -> None:
    march = record("2025-03-01T00:00:00Z", "2025-03-31T23:00:00Z", 310)
    made = bill_of([march], location("tou"), [FLAT], ("2025-03-10", "2025-03-20"))
    assert shown(made) == [("unbilled", "straddles", "2025-03-10T00:00:00Z", "2025-03-20T00:00:00Z", 1)]
    assert made.lines == ()


def test_a_monthly_reading_whose_price_says_what_lies_inside_is_billed_to_the_edge() -> None:
    night = {
        "name": "night",
        "when": [{"start": "00:00", "end": "07:00"}],
        "tiers": [{"up_to_kwh": None, "rate": "0.1"}],
    }
    charge = energy("0.30")
    charge["bands"].insert(0, night)
    march = record("2025-03-01T00:00:00Z", "2025-03-31T23:00:00Z", 743)
    halves = [
        bill_of([march], location("tou"), [tariff(charge)], period)
        for period in (("2025-03-01", "2025-03-15"), ("2025-03-15", "2025-04-01"))
    ]
    whole = bill_of([march], location("tou"), [tariff(charge)], ("2025-03-01", "2025-04-01"))
    assert [shown(half) for half in halves] == [[], []]
    assert sum(half.totals[0].unrounded for half in halves) == whole.totals[0].unrounded
    assert [line.quantity for line in halves[0].lines] == [7 * 14, 17 * 14]


# --- meters that are expected ---


def test_an_import_meter_is_expected_where_there_is_an_import_tariff_even_if_it_was_never_heard_of() -> None:
    export = [day("2025-03-03", energy_flow_direction="OUTBOUND")]
    made = bill_of(export, location("tou", "out"), [FLAT, OUT], MARCH_3)
    assert [(one.kind, one.meter.tariff_direction) for one in made.problems] == [("missing", "IMPORT")]


def test_where_nothing_was_heard_the_meters_of_the_linked_directions_are_expected() -> None:
    only_export = location() | {"tariffs": [{"direction": "EXPORT", "tariff_id": "out"}]}
    assert [one.meter for one in bill_of([], only_export, [OUT], MARCH_3).problems] == [EXPORT_METER]
    assert [one.meter for one in bill_of([], location(), [], MARCH_3).problems] == [METER]


def test_an_own_meter_that_was_heard_before_and_fell_silent_is_missed() -> None:
    records = [day("2025-03-02", energy_flow_direction="OUTBOUND"), day("2025-03-03")]
    made = bill_of(records, location("tou", "out"), [FLAT, OUT], MARCH_3)
    assert [(one.kind, one.meter, one.intervals) for one in made.problems] == [("missing", EXPORT_METER, 48)]


def test_an_own_meter_of_which_nothing_was_heard_before_or_whose_tariff_ended_is_not_missed() -> None:
    export = {"energy_flow_direction": "OUTBOUND"}
    later = bill_of([day("2025-03-04", **export), day("2025-03-03")], location("tou", "out"), [FLAT, OUT], MARCH_3)
    assert later.complete
    ended = location("tou", "out")
    ended["tariffs"][1]["valid_to"] = "2025-03-03T00:00:00Z"
    assert bill_of([day("2025-03-02", **export), day("2025-03-03")], ended, [FLAT, OUT], MARCH_3).complete


def test_a_device_that_fell_silent_is_not_missed_unless_it_was_asked_for() -> None:
    records = [day("2025-03-02", device_id="car"), day("2025-03-03", device_id="heat pump")]
    assert bill_of(records, location("tou"), [FLAT], MARCH_3).complete
    asked = bill_of(records, location("tou"), [FLAT], MARCH_3, device_id="car")
    assert [(one.kind, one.meter.device_id, one.intervals) for one in asked.problems] == [("missing", "car", 48)]


# --- prices that do not follow from the tariffs at hand ---


def billed_with(document: Json, *others: Json) -> Bill:
    """Bill what FLAT priced, with another document at hand."""
    intervals = priced([day("2025-03-03")], [location("tou")], [FLAT])
    period = (date(2025, 3, 3), date(2025, 3, 4))
    return make_bill(parse_location(location("tou")), parsed([document, *others]), intervals, period)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (tariff(energy(), tariff_id="other"), "tariff_unknown"),
        (tariff(energy(), version=2), "tariff_unknown"),
        (tariff(energy(), direction="LOCAL"), "tariff_changed"),
        (tariff(energy(charge_id="renamed")), "tariff_changed"),
        (tariff(energy(), taxes=[{"name": "VAT", "rate": "0.05"}]), "tariff_changed"),
        (tariff(energy("0.31")), "tariff_changed"),
    ],
)
def test_a_price_that_was_made_with_another_document_is_not_billed(document: Json, reason: str) -> None:
    made = billed_with(document)
    assert shown(made) == [("unbilled", reason, "2025-03-03T00:00:00Z", "2025-03-04T00:00:00Z", 48)]
    assert made.lines == ()


def test_a_renamed_band_is_another_document_and_a_rate_written_otherwise_is_not() -> None:
    assert billed_with(tariff(energy("0.300"))).complete
    renamed = energy()
    renamed["bands"][0]["name"] = "another"
    assert not billed_with(tariff(renamed)).complete


def test_every_tier_and_a_series_follow_from_their_documents() -> None:
    tiers = [{"up_to_kwh": "10", "rate": "0.30"}, {"up_to_kwh": None, "rate": "0.36"}]
    market = {"charge_id": "market", "kind": "energy", "series": {"series_id": "S"}}
    charge = energy(bands=[{"name": "all", "when": [], "tiers": tiers}])
    points = [{"start_time": "2025-03-03T00:00:00Z", "end_time": "2025-03-04T00:00:00Z", "value": "0.1"}]
    series = {"series_id": "S", "kind": "price", "unit": "GBP/kWh", "points": points}
    made = bill_of([day("2025-03-03")], location("tou"), [tariff(charge, market)], MARCH_3, series=[series])
    assert made.complete
    assert [(line.key.tier, line.net) for line in made.lines] == [
        (1, Decimal(3)),
        (2, Decimal("5.04")),
        (None, Decimal("2.4")),
    ]


def test_a_cost_that_is_wrong_in_its_last_digit_is_not_billed() -> None:
    (first, *rest) = priced([day("2025-03-03")], [location("tou")], [FLAT])
    component = first.components[0]
    wrong = first._replace(components=(component._replace(cost=component.cost + Decimal("1e-12")),))
    period = (date(2025, 3, 3), date(2025, 3, 4))
    made = make_bill(parse_location(location("tou")), parsed([FLAT]), [wrong, *rest], period)
    assert [(one[1], one[-1]) for one in shown(made)] == [("tariff_changed", 1)]
