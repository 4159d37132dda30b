"""Compiled functions and their twins in Python write the same bytes, whatever they are given."""

import shutil
import struct
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka.record.default_records import DefaultRecordBase, DefaultRecordBatch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from app.domain.intervals import Interval
from app.domain.partitioning import partition_for
from app.domain.rates import Component, IntervalPrice
from app.domain.records import MeterId, Reading
from app.settings import Settings
from app.streams.outbox import ClientBatch, Outbox
from app.streams.topics import topic_names
from app.wire import compiled
from app.wire.interval import MeterText, decode_state, encode_state, encode_states
from app.wire.priced import encode_body, with_tail
from tests.making import either_way

HEADERS = Path(sysconfig.get_path("include")) / "Python.h"
pytestmark = pytest.mark.skipif(
    not compiled.use(wanted=True) and (shutil.which("cc") is None or not HEADERS.exists()),
    reason="there is no C compiler here, or Python's headers are not",
)

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
YEAR_10000_US = 253_402_300_800 * SECOND_US
METER = MeterId("loc_1", "", "INBOUND", "IMPORT")

usual_texts = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters='"\\'), max_size=200)
texts = st.one_of(
    st.text(max_size=20), usual_texts, st.sampled_from(['"', "\\", "\x7f", "\x1f", "é", "x" * 300, "y" * 70_000])
)
usual_instants = st.one_of(
    st.integers(0, 2 * 10**9).map(lambda seconds: seconds * SECOND_US), st.integers(0, YEAR_10000_US - 1)
)
instants = st.one_of(
    usual_instants, st.sampled_from([-1, -DAY_US, YEAR_10000_US - 1, YEAR_10000_US, 2**63 - 1, 2**63, 2**70])
)
usual_energies = st.one_of(st.integers(0, 10**15), st.integers(0, 10**9).map(lambda wh: wh * 10**6))
energies = st.one_of(usual_energies, st.sampled_from([-1, -(10**6), 10**15 + 1, 2**63, -(2**63)]))
whole = st.one_of(st.integers(-(2**70), 2**70), st.integers(-200, 70_000), st.booleans())
optional = lambda strategy: st.one_of(st.none(), strategy)  # noqa: E731


