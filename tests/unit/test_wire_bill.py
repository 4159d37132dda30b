"""Priced records as bills read them, and bills as JSON."""

import json
from decimal import Decimal
from fractions import Fraction
from itertools import permutations
from typing import Any

import pytest

from app.domain.instants import parse_instant_us
from app.domain.records import MeterId
from app.wire.bill import NewestPriced, PricedRecordError, exact_text, kwh_text, read_priced, to_document
from tests.golden_bills.making import Json, bill_of, energy, location, record, tariff

START_US = parse_instant_us("2025-03-01T00:00:00Z")
END_US = parse_instant_us("2025-03-02T00:00:00Z")
DAY = ("2025-03-03", "2025-03-04")


def priced(start: str = "2025-03-01T00:00:00Z", end: str = "2025-03-01T00:30:00Z", **changed: Any) -> Json:
    component = {
        "charge_id": "energy",
        "band": "all",
        "tier": 1,
        "start_time": start,
        "end_time": end,
        "energy_wh": 512.5,
        "rate": "0.30",
        "cost": "0.15375",
        "cost_excluding_tax": "0.15375",
    }
    return {
        "interval_id": f"loc_1||INBOUND|IMPORT|{start}",
        "location_id": "loc_1",
        "device_id": None,
        "energy_flow_direction": "INBOUND",
        "tariff_direction": "IMPORT",
        "start_time": start,
        "end_time": end,
        "energy_wh": 512.5,
        "covered_seconds": 1800,
        "complete": True,
        "status": "priced",
        "reason": None,
        "tariff_id": "tou",
        "tariff_version": 2,
        "components": [component],
        "sequence": 1,
    } | changed


def encoded(**changed: Any) -> bytes:
    return json.dumps(priced(**changed)).encode()


def newest(*values: bytes) -> NewestPriced:
    found = NewestPriced("loc_1", START_US, END_US)
    for value in values:
        found.take(value)
    return found


# --- priced records ---


def test_a_priced_record_is_read_to_the_last_digit() -> None:
    found = read_priced(encoded(energy_wh=333.333333))
    assert found.meter == MeterId("loc_1", "", "INBOUND", "IMPORT")
    assert (found.energy_uwh, found.complete, found.empty, found.reason) == (333_333_333, True, False, None)
    (component,) = found.components
    assert (component.energy_uwh, component.rate, component.cost) == (512_500_000, Decimal("0.30"), Decimal("0.15375"))
    assert component.tariff == ("tou", 2)


def test_a_component_of_another_tariff_says_so_itself() -> None:
    component = priced()["components"][0] | {"tariff_id": "other", "tariff_version": 7}
    assert read_priced(encoded(components=[component])).components[0].tariff == ("other", 7)


def test_a_pending_record_has_its_reason() -> None:
    pending = {"status": "pending", "tariff_id": None, "tariff_version": None, "components": []}
    assert read_priced(encoded(**pending, reason="no_tariff")).reason == "no_tariff"
    assert read_priced(encoded(**pending, reason=None)).reason == "pending"


def test_an_interval_without_any_second_covered_is_empty() -> None:
    assert read_priced(encoded(covered_seconds=0)).empty


@pytest.mark.parametrize(
    "changed",
    [
        {"energy_wh": 0.0000001},
        {"start_time": "yesterday"},
        {"tariff_direction": "SIDEWAYS"},
        {"components": [{}]},
        {"tariff_id": None},
        {"complete": "yes"},
    ],
    ids=str,
)
def test_what_is_no_priced_record_is_refused(changed: Json) -> None:
    with pytest.raises(PricedRecordError):
        read_priced(encoded(**changed))


@pytest.mark.parametrize("value", [b"", b"[]", b"nonsense", b'{"location_id":"loc_1"}', encoded(end_time="soon")])
def test_what_is_no_priced_record_is_not_taken(value: bytes) -> None:
    with pytest.raises(PricedRecordError):
        newest(value)


# --- the newest of each interval ---


@pytest.mark.parametrize("order", list(permutations([1, 2, 3])))
def test_the_highest_sequence_is_kept_in_whatever_order_they_come(order: tuple[int, ...]) -> None:
    (found,) = newest(*(encoded(sequence=number, energy_wh=number) for number in order)).intervals()
    assert found.energy_uwh == 3_000_000


