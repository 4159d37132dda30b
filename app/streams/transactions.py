"""The producer of transactions: aiokafka's, with the second version of Kafka's transactions where the cluster has it.

A transaction takes five requests one after the other in the first version, of which four wait for each other: its partitions are
announced, then its group, its position is written, and it ends. In the second version (KIP-890; clusters of Kafka 4.0 on) the
batches and the position say themselves that they belong to it: it takes three requests, of which two go at the same time. And a
batch that was late on its way cannot become part of the next transaction, which has another epoch.
"""

# ruff: noqa: SLF001 - the client has no public way to its requests

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.client import CoordinationType
from aiokafka.errors import (
    ConcurrentTransactions,
    CoordinatorLoadInProgressError,
    GroupAuthorizationFailedError,
    InvalidProducerEpoch,
    InvalidTxnState,
    KafkaError,
    NotEnoughReplicasError,
)
from aiokafka.producer.message_accumulator import MessageBatch
from aiokafka.producer.sender import EndTxnHandler, Sender, SendProduceReqHandler, TxnOffsetCommitHandler
from aiokafka.producer.transaction_manager import PidAndEpoch, TransactionResult
from aiokafka.structs import TopicPartition

from app.streams.timeouts import RETRY_SOON_MS, SOON_FOR_S
from app.streams.txn_requests import (
    CommitOffsetsInTransaction,
    EndTransaction,
    FeaturesRequest,
    ProduceInTransaction,
    level_of,
)

log = structlog.get_logger(__name__)

REQUEST_BYTES: Final = 8 * 1024 * 1024
"""How much goes to a broker in one request, but for a single batch that is larger.

The client would send whatever there is: with many partitions more than brokers take (`socket.request.max.bytes`, 100 MiB).
"""

_FEATURE: Final = "transaction.version"
_SECOND: Final = 2

_PRODUCER_FENCED: Final = 90
_TRANSACTION_ABORTABLE: Final = 120
_SAID_BEFORE: Final[Mapping[int, int]] = {
    _PRODUCER_FENCED: InvalidProducerEpoch.errno,
    _TRANSACTION_ABORTABLE: InvalidTxnState.errno,
}
"""What brokers say to clients from before these codes, as ours is."""

_BATCH_TO_COME_AGAIN: Final = {**_SAID_BEFORE, ConcurrentTransactions.errno: NotEnoughReplicasError.errno}
_POSITION_TO_COME_AGAIN: Final = {**_SAID_BEFORE, ConcurrentTransactions.errno: CoordinatorLoadInProgressError.errno}
"""The transaction before is still being completed: in this version the batch, or the position, is told so, and comes again."""

_PRODUCE_READ: Final = 8
"""The version of a response in which a partition has the same fields, but for the tags."""


class _Produce(SendProduceReqHandler):
    """Sends batches, which take their partitions into the transaction."""

    def create_request(self) -> ProduceInTransaction:
        topics: dict[str, list[tuple[int, bytes]]] = defaultdict(list)
        for tp, batch in self._batches.items():
            topics[tp.topic].append((tp.partition, batch.get_data_buffer()))
        sender = self._sender
        return ProduceInTransaction(sender._txn_manager.transactional_id, sender._request_timeout_ms, topics)

    def handle_response(self, response: Any) -> None:
        topics = [
            (
                topic,
                [(partition, _BATCH_TO_COME_AGAIN.get(code, code), *rest) for partition, code, *rest, _ in partitions],
            )
            for topic, partitions, _ in response.topics
        ]
        super().handle_response(SimpleNamespace(API_VERSION=_PRODUCE_READ, topics=topics))


class _CommitOffsets(TxnOffsetCommitHandler):
    """Sends a position, which takes the group into the transaction."""

    def create_request(self) -> CommitOffsetsInTransaction:
        topics: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
        for tp, at in sorted(self._offsets.items()):
            topics[tp.topic].append((tp.partition, at.offset, at.metadata))
        manager = self._sender._txn_manager
        producer = (manager.producer_id, manager.producer_epoch)
        return CommitOffsetsInTransaction(manager.transactional_id, self._group_id, producer, topics)

    def handle_response(self, resp: Any) -> float | None:
        errors = [
            (topic, [(partition, _POSITION_TO_COME_AGAIN.get(code, code)) for partition, code, _ in partitions])
            for topic, partitions, _ in resp.errors
        ]
        backoff: float | None = super().handle_response(SimpleNamespace(errors=errors))
        return backoff


