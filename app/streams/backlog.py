"""The backlog of pricing: what of one partition of `meter.intervals` is published and not priced yet.

Nearly always there is none: a shard prices each interval in the transaction in which it publishes it. Whatever else is there
comes back from the topic: what was published before and not priced (by a version that priced later, after a rewind of the
group's position), what somebody else wrote, and what could not be priced at once. How a shard knows that there is none: it
is told the offset of all that it writes, and nothing may lie between that and what it wrote before but a transaction's marker.
"""

from collections import Counter
from typing import Any


class Backlog:
    """Where pricing stands in one partition of `meter.intervals`. Offsets are of Kafka, each that of the next message."""

    __slots__ = ("counts", "known_to", "next_at", "taken_to")

    def __init__(self) -> None:
        """Know nothing; whoever reads what there is fills it in."""
        self.counts: Counter[str] = Counter()
        """How often each interval waits, by id, when the partition is opened."""
        self.taken_to = 0
        """Up to here all messages have been priced."""
        self.known_to = 0
        """Up to here there are messages that are known of; after it, at most markers."""
        self.next_at = 0
        """Where this owner's next message will be, unless somebody else writes one before it."""

    def find(self, message: Any) -> None:
        """Note a message that was published before the partition was opened, and is not priced."""
        if message.key is not None and message.value is not None:
            self.counts[message.key.decode(errors="replace")] += 1
        self.known_to = message.offset + 1

    def is_empty(self) -> bool:
        """Tell whether everything that is known of has been priced. Beyond it, somebody else's: `next_at` is not known then."""
        return self.taken_to == self.known_to

    def publish(self, end: int, count: int) -> bool:
        """Note that a transaction is about to be committed whose `count` messages the broker has, up to `end`.

        Return whether they are where they were expected: whether nobody else has written anything since.
        """
        expected = self.next_at + count == end
        self.known_to, self.next_at = end, end + 1  # the transaction's marker has an offset too
        return expected
