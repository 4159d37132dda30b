"""What state a worker is in: whether its documents are read, and what each of its partitions does."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

PartitionState = Literal["open", "opening", "recovering", "reopening"]


class PartitionCondition(NamedTuple):
    """What a partition does; while it is recovering, how many offsets are applied, of about how many."""

    partition: int
    state: PartitionState
    applied: int
    of_about: int
    totals: Mapping[str, int]


class Condition(NamedTuple):
    """What a worker does; `partitions` is None before the group has assigned any, and empty when there are none for it."""

    documents_read: bool
    partitions: list[PartitionCondition] | None
