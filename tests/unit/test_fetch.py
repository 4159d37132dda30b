"""A fetch is taken batch by batch: the same records, and the same positions, as by aiokafka's step from record to record."""

import random
import re
import struct
from types import SimpleNamespace
from typing import Any, Final

import pytest
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED, FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBase, DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition

from app.streams.fetch import _take_records

TP: Final = TopicPartition("meter.records", 0)
_ABORT, _COMMIT = 0, 1
_CRC_AT, _ATTRIBUTES_AT = DefaultRecordBase.CRC_OFFSET, DefaultRecordBase.ATTRIBUTES_OFFSET


def _batch(
    base: int, deltas: list[int], producer: int = -1, *, marker: int | None = None, codec: int = 0
) -> tuple[bytes, int]:
    """Return a batch whose records are at base + deltas, and the offset behind it; with `marker`, the end of a transaction."""
    builder = DefaultRecordBatchBuilder(2, codec, int(producer >= 0), producer, 0, -1, 1_000_000)
    for delta in deltas:
        key = struct.pack(">hh", 0, marker) if marker is not None else b"k%d" % (base + delta)
        builder.append(delta, base, key, b"value of %d" % (base + delta), [])
    data = bytearray(builder.build())
    struct.pack_into(">q", data, 0, base)
    if marker is not None:
        data[_ATTRIBUTES_AT + 1] |= DefaultRecordBase.CONTROL_MASK
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
            more, offset = _batch(offset, deltas, producer, codec=choose.choice([0, 1]))
        data += more
        offset += choose.choice([0, 0, 3])
    return data, aborted, offset


def _pages(
    data: bytes, aborted: list[tuple[int, int]], start: int, isolation: int = READ_COMMITTED
) -> PartitionRecords:
    return PartitionRecords(TP, MemoryRecords(data), aborted, start, None, None, True, isolation)


class _Fetched:
    """A fetch result of an assignment whose position is kept here."""

    def __init__(self, pages: PartitionRecords, start: int) -> None:
        self.state = SimpleNamespace(paused=False, position=start, consumed_to=self._consumed_to)
        assignment = SimpleNamespace(active=True, state_value=lambda _tp: self.state)
        self.result = FetchResult(TP, assignment=assignment, partition_records=pages, backoff=0)

    def _consumed_to(self, position: int) -> None:
        self.state.position = position


def _facts(record: Any) -> tuple[int, bytes, bytes]:
    return record.offset, record.key, record.value


@pytest.mark.parametrize("isolation", [READ_COMMITTED, READ_UNCOMMITTED])
@pytest.mark.parametrize("seed", range(60))
def test_records_and_positions_are_those_of_aiokafka(seed: int, isolation: int) -> None:
    choose = random.Random(seed)  # noqa: S311 - chance, not secrets
    data, aborted, end = _log(choose)
    start = choose.randrange(end)
    theirs = _Fetched(_pages(data, aborted, start, isolation), start)
    expected = [_facts(record) for record in theirs.result.getall()]

    ours = _Fetched(_pages(data, aborted, start, isolation), start)
    taken: list[tuple[int, bytes, bytes]] = []
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
    fetched = _Fetched(_pages(good + bad[:-1] + b"\xff", [], 0), 0)
    with pytest.raises(CorruptRecordException, match=re.escape(TP.topic)):
        _take_records(fetched.result, TP, 100)
    assert fetched.state.position == 0
    assert _take_records(fetched.result, TP, 100) == []
    assert not fetched.result.has_more()  # so that it is fetched again


def test_what_was_sought_away_from_is_not_taken() -> None:
    data, _ = _batch(0, [0, 1, 2, 3])
    fetched = _Fetched(_pages(data, [], 0), 0)
    assert [record.offset for record in _take_records(fetched.result, TP, 2)] == [0, 1]
    fetched.state.position = 0
    assert _take_records(fetched.result, TP, 2) == []
