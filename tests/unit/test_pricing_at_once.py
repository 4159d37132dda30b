"""An interval is priced in the transaction that publishes it, and makes room when it is whole."""

from typing import Any

import pytest

from app.streams.cost import Outcome, Pricer
from app.wire import compiled
from app.wire.rejected import decode_rejected
from tests.making import sequence_of
from tests.unit.test_pipeline import finished, interval_id, record, started


def test_an_interval_that_is_published_whole_makes_room_and_is_found_again() -> None:
    log = [record("00:00", "00:30"), record("00:30", "00:40"), record("00:00", "00:30"), record("00:00", "00:15", 9)]
    partition = started(*log, emit_every_s=10.0)
    partition.take(2, 0)
    partition.commit()
    assert list(partition.tables._intervals) == [interval_id("00:30")]
    partition.finish()
    assert partition.counts["duplicate"] == 1
    assert [decode_rejected(value).error for value in partition.rejected] == ["overlaps_existing_period"]


def test_an_interval_is_priced_in_the_transaction_that_publishes_it() -> None:
    partition = started(record("00:00", "00:30"), record("00:00", "00:30", 2))
    partition.pipeline.prices_at_once = True
    for times in (1, 2):
        partition.take(1, 0)
        partition.commit()
        assert (len(partition.intervals), len(partition.priced)) == (times, times)
    assert [sequence_of(value) for _, value in partition.priced] == [1, 2]
    assert not partition.pipeline.awaits_intervals


def test_at_once_or_from_the_topic_the_same_bytes_are_published() -> None:
    """A reading that is cut by the end of its interval, one of zero length, several of one interval, another confidence."""
    values = [
        record("00:10", "00:40", 2),
        record("01:00", "01:00", 0),
        record("02:00", "02:07", 0.3, confidence=0.5),
        record("02:07", "02:30", 0.1),
        record("02:00", "02:30", 0.123456),
    ]
    later, at_once = finished(*values), started(*values)
    at_once.pipeline.prices_at_once = True
    at_once.finish()
    assert dict(at_once.priced) == dict(later.priced)
    assert len(at_once.priced) == 4


def test_an_interval_whose_pricing_raises_is_left_to_who_reads_its_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "parts", None)  # compiled code would price usual intervals by itself
    partition = started(record("00:00", "00:30"), record("00:30", "01:00"))
    partition.pipeline.prices_at_once = True
    real = Pricer.price_published

    def failing(self: Pricer, interval_id: str, *rest: Any) -> Outcome:
        if interval_id == interval_id_of_half_past:
            raise ZeroDivisionError
        return real(self, interval_id, *rest)

    interval_id_of_half_past = interval_id("00:30")
    monkeypatch.setattr(Pricer, "price_published", failing)
    partition.take(2, 0)
    partition.commit()
    assert [key.decode() for key, _ in partition.priced] == [interval_id("00:00")]
    assert partition.pipeline.awaits_intervals
    partition.pipeline.prices_at_once = False
    partition.take(0, 2)
    partition.commit()
    assert [key.decode() for key, _ in partition.priced] == [interval_id("00:00"), interval_id("00:30")]
    assert not partition.pipeline.awaits_intervals
