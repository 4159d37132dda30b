"""A fetch is taken batch by batch: the same records, and the same positions, as by aiokafka's step from record to record."""

import random
import re
import struct
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

import pytest
from aiokafka.consumer import fetcher as client
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED, FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBase, DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition

from app.streams.fetch import _take_records, parser_of
from app.wire import compiled

pytestmark = pytest.mark.usefixtures("either_function")

TP: Final = TopicPartition("meter.records", 0)
_ABORT, _COMMIT = 0, 1
_CODECS: Final = (1, 2, 3, 4)
"""gzip, Snappy, LZ4, Zstandard."""
_CRC_AT, _ATTRIBUTES_AT = DefaultRecordBase.CRC_OFFSET, DefaultRecordBase.ATTRIBUTES_OFFSET
_HEADER_BYTES: Final = DefaultRecordBase.HEADER_STRUCT.size
_HEADERS: Final = ([], [], [("origin", b"meter.records/0/17"), ("nothing", None), ("é", b"")])


def _batch(
    base: int,
    deltas: list[int],
    producer: int = -1,
    *,
    marker: int | None = None,
    codec: int = 0,
    of_arrival: bool = False,
) -> tuple[bytes, int]:
    """Return a batch whose records are at base + deltas, and the offset behind it; with `marker`, the end of a transaction."""
    builder = DefaultRecordBatchBuilder(2, codec, int(producer >= 0), producer, 0, -1, 1_000_000)
    for delta in deltas:
        number = base + delta
        key = struct.pack(">hh", 0, marker) if marker is not None else b"k%d" % number if number % 5 else None
        value = b"value of %d" % number * (number % 23) if number % 7 else None
        builder.append(delta, base + 100 * delta - 300, key, value, _HEADERS[number % 3])
    data = bytearray(builder.build())
    struct.pack_into(">q", data, 0, base)
    if marker is not None:
        data[_ATTRIBUTES_AT + 1] |= DefaultRecordBase.CONTROL_MASK
    if of_arrival:
        data[_ATTRIBUTES_AT + 1] |= DefaultRecordBase.TIMESTAMP_TYPE_MASK
    struct.pack_into(">I", data, _CRC_AT, calc_crc32c(memoryview(data)[_ATTRIBUTES_AT:]))
    return bytes(data), base + deltas[-1] + 1


def _log(choose: random.Random) -> tuple[bytes, list[tuple[int, int]], int]:
    """Return the batches of some producers, which of their transactions were aborted (from which offset), and the end."""
    data, aborted, offset, began = b"", [], choose.randrange(5), dict[int, int]()
    for _ in range(choose.randrange(1, 12)):
        producer = choose.choice([-1, 1, 2])
        if producer in began and choose.random() < 0.5:
            marker = choose.choice([_ABORT, _COMMIT])
            if marker == _ABORT:
                aborted.append((producer, began[producer]))
            del began[producer]
            more, offset = _batch(offset, [0], producer, marker=marker)
        else:
            if producer >= 0:
                began.setdefault(producer, offset)
            deltas = sorted(choose.sample(range(8), choose.randrange(1, 8)))  # compaction leaves holes
            codec, of_arrival = choose.choice([0, 0, 0, *_CODECS]), choose.random() < 0.5
            more, offset = _batch(offset, deltas, producer, codec=codec, of_arrival=of_arrival)
        data += more
        offset += choose.choice([0, 0, 3])
    return data, aborted, offset


def _pages(
    records: Any, aborted: list[tuple[int, int]], start: int, isolation: int = READ_COMMITTED
) -> PartitionRecords:
    return PartitionRecords(TP, records, aborted, start, None, None, True, isolation)


class _Fetched:
    """A fetch result of an assignment whose position is kept here."""

    def __init__(self, pages: PartitionRecords, start: int) -> None:
        self.state = SimpleNamespace(paused=False, position=start, consumed_to=self._consumed_to)
        assignment = SimpleNamespace(active=True, state_value=lambda _tp: self.state)
        self.result = FetchResult(TP, assignment=assignment, partition_records=pages, backoff=0)

    def _consumed_to(self, position: int) -> None:
        self.state.position = position