class _End(EndTxnHandler):
    """Ends a transaction; the producer has another epoch then, in which its batches are counted from nought."""

    def create_request(self) -> EndTransaction:
        manager = self._sender._txn_manager
        producer = (manager.producer_id, manager.producer_epoch)
        committed = self._commit_result is TransactionResult.COMMIT
        return EndTransaction(manager.transactional_id, producer, committed=committed)

    def handle_response(self, resp: Any) -> float | None:
        code = _SAID_BEFORE.get(resp.error_code, resp.error_code)
        if code == 0 and resp.producer_id >= 0:  # nobody is named by a cluster that has gone back to the first version
            manager = self._sender._txn_manager
            manager._pid_and_epoch = PidAndEpoch(resp.producer_id, resp.producer_epoch)
            manager._sequence_numbers.clear()
        backoff: float | None = super().handle_response(SimpleNamespace(error_code=code))
        return backoff


class TransactionSender(Sender):
    """The client's sender; in a cluster with the second version it announces neither partitions nor groups."""

    announces = True

    async def start(self) -> None:
        """Learn which version the cluster has, and begin."""
        self.announces = await self._agreed_version() < _SECOND
        await super().start()

    async def _agreed_version(self) -> int:
        """Ask any broker, until one answers."""
        while True:
            try:
                answer = await self.client.send(self.client.get_random_node(), FeaturesRequest())
            except KafkaError as error:
                log.debug("features_not_known", reason=repr(error))
                await asyncio.sleep(self._retry_backoff)
                await self.client.force_metadata_update()
            else:
                return level_of(_FEATURE, answer)

    def _maybe_do_transactional_request(self) -> Any:
        if not self.announces:
            manager = self._txn_manager
            for tp in list(manager.partitions_to_add()):
                manager.partition_added(tp)
            group_id = manager.consumer_group_to_add()
            if group_id is not None:
                manager.consumer_group_added(group_id)
        return super()._maybe_do_transactional_request()

    async def _send_produce_req(self, node_id: int, batches: Any) -> None:
        handler = SendProduceReqHandler if self.announces else _Produce
        for portion in portions(batches):
            await handler(self, portion).do(node_id)
        self._in_flight.remove(node_id)
        self._muted_partitions.difference_update(batches)

    async def _do_txn_offset_commit(self, offsets: Any, group_id: str) -> None:
        if self.announces or not offsets:
            await super()._do_txn_offset_commit(offsets, group_id)
            return
        try:
            node_id = await self._find_coordinator(CoordinationType.GROUP, group_id)
        except GroupAuthorizationFailedError as error:
            self._txn_manager.error_transaction(error)
            return
        await _CommitOffsets(self, offsets, group_id).do(node_id)

    async def _do_txn_commit(self, commit_result: TransactionResult) -> None:
        if self.announces:
            await super()._do_txn_commit(commit_result)
            return
        await self._message_accumulator.flush_for_commit()
        manager = self._txn_manager
        if manager.is_empty_transaction():
            manager.complete_transaction()
            return
        node_id = await self._find_coordinator(CoordinationType.TRANSACTION, manager.transactional_id)
        await _End(self, commit_result).do(node_id)


def portions(batches: Mapping[TopicPartition, MessageBatch]) -> Iterator[dict[TopicPartition, MessageBatch]]:
    """Yield batches, one of each partition, in groups that are not too large for one request. One batch is never too large."""
    portion: dict[TopicPartition, MessageBatch] = {}
    size_bytes = 0
    for tp, batch in batches.items():
        batch_bytes = batch._builder.size()
        if portion and size_bytes + batch_bytes > REQUEST_BYTES:
            yield portion
            portion, size_bytes = {}, 0
        portion[tp] = batch
        size_bytes += batch_bytes
    if portion:
        yield portion


class TransactionalProducer(AIOKafkaProducer):
    """aiokafka's producer with the transactions of the cluster."""

    _sender: TransactionSender

    def __init__(self, **options: Any) -> None:
        """Take the client's options; `transactional_id` is one of them."""
        super().__init__(**options)
        sender = self._sender
        self._sender = TransactionSender(
            self.client,
            acks=sender._acks,
            txn_manager=self._txn_manager,
            retry_backoff_ms=sender._retry_backoff * 1000,
            message_accumulator=self._message_accumulator,
            request_timeout_ms=self._request_timeout_ms,
        )

    @property
    def announces(self) -> bool:
        """Tell whether the cluster has to be told beforehand what a transaction writes to; known when it has been started."""
        return self._sender.announces

    @contextlib.contextmanager
    def retrying_soon(self) -> Iterator[None]:
        """Send again soon what a broker is not ready for yet; not for long, lest it be called all the time."""
        sender = self._sender  # the client's own pause is the same from the first time on
        usual_s = sender._retry_backoff
        later = asyncio.get_running_loop().call_later(SOON_FOR_S, setattr, sender, "_retry_backoff", usual_s)
        sender._retry_backoff = RETRY_SOON_MS / 1000
        try:
            yield
        finally:
            later.cancel()
            sender._retry_backoff = usual_s
