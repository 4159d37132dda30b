"""Records in another partition than their location's are forwarded, land once, and keep their place in the log."""

import json
import time

import pytest

from tests.harness import Stream
from tests.sites import Site

pytestmark = pytest.mark.broker


def test_a_record_in_the_wrong_partition_lands_exactly_once(stream: Stream, site: Site) -> None:
    wrong = stream.partition_not_of(site.location_id)
    stream.publish(site.record(0, 30, 1.0), key=None, partition=wrong)
    stream.publish(site.record(30, 30, 2.0), key="a key of somebody else's", partition=wrong)
    stream.publish(site.record(60, 30, 3.0), partition=wrong)  # the right key by another partitioner
    stream.publish(site.record(90, 30, 4.0), key=None, partition=stream.partition_of(site.location_id))
    assert [site.await_priced(30 * number)["energy_wh"] for number in range(4)] == [1000, 2000, 3000, 4000]
    site.settle()
    assert [len(site.priced(30 * number)) for number in range(4)] == [1, 1, 1, 1]
    partitions = {
        each.partition for each in stream.seen(stream.names.priced) if each.key.startswith(b"%s|" % _id(site))
    }
    assert partitions == {stream.partition_of(site.location_id)}


def _id(site: Site) -> bytes:
    return site.location_id.encode()


def test_a_batch_of_several_locations_reaches_each(stream: Stream, site: Site, another_site: Site) -> None:
    for minute, key in ((0, None), (60, site.location_id), (120, another_site.location_id)):
        batch = [each.record(minute + half, 30, 1.0) for half in (0, 30) for each in (site, another_site)]
        stream.publish(batch, key=key, partition=0 if key is None else None)
    for each in (site, another_site):
        for minute in range(0, 180, 30):
            each.await_priced(minute)
        each.settle()
        assert [len(each.priced(minute)) for minute in range(0, 180, 30)] == [1] * 6


def test_a_misplaced_record_counts_as_submitted_when_it_was_first_published(stream: Stream, site: Site) -> None:
    # The wrong partition gets its record first, then the right one gets a newer value; the forwarded record arrives later.
    wrong = stream.partition_not_of(site.location_id)
    for number in range(10):
        stream.publish(site.record(30 * number, 30, 1.0), partition=wrong)
        time.sleep(0.01)
        stream.publish(site.record(30 * number, 30, 2.0))
    site.settle()
    stream.wait(lambda: len(_forwarded(stream, site)) == 10, "ten forwarded records")
    site.settle()
    assert [site.priced(30 * number)[-1]["energy_wh"] for number in range(10)] == [2000] * 10


def test_a_misplaced_correction_wins_when_it_was_published_last(stream: Stream, site: Site) -> None:
    wrong = stream.partition_not_of(site.location_id)
    for number in range(10):
        stream.publish(site.record(30 * number, 30, 1.0))
        time.sleep(0.01)
        stream.publish(site.record(30 * number, 30, 2.0), partition=wrong)
    stream.wait(lambda: len(_forwarded(stream, site)) == 10, "ten forwarded records")
    site.settle()
    assert [site.priced(30 * number)[-1]["energy_wh"] for number in range(10)] == [2000] * 10


def _forwarded(stream: Stream, site: Site) -> list[bytes]:
    topic = stream.names.records_by_location
    return [each.value for each in stream.seen(topic) if each.key == site.location_id.encode()]


def test_a_misplaced_repetition_publishes_nothing(stream: Stream, site: Site) -> None:
    stream.publish(site.record(0, 30, 1.0))
    site.await_priced(0)
    stream.publish(site.record(0, 30, 1.0), partition=stream.partition_not_of(site.location_id))
    stream.wait(lambda: len(_forwarded(stream, site)) == 1, "the forwarded record")
    site.settle()
    assert len(site.priced(0)) == len(site.intervals(0)) == 1


def test_a_misplaced_bad_record_is_refused_once_and_names_its_first_place(
    stream: Stream, site: Site, another_site: Site
) -> None:
    wrong = stream.partition_of(another_site.location_id)
    bad = site.record(0, 30, -1.0)
    place = stream.publish([another_site.record(0, 30, 1.0), bad], key=b"a batch", partition=wrong)[0]
    refused = stream.wait(lambda: stream.refusals_at(place), "the refusal")
    site.settle()
    assert len(stream.refusals_at(place)) == 1
    assert (refused[0]["error"], refused[0]["record_num"]) == ("negative_value", 1)
    assert json.loads(refused[0]["raw"]) == bad
    kept = [each for each in stream.seen(stream.names.rejected) if json.loads(each.value) == refused[0]]
    assert [each.key for each in kept] == [b"a batch"]
    another_site.await_priced(0)
