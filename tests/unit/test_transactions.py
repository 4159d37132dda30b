"""What brokers answer in the second version of transactions, and what becomes of it; the brokers are in tests/stream."""

import asyncio
from collections.abc import Awaitable, Callable
from io import BytesIO
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    ConcurrentTransactions,
    InvalidTxnState,
    ProducerFenced,
)
from aiokafka.producer.message_accumulator import MessageBatch
from aiokafka.producer.transaction_manager import TransactionManager, TransactionResult
from aiokafka.protocol.admin import ApiVersionResponse_v1

from app.streams.outbox import ClientBatch
from app.streams.transactions import REQUEST_BYTES, TransactionSender, _CommitOffsets, _End, _Produce, portions
from app.streams.txn_requests import (
    EndTxnResponseV5,
    FeaturesResponse,
    ProduceResponseV12,
    TxnOffsetCommitResponseV5,
    level_of,
)

PRODUCER_FENCED, TRANSACTION_ABORTABLE = 90, 120
AT = TopicPartition("meter.priced", 3)
RETRY_S = 0.05


def answered(kind: Any, *fields: Any) -> Any:
    """Return an answer as it is when it comes from the network."""
    return kind.decode(BytesIO(kind(*fields).encode()))


def in_transaction(work: Callable[[TransactionSender], Awaitable[None]]) -> None:
    """Do something with a sender whose producer has id 7 and epoch 4, in a transaction that has a batch and a position."""

    async def run() -> None:
        manager = TransactionManager("meterstream-3", 15_000)
        manager.set_pid_and_epoch(7, 4)
        manager.begin_transaction()
        manager.maybe_add_partition_to_txn(AT)
        manager.partition_added(AT)
        manager.increment_sequence_number(AT, 20)
        sender = TransactionSender(
            None,
            acks=-1,
            txn_manager=manager,
            message_accumulator=None,
            retry_backoff_ms=RETRY_S * 1000,
            request_timeout_ms=3_000,
        )
        await work(sender)

    asyncio.run(run())


# What the cluster has agreed on


def test_a_cluster_says_what_it_has_agreed_on_among_what_it_can_do() -> None:
    """Tag 0 is what the broker can do, 1 the number of the agreement, 2 what the agreement is."""
    supported = b"\x02\x14transaction.version\x00\x00\x00\x02\x00"
    agreed = b"\x03\x0egroup.version\x00\x01\x00\x00\x00\x14transaction.version\x00\x02\x00\x00\x00"
    tags = {0: supported, 1: (42).to_bytes(8, "big"), 2: agreed}
    answer = FeaturesResponse(0, [(18, 0, 4, {})], 0, tags)
    assert level_of("transaction.version", answer) == 2
    assert level_of("group.version", answer) == 1
    assert level_of("share.version", answer) == 0


def test_a_broker_that_says_nothing_of_agreements_has_the_first_version() -> None:
    assert level_of("transaction.version", FeaturesResponse(0, [], 0, {})) == 0
    assert level_of("transaction.version", ApiVersionResponse_v1(0, [(18, 0, 2)], 0)) == 0


# The end of a transaction


def test_a_producer_goes_on_as_the_one_that_the_end_of_its_transaction_names() -> None:
    async def work(sender: TransactionSender) -> None:
        manager = sender._txn_manager
        manager.committing_transaction()
        handler = _End(sender, TransactionResult.COMMIT)
        assert handler.create_request().build(_struct(handler)).to_object()["committed"] is True
        assert handler.handle_response(answered(EndTxnResponseV5, 0, 0, 8, 0, {})) is None
        assert (manager.producer_id, manager.producer_epoch, manager.sequence_number(AT)) == (8, 0, 0)
        await manager.wait_for_transaction_end()

    in_transaction(work)


def test_a_producer_stays_who_it_is_where_the_end_names_nobody() -> None:
    """So it is when a cluster goes back to the first version while the producer is at work."""

    async def work(sender: TransactionSender) -> None:
        manager = sender._txn_manager
        manager.committing_transaction()
        assert (
            _End(sender, TransactionResult.COMMIT).handle_response(answered(EndTxnResponseV5, 0, 0, -1, -1, {})) is None
        )
        assert (manager.producer_id, manager.producer_epoch, manager.sequence_number(AT)) == (7, 4, 20)
        await manager.wait_for_transaction_end()

    in_transaction(work)


@pytest.mark.parametrize(
    ("code", "fault"), [(PRODUCER_FENCED, ProducerFenced), (TRANSACTION_ABORTABLE, InvalidTxnState)]
)
def test_an_end_that_fails_says_what_a_client_of_before_knows(code: int, fault: type[Exception]) -> None:
    async def work(sender: TransactionSender) -> None:
        sender._txn_manager.committing_transaction()
        with pytest.raises(fault):
            _End(sender, TransactionResult.COMMIT).handle_response(answered(EndTxnResponseV5, 0, code, -1, -1, {}))
        assert sender._txn_manager.producer_epoch == 4

    in_transaction(work)


