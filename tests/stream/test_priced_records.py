"""A record in, an interval and a priced record out; corrections, repetitions, and intervals that are not complete."""

import time
from itertools import pairwise

import pytest

from tests.harness import Stream
from tests.making import instant
from tests.sites import Site

pytestmark = pytest.mark.broker


def test_a_record_becomes_an_interval_and_a_priced_record(stream: Stream, site: Site) -> None:
    place = site.publish(site.record(0, 30, 2.0, record_reference_id="MET1"))[0]
    priced = site.await_priced(0)
    submitted_at = priced.pop("submitted_at")
    assert submitted_at.startswith("20")
    assert submitted_at.endswith("Z")
    assert priced == {
        "interval_id": site.interval_id(0),
        "location_id": site.location_id,
        "device_id": None,
        "energy_flow_direction": "INBOUND",
        "tariff_direction": "IMPORT",
        "start_time": "2025-03-01T00:00:00Z",
        "end_time": "2025-03-01T00:30:00Z",
        "energy_wh": 2000,
        "covered_seconds": 1800,
        "complete": True,
        "confidence": 1,
        "revision": 1,
        "sequence": 1,
        "status": "priced",
        "reason": None,
        "currency": "GBP",
        "cost": "0.63",
        "cost_excluding_tax": "0.6",
        "tax": "0.03",
        "carbon_g": None,
        "tariff_id": site.tariff_id,
        "tariff_version": 1,
        "components": [
            {
                "charge_id": "energy",
                "band": "all",
                "tier": 1,
                "start_time": "2025-03-01T00:00:00Z",
                "end_time": "2025-03-01T00:30:00Z",
                "energy_wh": 2000,
                "rate": "0.3",
                "cost": "0.63",
                "cost_excluding_tax": "0.6",
            }
        ],
    }
    interval = site.intervals(0)[0]
    records = interval.pop("records")
    assert interval == {name: ({"submitted_at": submitted_at} | priced)[name] for name in interval}
    assert records == [
        {
            "record_reference_id": "MET1",
            "session_reference_id": None,
            "start_time": "2025-03-01T00:00:00Z",
            "end_time": "2025-03-01T00:30:00Z",
            "energy_wh": 2000,
            "submitted_at": submitted_at,
        }
    ]
    assert place.partition == stream.partition_of(site.location_id)


def test_keys_are_interval_ids_and_the_partition_is_the_locations(stream: Stream, site: Site) -> None:
    site.publish(site.record(0, 30, 2.0))
    site.await_priced(0)
    assert len(site.intervals(0)) == 1
    key, partition = site.interval_id(0).encode(), stream.partition_of(site.location_id)
    assert [each.partition for each in stream.seen(stream.names.intervals) if each.key == key] == [partition]
    assert [each.partition for each in stream.seen(stream.names.priced) if each.key == key] == [partition]


def test_a_complete_interval_does_not_wait_for_emit_every(stream: Stream, site: Site) -> None:
    site.publish(site.record(60, 15, 1.0), site.record(0, 15, 1.0), site.record(15, 15, 2.0))
    priced = site.await_priced(0)
    assert (priced["energy_wh"], priced["complete"], priced["sequence"]) == (3000, True, 1)
    site.await_priced(60)
    assert [each["complete"] for each in stream.priced(site.location_id)] == [True, False]


def test_a_long_record_is_split_into_its_intervals(site: Site) -> None:
    site.publish(site.record(0, 120, 4.0))
    assert [site.await_priced(minute)["energy_wh"] for minute in (0, 30, 60, 90)] == [1000] * 4


def test_a_device_and_its_location_are_never_summed(stream: Stream, site: Site) -> None:
    site.publish(site.record(0, 30, 2.0), site.record(0, 30, 1.0, device_id="ev"))
    stream.wait(lambda: len(stream.priced(site.location_id)) == 2, "two priced records")
    energies = {each["device_id"]: each["energy_wh"] for each in stream.priced(site.location_id)}
    assert energies == {None: 2000, "ev": 1000}


def test_an_incomplete_interval_is_published_when_it_is_due(site: Site) -> None:
    began_s = time.monotonic()
    site.publish(site.record(0, 10, 1.0))
    priced = site.await_priced(0)
    waited_s = time.monotonic() - began_s
    assert 0.9 < waited_s < 6
    assert (priced["complete"], priced["covered_seconds"], priced["cost"]) == (False, 600, "0.315")


