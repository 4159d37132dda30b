"""How far recovery is: what is read of each partition's changelogs, and about how much there is to read."""

from typing import NamedTuple

from aiokafka.structs import TopicPartition


class Recovered(NamedTuple):
    """How many offsets of a partition's changelogs have been applied since recovery began, of about how many.

    Offsets are more than records: transaction markers take some, and compaction leaves holes.
    """

    applied: int
    of_about: int


class Progress:
    """The changelogs that are being read now, by partition; `records` is how many have ever been applied."""

    def __init__(self) -> None:
        """Begin with nothing to do."""
        self._spans: dict[TopicPartition, tuple[int, int, int]] = {}
        self.records = 0

    def begin(self, tp: TopicPartition, start: int, end: int) -> None:
        """Note what is to be read."""
        self._spans[tp] = (start, start, max(start, end))

    def reach(self, tp: TopicPartition, position: int, records: int = 0) -> None:
        """Note that everything before a position is in the store, and how many records have come to it by that."""
        self.records += records
        start, _, end = self._spans[tp]
        self._spans[tp] = (start, min(position, end), end)

    def end(self, tps: list[TopicPartition]) -> None:
        """Forget what has been read, or has been given up."""
        for tp in tps:
            self._spans.pop(tp, None)

    def by_partition(self) -> dict[int, Recovered]:
        """Return how far each partition is."""
        found: dict[int, Recovered] = {}
        for tp, (start, position, end) in self._spans.items():
            before = found.get(tp.partition, Recovered(0, 0))
            found[tp.partition] = Recovered(before.applied + position - start, before.of_about + end - start)
        return found

    def total(self) -> Recovered:
        """Return how far all of them are together."""
        each = self.by_partition().values()
        return Recovered(sum(one.applied for one in each), sum(one.of_about for one in each))
