"""Locations, tariffs and series arrive, change and go while a worker runs: what they concern is priced again."""

import json
import time
from collections.abc import Callable

import pytest

from tests.harness import Stream
from tests.making import flat_tariff, instant, location, record, series_day, series_tariff
from tests.sites import Site

pytestmark = pytest.mark.broker

SOON_S = 2.0
"""How long a change of documents may take until prices follow, on a machine that is not overloaded."""
PATIENCE_S = 10.0


def test_a_tariff_that_arrives_later_prices_what_was_pending(stream: Stream, site: Site) -> None:
    late = f"late_{site.location_id}"
    stream.load(location(site.location_id, late))
    _await_documents(stream)
    site.publish(site.record(0, 60, 2.0))
    pending = [site.await_priced(minute) for minute in (0, 30)]
    assert [(p["status"], p["reason"], p["cost"], p["sequence"]) for p in pending] == [
        ("pending", "no_tariff", None, 1)
    ] * 2
    began_s = time.monotonic()
    stream.load(flat_tariff(late, "0.20"))
    priced = [site.await_priced(minute, times=2, timeout_s=PATIENCE_S) for minute in (0, 30)]
    waited_s = time.monotonic() - began_s
    assert [(p["status"], p["reason"], p["cost"], p["sequence"]) for p in priced] == [("priced", None, "0.21", 2)] * 2
    assert all(p["revision"] == 1 for p in priced)
    assert waited_s < SOON_S


def _await_documents(stream: Stream) -> None:
    """Wait until the worker has read the documents that were loaded before: it then knows a location loaded after them."""
    probe = f"probe_{time.monotonic_ns()}"
    stream.load(location(probe, None))
    for minute in range(0, 6000, 30):
        stream.publish(record(probe, minute, 30, 1.0))
        decided = minute // 30 + 1
        stream.wait(
            lambda decided=decided: len(stream.priced(probe)) + len(stream.rejected(probe)) == decided, "a decision"
        )
        if stream.priced(probe):
            time.sleep(0.3)  # documents in other partitions may need one more poll
            return
    pytest.fail("a location was not known after 200 records")


def test_a_new_version_of_a_tariff_prices_again(stream: Stream, site: Site) -> None:
    site.publish(site.record(0, 30, 1.0), site.record(30, 10, 1.0))
    assert site.await_priced(0)["cost"] == "0.315"
    site.await_priced(30)
    stream.load(flat_tariff(site.tariff_id, "0.40", version=2))
    priced = [site.await_priced(minute, times=2) for minute in (0, 30)]
    assert [(p["cost"], p["tariff_version"], p["sequence"], p["revision"]) for p in priced] == [("0.42", 2, 2, 1)] * 2


def test_the_same_tariff_loaded_again_publishes_nothing(stream: Stream, site: Site) -> None:
    site.publish(site.record(0, 30, 1.0))
    site.await_priced(0)
    stream.load(flat_tariff(site.tariff_id))
    _await_documents(stream)
    site.settle()
    assert len(site.priced(0)) == 1


def test_a_tariff_that_is_deleted_leaves_its_intervals_pending(stream: Stream, site: Site) -> None:
    site.publish(site.record(0, 30, 1.0))
    site.await_priced(0)
    stream.load_raw(stream.names.tariffs, site.tariff_id, None)
    pending = site.await_priced(0, times=2)
    assert (pending["status"], pending["reason"], pending["cost"]) == ("pending", "no_tariff", None)


def test_a_changed_link_prices_again_from_its_date_on(stream: Stream, site: Site, another_site: Site) -> None:
    site.publish(site.record(0, 90, 3.0))
    for minute in (0, 30, 60):
        site.await_priced(minute)
    stream.load(flat_tariff(another_site.tariff_id, "0.50"))
    links = [
        {"direction": "IMPORT", "tariff_id": site.tariff_id, "valid_to": instant(45)},
        {"direction": "IMPORT", "tariff_id": another_site.tariff_id, "valid_from": instant(45)},
    ]
    stream.load(location(site.location_id, tariffs=links))
    assert site.await_priced(60, times=2)["cost"] == "0.525"
    cut = site.await_priced(30, times=2)
    assert [(c["start_time"], c["rate"]) for c in cut["components"]] == [(instant(30), "0.3"), (instant(45), "0.5")]
    site.settle()
    assert len(site.priced(0)) == 1  # nothing changed before the date


def test_another_interval_length_cuts_the_records_again(stream: Stream, site: Site) -> None:
    site.publish(site.record(0, 15, 1.0), site.record(15, 15, 2.0), site.record(30, 30, 4.0))
    site.await_priced(0)
    site.await_priced(30)
    stream.load(location(site.location_id, site.tariff_id, interval_minutes=60))
    hour = site.await_priced(0, times=2)
    assert (hour["end_time"], hour["energy_wh"], hour["complete"], hour["cost"]) == (instant(60), 7000, True, "2.205")
    assert site.await_priced(30, times=2)["energy_wh"] == 0  # it is part of the hour now
    stream.load(location(site.location_id, site.tariff_id, interval_minutes=15))
    quarters = [
        site.await_priced(0, times=3)["energy_wh"],
        site.await_priced(15)["energy_wh"],
        site.await_priced(30, times=3)["energy_wh"],
        site.await_priced(45)["energy_wh"],
    ]
    assert quarters == [1000, 2000, 2000, 2000]
    # A correction finds the record that it corrects.
    site.publish(site.record(30, 30, 6.0))
    assert site.await_priced(45, times=2)["energy_wh"] == 3000
    site.settle()
    assert sum(site.priced(minute)[-1]["energy_wh"] for minute in (0, 15, 30, 45)) == 9000


