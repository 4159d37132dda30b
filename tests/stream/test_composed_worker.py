"""A worker put together with other parts: exceptions forced inside a stage, and a look into the Faust tables."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Stream
from tests.making import Json
from tests.sites import Site, sites

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def composed(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stream, Iterator[Site]]]:
    """A stream whose worker runs `composed`."""
    folder = tmp_path_factory.mktemp("composed")
    with Stream(kafka, folder, emit_every_s=1, partitions=2) as stream:
        unused = sites(stream, 10)
        stream.worker("-m", "tests.stream.composed", environ={"PROBE_DIR": str(folder)})
        yield stream, unused


@pytest.fixture
def stream(composed: tuple[Stream, Iterator[Site]]) -> Stream:
    """The stream of the composed worker."""
    return composed[0]


@pytest.fixture
def site(composed: tuple[Stream, Iterator[Site]]) -> Site:
    """A location that is this test's own."""
    return next(composed[1])


def test_a_record_that_always_fails_is_an_internal_error_and_the_rest_goes_on(stream: Stream, site: Site) -> None:
    records = [site.record(30 * number, 30, 1.0, record_reference_id=f"good-{number}") for number in range(20)]
    records[7]["record_reference_id"] = "always-7"
    places = stream.publish(*records)
    for number in range(20):
        if number != 7:
            site.await_priced(30 * number)
    site.settle()
    assert not site.priced(30 * 7)
    refused = site.rejected()
    assert [(each["error"], each["offset"]) for each in refused] == [("internal_error", places[7].offset)]
    assert refused[0]["message"] == "the record could not be handled: RuntimeError: a fault forced by always-7"
    assert refused[0]["raw"].encode() == json.dumps(records[7]).encode()
    assert stream.workers[0].exit_code is None


def test_a_record_that_fails_once_is_tried_again(site: Site) -> None:
    site.publish(
        site.record(0, 30, 1.0),
        site.record(30, 30, 2.0, record_reference_id=f"once-{site.location_id}"),
        site.record(60, 30, 3.0),
    )
    assert [site.await_priced(minute)["energy_wh"] for minute in (0, 30, 60)] == [1000, 2000, 3000]
    site.settle()
    assert site.rejected() == []


def test_one_failing_record_of_a_batch_is_refused_alone(stream: Stream, site: Site) -> None:
    batch = [site.record(30 * number, 30, 1.0, record_reference_id=f"good-{number}") for number in range(5)]
    batch[3]["record_reference_id"] = "always-3"
    place = stream.publish(batch, key=site.location_id)[0]
    for number in (0, 1, 2, 4):
        site.await_priced(30 * number)
    refused = stream.refusals_at(place)
    assert [(each["error"], each["record_num"]) for each in refused] == [("internal_error", 3)]
    assert json.loads(refused[0]["raw"]) == batch[3]


def test_many_failing_records_lose_nothing(stream: Stream, site: Site) -> None:
    def reference(number: int) -> str:
        return f"always-{number}" if number % 5 == 0 else f"once-{number}-{site.location_id}"

    count = 300
    stream.publish(*(site.record(30 * n, 30, 1.0, record_reference_id=reference(n)) for n in range(count)))
    stream.wait(lambda: len(site.rejected()) == count // 5, "every failing record refused")
    stream.wait(lambda: len(stream.priced(site.location_id)) == count - count // 5, "every other record priced")
    site.settle()
    assert len(site.rejected()) == count // 5
    totals = stream.totals()
    assert totals["input"] == sum(totals[name] for name in ("accepted", "rejected", "superseded", "duplicate"))


def _look_up(stream: Stream, *interval_ids: str) -> Json:
    """Ask the worker's timer for what its tables say."""
    found = stream.folder / "found.json"
    found.unlink(missing_ok=True)
    (stream.folder / "wanted").write_text("\n".join(interval_ids), encoding="utf-8")
    return stream.wait(lambda: _complete(found, interval_ids), "the tables' answer")


def _complete(found: Path, interval_ids: tuple[str, ...]) -> Json | None:
    answer: Json = json.loads(found.read_text(encoding="utf-8")) if found.exists() else {}
    return answer if all(interval_id in answer for interval_id in interval_ids) else None


def test_the_faust_tables_say_what_was_published(stream: Stream, site: Site) -> None:
    site.publish(site.record(0, 30, 1.0), site.record(30, 30, 2.0))
    site.await_priced(30)
    ids, nothing = [site.interval_id(minute) for minute in (0, 30)], site.interval_id(60)
    answer = _look_up(stream, *ids, nothing)
    for minute, interval_id in zip((0, 30), ids, strict=True):
        assert answer[interval_id]["priced"] == site.priced(minute)[-1]
        assert answer[interval_id]["intervals"] == site.intervals(minute)[-1]
        assert answer[interval_id]["is_in"]
        assert answer[interval_id]["is_listed"]
    assert answer[nothing] == {"priced": None, "intervals": None, "is_in": False, "is_listed": False}
    site.publish(site.record(0, 30, 5.0))
    corrected = site.await_priced(0, times=2)
    assert _look_up(stream, ids[0])[ids[0]]["priced"] == corrected


def test_the_faust_tables_hold_every_interval_and_take_no_writes(stream: Stream, site: Site) -> None:
    site.settle()
    answer = _look_up(stream, site.interval_id(0))
    assert answer["length"] == len(stream.newest_priced())
    assert answer["refused"] is not None