def _facts(record: Any) -> tuple[Any, ...]:
    times = record.timestamp, record.timestamp_type
    return record.offset, *times, record.key, record.value, tuple(record.headers), record.checksum


@pytest.mark.parametrize("isolation", [READ_COMMITTED, READ_UNCOMMITTED])
@pytest.mark.parametrize("seed", range(60))
def test_records_and_positions_are_those_of_aiokafka(seed: int, isolation: int) -> None:
    choose = random.Random(seed)  # noqa: S311 - chance, not secrets
    data, aborted, end = _log(choose)
    start = choose.randrange(end)
    cut = data + _batch(end, [0])[0][: choose.randrange(40)]  # the last batch of a fetch is seldom whole
    theirs = _Fetched(_pages(MemoryRecords(cut), aborted, start, isolation), start)
    expected = [_facts(record) for record in theirs.result.getall()]

    ours = _Fetched(_pages(parser_of(cut), aborted, start, isolation), start)
    taken: list[tuple[Any, ...]] = []
    while ours.result.has_more():
        most = choose.randrange(1, 9)
        records = _take_records(ours.result, TP, most)
        assert len(records) <= most
        taken += map(_facts, records)
        if records and ours.result.has_more():
            assert ours.state.position == records[-1].offset + 1
    assert taken == expected
    assert ours.state.position == theirs.state.position


def test_a_damaged_batch_is_told_and_the_position_stays_before_it() -> None:
    good, end = _batch(0, [0, 1])
    bad, _ = _batch(end, [0, 1])
    fetched = _Fetched(_pages(parser_of(good + bad[:-1] + b"\xff"), [], 0), 0)
    with pytest.raises(CorruptRecordException, match=re.escape(TP.topic)):
        _take_records(fetched.result, TP, 100)
    assert fetched.state.position == 0
    assert _take_records(fetched.result, TP, 100) == []
    assert not fetched.result.has_more()  # so that it is fetched again


def test_what_was_sought_away_from_is_not_taken() -> None:
    data, _ = _batch(0, [0, 1, 2, 3])
    fetched = _Fetched(_pages(parser_of(data), [], 0), 0)
    assert [record.offset for record in _take_records(fetched.result, TP, 2)] == [0, 1]
    fetched.state.position = 0
    assert _take_records(fetched.result, TP, 2) == []


def test_the_client_takes_what_the_parser_makes_of_it() -> None:
    """Readers of single records use the client's own way, with the same parser below it."""
    choose = random.Random(5)  # noqa: S311 - chance, not secrets
    data, aborted, _ = _log(choose)
    theirs = _Fetched(_pages(MemoryRecords(data), aborted, 0), 0)
    ours = _Fetched(_pages(parser_of(data), aborted, 0), 0)
    assert ours.result.getall() == theirs.result.getall() != []
    assert client.MemoryRecords is parser_of