def readings(instants: Any, energies: Any, texts: Any, **others: Any) -> Any:
    numbers = {"source": whole, "offset": whole, "record_num": whole} | others
    return st.builds(
        Reading,
        start_us=instants,
        end_us=instants,
        energy_uwh=energies,
        confidence=st.sampled_from([1.0, 1.0, 0.8, 1e-5, 1]),
        submitted_ms=instants.map(lambda at_us: at_us // 1000),
        record_reference_id=optional(texts),
        session_reference_id=optional(texts),
        **numbers,
    )


def intervals(instants: Any, readings: Any, revisions: Any) -> Any:
    return st.builds(
        Interval,
        start_us=instants,
        end_us=instants,
        revision=revisions,
        held=st.booleans(),
        readings=st.lists(readings, max_size=5).map(tuple),
    )


def in_order(reading: Reading) -> Reading:
    """Return a reading that does not end before it begins."""
    start_us, end_us = sorted((reading.start_us, reading.end_us))
    return replace(reading, start_us=start_us, end_us=end_us)


any_intervals = intervals(instants, readings(instants, energies, texts), whole)
places = {name: st.integers(0, 2**62) for name in ("source", "offset", "record_num")}
long_intervals = st.builds(
    Interval,
    start_us=st.just(0),
    end_us=st.just(YEAR_10000_US - 1),
    revision=st.integers(1, 2**40),
    held=st.booleans(),
    readings=st.lists(readings(usual_instants, usual_energies, usual_texts, **places).map(in_order), max_size=5).map(
        tuple
    ),
)
"""Whatever its readings are, they lie in it: it is what nearly all intervals are, but for the length."""


def said(call: Callable[..., Any], *given: Any) -> Any:
    """Return what a call returns, or what it raises."""
    try:
        return call(*given)
    except Exception as error:  # noqa: BLE001 - compared
        return type(error), str(error)


@given(any_intervals, texts)
def test_a_published_interval(interval: Interval, location_id: str) -> None:
    meter = MeterText(METER._replace(location_id=location_id))
    one, other = either_way(lambda: said(meter.publish, interval))
    assert one == other


def has_integer_confidence(interval: Interval) -> bool:
    """Tell whether a reading has what no record can state: decoding makes a float of it."""
    return any(type(reading.confidence) is int for reading in interval.readings)


@given(long_intervals)
@example(Interval(0, 1800 * SECOND_US, 1, True, ()))
@example(Interval(951_782_400 * SECOND_US, 951_868_800 * SECOND_US, 1, True, ()))  # 2000-02-29, a day
@example(Interval(4_107_542_400 * SECOND_US, 4_107_542_401 * SECOND_US, 1, True, ()))  # 2100-03-01: no leap year
def test_a_usual_interval_is_published_by_compiled_code(interval: Interval) -> None:
    meter = MeterText(METER)
    found = compiled.parts.publish(meter._before_id, meter._after_id, interval)
    assert (found is None) == has_integer_confidence(interval)
    if found is not None:
        assert list(map(type, found)) == [bytes, bytes, int, str]
        assert found == either_way(lambda: meter.publish(interval))[1]


@settings(max_examples=300)
@given(st.integers(0, YEAR_10000_US - 1))
def test_every_instant_is_written_like_pythons(at_us: int) -> None:
    meter, interval = MeterText(METER), Interval(at_us, at_us, 1, False, ())
    one, other = either_way(lambda: meter.publish(interval))
    assert one == other


def test_every_day_of_four_centuries_is_written_like_pythons() -> None:
    meter = MeterText(METER)
    for day in range(0, 150_000, 7):
        interval = Interval(day * DAY_US, (day + 1) * DAY_US, 1, False, ())
        one, other = either_way(lambda interval=interval: meter.publish(interval))
        assert one == other


@given(any_intervals, energies, instants)
def test_the_beginning_of_an_interval(interval: Interval, energy_uwh: int, covered_us: int) -> None:
    meter = MeterText(METER)
    one, other = either_way(lambda: said(meter.head, interval, energy_uwh, covered_us))
    assert one == other


@given(any_intervals)
def test_a_state(interval: Interval) -> None:
    one, other = either_way(lambda: said(encode_state, interval))
    assert one == other


@given(long_intervals)
def test_a_usual_state_is_written_by_compiled_code_and_read_back(interval: Interval) -> None:
    state = compiled.parts.encode_state(interval)
    assert (state is None) == has_integer_confidence(interval)
    if state is not None:
        assert decode_state(state) == interval


@given(st.dictionaries(texts, st.one_of(any_intervals, long_intervals), max_size=5), st.sampled_from([b"", b"i"]))
def test_the_states_of_a_transaction(intervals: dict[str, Interval], mark: bytes) -> None:
    changed = {interval_id: (interval, METER) for interval_id, interval in intervals.items()}
    one, other = either_way(lambda: said(encode_states, mark, changed))
    assert one == other


EDGES = [
    edge + step
    for power in (5, 7, 8, 15, 16, 31, 32, 63, 64)
    for edge in (2**power, -(2**power))
    for step in (-1, 0, 1)
]


@pytest.mark.parametrize("number", [0, -1, *EDGES])
def test_an_integer_in_a_state_takes_the_fewest_bytes(number: int) -> None:
    interval = Interval(0, 1, number, True, (Reading(0, 1, 1, 1.0, 0, 0, 0, 0),))
    one, other = either_way(lambda: said(encode_state, interval))
    assert one == other


@pytest.mark.parametrize(("start_us", "end_us"), [(999_999, 2_000_000), (1_000_000, 2_000_001), (0, 9_000_000)])
def test_a_record_that_its_interval_cuts_is_published_with_its_part(start_us: int, end_us: int) -> None:
    interval = Interval(1_000_000, 2_000_000, 1, True, (Reading(start_us, end_us, 10**9, 1.0, 0, 0, 0, 0),))
    one, other = either_way(lambda: MeterText(METER).publish(interval))
    assert one == other


def prices(texts: Any, instants: Any, energies: Any, numbers: Any) -> Any:
    components = st.builds(
        Component,
        charge_id=texts,
        band=optional(texts),
        tier=optional(numbers),
        start_us=instants,
        end_us=instants,
        energy_uwh=energies,
        rate=texts,
        cost=texts,
        cost_excluding_tax=texts,
        tariff_id=optional(texts),
        tariff_version=numbers,
    )
    return st.builds(
        IntervalPrice,
        status=st.sampled_from(["priced", "pending"]),
        reason=optional(st.sampled_from(["no_tariff", "no_price", "mixed_currency"])),
        currency=optional(texts),
        cost=optional(usual_texts),
        cost_excluding_tax=usual_texts,
        tax=usual_texts,
        carbon_g=optional(usual_texts),
        tariff_id=optional(texts),
        tariff_version=optional(numbers),
        components=st.lists(components, max_size=4).map(tuple),
    )


@given(prices(st.one_of(usual_texts, st.sampled_from(['"', "é", "\x00"])), instants, energies, st.integers(-5, 2**70)))
def test_a_price(price: IntervalPrice) -> None:
    if price.cost is None:  # without a cost there are no other amounts
        price = IntervalPrice(price.status, price.reason, price.currency, None, None, None, None, None, None, ())
    one, other = either_way(lambda: said(encode_body, b'{"interval_id":"x"', price))
    assert one == other


@given(prices(st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=12), usual_instants, usual_energies,
              st.integers(0, 2**60)))  # fmt: skip
