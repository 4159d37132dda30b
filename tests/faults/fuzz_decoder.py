"""Fuzz the reading of records, guided by coverage: `python -m tests.faults.fuzz_decoder -max_total_time=60`.

Whatever the bytes are: reading them raises nothing, the fast path and the slow path read the same, a batch is cut into the same
pieces by both, validation gives a reading or a refusal, and a refusal keeps its bytes.
"""

import random
from collections.abc import Iterator
from typing import Final

import atheris

with atheris.instrument_imports(include=["app"]):
    from app.domain.locations import Location
    from app.domain.records import BATCH_LIMIT, MeterRecord, Reading, Rejected
    from app.domain.rules import EARLIEST_US, LATEST_US, Claim, Window, first_broken
    from app.streams.validate import Meter, meter_id_of, reading_of
    from app.wire.location import parse_location
    from app.wire.record import UNREADABLE, batch_slices, decode_batch, decode_record, read_message
    from app.wire.rejected import Position, decode_rejected, encode_rejected, raw_bytes

from tests.faults.fuzz import hostile_message
from tests.faults.fuzzing import fuzz

DAY_US: Final = 86_400_000_000
HOME: Final[Location] = parse_location(
    {"location_id": "loc_1", "timezone": "Europe/London", "max_power_kw": "100", "tariffs": []}
)
PLACE: Final = Position("meter.records", 0, 7, 1_740_787_200_000)
PLACE_OF_RECORD: Final = (PLACE.timestamp_ms, 0, PLACE.offset, 0)
WINDOWS: Final = (
    Window(EARLIEST_US, LATEST_US),  # of all time, and then of a few days around the submission, and of no time
    Window(PLACE.timestamp_ms * 1000 - 5 * DAY_US, 5 * DAY_US),
    Window(PLACE.timestamp_ms * 1000, 0),
)


def check(value: bytes) -> None:
    """Require what has to be true of any message."""
    pieces = read_message(value)
    assert pieces or value.strip()[:1] == b"["
    _check_fast_path(value, pieces)
    for number, (raw, read) in enumerate(pieces):
        refused = read if isinstance(read, Rejected) else _decided(read)
        if refused is not None:
            _check_refusal(refused, raw, number)


def _check_fast_path(value: bytes, pieces: list[tuple[bytes, MeterRecord | Rejected]]) -> None:
    """Require that one decoder call accepts what reading piece by piece accepts, and reads the same."""
    try:
        one = decode_record(value)
    except UNREADABLE:
        pass
    else:
        assert pieces == [(value, one)], "one record is read in two ways"
    if value[:1] != b"[":
        return
    try:
        batch, slices = decode_batch(value), batch_slices(value)
    except UNREADABLE:
        return
    if len(batch) <= BATCH_LIMIT:
        assert pieces == list(zip(slices, batch, strict=True)), "a batch is read in two ways"


def _decided(record: MeterRecord) -> Rejected | None:
    """Validate a record as if its location were known; return why it is refused."""
    meter_id = meter_id_of(record)
    if isinstance(meter_id, Rejected):
        return meter_id
    meter = Meter(meter_id, HOME)
    found = reading_of(record, meter, PLACE_OF_RECORD, None)
    _check_window(record, meter, found)
    if isinstance(found, Rejected):
        return found
    assert found.energy_uwh >= 0
    assert found.end_us >= found.start_us
    return None


def _check_window(record: MeterRecord, meter: Meter, found: Reading | Rejected) -> None:
    """Require that a window changes only what lies outside of it, and that the short cut for usual records keeps the rules."""
    for window in WINDOWS:
        within = reading_of(record, meter, PLACE_OF_RECORD, window)
        if isinstance(found, Rejected):
            assert within == found, "a window gives another reason, or none"
            continue
        start_us, end_us = found.start_us, found.end_us
        is_month = meter.grid.month(start_us, end_us)
        newest_us = min(PLACE.timestamp_ms * 1000 + window.ahead_us, LATEST_US)
        claim = Claim(record, start_us, end_us, meter.power_limit_w, is_month, window.oldest_us, newest_us)
        assert within == (first_broken(claim) or found), "the short cut and the rules decide in two ways"
        if found.start_us < window.oldest_us:
            assert isinstance(within, Rejected)
            assert within.error == "too_old"
        elif found.end_us > newest_us:
            assert isinstance(within, Rejected)
            assert within.error == "in_the_future"
        else:
            assert within == found, "a window changes a record that lies in it"


def _check_refusal(refused: Rejected, raw: bytes, number: int) -> None:
    assert refused.error != "internal_error"
    assert refused.message
    entry = decode_rejected(encode_rejected(refused, raw, number, PLACE))
    assert raw_bytes(entry) == raw, "a refused record comes back with other bytes"
    assert entry.record_num == number


WORDS: Final = (
    *('"location_id":', '"device_id":', '"units":', '"value":', '"confidence":', '"start_time":', '"end_time":'),
    *('"energy_flow_direction":', '"tariff_direction":', '"record_reference_id":', '"session_reference_id":'),
    *(
        '"KWH"',
        '"WH"',
        '"KW"',
        '"W"',
        '"OUTBOUND"',
        '"LOCAL"',
        "null",
        "1e400",
        "-0",
        "NaN",
        "Infinity",
        "},{",
        "[{",
        "}]",
    ),
    *("2025-03-01T00:00:00Z", "+05:45", "0001-01-01T", "9999-12-31T", ":60Z", "|", "u0000", "ud800"),
)
_SEED_MAX_BYTES: Final = 1000


def seeds() -> Iterator[bytes]:
    """Yield short messages of every kind."""
    chance = random.Random(1)  # noqa: S311 - chance, not secrets
    made = (hostile_message(chance) for _ in range(400))
    return (each for each in made if each is not None and len(each) <= _SEED_MAX_BYTES)


if __name__ == "__main__":
    fuzz(check, seeds(), WORDS)
