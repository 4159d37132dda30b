"""Intervals on their way to pricing are left by those who price again; what the broker's cleaner took is not on its way."""

import json
from typing import Any

from app.wire.tariff import parse_tariff
from tests.simulation import SimulatedPartition, book_of, flat_tariff, message

PERIOD = {"start_time": "2025-03-01T00:00:00Z", "end_time": "2025-03-01T00:30:00Z"}
ID = b"loc_1||INBOUND|IMPORT|2025-03-01T00:00:00Z"


def published_twice() -> SimulatedPartition:
    """Return a partition that has published an interval and its correction, and priced neither."""
    records = [{"location_id": "loc_1", "units": "KWH", "value": value} | PERIOD for value in (1, 2)]
    log = [message(json.dumps(one).encode(), at) for at, one in enumerate(records)]
    partition = SimulatedPartition(log, book_of({"location_id": "loc_1"}, tariffs=[flat_tariff()]))
    for _ in log:
        partition.take(1, 0)
        partition.commit()
    assert len(partition.intervals) == 2
    return partition


def price_again(partition: SimulatedPartition, rate: str) -> dict[str, Any]:
    """Change the tariff, price again what it concerns, and return the last published price."""
    partition.book.put_tariff(parse_tariff(flat_tariff(rate=rate)))
    partition.reprice("loc_1")
    partition.commit()
    priced: dict[str, Any] = json.loads(dict(partition.priced)[ID])
    return priced


def test_an_interval_of_which_more_is_on_its_way_is_left() -> None:
    partition = published_twice()
    partition.take(0, 1)
    assert price_again(partition, "0.40")["cost"] == "0.2"


def test_an_interval_whose_older_form_was_compacted_away_is_priced_again() -> None:
    partition = published_twice()
    del partition.intervals[0]
    partition.take(0, 1)
    partition.commit()
    assert price_again(partition, "0.40")["cost"] == "0.8"
