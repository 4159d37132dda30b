"""What is large for its kind must not come out larger than the topics take: that would hold its partition up for ever."""

from collections.abc import Iterator

import pytest

from tests.harness import Site, Stream, sites

pytestmark = pytest.mark.broker

RECORD_BYTES = 1_048_576


@pytest.fixture(scope="module")
def large(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stream, Iterator[Site]]]:
    """A stream with the default limits, and one partition to be held up."""
    with Stream(kafka, tmp_path_factory.mktemp("large"), partitions=2, emit_every_s=0.5) as stream:
        unused = sites(stream, 20)
        stream.worker()
        yield stream, unused


@pytest.fixture
def stream(large: tuple[Stream, Iterator[Site]]) -> Stream:
    """The stream."""
    return large[0]


@pytest.fixture
def site(large: tuple[Stream, Iterator[Site]]) -> Site:
    """A location that is this test's own."""
    return next(large[1])


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00" * (RECORD_BYTES - 1000),
        b"\x01" * (RECORD_BYTES - 1000),
        b'"' * (RECORD_BYTES - 1000),
        b"\xff" * (RECORD_BYTES - 1000),
        "\u2028\U0001f4a1".encode() * (RECORD_BYTES // 8),
        b'{"record_reference_id":"' + b'\\"' * (RECORD_BYTES // 2 - 1000) + b'"}',
        b'{"location_id":"' + b'\\"' * (RECORD_BYTES // 2 - 1000) + b'"}',
    ],
    ids=["zeros", "ones", "quotes", "not UTF-8", "wide letters", "a long reference", "a long location"],
)
def test_a_large_message_that_is_refused_does_not_hold_its_partition_up(stream: Stream, site: Site, raw: bytes) -> None:
    place = stream.publish(raw, key=site.location_id)[0]
    refused = stream.wait(lambda: stream.refusals_at(place), "the refusal", timeout_s=20)[0]
    assert refused["error"] in ("malformed_json", "missing_field")
    site.settle()


@pytest.mark.parametrize("field", ["start_time", "end_time", "units", "value", "device_id", "location_id"])
def test_a_large_field_that_is_refused_does_not_hold_its_partition_up(stream: Stream, site: Site, field: str) -> None:
    bad = site.record(0, 30, 1.0) | {field: '"|' * (RECORD_BYTES // 3 - 1000)}
    place = stream.publish(bad, key=site.location_id)[0]
    refused = stream.wait(lambda: stream.refusals_at(place), "the refusal", timeout_s=20)[0]
    assert refused["error"] == "invalid_value"
    assert len(refused["message"]) < 2000
    site.settle()


def test_large_references_do_not_hold_their_partition_up(stream: Stream, site: Site) -> None:
    # Taken or refused: but decided, and the interval of all six is no message that no topic takes.
    reference = "x" * (RECORD_BYTES - 2000)
    places = [stream.publish(site.record(5 * n, 5, 1.0, record_reference_id=reference))[0] for n in range(6)]
    refused = stream.wait(
        lambda: stream.refusals_at(*places) or site.priced(0)[-1:], "a refusal or a price", timeout_s=20
    )
    assert refused
    site.settle()


def test_very_many_readings_in_one_interval_do_not_hold_their_partition_up(stream: Stream, site: Site) -> None:
    # Seconds and fractions of seconds: each is a plausible record, together they are more than a message holds.
    readings = [site.record(n / 1000, 1 / 1000, 0.001) for n in range(30_000)]
    for number, reading in enumerate(readings):
        reading["start_time"], reading["end_time"] = _fraction(60 * number), _fraction(60 * number + 60)
    for at in range(0, len(readings), 3000):
        stream.publish(readings[at : at + 3000], key=site.location_id)
    stream.wait(lambda: site.priced(0) or site.rejected(), "a price or a refusal", timeout_s=30)
    site.settle()
    decided = sum(stream.totals()[name] for name in ("accepted", "rejected", "superseded", "duplicate"))
    assert decided == stream.totals()["input"]


def _fraction(milliseconds: int) -> str:
    """Return the RFC 3339 text of so many milliseconds after the base."""
    minutes, rest = divmod(milliseconds, 60_000)
    return f"2025-03-01T00:{minutes:02d}:{rest // 1000:02d}.{rest % 1000:03d}Z"


def test_a_large_key_in_the_wrong_partition_does_not_hold_it_up(stream: Stream, site: Site) -> None:
    wrong = stream.partition_not_of(site.location_id)
    stream.publish(site.record(0, 30, 1.0), key=b"k" * (RECORD_BYTES - 5000), partition=wrong)
    assert site.await_priced(0, timeout_s=20)["energy_wh"] == 1000
