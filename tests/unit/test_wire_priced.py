"""Priced records: the interval's own fields, then the price, then what the log adds."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.rates import Component, IntervalPrice
from app.domain.records import MeterId
from app.wire.interval import MeterText
from app.wire.priced import encode_body, has_body, head_of, sequence_of, with_tail
from tests.making import body_of
from tests.unit.test_wire_interval import START_US, interval, reading

pytestmark = pytest.mark.usefixtures("either_function")

NOTHING = IntervalPrice("pending", "no_tariff", None, None, None, None, None, None, None, ())
PRICED = IntervalPrice(
    status="priced",
    reason=None,
    currency="GBP",
    cost="0.105",
    cost_excluding_tax="0.1",
    tax="0.005",
    carbon_g="90.5",
    tariff_id="flat",
    tariff_version=3,
    components=(
        Component("energy", "all-day", 1, START_US, START_US + 1_800_000_000, 500_000_000, "0.2", "0.105", "0.1"),
        Component("market", None, None, START_US, START_US + 1_800_000_000, 500_000_000, "0", "0", "0"),
    ),
)


def encoded(price: IntervalPrice, location_id: str = "loc_1", reference: str | None = None) -> bytes:
    meter = MeterText(MeterId(location_id, "", "INBOUND", "IMPORT"))
    return encode_body(
        head_of(meter.encode(interval(reading(0, 30, 500_000_000, record_reference_id=reference)))), price
    )


def test_the_whole_public_form() -> None:
    record = json.loads(with_tail(encoded(PRICED), "2025-03-01T00:31:00.123Z", 4))
    assert record == {
        "interval_id": "loc_1||INBOUND|IMPORT|2025-03-01T00:00:00Z",
        "location_id": "loc_1",
        "device_id": None,
        "energy_flow_direction": "INBOUND",
        "tariff_direction": "IMPORT",
        "start_time": "2025-03-01T00:00:00Z",
        "end_time": "2025-03-01T00:30:00Z",
        "energy_wh": 500,
        "covered_seconds": 1800,
        "complete": True,
        "confidence": 1,
        "revision": 1,
        "status": "priced",
        "reason": None,
        "currency": "GBP",
        "cost": "0.105",
        "cost_excluding_tax": "0.1",
        "tax": "0.005",
        "carbon_g": 90.5,
        "tariff_id": "flat",
        "tariff_version": 3,
        "components": [
            {
                "charge_id": "energy",
                "band": "all-day",
                "tier": 1,
                "start_time": "2025-03-01T00:00:00Z",
                "end_time": "2025-03-01T00:30:00Z",
                "energy_wh": 500,
                "rate": "0.2",
                "cost": "0.105",
                "cost_excluding_tax": "0.1",
            },
            {
                "charge_id": "market",
                "band": None,
                "tier": None,
                "start_time": "2025-03-01T00:00:00Z",
                "end_time": "2025-03-01T00:30:00Z",
                "energy_wh": 500,
                "rate": "0",
                "cost": "0",
                "cost_excluding_tax": "0",
            },
        ],
        "submitted_at": "2025-03-01T00:31:00.123Z",
        "sequence": 4,
    }


def test_what_has_no_price_says_so_with_nulls() -> None:
    record = json.loads(with_tail(encoded(NOTHING), "2025-03-01T00:31:00Z", 1))
    assert (record["status"], record["reason"], record["components"]) == ("pending", "no_tariff", [])
    missing = ("currency", "cost", "cost_excluding_tax", "tax", "carbon_g", "tariff_id", "tariff_version")
    assert [record[name] for name in missing] == [None] * len(missing)


HOSTILE = [
    ',"submitted_at":"',
    '","submitted_at":"2025","sequence":7}',
    ',"records":[',
    '","records":[',
    ',"sequence":9',
    "\\",
    '"',
    "é😀",
]
texts = st.sampled_from(HOSTILE) | st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@settings(max_examples=200, deadline=None)
@given(texts, texts, texts, st.integers(1, 10**12))
def test_body_and_sequence_are_read_as_they_were_written(
    location: str, reference: str, charge: str, sequence: int
) -> None:
    """Whatever stands in the identifiers: the marks by which a record is taken apart cannot stand in a JSON text."""
    components = tuple(Component(charge, charge, 1, 0, 1, 1, "0", "0", "0") for _ in range(2))
    price = IntervalPrice("priced", None, charge, "1", "1", "0", None, charge, 1, components)
    body = encoded(price, location, reference)
    value = with_tail(body, "2025-03-01T00:31:00Z", sequence)
    assert has_body(value, body)
    assert body_of(value) == body
    assert sequence_of(value) == sequence
    record: dict[str, Any] = json.loads(value)
    assert (record["location_id"], record["tariff_id"], record["sequence"]) == (location, charge, sequence)
    assert "records" not in record


def test_the_same_interval_submitted_at_another_time_has_the_same_body() -> None:
    one, other = (with_tail(encoded(PRICED), f"2025-03-01T00:3{at}:00Z", 1) for at in (1, 2))
    assert one != other
    assert body_of(one) == body_of(other)


def test_a_body_that_begins_like_another_is_another() -> None:
    """A record is compared to the end of its body, not only as far as the shorter one goes."""
    value = with_tail(encoded(PRICED), "2025-03-01T00:31:00Z", 1)
    body = body_of(value)
    assert has_body(value, body)
    assert not has_body(value, body[:-1])
    assert not has_body(value, body + b"}")
    assert not has_body(body, body)


@pytest.mark.parametrize("value", [b"", b"{}", b"null", encoded(PRICED)])
def test_what_is_no_priced_record_has_no_sequence(value: bytes) -> None:
    with pytest.raises(ValueError, match="not found"):
        sequence_of(value)
