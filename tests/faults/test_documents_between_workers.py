"""Documents that changed while no worker ran are applied when one starts."""

from collections.abc import Callable

import pytest

from tests.faults.scale import Counts
from tests.harness import Stream
from tests.making import flat_tariff, location, record, series_day, series_tariff
from tests.sites import sites

pytestmark = pytest.mark.broker


def test_documents_that_changed_while_no_worker_ran_are_applied(
    kafka: str, streams: Callable[..., Stream], counts: Counts
) -> None:
    stream = streams(kafka, partitions=2, emit_every_s=1)
    same, dearer, moved, recut, late, market, gone = sites(stream, 7)
    stream.load(location(late.location_id, "arrives later"))
    stream.load(
        series_tariff("market", "AGILE"), series_day("AGILE", 0, ["0.10"]), location(market.location_id, "market")
    )
    stream.load(
        series_tariff("gone", "GONE"), series_day("GONE", 0, ["0.1", "0.2"]), location(gone.location_id, "gone")
    )
    for site in (same, dearer, moved, recut, late, market, gone):
        stream.publish(site.record(0, 60, 2.0))
    worker = stream.worker()
    stream.verify()
    assert worker.terminate() == 0

    stream.load(flat_tariff(dearer.tariff_id, "0.99", version=2))
    stream.load(flat_tariff("another", "0.77"), location(moved.location_id, "another"))
    stream.load(location(recut.location_id, recut.tariff_id, interval_minutes=60))
    stream.load(flat_tariff("arrives later", "0.55"))
    stream.load(series_day("AGILE", 0, ["0.10", "0.20"]))
    worker = stream.worker()
    assert dearer.await_priced(0, times=2)["cost"] == "1.0395"
    assert moved.await_priced(0, times=2)["tariff_id"] == "another"
    assert recut.await_priced(0, times=2)["energy_wh"] == 2000
    assert recut.await_priced(30, times=2)["energy_wh"] == 0
    assert late.await_priced(0, times=2)["status"] == "priced"
    assert market.await_priced(30, times=2)["cost"] == "0.2"
    stream.wait(lambda: len(stream.newest_priced()) == 14, "all prices")
    same.settle()
    assert [len(same.priced(minute)) for minute in (0, 30)] == [1, 1]
    assert [len(each.priced(0)) for each in (same, market, gone)] == [1, 1, 1]

    # What was applied is not applied again by the next worker, and what was taken away is not missed.
    assert worker.terminate() == 0
    count = len(stream.seen(stream.names.priced))
    stream.load_raw(stream.names.tariffs, dearer.tariff_id, None)
    stream.load_raw(stream.names.series, "GONE/2025-03-01", None)
    stream.load(series_day("AGILE", 0, ["0.10"]))
    stream.worker()
    assert [dearer.await_priced(minute, times=3)["reason"] for minute in (0, 30)] == ["no_tariff"] * 2
    assert [gone.await_priced(minute, times=2)["reason"] for minute in (0, 30)] == ["no_price"] * 2
    assert market.await_priced(30, times=3)["reason"] == "no_price"
    same.settle()
    assert len(stream.seen(stream.names.priced)) == count + 6
    stream.check_sequences()
    counts.note("documents changed and taken away while no worker ran", documents=9, prices=count + 6)


def test_a_worker_killed_while_it_prices_again_finishes_after_its_restart(
    kafka: str, streams: Callable[..., Stream], counts: Counts
) -> None:
    stream = streams(kafka, partitions=2, emit_every_s=1, transaction_max_ms=50, instance_id="one")
    names = [f"loc_{number}" for number in range(20)]
    stream.load(flat_tariff("flat"), *(location(name) for name in names))
    stream.publish(*(record(name, 30 * number, 30, 1.0) for name in names for number in range(300)))
    worker = stream.worker()
    stream.verify(quiet_s=0.2)
    stream.load(flat_tariff("flat", "0.2", version=2))
    count = len(stream.seen(stream.names.priced))
    stream.wait(lambda: len(stream.seen(stream.names.priced)) > count + 200, "some new prices")
    worker.kill()
    stream.load(flat_tariff("flat", "0.3", version=3))
    stream.worker()
    stream.verify()
    counts.note(
        "a worker killed (SIGKILL) while it prices again, and documents changed once more", kills=1, intervals=6000
    )
