"""Fixed and minimum charges: which days are due, under which link and version, and what is lacking."""

from datetime import date
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest

from app.domain.bills import Bill
from app.domain.calendar import calendar_for
from app.domain.instants import format_instant
from tests.golden_bills.making import Json, bill_of, energy, location, record, tariff

MARCH = ("2025-03-01", "2025-04-01")
STANDING: Json = {"charge_id": "standing", "kind": "fixed", "per": "day", "amount": "0.50"}
METERING: Json = {"charge_id": "metering", "kind": "fixed", "per": "month", "amount": "31"}


def minimum(amount: str, per: str = "month", charge_id: str = "minimum") -> Json:
    return {"charge_id": charge_id, "kind": "minimum", "per": per, "amount": amount}


def link(tariff_id: str = "tou", direction: str = "IMPORT", **dates: str) -> Json:
    return {"direction": direction, "tariff_id": tariff_id} | dates


def bill(
    tariffs: list[Json], *links: Json, period: tuple[str, str] = MARCH, records: list[Json] | None = None, **fields: Any
) -> Bill:
    place = location() | {"tariffs": list(links) or [link()]} | fields
    return bill_of(records or [], place, tariffs, period)


def lines(made: Bill, kind: str = "fixed") -> list[tuple[str, int, Fraction, Decimal]]:
    return [
        (line.key.charge_id, line.key.tariff_version, line.quantity, line.net)
        for line in made.lines
        if line.key.kind == kind
    ]


def test_every_day_and_month_of_the_bill_is_due_once() -> None:
    made = bill([tariff(energy(), STANDING, METERING)], period=("2025-02-01", "2025-05-01"))
    assert lines(made) == [("standing", 1, 89, Decimal("44.5")), ("metering", 1, 3, Decimal(93))]


@pytest.mark.parametrize(
    ("period", "days"),
    [
        (("2025-03-30", "2025-03-31"), 1),  # 23 hours
        (("2025-10-26", "2025-10-27"), 1),  # 25 hours
        (("2024-02-01", "2024-03-01"), 29),
    ],
)
def test_a_day_is_a_day_however_many_hours_it_has(period: tuple[str, str], days: int) -> None:
    assert lines(bill([tariff(energy(), STANDING)], period=period))[0][2] == days


def test_a_day_that_the_zone_skipped_is_not_due() -> None:
    samoa = tariff(energy(), STANDING, METERING, timezone="Pacific/Apia")
    made = bill([samoa], period=("2011-12-01", "2012-01-01"), timezone="Pacific/Apia")
    assert lines(made) == [("standing", 1, 30, Decimal(15)), ("metering", 1, 1, Decimal(31))]


def test_a_link_that_begins_at_noon_is_due_from_the_next_midnight_and_one_that_ends_at_noon_has_its_day() -> None:
    tariffs = [tariff(energy(), STANDING, tariff_id="old"), tariff(energy(), STANDING, METERING, tariff_id="new")]
    noon = "2025-03-10T12:00:00Z"
    made = bill(tariffs, link("old", valid_to=noon), link("new", valid_from=noon))
    assert [(line.key.tariff_id, line.key.charge_id, line.quantity) for line in made.lines] == [
        ("old", "standing", 10),
        ("new", "standing", 21),
        ("new", "metering", Fraction(21, 31)),
    ]


def test_without_a_link_nothing_is_due() -> None:
    made = bill([tariff(energy(), STANDING)], link(valid_from="2025-03-20T00:00:00Z", valid_to="2025-03-22T00:00:00Z"))
    assert lines(made) == [("standing", 1, 2, Decimal(1))]


def test_a_tariff_that_is_linked_twice_has_one_line_for_both() -> None:
    made = bill(
        [tariff(energy(), STANDING)],
        link(valid_to="2025-03-03T00:00:00Z"),
        link(valid_from="2025-03-30T00:00:00Z"),
    )
    assert lines(made) == [("standing", 1, 4, Decimal(2))]


def test_a_day_belongs_to_the_highest_version_that_is_valid_at_its_first_instant() -> None:
    versions = [
        tariff(energy(), STANDING, METERING),
        tariff(energy(), STANDING | {"amount": "0.60"}, METERING, version=2, valid_from="2025-03-11T06:00:00Z"),
    ]
    assert lines(bill(versions)) == [
        ("standing", 1, 11, Decimal("5.5")),
        ("metering", 1, Fraction(11, 31), Decimal(11)),
        ("standing", 2, 20, Decimal(12)),
        ("metering", 2, Fraction(20, 31), Decimal(20)),
    ]


def test_days_outside_a_season_are_not_due_and_a_month_has_its_part() -> None:
    winter = {"from": "11-01", "to": "03-10"}
    made = bill([tariff(energy(), STANDING | winter, METERING | winter)])
    assert lines(made) == [("standing", 1, 10, Decimal(5)), ("metering", 1, Fraction(10, 31), Decimal(10))]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Auckland"])
def test_a_tariff_of_another_zone_is_due_on_the_dates_of_the_bill(zone: str) -> None:
    versions = [
        tariff(energy(), STANDING, METERING, timezone=zone),
        tariff(energy(), STANDING, METERING, timezone=zone, version=2, valid_from=_midnight(zone, "2025-03-11")),
    ]
    made = bill(versions)
    assert lines(made) == [
        ("standing", 1, 10, Decimal(5)),
        ("metering", 1, Fraction(10, 31), Decimal(10)),
        ("standing", 2, 21, Decimal("10.5")),
        ("metering", 2, Fraction(21, 31), Decimal(21)),
    ]
    assert [total.name for total in made.months] == ["2025-03"]
    assert len(made.days) == 31