def test_a_usual_price_is_written_by_compiled_code(price: IntervalPrice) -> None:
    price = replace(price, components=price.components[:2])
    found = compiled.parts.encode_body(b"{", price)
    too_long = sum(len(text or "") for text in (price.cost, price.cost_excluding_tax, price.tax)) > 500
    assert found is not None or too_long


@pytest.mark.parametrize("count", [0, 1, 2, 8, 9, 10, 11, 20, 40])
def test_a_price_of_many_components(count: int) -> None:
    component = Component("c" * 8, "b" * 8, 1, 0, YEAR_10000_US - 1, 10**15, "0.1", "1", "1", "t" * 8, 2**62)
    price = IntervalPrice("priced", None, "GBP", "1", "1", "0", None, "t", 1, (component,) * count)
    one, other = either_way(lambda: encode_body(b"{" * 100, price))
    assert one == other


@given(st.binary(max_size=2000), st.one_of(texts, usual_texts), st.integers(-(2**62), 2**62))
def test_the_end_of_a_price(body: bytes, submitted_at: str, sequence: int) -> None:
    one, other = either_way(lambda: with_tail(body, submitted_at, sequence))
    assert one == other


@pytest.mark.parametrize(
    ("call", "given"),
    [
        ("publish", (b"", b"", None)),
        ("publish", (b"", b"", (0, 1, 1, True, ()))),
        ("publish", (b"", b"", Interval(0, 1, 1, True, [Reading(0, 1, 1, 1.0, 0, 0, 0, 0)]))),  # type: ignore[arg-type]
        ("publish", (b"", b"", Interval(0, 1, 1, True, ((0, 1, 1),)))),  # type: ignore[arg-type]
        ("publish", (b"", b"", Interval("0", None, 1.5, True, ()))),  # type: ignore[arg-type]
        ("head", (b"", b"", "interval", 1, 1)),
        ("head", (b"", b"", Interval(0, 1, 1, True, ()), "1", 1)),
        ("encode_state", (Reading(0, 1, 1, 1.0, 0, 0, 0, 0),)),
        ("encode_state", (Interval(0, 1, 1, True, (Reading("a", b"b", None, "c", 1, 2, 3, 4, 5, 6),)),)),  # type: ignore[arg-type]
        ("encode_body", (b"", None)),
        ("encode_body", (b"", IntervalPrice(1, 2, 3, 4, 5, 6, 7, 8, "9", ()))),  # type: ignore[arg-type]
        ("encode_body", (b"", IntervalPrice("priced", None, None, None, None, None, None, None, 1, ("component",)))),  # type: ignore[arg-type]
    ],
)
def test_what_is_not_what_its_type_says_is_left_to_python(call: str, given: tuple[Any, ...]) -> None:
    assert getattr(compiled.parts, call)(*given) is None


