"""A lane: partitions of a worker whose transactions are one, and the producer that they share.

Everything that some chunks cause on these partitions, and the positions in the input behind them, is committed together or not
at all. A transaction costs a worker and the brokers about the same however many partitions are in it, so a worker has one lane.
After a fault each partition is opened in a lane of its own, so that one that cannot commit does not hold up the others; when that
has gone well for a while they come together again.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

import structlog
from faust.types import TP

from app.streams.config import StreamConfig
from app.streams.outbox import Outbox
from app.streams.owners import owned, stop
from app.streams.rights import shared_id
from app.streams.security import client_options
from app.streams.timeouts import REQUEST_TIMEOUT_MS, RETRY_MS
from app.streams.topics import STATE_BYTES
from app.streams.transactions import TransactionalProducer

log = structlog.get_logger(__name__)

TRANSACTION_TIMEOUT_MS: Final = 15_000
"""How long an open transaction of a worker that vanished may hold up readers of committed records."""

COMMIT_TIMEOUT_S: Final = 30.0
"""After so long without an answer the transaction is given up, and its partitions opened anew when a broker answers."""

_REPRICE_MAX_S: Final = 0.2
"""A transaction in which there is repricing is not older: its commit takes time too, in which chunks wait."""

_CLOSE_TIMEOUT_S: Final = 5.0
_YIELD_S: Final = 0


class Member(Protocol):
    """A partition in a lane. What it does between `begin` and `committed` is part of one transaction."""

    stands: dict[TP, int]
    """Where it stands in its inputs, as far as that is committed."""
    positions: dict[TP, int]
    """Where it stands then, as far as the open transaction moves it."""
    outbox: Outbox

    @property
    def partition(self) -> int:
        """Return its number."""

    def has_work(self) -> bool:
        """Tell whether there is anything to do."""

    def due_at_s(self) -> float | None:
        """Return when, on the monotonic clock, there is something to do though nothing comes in; None: never."""

    def chunks(self) -> int:
        """Return how many chunks have been delivered and not taken."""

    def has_repricing(self) -> bool:
        """Tell whether there is work of its own that nobody waits for: prices that follow a document, deletions."""

    async def look_around(self) -> None:
        """Do what has to happen between two transactions."""

    def begin(self, now_ms: int) -> None:
        """Begin to be part of a transaction."""

    def take_chunk(self) -> bool:
        """Take the first chunk, if there is one: tell whether there was."""

    def reprice_slice(self) -> None:
        """Do some of the work that nobody waits for."""

    def settle(self, now_s: float) -> None:
        """Put everything into the outbox that is to be committed: nothing comes to this transaction any more."""

    async def delivered(self) -> dict[TP, int]:
        """Wait until the brokers have everything; return what positions have to be others than was thought."""

    def committed(self) -> None:
        """Write to the store what has been committed."""

    async def after_commit(self) -> None:
        """Do what has to happen once the transaction is over."""

    def move(self, producer: TransactionalProducer, wake: Callable[[], None]) -> None:
        """Go on with another lane's producer."""


def transactional_producer(settings: StreamConfig, transactional_id: str) -> TransactionalProducer:
    """Return a producer with a transactional id; it is not started."""
    return TransactionalProducer(
        **client_options(settings),
        transactional_id=transactional_id,
        transaction_timeout_ms=max(TRANSACTION_TIMEOUT_MS, 5 * settings.transaction_max_ms),
        max_batch_size=settings.producer_max_batch_bytes,
        # Largest message that may go out: a refused one travels on in base64 inside JSON.
        max_request_size=max(4 * settings.max_record_bytes, STATE_BYTES) + settings.producer_max_batch_bytes,
        linger_ms=0,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
        retry_backoff_ms=RETRY_MS,
    )


