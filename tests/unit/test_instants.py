"""Instants: RFC 3339 with an offset outside, microseconds since the Unix epoch inside."""

import pytest

from app.domain.instants import InstantError, format_instant, parse_instant_us

MARCH_US = 1_740_787_200_000_000


@pytest.mark.parametrize(
    ("text", "at_us"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2025-03-01T00:00:00Z", MARCH_US),
        ("2025-03-01T00:00:00z", MARCH_US),
        ("2025-03-01t00:00:00Z", MARCH_US),
        ("2025-03-01 00:00:00Z", MARCH_US),
        ("2025-03-01T00:00:00+00:00", MARCH_US),
        ("2025-03-01T00:00:00-00:00", MARCH_US),
        ("2025-03-01T01:00:00+01:00", MARCH_US),
        ("2025-03-01T05:30:00+05:30", MARCH_US),
        ("2025-02-28T19:00:00-05:00", MARCH_US),
        ("2025-03-01T23:59:00+23:59", MARCH_US),
        ("2025-02-28T00:01:00-23:59", MARCH_US),
        ("2025-03-01T00:00:00.5Z", MARCH_US + 500_000),
        ("2025-03-01T00:00:00.000001Z", MARCH_US + 1),
        ("2025-03-01T00:00:00.000001000Z", MARCH_US + 1),
        ("2025-03-01T00:00:00.000001" + "0" * 40 + "Z", MARCH_US + 1),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000_000),
        ("1969-12-31T23:59:59.999999Z", -1),
    ],
)
def test_a_text_with_an_offset_is_one_instant(text: str, at_us: int) -> None:
    assert parse_instant_us(text) == at_us


@pytest.mark.parametrize("text", ["2025-03-01T00:00:00", "2025-03-01 00:00:00.5", "2025-03-30T01:30:00"])
def test_a_text_without_an_offset_is_naive(text: str) -> None:
    with pytest.raises(InstantError, match="has no UTC offset") as caught:
        parse_instant_us(text)
    assert caught.value.reason == "naive"
    assert text in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2025-03-01",
        "2025-03-01T00:00Z",
        "20250301T000000Z",
        "2025-3-1T00:00:00Z",
        "2025-13-01T00:00:00Z",
        "2025-02-29T00:00:00Z",
        "2025-03-01T24:00:00Z",
        "2025-03-01T00:60:00Z",
        "2016-12-31T23:59:60Z",  # a leap second
        "0000-01-01T00:00:00Z",
        "2025-03-01T00:00:00+0100",
        "2025-03-01T00:00:00+24:00",
        "2025-03-01T00:00:00+01:60",
        "2025-03-01T00:00:00.Z",
        "2025-03-01T00:00:00.0000001Z",  # finer than a µs
        "2025-03-01T00:00:00Z ",
        " 2025-03-01T00:00:00Z",
        "2025-03-01T00:00:00Z\n",
        "\uff12025-03-01T00:00:00Z",
        "1740787200",
        "2025-03-01T00:00:00,5Z",
        "2025-W09-6T00:00:00Z",
    ],
)
def test_what_is_no_timestamp_is_malformed(text: str) -> None:
    with pytest.raises(InstantError) as caught:
        parse_instant_us(text)
    assert caught.value.reason == "malformed"
    assert repr(text) in str(caught.value)


def test_what_is_shown_of_a_text_is_short() -> None:
    with pytest.raises(InstantError) as caught:
        parse_instant_us("x" * 1_000_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("at_us", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (MARCH_US, "2025-03-01T00:00:00Z"),
        (MARCH_US + 500_000, "2025-03-01T00:00:00.5Z"),
        (MARCH_US + 1, "2025-03-01T00:00:00.000001Z"),
        (MARCH_US + 86_399_000_000, "2025-03-01T23:59:59Z"),
        (1_709_251_199_000_000, "2024-02-29T23:59:59Z"),
        (253_402_300_799_999_999, "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_an_instant_is_written_in_utc(at_us: int, text: str) -> None:
    assert format_instant(at_us) == text


@pytest.mark.parametrize("at_us", [253_402_300_800_000_000, -62_135_596_800_000_001, 2**62])
def test_an_instant_that_no_calendar_has_is_not_written(at_us: int) -> None:
    with pytest.raises(OverflowError):
        format_instant(at_us)