messages = st.lists(
    st.tuples(
        optional(st.binary(max_size=100)),
        optional(st.binary(max_size=3000)),
        st.lists(st.tuples(st.text(max_size=10), st.binary(max_size=10)), max_size=3),
    ),
    min_size=1,
    max_size=80,
)


@given(
    messages,
    st.integers(100, 100_000),
    st.integers(0, 2**52),
    st.sampled_from([False, True]),
    st.integers(0, 2**40),
    st.integers(0, 4),
)
def test_a_batch_of_messages(  # noqa: PLR0917 - hypothesis names none
    messages: list[Any], limit_bytes: int, at_ms: int, transactional: Any, producer_id: int, codec: int
) -> None:
    ours = compiled.parts.RecordBatch(limit_bytes, at_ms, transactional=transactional, codec=codec)
    clients = ClientBatch(limit_bytes, at_ms, transactional=transactional, codec=codec)
    for key, value, headers in messages:
        assert ours.add(key, value, headers) == clients.add(key, value, headers)
        assert (ours.record_count(), ours.size()) == (clients.record_count(), clients.size())
    assert ours.closed() == clients.closed()
    for batch in (ours, clients):
        batch._set_producer_state(producer_id, 7, 12_345)
        batch.close()
        assert batch.closed()
        assert not batch.add(b"late", b"message", ())
    built = ours._build()
    assert built is ours._build()
    assert ours.size() == len(built)
    compressed = built[DefaultRecordBase.ATTRIBUTES_OFFSET + 1] & DefaultRecordBase.CODEC_MASK
    assert compressed in (0, codec)
    if compressed == codec:
        assert built == bytes(clients._build())
    else:  # as it is, because it would not be shorter; the client's C code sends it compressed all the same
        assert len(built) <= len(clients._build())
        as_it_is = ClientBatch(limit_bytes, at_ms, transactional=transactional)
        for key, value, headers in messages:
            as_it_is.add(key, value, headers)
        as_it_is._set_producer_state(producer_id, 7, 12_345)
        assert built == bytes(as_it_is._build())
    read = [(record.key, record.value, record.headers) for record in DefaultRecordBatch(bytearray(built))]
    assert read == [(key, value, headers) for key, value, headers in messages[: len(read)]]
    assert len(read) == ours.record_count() > 0


@given(
    messages.map(lambda found: [(key, value) for key, value, _ in found]), st.integers(100, 20_000), st.integers(0, 20)
)
def test_entries_fill_batches_as_one_after_the_other(entries: list[Any], limit_bytes: int, alone: int) -> None:
    def sent(*, at_once: bool) -> list[bytes]:
        outbox, target = Outbox(None, topic_names(Settings()), 0, limit_bytes), ("changelog", 0)  # type: ignore[arg-type]
        for key, value in entries[:alone]:
            outbox.append(target, key, value)
        if at_once:
            outbox.extend(target, entries[alone:])
        else:
            for key, value in entries[alone:]:
                outbox.append(target, key, value)
        assert outbox.count(target) == len(entries)
        return [bytes(batch._build()) for batch in [*(full for _, full in outbox._full), outbox._batches[target]]]

    one, other = either_way(lambda: sent(at_once=True))
    assert one == other == sent(at_once=False)


@given(st.text(max_size=20), st.integers(1, 1024))
def test_the_partition_of_a_location(location_id: str, partitions: int) -> None:
    assert compiled.parts.partition_for(location_id, partitions) == partition_for(location_id, partitions)


def test_no_partitions_are_refused() -> None:
    for function in (compiled.parts.partition_for, partition_for):
        with pytest.raises((ValueError, ZeroDivisionError)):
            function("loc", 0)


