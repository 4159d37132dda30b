"""OCPI's FLAT and TIME: bills of what is imported cost what a charge point asks for, as the specification has it."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from app.domain.bills import Bill
from app.importers.tariffs.common import ImportOptions, read_json
from app.importers.tariffs.ocpi import import_ocpi
from app.wire.tariff import parse_tariff
from tests.golden_bills.making import bill_of

ZONE = "Europe/Amsterdam"
WEEKDAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
MINUTE = timedelta(minutes=1)

Json = dict[str, Any]
Stretch = tuple[datetime, int, bool]
"""Start, minutes, and whether energy flows."""


def element(kind: str, price: float, step_size: int = 1, vat: float | None = None, **restrictions: Any) -> Json:
    return {
        "price_components": [{"type": kind, "price": price, "step_size": step_size, "vat": vat}],
        "restrictions": restrictions,
    }


def document(*elements: Json) -> Json:
    made: Json = read_json(json.dumps({"id": "t", "currency": "EUR", "elements": elements}).encode())
    return made


def imported(foreign: Json) -> list[Json]:
    result = import_ocpi(foreign, ImportOptions(timezone=ZONE))
    assert result.refused == []
    for made in result.tariffs:
        parse_tariff(made)
    return result.tariffs


def wall(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(ZONE)).astimezone(UTC)


def records(session_id: str, stretches: Sequence[Stretch]) -> Iterator[Json]:
    for start, minutes, charging in stretches:
        yield {
            "location_id": "loc_1",
            "device_id": session_id,
            "session_reference_id": session_id,
            "units": "KWH",
            "value": 1 if charging else 0,
            "start_time": start.isoformat(),
            "end_time": (start + minutes * MINUTE).isoformat(),
        }


def billed(foreign: Json, sessions: Sequence[Sequence[Stretch]], first: str, end: str) -> Bill:
    place = {"location_id": "loc_1", "timezone": ZONE, "tariffs": [{"direction": "IMPORT", "tariff_id": "t"}]}
    told = [one for number, session in enumerate(sessions) for one in records(f"s{number}", session)]
    return bill_of(told, place, imported(foreign), (first, end))


def session_net(bill: Bill) -> Fraction:
    """Return what sessions cost without VAT, before rounding to cents."""
    return sum(
        (line.quantity * Fraction(line.rate or 0) for line in bill.lines if line.key.kind == "session"), Fraction(0)
    )


# --- the examples of the specification ---

STEPS = document(
    element("TIME", 1.20, 1800, end_time="17:00"),
    element("TIME", 2.40, 900, start_time="17:00"),
)


@pytest.mark.parametrize(
    ("start", "minutes", "net"),
    [("2025-03-03T16:55", 10, Fraction("0.50")), ("2025-03-03T16:35", 35, Fraction("1.30"))],
)
def test_time_under_two_elements_is_rounded_up_by_the_last_ones_step(start: str, minutes: int, net: Fraction) -> None:
    bill = billed(STEPS, [[(wall(start), minutes, True)]], "2025-03-03", "2025-03-04")
    assert session_net(bill) == net


def test_time_that_becomes_free_is_rounded_up_where_it_does() -> None:
    until_eight = document(element("TIME", 1.00, 900, end_time="20:00"))
    bill = billed(until_eight, [[(wall("2025-03-03T19:55"), 30, True)]], "2025-03-03", "2025-03-04")
    assert session_net(bill) == Fraction("0.25")


# --- as a charge point reckons ---


def component(foreign: Json, kind: str, at: datetime) -> tuple[int, Json] | None:
    """Return the first element, by number, that prices a dimension at an instant."""
    local = at.astimezone(ZoneInfo(ZONE))
    clock, today = f"{local:%H:%M}", f"{local:%Y-%m-%d}"
    for number, one in enumerate(foreign["elements"]):
        limits = one["restrictions"]
        start, end = limits.get("start_time", "00:00"), limits.get("end_time", "00:00")
        in_time = start <= clock < end if start < end else clock >= start or clock < end
        in_days = WEEKDAYS[local.weekday()] in limits.get("day_of_week", WEEKDAYS)
        in_dates = limits.get("start_date", "") <= today < limits.get("end_date", "9")
        if in_time and in_days and in_dates:
            for found in one["price_components"]:
                if found["type"] == kind:
                    return number, found
    return None


def asked_for(foreign: Json, session: Sequence[Stretch]) -> Fraction:
    """Return what a charge point asks for a session, with VAT, minute by minute."""
    fee = component(foreign, "FLAT", session[0][0])
    due = with_vat(fee[1], Fraction(fee[1]["price"])) if fee else Fraction(0)
    total, last = 0, None
    minutes = [start + number * MINUTE for start, length, charging in session if charging for number in range(length)]
    for price in [*(component(foreign, "TIME", at) for at in minutes), None]:
        if price is not None:
            due += with_vat(price[1], Fraction(price[1]["price"]) / 60)
            total, last = total + 60, price
        elif last is not None:
            due += with_vat(last[1], Fraction(last[1]["price"]) * (-total % last[1]["step_size"]) / 3600)
            total, last = 0, None
    return due


def with_vat(price: Json, amount: Fraction) -> Fraction:
    return amount * (1 + Fraction(price["vat"] or 0) / 100)


CITY = document(
    element("FLAT", 0, day_of_week=["SUNDAY"]),
    element("FLAT", 0.75, vat=9, start_time="22:00", end_time="06:00"),
    element("FLAT", 0.35, vat=21),
    element("TIME", 3.00, 420, vat=21, start_time="08:00", end_time="11:00", day_of_week=["SATURDAY", "SUNDAY"]),
    element("TIME", 0, 300, end_date="2025-03-29", start_time="06:00", end_time="07:00"),
    element("TIME", 1.80, 780, vat=9, start_time="05:00", end_time="16:00"),
    element("TIME", 0.90, 60, vat=21, start_time="19:00", end_time="02:00"),
)
"""Free by dates, free between 02:00 and 05:00 and between 16:00 and 19:00; each priced time in other steps."""


def test_sessions_at_all_hours_cost_what_a_charge_point_asks_for() -> None:
    numbers, sessions = count(), []
    at = wall("2025-03-28T00:10")
    while at < wall("2025-03-31T20:00"):  # a weekend with a change of the clock
        number = next(numbers)
        pause = at + timedelta(minutes=17 + number % 90)
        on = pause + timedelta(minutes=number % 35)
        stretches = [(at, 17 + number % 90, True), (pause, number % 35, False), (on, 11 + number * 7 % 240, True)]
        sessions.append([stretch for stretch in stretches if stretch[1]])
        at += timedelta(minutes=107)
    bill = billed(CITY, sessions, "2025-03-28", "2025-04-01")
    expected = [asked_for(CITY, session) for session in sessions]
    assert len(expected) > 40
    assert sum(line.unrounded for line in bill.lines if line.key.kind == "session") == sum(expected)


# --- what it becomes ---


def charges(*elements: Json) -> Json:
    (made,) = imported(document(*elements))
    return {charge["charge_id"]: charge for charge in made["charges"]} | {"taxes": made["taxes"]}


def test_a_fee_is_by_the_session_and_time_by_the_hour_of_charging() -> None:
    made = charges(element("FLAT", 0.5), element("TIME", 2, 300, start_time="09:00", end_time="18:00"))
    assert {name: made["flat"][name] for name in ("kind", "per", "bands")} == {
        "kind": "session",
        "per": "session",
        "bands": [{"name": "element-1", "when": [], "amount": "0.5"}],
    }
    assert (made["time"]["per"], made["time"]["counted"]) == ("hour", "charging")
    (band,) = made["time"]["bands"]
    assert (band["amount"], band["step_seconds"]) == ("2", 300)


def test_one_rate_of_vat_for_all_is_one_tax_and_others_are_named() -> None:
    same = charges(element("FLAT", 1, vat=21), element("ENERGY", 0.3, vat=21))
    assert same["taxes"] == [{"name": "VAT", "rate": "0.21", "charges": None}]
    apart = charges(element("FLAT", 1, vat=21), element("ENERGY", 0.3, vat=9), element("TIME", 1, vat=21))
    assert apart["taxes"] == [
        {"name": "VAT 9 %", "rate": "0.09", "charges": ["energy"]},
        {"name": "VAT 21 %", "rate": "0.21", "charges": ["flat", "time"]},
    ]


def test_a_dimension_that_never_costs_anything_is_no_charge() -> None:
    made = charges(element("TIME", 0, max_duration=3600), element("FLAT", 0), element("ENERGY", 0.3))
    assert list(made) == ["energy", "taxes"]


@pytest.mark.parametrize(
    ("elements", "path"),
    [
        ([element("TIME", 0, max_duration=3600), element("TIME", 2)], "elements[0].restrictions.max_duration"),
        ([element("FLAT", 1, min_kwh=5)], "elements[0].restrictions.min_kwh"),
        ([element("TIME", 1, reservation="RESERVATION")], "elements[0].price_components[0]"),
        ([element("FLAT", 1, reservation="RESERVATION_EXPIRES")], "elements[0].price_components[0]"),
        ([element("PARKING_TIME", 1)], "elements[0].price_components[0]"),
        ([element("SPEED", 1)], "elements[0].price_components[0]"),
        ([element("TIME", 1, 86_401)], "elements[0].price_components[0].step_size"),
        ([element("TIME", 1, -60)], "elements[0].price_components[0].step_size"),
    ],
)
def test_what_time_does_not_decide_is_refused(elements: list[Json], path: str) -> None:
    result = import_ocpi(document(*elements), ImportOptions(timezone=ZONE))
    assert [part.path for part in result.refused] == [path]


def test_an_element_that_cannot_be_taken_is_named_once() -> None:
    both = element("TIME", 1, max_power=11)
    both["price_components"].append({"type": "ENERGY", "price": 0.2, "step_size": 1})
    result = import_ocpi(document(both), ImportOptions(timezone=ZONE))
    assert [part.path for part in result.refused] == ["elements[0].restrictions.max_power"]
