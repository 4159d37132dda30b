"""Old intervals are deleted everywhere while workers are killed and stores are lost, and none of them comes back."""

import json
import shutil
import time
from collections.abc import Callable

import pytest

from tests.faults.scale import Counts, scaled
from tests.harness import Stream
from tests.making import flat_tariff, instant, location, record

pytestmark = pytest.mark.broker

LOCATIONS = scaled(30, 120)
DAYS = scaled(8, 24)
KEPT_DAYS = 3
A_DAY = scaled(4, 12)
KILLS = scaled(1, 6)
DAY_MINUTES = 24 * 60


def _records(day: int, kwh: float = 1.0) -> list[dict[str, object]]:
    """Return what all locations say of one day, in order of time; the first interval of a day is among it."""
    return [
        record(f"loc_{at}", DAY_MINUTES * day + 30 * number, 30, kwh)
        for number in range(A_DAY)
        for at in range(LOCATIONS)
    ]


def _kept(stream: Stream, topic: str) -> set[str]:
    """Return the interval ids that a compacted topic has left, by its last record for each."""
    newest = {each.key: each.value for each in stream.seen(topic)}
    ids = {
        key.decode().lstrip("i") if topic == stream.names.intervals_changelog else key.decode(): value
        for key, value in newest.items()
    }
    return {interval_id for interval_id, value in ids.items() if value is not None and interval_id.startswith("loc_")}


def test_old_intervals_are_deleted_for_good_through_kills_and_lost_stores(
    kafka: str, streams: Callable[..., Stream], counts: Counts
) -> None:
    stream = streams(kafka, emit_every_s=0, intervals_retention_days=KEPT_DAYS, transaction_max_ms=100)
    stream.load(flat_tariff("flat"), *(location(f"loc_{at}", "flat") for at in range(LOCATIONS)))
    worker = stream.worker()
    for day in range(DAYS):
        stream.publish(*_records(day))
        if day % (DAYS // KILLS) == DAYS // KILLS - 1:
            worker.kill()  # while it takes the day, or deletes
            if day > DAYS // 2:
                shutil.rmtree(stream.settings.data_dir)
            worker = stream.worker()
    cutoff = instant(DAY_MINUTES * (DAYS - 1 - KEPT_DAYS))
    everything = {
        f"{one['location_id']}||INBOUND|IMPORT|{one['start_time']}" for day in range(DAYS) for one in _records(day)
    }
    open_ids = {interval_id for interval_id in everything if interval_id.rsplit("|", 1)[1] >= cutoff}
    topics = (stream.names.intervals, stream.names.priced, stream.names.intervals_changelog)
    stream.wait(
        lambda: all(_kept(stream, topic) == open_ids for topic in topics), "only what is younger is left", timeout_s=120
    )
    deleted = len(everything) - len(open_ids)
    assert stream.totals()["deleted"] == deleted

    # What was deleted is sent again, changed and unchanged, to a worker that has lost its store; a new tariff comes too.
    worker.kill()
    shutil.rmtree(stream.settings.data_dir)
    refused_before = len(stream.rejected())
    assert refused_before == 0, stream.rejected()[:2]
    again = _records(0, 1.0) + _records(DAYS - KEPT_DAYS - 2, 2.0)
    stream.publish(*again)
    stream.worker()
    stream.load(flat_tariff("flat", "0.40", version=2))
    stream.wait(lambda: len(stream.rejected()) >= len(again), f"{len(again)} refusals")
    stream.wait(_all_cost(stream, open_ids, "0.42"), "the open intervals at the new rate", timeout_s=120)
    time.sleep(1)
    stream.read_again()
    stream.check_sequences()
    assert {each["error"] for each in stream.rejected()} == {"too_old"}
    assert len(stream.rejected()) == len(again)
    assert all(_kept(stream, topic) == open_ids for topic in topics)
    counts.note(
        "intervals older than what is kept, deleted through kills and lost stores",
        kills=KILLS + 1,
        deleted=deleted,
        kept=len(open_ids),
        too_old=len(again),
        came_back=0,
    )


def _all_cost(stream: Stream, interval_ids: set[str], cost: str) -> Callable[[], bool]:
    def all_cost() -> bool:
        newest = stream.newest_priced()
        return newest.keys() == interval_ids and all(
            json.loads(body + b"}")["cost"] == cost for body in newest.values()
        )

    return all_cost
