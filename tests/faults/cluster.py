"""A broker in memory, as far as exactly-once depends on it: logs, transactions, fencing, committed offsets.

What an open transaction wrote is in the logs and holds up readers of committed records; markers occupy offsets; whoever
initialises a producer aborts what its predecessor left open, and the predecessor is refused from then on.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from app.streams.sources import OfflineMessage
from tests.making import Json

At = tuple[str, int]
"""A topic and partition."""


class FencedError(Exception):
    """Another producer of the same transactional id has been initialised since."""


@dataclass(eq=False)
class Transaction:
    """What one producer writes between two commits, with the input that it took."""

    partition: int
    epoch: int
    state: Literal["open", "committed", "aborted"] = "open"
    offsets: dict[At, int] = field(default_factory=dict)
    touched: set[At] = field(default_factory=set)
    taken: list[tuple[At, OfflineMessage]] = field(default_factory=list)


@dataclass(eq=False)
class Entry:
    """A place in a log; a marker has no message. What the cleaner took is `gone`, and kept for the check."""

    message: OfflineMessage | None
    transaction: Transaction | None
    gone: bool = False

    def is_committed(self) -> bool:
        """Tell whether a reader of committed records gets to see it, if it comes before the cleaner."""
        return self.message is not None and (self.transaction is None or self.transaction.state == "committed")


class Broker:
    """Logs, and what is committed."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.logs: defaultdict[At, list[Entry]] = defaultdict(list)
        self.offsets: dict[At, int] = {}
        self.documents: list[Json] = []
        self.history: list[tuple[At, OfflineMessage]] = []
        self.counts: Counter[str] = Counter()
        self.now_ms = 1_000
        self._epochs: Counter[int] = Counter()
        self._open: dict[int, Transaction] = {}

    def initialise(self, partition: int) -> int:
        """Fence the producer before, abort its transaction, and return the epoch of the new one."""
        left = self._open.pop(partition, None)
        if left is not None:
            self._end(left, "aborted")
        self._epochs[partition] += 1
        return self._epochs[partition]

    def begin(self, partition: int, epoch: int) -> Transaction:
        """Begin a transaction; nothing of it is on the broker yet."""
        return Transaction(partition, epoch)

    def _check(self, transaction: Transaction) -> None:
        if transaction.epoch != self._epochs[transaction.partition]:
            self.counts["fenced"] += 1
            raise FencedError

    def append(
        self,
        at: At,
        key: bytes | None,
        value: bytes | None,
        transaction: Transaction | None = None,
        *,
        timestamp_ms: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Write a message to a log. No two have the same timestamp, but for those that are forwarded."""
        if transaction is not None:
            self._check(transaction)
            self._open[transaction.partition] = transaction
            transaction.touched.add(at)
        self.now_ms += 1
        log = self.logs[at]
        timestamp = self.now_ms if timestamp_ms is None else timestamp_ms
        log.append(Entry(OfflineMessage(len(log), timestamp, key, value, headers), transaction))

    def commit(self, transaction: Transaction) -> None:
        """Make a transaction true, with its offsets."""
        self._check(transaction)
        self._open.pop(transaction.partition, None)
        self.offsets |= transaction.offsets
        self.history += transaction.taken
        self._end(transaction, "committed")

    def _end(self, transaction: Transaction, state: Literal["committed", "aborted"]) -> None:
        transaction.state = state
        self.counts[state] += 1
        for at in sorted(transaction.touched):
            self.logs[at].append(Entry(None, None))

    def read(self, at: At, start: int, limit: int = 1 << 30) -> tuple[list[OfflineMessage], int]:
        """Return committed messages from an offset on, and the position after them."""
        found: list[OfflineMessage] = []
        position = start
        for entry in self.logs[at][start:]:
            if len(found) == limit or (entry.transaction is not None and entry.transaction.state == "open"):
                break
            position += 1
            if entry.message is not None and entry.is_committed() and not entry.gone:
                found.append(entry.message)
        return found, position

    def compact(self, at: At, before: int) -> int:
        """Leave of each key only the last committed message, in the part of a log before an offset, and nothing aborted.

        What may still be aborted takes nothing's place. Return how many messages are gone.
        """
        log = self.logs[at]
        is_open = (entry.transaction is not None and entry.transaction.state == "open" for entry in log)
        stable = next((number for number, it_is in enumerate(is_open) if it_is), len(log))
        last = {
            entry.message.key: number
            for number, entry in enumerate(log[:stable])
            if entry.message is not None and entry.is_committed()
        }
        count = 0
        for number, entry in enumerate(log[: min(before, stable)]):
            if entry.message is not None and not entry.gone and last.get(entry.message.key) != number:
                entry.gone = True
                count += 1
        return count

    def ever_committed(self, at: At) -> list[OfflineMessage]:
        """Return all that a reader could have found in a log that was never too late for it."""
        return [entry.message for entry in self.logs[at] if entry.message is not None and entry.is_committed()]

    def committed(self, at: At) -> list[OfflineMessage]:
        """Return all that a reader of committed records finds in a log."""
        return self.read(at, 0)[0]