class Lane:
    """Partitions that share transactions. `start`, then `run`; `close` at the end. `on_failed` is called once on a fault."""

    def __init__(
        self,
        settings: StreamConfig,
        on_failed: Callable[["Lane", BaseException], None],
        make: Callable[[StreamConfig, str], TransactionalProducer] = transactional_producer,
    ) -> None:
        """Prepare, with a transactional id that nobody has had before; nothing is opened yet."""
        self.id: Final = shared_id(settings, uuid.uuid4().int)
        self.producer: Final = make(settings, self.id)
        self.members: Final[list[Any]] = []
        self.blamed: Member | None = None
        """Who was at work when the lane failed; None where it was not for one of them."""
        self._settings: Final = settings
        self._on_failed: Final = on_failed
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self._turn = -1
        self._successor: Lane | None = None
        self._committed_at_s = 0.0
        self._first_committed_at_s: float | None = None

    # Opening and closing

    async def start(self) -> None:
        """Initialise the producer."""
        await self.producer.start()

    def run(self, members: Iterable[Member]) -> None:
        """Begin to work on what is delivered to some partitions, of which the producer is the owner."""
        self.members.extend(members)
        self._task = asyncio.create_task(self._run(), name="lane")

    async def close(self) -> None:
        """Finish the open transaction if that is soon done, and let go of the producer."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(self._task, _CLOSE_TIMEOUT_S)
        await stop(self.producer)

    def wake(self) -> None:
        """Hear that there is something to do."""
        self._wake.set()

    def works_for_s(self) -> float:
        """Return how long it has been committing without a fault; 0 before the first time."""
        first_s = self._first_committed_at_s
        return 0.0 if first_s is None or self._closing else time.monotonic() - first_s

    @property
    def has_committed(self) -> bool:
        """Tell whether a transaction has been committed."""
        return self._first_committed_at_s is not None

    # Work

    async def _run(self) -> None:
        try:
            while True:
                await self._wait_for_work()
                if self._closing:
                    return
                if self._successor is not None:
                    await self._hand_over(self._successor)
                    return
                for member in self.members:
                    await member.look_around()
                if self._has_work():
                    await self._transaction()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is, the lane is of no use any more
            self._on_failed(self, error)

    def _has_work(self) -> bool:
        return any(member.has_work() for member in self.members)

    async def _wait_for_work(self) -> None:
        while not (self._closing or self.is_joining or self._has_work()):
            dues_s = [due_s for member in self.members if (due_s := member.due_at_s()) is not None]
            timeout_s = max(min(dues_s) - time.monotonic(), 0.001) if dues_s else None
            await self._sleep(timeout_s)

    async def _sleep(self, timeout_s: float | None) -> None:
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), timeout_s)

    async def _transaction(self) -> None:
        """Work until what was there when the pause was over is done, or the transaction is old enough; then commit all of it."""
        settings = self._settings
        await self.producer.begin_transaction()
        began_s = time.monotonic()
        not_before_s = self._committed_at_s + settings.commit_interval_ms / 1000
        not_after_s = began_s + settings.transaction_max_ms / 1000
        working: dict[Member, None] = {}
        left: dict[Member, int] | None = None
        while True:
            took, repricing = await self._sweep(working, left, not_after_s)
            now_s = time.monotonic()
            if repricing:
                not_after_s = min(not_after_s, began_s + _REPRICE_MAX_S)
            rest_s = not_before_s - now_s
            if now_s >= not_after_s:
                break
            if rest_s > 0:
                if not took and not repricing:
                    if self._closing:
                        break
                    await self._sleep(rest_s)
                continue
            # What came in until now is committed as soon as ever: neither when the last price is right, nor when nothing comes.
            if left is None:
                left = {member: member.chunks() for member in self.members}
            if not any(left.values()):
                if not repricing or any(member.positions for member in working):
                    break
                left = None
        worked_s = time.monotonic()
        # The client retries for ever when no broker answers; a lane that waits for it could not be closed.
        with self.producer.retrying_soon():
            await asyncio.wait_for(self._commit(list(working), worked_s), COMMIT_TIMEOUT_S)
        log.debug(
            "transaction",
            partitions=[member.partition for member in working],
            work_ms=round((worked_s - began_s) * 1000, 1),
            commit_ms=round((time.monotonic() - worked_s) * 1000, 1),
        )

    async def _sweep(
        self, working: dict[Member, None], left: dict[Member, int] | None, not_after_s: float
    ) -> tuple[bool, bool]:
        """Give each partition a turn: a chunk, and a slice of what nobody waits for. Tell whether there were any of each.

        `left` is how many chunks each of them may still take; None: as many as there are. When the time is over, those that
        had no turn are the first of the next transaction.
        """
        took = repricing = False
        for _ in range(len(self.members)):
            if time.monotonic() >= not_after_s:
                break
            self._turn = (self._turn + 1) % len(self.members)
            member = self.members[self._turn]
            if not member.has_work():
                continue
            self.blamed = member
            if member not in working:
                working[member] = None
                member.begin(time.time_ns() // 1_000_000)
            if left is None:
                took |= member.take_chunk()
            elif left.get(member, 0) > 0:
                left[member] -= 1
                took |= member.take_chunk()
            # One slice after each chunk: neither waits for the other, however much of it there is.
            if member.has_repricing():
                repricing = True
                member.reprice_slice()
            self.blamed = None
            await member.outbox.send_full()
            await asyncio.sleep(_YIELD_S)
        return took, repricing

    async def _commit(self, working: list[Member], now_s: float) -> None:
        for member in working:
            self.blamed = member
            member.settle(now_s)
            self.blamed = None
            await member.outbox.send_all()
            await asyncio.sleep(_YIELD_S)
        await self._send_positions({tp: offset for member in working for tp, offset in member.positions.items()})
        others: dict[TP, int] = {}
        for member in working:
            others |= await member.delivered()
        await self._send_positions(others)
        await self.producer.commit_transaction()
        for member in working:
            self.blamed = member
            member.committed()
        self.blamed = None
        self._committed_at_s = time.monotonic()
        self._first_committed_at_s = self._first_committed_at_s or self._committed_at_s
        for member in working:
            await member.after_commit()

    async def _send_positions(self, positions: Mapping[TP, int], owner_id: str | None = None) -> None:
        if positions:
            offsets = owned(positions, owner_id or self.id)
            await self.producer.send_offsets_to_transaction(offsets, self._settings.app_id)

    # Coming together

    def join(self, successor: "Lane") -> None:
        """Hand the partitions over to another lane as soon as the open transaction has been committed."""
        self._successor = successor
        self._wake.set()

    @property
    def is_joining(self) -> bool:
        """Tell whether the partitions are to be handed over, or have been."""
        return self._successor is not None

    @property
    def has_joined(self) -> bool:
        """Tell whether that has been done."""
        return self._successor is not None and not self.members

    async def _hand_over(self, successor: "Lane") -> None:
        """Make the other producer the owner, which only this one can unless somebody takes the partitions over; then end."""
        await asyncio.wait_for(self._write_owner(successor), COMMIT_TIMEOUT_S)
        successor.adopt(self.members)
        self.members.clear()
        await stop(self.producer)

    async def _write_owner(self, successor: "Lane") -> None:
        await self.producer.begin_transaction()
        stands = {tp: offset for member in self.members for tp, offset in member.stands.items()}
        await self._send_positions(stands, successor.id)
        await self.producer.commit_transaction()

    def adopt(self, members: Iterable[Member]) -> None:
        """Take partitions in, whose owner the producer has become.

        Raises:
            RuntimeError: the lane has been closed meanwhile, or has failed.

        """
        if self._closing or self._task is None or self._task.done():
            message = "the lane that takes partitions over has ended"
            raise RuntimeError(message)
        for member in members:
            member.move(self.producer, self.wake)
            self.members.append(member)
        self._wake.set()
