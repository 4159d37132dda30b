"""How the messages that a client of this process fetches are compressed."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBase, DefaultRecordBatch

from app.streams.fetch import parser_of

_LENGTH_AT = 8
_LENGTH_END = 12
_COUNT_AT = DefaultRecordBase.HEADER_STRUCT.size - 4
_FEW = 5
"""A batch of so few messages may be no shorter when it is compressed, and goes as it is."""


@contextmanager
def codecs_of_fetches(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[int]]:
    """Gather the codecs of all batches that are fetched meanwhile and have more than a few messages."""
    codecs: set[int] = set()

    def parse(data: bytes) -> object:
        codecs.update(codec for count, codec in _batches(data) if count > _FEW)
        return parser_of(data)

    with monkeypatch.context() as patch:
        patch.setattr(fetcher, "MemoryRecords", parse)
        yield codecs


def _batches(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield how many messages each whole batch has, and its codec, but for the ends of transactions."""
    at = 0
    while at + _LENGTH_END < len(data):
        end = at + _LENGTH_END + int.from_bytes(data[at + _LENGTH_AT : at + _LENGTH_END])
        if end > len(data):
            return
        batch = DefaultRecordBatch(bytearray(data[at:end]))
        if not batch.is_control_batch:
            yield int.from_bytes(data[at + _COUNT_AT : at + _COUNT_AT + 4]), batch.compression_type
        at = end