def test_an_incomplete_interval_is_published_no_more_often_than_emit_every(stream: Stream, site: Site) -> None:
    began_s = time.monotonic()
    for minute in range(28):
        site.publish(site.record(minute, 1, 0.1))
        time.sleep(0.125)
    whole = stream.wait(
        lambda: [each for each in site.intervals(0) if each["covered_seconds"] == 28 * 60], "all 28 minutes published"
    )
    waited_s = time.monotonic() - began_s
    assert not whole[0]["complete"]
    key = site.interval_id(0).encode()
    at_ms = [each.timestamp for each in stream.seen(stream.names.intervals) if each.key == key]
    assert 3 <= len(at_ms) <= waited_s + 1
    # Kafka's timestamp is that of the transaction, which may have begun a little earlier than its publication was due.
    assert min(later - earlier for earlier, later in pairwise(at_ms)) > 700
    assert all(each["revision"] == 1 for each in site.intervals(0))


def test_a_record_that_is_sent_again_publishes_nothing(stream: Stream, site: Site) -> None:
    same = site.record(0, 30, 2.0, record_reference_id="MET1")
    site.publish(same)
    site.await_priced(0)
    duplicates = stream.totals()["duplicate"]
    for _ in range(3):
        site.publish(same)
    site.settle()
    assert len(site.intervals(0)) == len(site.priced(0)) == 1
    assert stream.totals()["duplicate"] == duplicates + 3


def test_a_correction_is_published_as_revision_and_sequence_two(site: Site) -> None:
    site.publish(site.record(0, 30, 2.0))
    site.await_priced(0)
    site.publish(site.record(0, 30, 3.0))
    priced = site.await_priced(0, times=2)
    assert (priced["revision"], priced["sequence"], priced["energy_wh"], priced["cost"]) == (2, 2, 3000, "0.945")


def test_a_correction_of_the_reference_alone_is_no_revision(stream: Stream, site: Site) -> None:
    site.publish(site.record(0, 30, 2.0, record_reference_id="A"))
    site.await_priced(0)
    site.publish(site.record(0, 30, 2.0, record_reference_id="B"))
    site.settle()
    assert [each["sequence"] for each in site.priced(0)] == [1]
    corrected = stream.wait(
        lambda: [each for each in site.intervals(0) if each["records"][0]["record_reference_id"] == "B"],
        "the interval with the other reference",
    )
    assert [each["revision"] for each in corrected] == [1]


def test_a_longer_record_replaces_those_that_it_covers(site: Site) -> None:
    site.publish(site.record(0, 15, 1.0), site.record(15, 15, 1.0))
    site.await_priced(0)
    site.publish(site.record(0, 30, 5.0))
    priced = site.await_priced(0, times=2)
    assert (priced["energy_wh"], priced["revision"]) == (5000, 2)


def test_a_partial_overlap_is_refused(site: Site) -> None:
    site.publish(site.record(0, 20, 1.0))
    site.publish(site.record(10, 20, 1.0))
    site.settle()
    refused = site.rejected()
    assert [each["error"] for each in refused] == ["overlaps_existing_period"]
    assert instant(10) in refused[0]["message"]
    assert [each["energy_wh"] for each in site.priced(0)] in ([], [1000])


def test_a_storm_of_corrections_ends_with_the_last_one(stream: Stream, site: Site) -> None:
    storm = [site.record(0, 30, 1.0 + number / 1000) for number in range(1500)]
    site.publish(*storm[:500])
    for each in storm[500:520]:
        site.publish(each)
    site.publish(*storm[520:])
    stream.wait(lambda: any(each["energy_wh"] == 2499 for each in site.priced(0)), "the last correction")
    site.settle()
    published = site.priced(0)
    assert published[-1]["energy_wh"] == 2499
    assert published[-1]["revision"] == len(storm)
    assert [each["sequence"] for each in published] == list(range(1, len(published) + 1))
    revisions = [each["revision"] for each in published]
    assert revisions == sorted(set(revisions))


def test_a_batch_of_ten_thousand_records_is_taken(stream: Stream, site: Site) -> None:
    place = stream.publish([site.record(3 * number, 3, 0.001) for number in range(10_000)], key=site.location_id)[0]
    stream.wait(lambda: len(stream.priced(site.location_id)) == 1000, "a thousand half hours")
    assert {each["energy_wh"] for each in stream.priced(site.location_id)} == {10}
    assert stream.refusals_at(place) == []