def test_an_end_that_comes_too_early_is_asked_for_again_as_the_same_producer() -> None:
    async def work(sender: TransactionSender) -> None:
        sender._txn_manager.committing_transaction()
        too_early = answered(EndTxnResponseV5, 0, ConcurrentTransactions.errno, -1, -1, {})
        handler = _End(sender, TransactionResult.ABORT)
        assert handler.handle_response(too_early) == RETRY_S
        assert handler.create_request().build(_struct(handler)).to_object()["producer_epoch"] == 4

    in_transaction(work)


# Positions


def position_answered(code: int) -> Any:
    return answered(TxnOffsetCommitResponseV5, 0, [("meter.records", [(3, code, {})], {})], {})


def test_a_position_that_comes_too_early_waits_and_is_sent_again() -> None:
    async def work(sender: TransactionSender) -> None:
        manager = sender._txn_manager
        taken = manager.add_offsets_to_txn({TopicPartition("meter.records", 3): _Offset(12)}, "meterstream")
        handler = _CommitOffsets(sender, *manager_offsets(manager))
        assert handler.handle_response(position_answered(ConcurrentTransactions.errno)) == RETRY_S
        assert not taken.done()
        assert handler.handle_response(position_answered(0)) is None
        assert taken.done()

    in_transaction(work)


def test_a_position_of_an_owner_before_is_refused_as_such() -> None:
    async def work(sender: TransactionSender) -> None:
        manager = sender._txn_manager
        manager.add_offsets_to_txn({TopicPartition("meter.records", 3): _Offset(12)}, "meterstream")
        with pytest.raises(ProducerFenced):
            _CommitOffsets(sender, *manager_offsets(manager)).handle_response(position_answered(PRODUCER_FENCED))

    in_transaction(work)


class _Offset:
    """A position as the client keeps it."""

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.metadata = ""


def manager_offsets(manager: TransactionManager) -> tuple[Any, str]:
    manager.consumer_group_added(manager.consumer_group_to_add())
    offsets, group_id = manager.offsets_to_commit()
    return offsets, group_id


# Batches


def batch_answered(code: int) -> tuple[MessageBatch, list[MessageBatch]]:
    """Answer for a batch with a code; return it, and what is sent again."""
    builder = ClientBatch(1_000, 0, transactional=True)
    builder.add(None, b"x", ())
    outcome: list[Any] = []

    async def work(sender: TransactionSender) -> None:
        batch = MessageBatch(AT, builder, 60, 0)
        batch.drain_ready()
        handler = _Produce(sender, {AT: batch})
        errors = [(0, "the batch's only message", {})] if code else []
        partitions = [(3, code, 100, -1, 0, errors, "why not" if code else None, {})]
        handler.handle_response(answered(ProduceResponseV12, [("meter.priced", partitions, {})], 0, {}))
        await asyncio.sleep(0)
        outcome.extend((batch, handler._to_reenqueue))
        if batch.future.done():
            batch.future.exception()

    in_transaction(work)
    return outcome[0], outcome[1]


def test_a_batch_that_was_written_knows_where() -> None:
    batch, again = batch_answered(0)
    assert (batch.future.result().offset, again) == (100, [])


def test_a_batch_that_a_broker_is_not_ready_for_is_sent_again() -> None:
    batch, again = batch_answered(ConcurrentTransactions.errno)
    assert again == [batch]
    assert not batch.future.done()


@pytest.mark.parametrize(
    ("code", "fault"), [(PRODUCER_FENCED, ProducerFenced), (TRANSACTION_ABORTABLE, InvalidTxnState)]
)
def test_a_batch_that_is_refused_says_what_a_client_of_before_knows(code: int, fault: type[Exception]) -> None:
    batch, again = batch_answered(code)
    assert isinstance(batch.future.exception(), fault)
    assert not again


def _struct(handler: Any) -> type[Any]:
    """Return the layout that a handler's request has on the wire."""
    kind: type[Any] = handler.create_request()._CLASSES[0]
    return kind


# How much goes into one request


def batch_of(size_bytes: int) -> MessageBatch:
    builder = ClientBatch(2 * REQUEST_BYTES, 1_700_000_000_000, transactional=True)
    builder.add(b"", bytes(size_bytes), ())
    builder.close()
    return MessageBatch(AT, builder, 100.0, 0.0)


def test_what_is_too_much_for_one_request_goes_in_several() -> None:
    """A worker with a hundred partitions may have a megabyte for each of three topics of them."""

    async def portioned() -> list[list[int]]:
        sizes = [3, 3, 1, 4, 4, 12, 1]  # megabytes, less what a batch has around its messages
        batches = {TopicPartition("t", number): batch_of(size * 2**20 - 1000) for number, size in enumerate(sizes)}
        found = list(portions(batches))
        assert {tp: batch for portion in found for tp, batch in portion.items()} == batches
        return [[tp.partition for tp in portion] for portion in found]

    assert asyncio.run(portioned()) == [[0, 1, 2], [3, 4], [5], [6]]
    assert list(portions({})) == []
