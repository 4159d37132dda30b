"""A shard by itself: which documents a new owner has to follow, and how soon its producer asks a broker again."""

import asyncio
from collections.abc import Iterable

import pytest
from aiokafka.errors import KafkaConnectionError
from faust.types import TP

from app.domain.reference import ReferenceBook
from app.settings import load_settings
from app.streams.chunks import Gate
from app.streams.lane import transactional_producer
from app.streams.reference import Positions, ReferenceReader
from app.streams.shard import Shard, ShardParts
from app.streams.shards import Shards
from app.streams.store import StoreCache
from app.streams.timeouts import RETRY_MS, RETRY_SOON_MS, SOON_FOR_S
from app.streams.topics import topic_names


class _NoFeed:
    """A consumer that nothing is asked of."""

    async def read_from(self, tp: TP, offset: int) -> None: ...

    async def stop_reading(self, tps: Iterable[TP]) -> None: ...


def parts_of_a_worker() -> ShardParts:
    settings = load_settings({})
    return ShardParts(
        settings=settings, names=topic_names(settings), book=ReferenceBook(), gate=Gate(), cache=StoreCache(1)
    )


def opened_by_a_worker_that_has_read(read: Positions, before: Positions) -> Positions:
    """Return up to which documents a partition's prices are right, once another worker has opened it."""

    async def opened() -> Positions:
        parts = parts_of_a_worker()
        reader = ReferenceReader(parts.settings, parts.names, parts.book, lambda _: None)
        reader._positions = read
        shard = Shard(0, parts, _NoFeed())
        shard.meta.reference = before
        Shards(parts, reader)._follow_missed(shard)
        shard.close()
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


def test_a_broker_is_asked_again_soon_while_a_transaction_has_just_begun_to_be_committed_and_rarely_when_it_is_away() -> (
    None
):
    """Else eight lanes would call a broker that is away sixteen hundred times a second."""

    async def pauses() -> list[float]:
        producer = transactional_producer(load_settings({}), "anybody")
        sender = producer._sender
        seen = [sender._retry_backoff]
        with producer.retrying_soon():
            seen.append(sender._retry_backoff)
            await asyncio.sleep(SOON_FOR_S + 0.2)
            seen.append(sender._retry_backoff)
        with producer.retrying_soon():
            seen.append(sender._retry_backoff)
        seen.append(sender._retry_backoff)
        await producer.stop()
        return seen

    rare, soon = RETRY_MS / 1000, RETRY_SOON_MS / 1000
    assert asyncio.run(pauses()) == [rare, soon, rare, soon, rare]


def test_what_goes_wrong_while_partitions_are_opened_is_told_as_it_is_though_they_are_revoked_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def opened() -> None:
        shards = Shards(parts_of_a_worker())

        async def revoked_and_failed(*_: object) -> None:
            await shards.close()
            raise KafkaConnectionError

        monkeypatch.setattr(shards, "_open_in", revoked_and_failed)
        await shards._open([0])

    with pytest.raises(KafkaConnectionError):
        asyncio.run(opened())