def _said(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Exception as error:  # noqa: BLE001 - compared
        return type(error), str(error)


def _batches(records: Any) -> list[list[Any]]:
    found = []
    while records.has_next():
        batch = records.next_batch()
        facts = [batch.base_offset, batch.next_offset, batch.producer_id]
        facts += [batch.is_control_batch, batch.is_transactional, batch.validate_crc()]
        found.append([facts, _said(lambda batch=batch: [_facts(record) for record in batch])])
    return found


@pytest.mark.parametrize("seed", range(300))
def test_of_damaged_bytes_the_same_is_said_as_by_aiokafka(seed: int) -> None:
    """No CRC is asked here: whatever the bytes are, no other records, and no other faults, than the client's."""
    choose = random.Random(seed)  # noqa: S311 - chance, not secrets
    base, deltas, producer = choose.choice([0, 7, 10**12]), sorted(choose.sample(range(60), 12)), choose.choice([-1, 3])
    first, end = _batch(base, deltas, producer, codec=choose.choice([0, 0, 0, 0, *_CODECS]))
    second, _ = _batch(end, [0, 1, 2])
    data = bytearray(first + second)
    for _ in range(choose.randrange(1, 4)):
        data[choose.randrange(_HEADER_BYTES - 4, len(first))] = choose.choice(
            [0, 1, 0x7F, 0x80, 0xFF, choose.randrange(256)]
        )
    if choose.random() < 0.2:
        del data[choose.randrange(len(data)) :]
    one, other = (_said(lambda kind=kind: _batches(kind(bytes(data)))) for kind in (parser_of, MemoryRecords))
    assert one == other


@pytest.mark.parametrize("data", [b"", b"\0" * 11, b"\0" * 12, b"\0" * 40, b"\0" * 8 + b"\xff" * 40])
def test_bytes_that_are_no_batch_are_what_they_are_to_aiokafka(data: bytes) -> None:
    ours, theirs = parser_of(data), MemoryRecords(data)
    assert (ours.size_in_bytes(), ours.has_next()) == (theirs.size_in_bytes(), theirs.has_next())
    assert _said(ours.next_batch) == _said(theirs.next_batch)


def test_usual_batches_are_parsed_by_compiled_code() -> None:
    """Or the comparisons of this file would compare the client with itself."""
    data, end = b"", 0
    for codec in (0, *_CODECS):
        more, end = _batch(end, list(range(20)), codec=codec)
        assert more[_ATTRIBUTES_AT + 1] & DefaultRecordBase.CODEC_MASK == codec
        data += more
    unknown = bytearray(_batch(end, [0])[0])
    unknown[_ATTRIBUTES_AT + 1] |= 5
    records = parser_of(data + bytes(unknown))
    kinds = [type(records.next_batch()).__name__ for _ in range(6)]
    ours = "FetchedBatch" if compiled.parts is not None else "DefaultRecordBatch"
    assert kinds == [ours] * 5 + ["DefaultRecordBatch"]
    assert records.next_batch() is None


def test_without_the_processors_help_a_crc_is_checked_by_the_clients_function(monkeypatch: pytest.MonkeyPatch) -> None:
    if compiled.parts is not None:
        monkeypatch.setattr("app.wire._batches.counts_fast", False)
    data, _ = _batch(0, [0, 1, 2])
    assert parser_of(data).next_batch().validate_crc()
    assert not parser_of(data[:-1] + b"\xff").next_batch().validate_crc()


def _one_record_less(data: bytearray) -> None:
    struct.pack_into(">i", data, _HEADER_BYTES - 4, 1)


def _one_record_more(data: bytearray) -> None:
    struct.pack_into(">i", data, _HEADER_BYTES - 4, 3)


def _longer_record(data: bytearray) -> None:
    assert data[_HEADER_BYTES] & 0x7F < 0x7E
    data[_HEADER_BYTES] += 2  # one more, in zigzag


def _minus_one_header(data: bytearray) -> None:
    data[-1] = 1


def _one_byte_more(data: bytearray) -> None:
    data.append(0)
    struct.pack_into(">i", data, 8, len(data) - 12)


@pytest.mark.parametrize(
    "damage", [_one_record_less, _one_record_more, _longer_record, _minus_one_header, _one_byte_more]
)
def test_a_batch_that_contradicts_itself_is_refused(damage: Callable[[bytearray], None]) -> None:
    data = bytearray(_batch(12, [0, 1])[0])
    damage(data)
    one, other = (_batches(kind(bytes(data))) for kind in (parser_of, MemoryRecords))
    assert one == other
    assert one[0][1][0] is CorruptRecordException


def test_records_may_be_a_lifetime_apart() -> None:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, 0, -1, 1_000_000)
    for place, at_ms in enumerate([0, 3 * 10**12, 1, 10**15]):
        builder.append(place, at_ms, b"key", b"value", [])
    one, other = (_batches(kind(bytes(builder.build()))) for kind in (parser_of, MemoryRecords))
    assert one == other
    assert [facts[1] for facts in one[0][1]] == [0, 3 * 10**12, 1, 10**15]
