"""What a new owner of a partition has to follow of the documents that changed before it came."""

import asyncio
from collections.abc import Iterable

from faust.types import TP

from app.domain.reference import ReferenceBook
from app.settings import load_settings
from app.streams.chunks import Gate
from app.streams.reference import Positions, ReferenceReader
from app.streams.shard import Shard, ShardParts
from app.streams.shards import Shards
from app.streams.store import StoreCache
from app.streams.topics import topic_names


class _NoFeed:
    """A consumer that nothing is asked of."""

    async def read_from(self, tp: TP, offset: int) -> None: ...

    async def stop_reading(self, tps: Iterable[TP]) -> None: ...


def opened_by_a_worker_that_has_read(read: Positions, before: Positions) -> Positions:
    """Return up to which documents a partition's prices are right, once another worker has opened it."""

    async def opened() -> Positions:
        settings = load_settings({})
        names, book = topic_names(settings), ReferenceBook()
        parts = ShardParts(settings=settings, names=names, book=book, gate=Gate(), cache=StoreCache(1))
        reader = ReferenceReader(settings, names, book, lambda _: None)
        reader._positions = read
        shard = Shard(0, parts, _NoFeed(), lambda *_: None)
        shard.meta.reference = before
        Shards(parts, reader)._follow_missed(shard)
        await shard.close()
        return shard.meta.reference

    return asyncio.run(opened())


def test_a_partition_without_a_past_is_priced_with_what_its_first_owner_has_read() -> None:
    read = {"meter.tariffs": {"0": 3}}
    assert opened_by_a_worker_that_has_read(read, {}) == read


def test_a_worker_that_has_read_less_than_the_owner_before_says_so() -> None:
    """It prices with what it has read; if it is killed before it reads on, its successor has to price that again."""
    before = {"meter.tariffs": {"0": 8, "1": 3}, "meter.series": {"0": 2}}
    read = {"meter.tariffs": {"0": 7, "1": 5}, "meter.series": {"0": 2}}
    expected = {"meter.tariffs": {"0": 7, "1": 3}, "meter.series": {"0": 2}}
    assert opened_by_a_worker_that_has_read(read, before) == expected
