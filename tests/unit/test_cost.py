"""Pricing a stored interval again says, byte for byte, what pricing its published form says."""

import pytest

from app.domain.intervals import Interval
from app.domain.records import MeterId
from app.domain.reference import ReferenceBook
from app.streams.cost import Pricer
from app.streams.tables import MemoryStore, Tables
from app.streams.validate import Meter
from app.wire.location import parse_location
from app.wire.tariff import parse_tariff
from tests.making import Json, flat_tariff, location
from tests.unit.test_wire_interval import interval, reading

STATES = {
    "one record of the same period": interval(reading(0, 30, 500_000_001, submitted_ms=7)),
    "one record of the same period, corrected": interval(reading(0, 30, 0, confidence=0.5), revision=3),
    "one record of a part": interval(reading(5, 30, 500_000_000, submitted_ms=7)),
    "one record that began before": interval(reading(-15, 30, 500_000_000, submitted_ms=7)),
    "one record that goes on": interval(reading(0, 45, 500_000_000, submitted_ms=7)),
    "one record of an instant": interval(reading(0, 0, 500_000_000)),
    "two records": interval(reading(0, 10, 300_000_000, submitted_ms=9), reading(10, 45, 350_000_000, confidence=0.5)),
    "no record": interval(revision=2),
}


def cut_in_the_middle() -> Json:
    """Return a tariff with a boundary ten minutes after the interval's start, where its parts are looked at."""
    bands: list[Json] = [
        {"name": "late", "when": [{"start": "00:10", "end": "23:00"}], "tiers": [{"up_to_kwh": None, "rate": "0.31"}]},
        {
            "name": "else",
            "when": [],
            "tiers": [{"up_to_kwh": "0.1", "rate": "0.07"}, {"up_to_kwh": None, "rate": "0.9"}],
        },
    ]
    return flat_tariff("flat") | {"charges": [{"charge_id": "energy", "kind": "energy", "bands": bands}]}


@pytest.mark.parametrize("tariff", [flat_tariff("flat"), cut_in_the_middle()], ids=["flat", "cut in the middle"])
@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_a_stored_interval_is_priced_as_its_published_form(state: Interval, tariff: Json) -> None:
    book = ReferenceBook()
    book.put_tariff(parse_tariff(tariff))
    document = parse_location(location("loc_1"))
    book.put_location(document)
    meter = Meter(MeterId("loc_1", "", "INBOUND", "IMPORT"), document)
    interval_id = meter.text.interval_id(state.start_us)
    published = Pricer(Tables(MemoryStore()).priced, book).price(meter.text.encode(state))
    assert Pricer(Tables(MemoryStore()).priced, book).price_state(interval_id, state, meter, None) == published
