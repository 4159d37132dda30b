"""Owners: how a producer takes partitions over from the one before, so that that one can commit nothing more of them.

Several partitions share a producer (see `lane`), so it is no use to begin with its transactional id again whenever one of them
moves elsewhere. Each partition has a transactional id of its own too, with which nothing but its owner is written: the id of the
producer that may commit for it, as the metadata of its committed positions. Who takes a partition over begins with the
partition's id (whoever was about to write an owner cannot any more), reads which producers may commit for it, begins with their
ids (they can commit nothing any more, and what they had begun has ended), and writes itself down, in a transaction of the
partition's id.

Kafka Streams and the clients with KIP-447 have the group's coordinator refuse the positions of a member of an earlier generation
instead. What a worker that vanished had begun then lasts until it times out; here it ends when the next owner comes.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.types import TP

from app.streams.config import StreamConfig
from app.streams.rights import transactional_base, transactional_id

_STOP_TIMEOUT_S: Final = 5.0


class Committed(NamedTuple):
    """A committed position, None where there is none, and what was said with it."""

    offset: int | None
    metadata: str


class Positions(Protocol):
    """The part of the consumer that tells where the group stands."""

    async def committed(self, tps: Iterable[TP]) -> dict[TP, Committed]:
        """Return the committed positions."""

    async def begins(self, tps: Iterable[TP]) -> dict[TP, int]:
        """Return the first offsets of partitions."""


class Producer(Protocol):
    """The part of a producer with a transactional id that is needed here."""

    async def start(self) -> None:
        """Begin with the transactional id: another producer that has begun with it before is refused from now on."""

    async def begin_transaction(self) -> None:
        """Begin a transaction."""

    async def send_offsets_to_transaction(self, offsets: Mapping[TopicPartition, Any], group_id: str) -> None:
        """Make positions part of the transaction."""

    async def commit_transaction(self) -> None:
        """Commit what the transaction has."""

    async def stop(self) -> None:
        """Let go of everything."""


class Owners:
    """Takes partitions over for producers."""

    def __init__(self, settings: StreamConfig, make: Callable[[StreamConfig, str], Producer]) -> None:
        """Write positions of the settings' group; `make` makes a producer with a transactional id."""
        self._settings: Final = settings
        self._beginning: Final = f"{transactional_base(settings)}-"
        self._make: Final = partial(make, settings)

    async def take_over(
        self, partitions: Mapping[int, Sequence[TP]], owner_id: str, positions: Positions
    ) -> dict[TP, int]:
        """Make a producer the owner of partitions, given with their inputs; return the position in each input.

        When it returns, what the owners before had begun has ended, and they are refused whatever they try to commit.

        Raises:
            ProducerFenced: somebody else is taking one of them over at this moment.

        """
        tps = [tp for inputs in partitions.values() for tp in inputs]
        async with contextlib.AsyncExitStack() as stack:
            writers = [self._make(transactional_id(self._settings, partition)) for partition in partitions]
            for writer in writers:
                stack.push_async_callback(stop, writer)
            await _all(writer.start() for writer in writers)
            committed = await self._fence(tps, owner_id, positions)
            unknown = [tp for tp, at in committed.items() if at.offset is None]
            begins = await positions.begins(unknown) if unknown else {}
            stands = {tp: begins[tp] if at.offset is None else at.offset for tp, at in committed.items()}
            await _all(
                self._write(writer, {tp: stands[tp] for tp in inputs}, owner_id)
                for writer, inputs in zip(writers, partitions.values(), strict=True)
            )
        return stands

    async def _fence(self, tps: Sequence[TP], owner_id: str, positions: Positions) -> dict[TP, Committed]:
        """Begin with the ids of all owners, until no other is there; return the positions, which nobody commits any more.

        One may have been written while those before it were fenced: an owner can hand over to another.
        """
        fenced = {owner_id}
        while True:
            committed = await positions.committed(tps)
            owners = {at.metadata for at in committed.values() if at.metadata.startswith(self._beginning)} - fenced
            if not owners:
                return committed
            await _all(self._begin_with(owner) for owner in sorted(owners))
            fenced |= owners

    async def _begin_with(self, transactional_id: str) -> None:
        producer = self._make(transactional_id)
        try:
            await producer.start()
        finally:
            await stop(producer)

    async def _write(self, producer: Producer, stands: Mapping[TP, int], owner_id: str) -> None:
        await producer.begin_transaction()
        await producer.send_offsets_to_transaction(owned(stands, owner_id), self._settings.app_id)
        await producer.commit_transaction()


def owned(positions: Mapping[TP, int], owner_id: str) -> dict[TopicPartition, OffsetAndMetadata]:
    """Return positions as Kafka's clients commit them, with the owner's transactional id."""
    return {TopicPartition(*tp): OffsetAndMetadata(offset, owner_id) for tp, offset in positions.items()}


async def _all(tasks: Iterable[Any]) -> None:
    """Wait for all; the first fault is raised when none is at work any more."""
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result


async def stop(producer: Producer) -> None:
    """Stop a producer, which would wait for a broker that is away for ever, in bounded time."""
    with contextlib.suppress(Exception):
        await asyncio.wait_for(producer.stop(), _STOP_TIMEOUT_S)