def test_of_one_sequence_the_later_record_is_kept() -> None:
    (found,) = newest(encoded(energy_wh=1), encoded(energy_wh=2)).intervals()
    assert found.energy_uwh == 2_000_000


def test_other_locations_and_other_times_are_let_go() -> None:
    later = encoded(start="2025-03-02T00:00:00Z", end="2025-03-02T00:30:00Z")
    assert newest(encoded(location_id="loc_2"), later).intervals() == []


def test_what_touches_the_edge_is_kept() -> None:
    crossing = encoded(start="2025-02-28T23:45:00Z", end="2025-03-01T00:15:00Z")
    assert len(newest(crossing).intervals()) == 1


def test_of_each_meter_that_was_heard_before_one_record_is_kept() -> None:
    before = [
        encoded(start=f"2025-02-{day:02d}T00:00:00Z", end=f"2025-02-{day:02d}T00:30:00Z", **of)
        for day in range(1, 20)
        for of in ({}, {"interval_id": f"loc_1|car|INBOUND|IMPORT|2025-02-{day:02d}T00:00:00Z", "device_id": "car"})
    ]
    found = newest(*before, encoded()).intervals()
    assert sorted((one.meter.device_id, one.start_us < START_US) for one in found) == [
        ("", False),
        ("", True),
        ("car", True),
    ]
    emptied = encoded(start="2025-02-01T00:00:00Z", end="2025-02-01T00:30:00Z", covered_seconds=0)
    assert newest(emptied).intervals() == []


def test_a_deleted_interval_is_forgotten() -> None:
    found = newest(encoded())
    found.forget(priced()["interval_id"])
    found.forget("never heard of")
    assert found.intervals() == []


# --- bills as JSON ---


def document(*charges: Json, **fields: Any) -> Json:
    day = record("2025-03-03T00:00:00Z", "2025-03-04T00:00:00Z", 1)
    return to_document(bill_of([day], location("tou"), [tariff(*charges, **fields)], DAY))


def test_amounts_are_canonical_decimal_texts_and_nothing_is_a_float() -> None:
    text = json.dumps(document(energy("0.10"), taxes=[{"name": "VAT", "rate": "0.05"}]))

    def refuse(number: str) -> None:
        raise AssertionError(number)

    found = json.loads(text, parse_float=refuse)
    (line,) = found["lines"]
    assert (line["rate"], line["net"], line["tax"], line["total"]) == ("0.1", "0.1", "0.01", "0.11")
    assert line["unrounded"] == "0.105"


def test_what_has_no_end_is_shown_with_12_decimals() -> None:
    monthly = {"charge_id": "metering", "kind": "fixed", "per": "month", "amount": "10"}
    (_, line) = document(energy(), monthly)["lines"]
    assert (line["quantity"], line["unrounded"], line["net"]) == ("0.032258064516", "0.322580645161", "0.32")
    assert exact_text(Fraction(-2, 3)) == "-0.666666666667"


def test_energy_is_exact() -> None:
    assert kwh_text(1) == "0.000000001"
    assert kwh_text(123_456_789_000_000_000) == "123456789"


def test_a_demand_that_nothing_was_measured_of_has_no_window() -> None:
    demand = {
        "charge_id": "demand",
        "kind": "demand",
        "minimum_kw": "2",
        "bands": [{"name": "all", "when": [], "tiers": [{"up_to_kw": None, "rate": "1"}]}],
    }
    (_, line) = document(energy(), demand)["lines"]
    assert (line["demand_kw"], line["demand_at"], line["month"]) == ("2", None, "2025-03")


def test_each_currency_has_its_costs_in_a_period() -> None:
    records = [
        record("2025-03-03T00:00:00Z", "2025-03-04T00:00:00Z", 10),
        record("2025-03-03T00:00:00Z", "2025-03-04T00:00:00Z", 5, energy_flow_direction="OUTBOUND"),
    ]
    euros = tariff(energy("0.10"), tariff_id="out", direction="EXPORT", currency="EUR")
    found = to_document(bill_of(records, location("tou", "out"), [tariff(energy()), euros], DAY))
    assert [(one["currency"], one["total"]) for one in found["totals"]] == [("EUR", "-0.5"), ("GBP", "3")]
    assert [(one["currency"], one["total"]) for one in found["days"][0]["costs"]] == [("EUR", "-0.5"), ("GBP", "3")]