def _midnight(zone: str, on: str) -> str:
    return format_instant(calendar_for(zone).day_start_us(date.fromisoformat(on)))


def test_what_is_lacking_to_a_minimum_is_a_line_of_its_month() -> None:
    records = [record("2025-03-03T00:00:00Z", "2025-03-04T00:00:00Z", 20)]
    made = bill([tariff(energy(), STANDING, minimum("40"))], records=records, period=("2025-03-01", "2025-05-01"))
    # March: 6.00 for energy and 15.50; April: 15.00
    assert [(line.key.month, line.net) for line in made.lines if line.key.kind == "minimum"] == [
        ("2025-03", Decimal("18.5")),
        ("2025-04", Decimal(25)),
    ]


def test_where_a_minimum_is_reached_there_is_no_line() -> None:
    assert lines(bill([tariff(energy(), STANDING, minimum("15.50"))]), "minimum") == []
    assert lines(bill([tariff(energy(), STANDING, minimum("15.51"))]), "minimum")[0][3] == Decimal("0.01")


def test_a_minimum_by_the_day_is_compared_with_the_month() -> None:
    records = [record("2025-03-03T00:00:00Z", "2025-03-04T00:00:00Z", 100)]  # 30.00 on one day
    made = bill([tariff(energy(), minimum("1", per="day"))], records=records)
    assert lines(made, "minimum") == [("minimum", 1, 31, Decimal(1))]


def test_of_two_minimum_charges_the_second_counts_the_first() -> None:
    both = [minimum("20"), minimum("1", per="day", charge_id="daily")]
    made = bill([tariff(energy(), *both)])
    assert lines(made, "minimum") == [("minimum", 1, 1, Decimal(20)), ("daily", 1, 31, Decimal(11))]
    assert made.totals[0].net == 31


def test_a_minimum_is_compared_with_amounts_as_the_document_states_them() -> None:
    vat, standing = [{"name": "VAT", "rate": "0.25"}], STANDING | {"amount": "1"}
    without = bill([tariff(energy(), standing, minimum("50"), taxes=vat)])
    within = bill([tariff(energy(), standing, minimum("50"), taxes=vat, prices_include_tax=True)])
    assert (without.totals[0].net, without.totals[0].total) == (Decimal(50), Decimal("62.5"))
    assert (within.totals[0].net, within.totals[0].total) == (Decimal(40), Decimal(50))


def test_each_tariff_has_its_own_minimum() -> None:
    tariffs = [
        tariff(energy(), minimum("31"), tariff_id="old"),
        tariff(energy(), STANDING, minimum("31"), tariff_id="new"),
    ]
    change = "2025-03-11T00:00:00Z"
    made = bill(tariffs, link("old", valid_to=change), link("new", valid_from=change))
    assert [(line.key.tariff_id, line.net) for line in made.lines if line.key.kind == "minimum"] == [
        ("old", Decimal(10)),
        ("new", Decimal("10.5")),
    ]


def test_a_link_to_a_tariff_that_is_not_known_or_of_another_direction_is_noted() -> None:
    made = bill([tariff(energy(), STANDING)], link(), link("nowhere", "EXPORT"))
    assert made.notes == ("tariff nowhere, linked for EXPORT, is not known: its charges are not on this bill",)
    wrong = bill([tariff(energy(), STANDING)], link(direction="EXPORT"))
    assert wrong.notes == ("tariff tou, linked for EXPORT, is for IMPORT: its charges are not on this bill",)
    assert wrong.lines == ()


def test_bills_that_join_add_up_to_the_bill_of_the_whole_before_rounding() -> None:
    seasonal = METERING | {"charge_id": "winter", "from": "10-01", "to": "03-31"}
    night = {
        "name": "night",
        "when": [{"start": "22:00", "end": "06:30"}],
        "tiers": [{"up_to_kwh": None, "rate": "0.1"}],
    }
    tiers = [{"up_to_kwh": "40", "rate": "0.30"}, {"up_to_kwh": None, "rate": "0.41"}]
    charge = energy(bands=[night, {"name": "rest", "when": [], "tiers": tiers}])
    vat = [{"name": "VAT", "rate": "0.07"}]
    tariffs = [
        tariff(charge, STANDING, METERING, seasonal, taxes=vat),
        tariff(
            charge, STANDING | {"amount": "0.77"}, METERING, version=2, valid_from="2025-04-02T09:17:00Z", taxes=vat
        ),
        tariff(energy("0.2"), METERING, tariff_id="new", taxes=vat, prices_include_tax=True),
    ]
    links = (link(valid_to="2025-04-05T15:40:00Z"), link("new", valid_from="2025-04-05T15:40:00Z"))
    records = [
        record(f"2025-{month}-{day:02d}T{hour:02d}:10:00Z", f"2025-{month}-{day:02d}T{hour + 7:02d}:50:00Z", 7.7)
        for month, days in (("03", range(26, 32)), ("04", range(1, 10)))
        for day in days
        for hour in (1, 12)
    ]
    edges = [
        "2025-03-25",
        "2025-03-30",
        "2025-03-31",
        "2025-04-01",
        "2025-04-02",
        "2025-04-03",
        "2025-04-06",
        "2025-04-12",
    ]
    whole = bill(tariffs, *links, period=(edges[0], edges[-1]), records=records)
    parts = [bill(tariffs, *links, period=pair, records=records) for pair in pairwise(edges)]
    assert sum(part.totals[0].unrounded for part in parts) == whole.totals[0].unrounded
    assert sum(part.meters[0].energy_uwh for part in parts) == whole.meters[0].energy_uwh
    assert [total for part in parts for total in part.days] == list(whole.days)
