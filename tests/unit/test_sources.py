"""Where a forwarded record was first published, carried in a header."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.rules import LATEST_US
from app.streams.sources import ORIGIN_HEADER, Origin, origin_of, submitted_ms
from app.wire.rejected import Position
from tests.simulation import message

LATEST_MS = LATEST_US // 1000

origins = st.builds(
    Origin,
    st.builds(
        Position,
        st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789._-", min_size=1),
        st.integers(0, 10**4),
        st.integers(0, 2**62),
        st.integers(0, 2**42),
    ),
    st.integers(0, 9999),
    st.none() | st.binary(),
)


@settings(max_examples=100, deadline=None)
@given(origins)
def test_an_origin_is_read_as_it_was_written(origin: Origin) -> None:
    """The time is that of the first publication, whenever the message was forwarded."""
    forwarded = message(b"{}", timestamp_ms=77, headers=[origin.header()])
    assert origin_of(forwarded) == origin


def test_a_header_without_a_time_has_that_of_its_message() -> None:
    origin = Origin(Position("meter.records", 3, 42, 77), 1, b"ab")
    headers = [(ORIGIN_HEADER, b"meter.records/3/42/1/x6162")]
    assert origin_of(message(b"{}", timestamp_ms=77, headers=headers)) == origin


@pytest.mark.parametrize(("said_ms", "counts_ms"), [(-1, 0), (-(2**63), 0), (2**63 - 1, LATEST_MS), (5, 5)])
def test_a_wild_time_counts_as_the_nearest_that_is_supported(said_ms: int, counts_ms: int) -> None:
    assert submitted_ms(said_ms) == counts_ms
    header = (ORIGIN_HEADER, b"meter.records/3/42/1/-/%d" % said_ms)
    assert origin_of(message(b"{}", timestamp_ms=1, headers=[header])) == Origin(
        Position("meter.records", 3, 42, counts_ms), 1, None
    )


def test_a_header_can_be_read_by_a_person() -> None:
    origin = Origin(Position("meter.records", 3, 42, 7), 1, b"ab")
    assert origin.header() == ("meterstream-origin", b"meter.records/3/42/1/x6162/7")


@pytest.mark.parametrize("headers", [[], [("other", b"meter.records/3/42/1/-")]])
def test_a_message_without_the_header_was_published_where_it_is(headers: list[tuple[str, bytes]]) -> None:
    assert origin_of(message(b"{}", headers=headers)) is None


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff",
        b"a/b/c/d/e",
        b"meter.records/3/42/1",
        b"meter.records/3/42/1/x6162/more",
        b"meter.records/3/42/1/x616",
        b"meter.records/-1/42/1/-",
        b"meter.records/%d/42/1/-" % 2**31,
        b"meter.records/3/-1/1/-",
        b"meter.records/3/%d/1/-" % 2**63,
        b"meter.records/3/42/-1/-",
        b"meter.records/3/42/10000/-",
        b"meter.records/3/" + b"9" * 5000 + b"/1/-",
    ],
)
def test_a_header_that_cannot_be_read_is_no_reason_to_refuse_a_record(text: bytes) -> None:
    assert origin_of(message(b"{}", headers=[(ORIGIN_HEADER, text)])) is None


def test_a_header_without_a_value_says_nothing() -> None:
    assert origin_of(message(b"{}", headers=[(ORIGIN_HEADER, None)])) is None


def test_the_header_is_found_among_others() -> None:
    origin = Origin(Position("meter.records", 3, 42, 7), 1, None)
    headers = [("traceparent", b"\xff"), origin.header(), ("last", b"")]
    assert origin_of(message(b"{}", timestamp_ms=7, headers=headers)) == origin
