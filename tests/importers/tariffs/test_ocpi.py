"""OCPI tariffs: priced as a charge point would at every quarter of an hour, and refused where a session decides."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from app.domain.tariffs import Tariff
from app.domain.timeline import Timeline
from app.importers.tariffs.common import Imported, ImportOptions, read_json
from app.importers.tariffs.ocpi import import_ocpi
from app.wire.documents import DocumentError
from app.wire.tariff import parse_tariff

DATA = Path(__file__).parent / "data" / "ocpi"
ZONE = "Europe/Amsterdam"
OPTIONS = ImportOptions(timezone=ZONE)
WEEKDAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")


def example(name: str) -> Any:
    return read_json((DATA / name).read_bytes())


def tariff(*elements: dict[str, Any], **changed: Any) -> dict[str, Any]:
    text = json.dumps({"id": "t", "currency": "EUR", "elements": elements} | changed)
    made: dict[str, Any] = read_json(text.encode())
    return made


def energy(price: Any = 0.25, restrictions: dict[str, Any] | None = None, **changed: Any) -> dict[str, Any]:
    component = {"type": "ENERGY", "price": price, "step_size": 1} | changed
    return {"price_components": [component]} | ({} if restrictions is None else {"restrictions": restrictions})


def imported(document: Any, options: ImportOptions = OPTIONS) -> Imported:
    return import_ocpi(document, options)


def refused(document: Any) -> list[str]:
    return [part.path for part in imported(document).refused]


# --- What it prices ---


def charge_point(document: dict[str, Any], wall: datetime) -> tuple[Decimal, Decimal]:
    """Look the price of energy and its VAT up as the specification says: the first element that matches."""
    clock, today = f"{wall:%H:%M}", f"{wall:%Y-%m-%d}"
    for element in document["elements"]:
        limits = element.get("restrictions", {})
        start, end = limits.get("start_time", "00:00"), limits.get("end_time", "00:00")
        in_time = start <= clock < end if start < end else clock >= start or clock < end
        in_days = WEEKDAYS[wall.weekday()] in limits.get("day_of_week", WEEKDAYS)
        in_dates = limits.get("start_date", "") <= today < limits.get("end_date", "9")
        if in_time and in_days and in_dates:
            for component in element["price_components"]:
                if component["type"] == "ENERGY":
                    return Decimal(component["price"]), Decimal(component.get("vat", 0)) / 100
    return Decimal(0), Decimal(0)


def ours(tariffs: list[Tariff], timelines: list[Timeline], at_us: int) -> tuple[Decimal, Decimal]:
    valid = [
        number for number, one in enumerate(tariffs) if (one.valid_from_us or 0) <= at_us < (one.valid_to_us or 1 << 60)
    ]
    number = max(valid, key=lambda number: tariffs[number].version)
    rate, tax = Decimal(0), Decimal(0)
    for charge in timelines[number].segment(at_us).charges:
        assert isinstance(charge.rate, Decimal)
        rate += charge.rate
        if charge.rate:
            share = tariffs[number].tax_on(charge.charge_id)
            tax = Decimal(share.numerator) / Decimal(share.denominator)
    return rate, tax


def quarters_of_an_hour(first: str, last: str) -> Iterator[datetime]:
    at, end = datetime.fromisoformat(first).replace(tzinfo=UTC), datetime.fromisoformat(last).replace(tzinfo=UTC)
    while at < end:
        yield at
        at += timedelta(minutes=15)


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("day_night_weekend.json", "2025-03-24", "2025-04-07"),
        ("day_night_weekend.json", "2025-10-20", "2025-11-03"),
        ("dates_and_limits_of_time.json", "2025-06-25", "2025-09-05"),
        ("two_vat_rates.json", "2025-01-01", "2025-01-15"),
    ],
)
def test_every_quarter_of_an_hour_costs_what_the_first_matching_element_says(name: str, first: str, last: str) -> None:
    document = example(name)
    result = imported(document)
    assert result.refused == []
    (foreign,) = document.get("data", [document])
    tariffs = [parse_tariff(made) for made in result.tariffs]
    timelines = [Timeline(one) for one in tariffs]
    wrong = []
    for at in quarters_of_an_hour(first, last):
        price, vat = charge_point(foreign, at.astimezone(ZoneInfo(ZONE)))
        found = ours(tariffs, timelines, int(at.timestamp()) * 1_000_000)
        if found != (price, vat if price else Decimal(0)):
            wrong.append((at, price, vat, found))
    assert wrong == []


def test_dates_cut_the_tariff_into_versions_at_local_midnight() -> None:
    made = imported(example("dates_and_limits_of_time.json")).tariffs
    assert [(one["version"], one["valid_from"], one["valid_to"]) for one in made] == [
        (1, None, "2025-06-30T22:00:00Z"),
        (2, "2025-06-30T22:00:00Z", "2025-08-31T22:00:00Z"),
        (3, "2025-08-31T22:00:00Z", "2025-12-31T23:00:00Z"),
    ]
    assert {one["tariff_id"] for one in made} == {"DE-ALL-summer"}


def test_dates_outside_the_tariffs_own_validity_cut_nothing() -> None:
    old = energy(0.1, {"end_date": "2024-06-01"})
    (made,) = imported(tariff(old, energy(0.3), start_date_time="2025-01-01T00:00:00Z")).tariffs
    assert (made["valid_from"], made["valid_to"]) == ("2025-01-01T00:00:00Z", None)
    assert [band["tiers"][0]["rate"] for band in made["charges"][0]["bands"]] == ["0.3"]


def test_after_midnight_it_is_the_new_day_that_must_be_listed() -> None:
    friday = energy(1, {"start_time": "22:00", "end_time": "06:00", "day_of_week": ["FRIDAY"]})
    (made,) = imported(tariff(friday)).tariffs
    timeline = Timeline(parse_tariff(made))
    rates = {
        at: timeline.segment(int(datetime.fromisoformat(at).timestamp()) * 1_000_000).charges[0].rate
        for at in ("2025-01-10T05:00:00+01:00", "2025-01-10T23:00:00+01:00", "2025-01-11T05:00:00+01:00")
    }
    assert list(rates.values()) == [1, 1, 0]


def test_energy_that_no_element_prices_is_free() -> None:
    fee = {"price_components": [{"type": "FLAT", "price": 0, "step_size": 0}]}
    (made,) = imported(tariff(fee)).tariffs
    assert [band["tiers"][0]["rate"] for band in made["charges"][0]["bands"]] == ["0"]
    assert parse_tariff(made).taxes == ()


def test_several_rates_of_vat_become_charges_that_add_up() -> None:
    made = imported(example("two_vat_rates.json"))
    (document,) = made.tariffs
    assert [charge["charge_id"] for charge in document["charges"]] == ["energy-vat-5.5", "energy-vat-20"]
    assert [(tax["rate"], tax["charges"]) for tax in document["taxes"]] == [
        ("0.055", ["energy-vat-5.5"]),
        ("0.2", ["energy-vat-20"]),
    ]
    assert [str(part) for part in made.left_out] == [
        "elements[2].price_components[0]: never holds: its dates, or an element before it, leave no time"
    ]


def test_a_rate_keeps_its_digits() -> None:
    (made,) = imported(
        read_json(
            b'{"id":"t","currency":"EUR","elements":[{"price_components":'
            b'[{"type":"ENERGY","price":0.12345678901234567,"step_size":1}]}]}'
        )
    ).tariffs
    assert made["charges"][0]["bands"][0]["tiers"][0]["rate"] == "0.12345678901234567"


# --- Tax ---


def test_prices_that_include_tax_say_so() -> None:
    (made,) = imported(tariff(energy(vat=19.0), tax_included="YES")).tariffs
    assert (made["prices_include_tax"], made["taxes"][0]["rate"]) == (True, "0.19")


@pytest.mark.parametrize(
    ("component", "tax_included", "expected"),
    [
        ({}, "NO", ["elements[0].price_components[0].vat"]),
        ({"price": 0}, "NO", []),
        ({"vat": 0}, "NO", []),
        ({"vat": 19}, "N/A", ["elements[0].price_components[0].vat"]),
        ({}, "N/A", []),
        ({}, "YES", []),
        ({}, None, []),
    ],
)
def test_tax_on_top_whose_rate_is_not_said_is_refused(
    component: dict[str, Any], tax_included: str | None, expected: list[str]
) -> None:
    assert refused(tariff(energy(**component), tax_included=tax_included)) == expected


# --- What is refused ---


def test_what_a_session_alone_decides_is_refused_with_its_path() -> None:
    found = imported(example("sessions.json"))
    assert [part.path for part in found.refused] == [
        "min_price",
        "max_price",
        "elements[1].restrictions.max_current",
        "elements[2].price_components[0]",
        "elements[3].price_components[0]",
        "elements[4].restrictions.max_kwh",
        "elements[5].price_components[0].step_size",
    ]
    assert [part.reason for part in found.refused[3:5]] == [
        "PARKING_TIME 5.00: for an hour of parking; tariff documents have no such price",
        "TIME 3.00: for a reservation; tariff documents have no such price",
    ]
    assert "not sessions" in found.refused[5].reason
    assert [part.path for part in found.left_out] == ["preauthorize_amount"]
    (rest,) = found.tariffs  # for --partial
    energy_charge, flat_charge = rest["charges"]
    assert [band["tiers"][0]["rate"] for band in energy_charge["bands"]] == ["0.2"]
    assert [band["amount"] for band in flat_charge["bands"]] == ["2.5"]


@pytest.mark.parametrize(
    "limit",
    [
        {"min_kwh": 1},
        {"max_kwh": 0},
        {"min_current": 5},
        {"max_current": 32},
        {"min_power": 5},
        {"max_power": 16},
        {"min_duration": 60},
        {"max_duration": 3600},
        {"reservation": "RESERVATION"},
        {"booking": "BOOKING"},
        {"phase_of_the_moon": "FULL"},
    ],
)
def test_a_restriction_that_is_none_of_time_is_refused(limit: dict[str, Any]) -> None:
    assert refused(tariff(energy(restrictions=limit), energy())) == [f"elements[0].restrictions.{next(iter(limit))}"]


@pytest.mark.parametrize("limit", [{"min_kwh": 0}, {"max_kwh": None}, {"day_of_week": []}, {"min_duration": 0}])
def test_a_restriction_that_restricts_nothing_is_nothing(limit: dict[str, Any]) -> None:
    assert refused(tariff(energy(restrictions=limit))) == []


def test_nothing_is_said_of_fees_and_limits_of_nothing() -> None:
    fees = {"price_components": [{"type": kind, "price": 0, "step_size": 60} for kind in ("TIME", "PARKING_TIME")]}
    found = imported(tariff(fees, energy(), min_price={"excl_vat": 0, "incl_vat": 0}))
    assert (found.refused, found.left_out) == ([], [])


def test_fields_that_change_no_price_are_named() -> None:
    found = imported(tariff(energy(), type="AD_HOC_PAYMENT", energy_mix={"is_green_energy": True}, colour="green"))
    assert [part.path for part in found.left_out] == ["type", "energy_mix", "colour"]


# --- What is none ---


def test_several_tariffs_are_told_apart() -> None:
    parking = {"price_components": [{"type": "PARKING_TIME", "price": 1, "step_size": 1}]}
    documents = [tariff(energy(), id="a"), tariff(energy(), parking, id="b")]
    assert [one["tariff_id"] for one in imported(documents).tariffs] == ["a", "b"]
    named = imported(documents, OPTIONS._replace(tariff_id="mine", direction="LOCAL"))
    assert [(one["tariff_id"], one["direction"]) for one in named.tariffs] == [("mine", "LOCAL"), ("mine-2", "LOCAL")]
    assert refused(documents) == ["[1].elements[1].price_components[0]"]


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ([], "no tariff in it"),
        ("text", "document: 'text' is not an object"),
        ({"id": "t"}, "elements: missing"),
        (tariff({"restrictions": {}}), "elements[0].price_components: missing"),
        (tariff(energy("dear")), "elements[0].price_components[0].price: 'dear' is not a number"),
        (tariff(energy(restrictions={"start_time": "25:00"})), "start_time: '25:00' is not a time"),
        (tariff(energy(restrictions={"start_date": "soon"})), "start_date: 'soon' is not a date"),
        (tariff(energy(restrictions={"day_of_week": ["FUNDAY"]})), "day_of_week: 'FUNDAY' is not a day"),
        (tariff(energy(), tax_included="PERHAPS"), "tax_included: 'PERHAPS' is not one of YES, NO, N/A"),
        (tariff(energy(), start_date_time="soon"), "start_date_time: 'soon' is not a timestamp"),
    ],
)
def test_what_is_no_ocpi_tariff_is_named(document: Any, problem: str) -> None:
    with pytest.raises(DocumentError) as error:
        imported(document)
    assert problem in str(error.value)


def test_the_time_zone_must_be_given() -> None:
    with pytest.raises(DocumentError, match="give --timezone"):
        imported(tariff(energy()), ImportOptions())
    with pytest.raises(DocumentError, match="'Mars' is not a time zone"):
        imported(tariff(energy()), ImportOptions(timezone="Mars"))


def test_a_day_of_no_length_is_refused_for_what_it_leaves_open() -> None:
    assert refused(tariff(energy(restrictions={"start_time": "17:00", "end_time": "17:00"}))) == [
        "elements[0].restrictions.end_time"
    ]


def test_holidays_are_left_out_because_ocpi_knows_none() -> None:
    found = imported(tariff(energy()), OPTIONS._replace(holidays=("2025-12-25",)))
    assert [str(part) for part in found.left_out] == ["--holiday: 2025-12-25: OCPI knows no holidays"]
