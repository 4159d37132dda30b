"""What is large for its kind must not come out larger than the topics take: that would hold its partition up for ever."""

import json
from collections.abc import Iterator

import pytest

from tests.harness import Stream
from tests.sites import Site, sites

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
    # Fractions of seconds, with references as long as they may be: each is a plausible record, together they are too much.
    reference = "\U0001f4a1" * 200
    texts = {"record_reference_id": reference, "session_reference_id": reference}
    readings = [
        site.record(0, 30, 0.001, **texts) | {"start_time": _fraction(300 * n), "end_time": _fraction(300 * n + 300)}
        for n in range(6000)
    ]
    for at in range(0, len(readings), 250):
        batch = json.dumps(readings[at : at + 250], ensure_ascii=False).encode()
        stream.publish(batch, key=site.location_id)
    stream.wait(lambda: len(site.rejected()) == 2400, "the refusal of what is too much")
    assert "3600" in site.rejected()[0]["message"]
    stream.wait(lambda: any(each["energy_wh"] == 3600 for each in site.priced(0)), "the price of what was taken")
    assert len(site.intervals(0)[-1]["records"]) == 3600
    site.settle()


def _fraction(milliseconds: int) -> str:
    """Return the RFC 3339 text of so many milliseconds after the base."""
    minutes, rest = divmod(milliseconds, 60_000)
    return f"2025-03-01T00:{minutes:02d}:{rest // 1000:02d}.{rest % 1000:03d}Z"


def test_a_large_key_in_the_wrong_partition_does_not_hold_it_up(stream: Stream, site: Site) -> None:
    wrong = stream.partition_not_of(site.location_id)
    stream.publish(site.record(0, 30, 1.0), key=b"k" * (RECORD_BYTES - 5000), partition=wrong)
    assert site.await_priced(0, timeout_s=20)["energy_wh"] == 1000