@pytest.mark.parametrize("more", [0, 1])
def test_a_batch_that_is_just_full(more: int) -> None:
    whole = ClientBatch(10_000, 5, transactional=True)
    sizes = [whole.add(b"key", b"x" * 100, ()) and whole.size() for _ in range(70)]
    for batch in (kind(sizes[-1] + more, 5, transactional=True) for kind in (ClientBatch, compiled.parts.RecordBatch)):
        assert [batch.add(b"key", b"x" * 100, ()) for _ in sizes] == [True] * 69 + [more == 1]
        assert batch.size() == sizes[-2 + more]


def test_a_batch_without_a_sender_says_so() -> None:
    ours, clients = compiled.parts.RecordBatch(1000, 5, transactional=True), ClientBatch(1000, 5, transactional=True)
    for batch in (ours, clients):
        batch.add(b"key", None, ())
    built = ours._build()
    assert built == bytes(clients._build())
    assert struct.unpack_from(">qhi", built, 43) == (-1, -1, 0)


def numbered(number: int, size: int) -> tuple[Any, bytes]:
    """Return a batch of ours that is about as large as said, and the bytes that the client's has."""
    ours, clients = (kind(5_000_000, 5, transactional=True) for kind in (compiled.parts.RecordBatch, ClientBatch))
    for batch in (ours, clients):
        for _ in range(max(1, size // 1_000)):
            assert batch.add(b"%d" % number, b"%4d" % number * 250, ())
    return ours, bytes(clients._build())


def test_the_memory_of_a_batch_is_used_again_only_when_nobody_reads_it_any_more() -> None:
    """Sizes of every step in which it grows, and one beyond; half of what was built is still read."""
    kept: list[tuple[memoryview, bytes]] = []
    for number in range(120):
        ours, expected = numbered(number, (100, 17_000, 70_000, 300_000, 1_040_000, 1_060_000)[number % 6])
        view = ours._build()
        assert view == expected
        assert view.readonly
        if number % 2:
            kept.append((view[:], expected))
    assert all(view == expected for view, expected in kept)


def test_a_message_that_is_larger_than_any_batch_is_a_batch_by_itself() -> None:
    ours, clients = (kind(100_000, 5, transactional=True) for kind in (compiled.parts.RecordBatch, ClientBatch))
    for batch in (ours, clients):
        assert batch.add(b"key", b"x" * 3_000_000, ())
        assert not batch.add(b"key", b"x", ())
    assert ours._build() == bytes(clients._build())


def test_a_processor_without_an_instruction_for_checksums_counts_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    for fast in (compiled.parts.counts_fast, False):
        monkeypatch.setattr("app.wire._batches.counts_fast", fast)
        batch = compiled.parts.RecordBatch(100_000, 5, transactional=True)
        for number in range(300):
            batch.add(b"key", b"%d" % number * number, ())
        built.append(batch._build())
    assert built[0] == built[1]
    assert DefaultRecordBatch(bytearray(built[1])).validate_crc()


@pytest.mark.parametrize("wrong", ["text", 1, bytearray(b"x")])
def test_a_message_of_something_else_is_refused_and_leaves_the_batch_as_it_was(wrong: Any) -> None:
    batch = compiled.parts.RecordBatch(1000, 5, transactional=True)
    batch.add(b"key", b"value", ())
    size = batch.size()
    for message in ((wrong, b"value", ()), (b"key", wrong, ()), (b"key", b"value", [("name", wrong)])):
        with pytest.raises(TypeError):
            batch.add(*message)
    assert (batch.record_count(), batch.size()) == (1, size)
    assert [record.value for record in DefaultRecordBatch(bytearray(batch._build()))] == [b"value"]


def test_python_is_used_where_somebody_says_so() -> None:
    try:
        assert not compiled.use(wanted=False)
        assert compiled.parts is None
        assert MeterText(METER).encode(Interval(0, 1, 1, False, ()))
    finally:
        assert compiled.use(wanted=True)