def test_a_price_of_a_series_that_arrives_late_prices_what_was_pending(stream: Stream, site: Site) -> None:
    series_id, tariff_id = f"series_{site.location_id}", f"market_{site.location_id}"
    stream.load(series_tariff(tariff_id, series_id), series_day(series_id, 0, ["0.10", "0.20"]))
    stream.load(location(site.location_id, tariff_id))
    _await_documents(stream)
    site.publish(site.record(0, 90, 3.0))
    costs = [(site.await_priced(minute)["cost"], site.priced(minute)[-1]["reason"]) for minute in (0, 30, 60)]
    assert costs == [("0.1", None), ("0.2", None), (None, "no_price")]
    stream.load(series_day(series_id, 0, ["0.10", "0.20", "-0.05"]))
    assert site.await_priced(60, times=2)["cost"] == "-0.05"
    stream.load(series_day(series_id, 0, ["0.10", "0.25", "-0.05"]))
    assert site.await_priced(30, times=2)["cost"] == "0.25"
    site.settle()
    assert [len(site.priced(minute)) for minute in (0, 30, 60)] == [1, 2, 2]


def test_a_bad_tariff_is_logged_and_the_old_one_stays(stream: Stream, site: Site) -> None:
    tariffs, worker = stream.names.tariffs, stream.workers[0]
    bad = json.dumps(flat_tariff(site.tariff_id, "cheap", version=2)).encode()
    for value in (b"{bad", bad, b"\xff\xfe", b"[]", b"null"):
        stream.load_raw(tariffs, site.tariff_id, value)
    stream.wait(
        lambda: sum(each["key"] == site.tariff_id for each in worker.logged("document_refused")) == 5,
        "five log entries",
    )
    entries = [each for each in worker.logged("document_refused") if each["key"] == site.tariff_id]
    assert all(each["kind"] == "tariff" and each["level"] == "error" for each in entries)
    assert "charges[0].bands[0].tiers[0].rate" in str(entries[1]["problems"])
    assert "cheap" in str(entries[1]["problems"])
    site.publish(site.record(0, 30, 1.0))
    priced = site.await_priced(0)
    assert (priced["cost"], priced["tariff_version"]) == ("0.315", 1)


def test_a_document_under_the_wrong_key_is_refused(stream: Stream, site: Site) -> None:
    value = json.dumps(flat_tariff(site.tariff_id, "9.99", version=2)).encode()
    stream.load_raw(stream.names.tariffs, f"not_{site.tariff_id}", value)
    stream.wait(
        lambda: [e for e in stream.workers[0].logged("document_refused") if e["key"] == f"not_{site.tariff_id}"],
        "the log entry",
    )
    site.publish(site.record(0, 30, 1.0))
    assert site.await_priced(0)["tariff_version"] == 1


def test_a_new_location_is_known_without_a_restart(stream: Stream, site: Site) -> None:
    new = f"new_{site.location_id}"
    stream.publish(record(new, 0, 30, 1.0))
    stream.wait(lambda: stream.rejected(new), "the refusal")
    stream.load(location(new, site.tariff_id))
    _await_documents(stream)
    stream.publish(record(new, 30, 30, 1.0))
    priced = stream.wait(lambda: stream.priced(new), "the price")
    assert [each["start_time"] for each in priced] == [instant(30)]


def test_what_was_held_back_is_published_though_its_location_went_and_came_back(stream: Stream, site: Site) -> None:
    document = stream.documents[f"{stream.names.locations}/{site.location_id}"]
    site.publish(site.record(0, 10, 1.0))
    changelog, key = stream.names.intervals_changelog, site.interval_id(0).encode()
    stream.wait(lambda: any(each.key.endswith(key) for each in stream.seen(changelog)), "the record accepted")
    stream.load_raw(stream.names.locations, site.location_id, None)
    time.sleep(2.5)  # its publication would have been due meanwhile
    stream.load(document)
    assert site.await_priced(0, timeout_s=10)["energy_wh"] == 1000


def test_documents_are_complete_before_the_first_record_is_priced(new_stream: Callable[..., Stream]) -> None:
    stream = new_stream(partitions=2)
    names = [f"loc_{number}" for number in range(2000)]
    stream.load(*(location(name) for name in names), flat_tariff("flat"))
    stream.publish(*(record(name, 0, 30, 1.0) for name in names))
    stream.worker()
    stream.verify()
    assert stream.rejected() == []
    assert {(each.value.count(b'"status":"priced"')) for each in stream.seen(stream.names.priced)} == {1}
