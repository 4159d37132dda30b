"""A lane by itself: the order of what its partitions do, when a transaction ends, and who is to blame for a fault."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import groupby
from typing import Any

import pytest
from faust.types import TP

from app.settings import load_settings
from app.streams.lane import Lane, Member

INTERVAL_S = 0.05
MOST_S = 0.1
PATIENCE_S = 60.0


class ModelProducer:
    """A producer that notes what it is told, in the same list as the partitions."""

    def __init__(self, told: list[str]) -> None:
        self.told = told
        self.positions: list[dict[Any, Any]] = []

    async def begin_transaction(self) -> None:
        self.told.append("begin")

    async def send_offsets_to_transaction(self, offsets: Mapping[Any, Any], group_id: str) -> None:
        assert group_id == "meterstream"
        self.told.append("positions")
        self.positions.append(dict(offsets))

    async def commit_transaction(self) -> None:
        await asyncio.sleep(0)
        self.told.append("commit")

    def retrying_soon(self) -> Any:
        return _Nothing()

    async def stop(self) -> None:
        self.told.append("stop")


class _Nothing:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


class ModelOutbox:
    async def send_full(self) -> None: ...

    async def send_all(self) -> None: ...


class ModelMember:
    """A partition that notes what it is told; `endless`: whenever a chunk is taken, there is another one."""

    def __init__(self, partition: int, told: list[str], *, endless: bool = False, fails_at: str = "") -> None:
        self.partition, self._told, self._endless, self._fails_at = partition, told, endless, fails_at
        self.outbox: Any = ModelOutbox()
        self.positions: dict[TP, int] = {}
        self.stands: dict[TP, int] = {TP("records", partition): 0}
        self.inbox = 0
        self.owner: Any = None

    def _note(self, what: str) -> None:
        if what == self._fails_at:
            message = f"{what} fails on purpose"
            raise LookupError(message)
        self._told.append(f"{what} {self.partition}")

    def has_work(self) -> bool:
        return self.inbox > 0

    def due_at_s(self) -> float | None:
        return None

    def chunks(self) -> int:
        return self.inbox

    def has_repricing(self) -> bool:
        return False

    async def look_around(self) -> None: ...

    def begin(self, now_ms: int) -> None:
        assert now_ms > 0
        self.positions = {}
        self._note("begin")

    def take_chunk(self) -> bool:
        if not self.inbox:
            return False
        self.inbox -= not self._endless
        self._note("take")
        at = TP("records", self.partition)
        self.positions[at] = self.stands[at] = self.stands[at] + 1
        return True

    def reprice_slice(self) -> None: ...

    def settle(self, now_s: float) -> None:
        assert now_s > 0
        self._note("settle")

    async def delivered(self) -> dict[TP, int]:
        await asyncio.sleep(0)
        self._note("delivered")
        return {}

    def committed(self) -> None:
        self._note("committed")

    async def after_commit(self) -> None: ...

    def move(self, producer: Any, wake: Callable[[], None]) -> None:
        self._note("move")
        self.owner = (producer, wake)


def lane_of(told: list[str], failed: list[tuple[Any, BaseException]]) -> Lane:
    """Make a lane with a model of a producer."""
    settings = load_settings(
        {
            "METERSTREAM_COMMIT_INTERVAL_MS": str(int(1000 * INTERVAL_S)),
            "METERSTREAM_TRANSACTION_MAX_MS": str(int(1000 * MOST_S)),
        }
    )

    def make(_settings: Any, _transactional_id: str) -> Any:
        return ModelProducer(told)

    return Lane(settings, lambda lane, error: failed.append((lane.blamed, error)), make)


def story(steps: Callable[[Lane, list[str], list[Any]], Any]) -> tuple[list[str], list[tuple[Any, BaseException]]]:
    """Tell a story of a lane; return what was told to whom, and what failed with who was to blame."""
    told: list[str] = []
    failed: list[tuple[Any, BaseException]] = []

    async def tell() -> None:
        lane = lane_of(told, failed)
        await steps(lane, told, failed)
        await lane.close()

    asyncio.run(tell())
    return told, failed


async def until(found: Callable[[], object]) -> None:
    """Wait until something is so, however long the machine takes."""
    async with asyncio.timeout(PATIENCE_S):
        while not found():  # noqa: ASYNC110 - it asks for whatever a test waits for
            await asyncio.sleep(0.005)


def members_of(told: list[str], **more: Any) -> list[Any]:
    return [ModelMember(0, told), ModelMember(1, told), ModelMember(2, told, **more)]


def test_all_that_take_part_settle_and_are_delivered_before_the_commit_and_write_their_stores_after_it() -> None:
    positions: list[dict[Any, Any]] = []

    async def steps(lane: Lane, told: list[str], _: Any) -> None:
        members = members_of(told)
        for member in members[:2]:
            member.inbox = 1
        lane.run(members)
        await until(lambda: "committed 1" in told)
        producer: Any = lane.producer
        positions.extend(producer.positions)
        for sent in producer.positions:
            assert {at.metadata for at in sent.values()} == {lane.id}

    told, failed = story(steps)
    assert told == [
        *("begin", "begin 0", "take 0", "begin 1", "take 1"),
        *("settle 0", "settle 1", "positions", "delivered 0", "delivered 1", "commit", "committed 0", "committed 1"),
        "stop",
    ]
    assert [{tp.partition: at.offset for tp, at in sent.items()} for sent in positions] == [{0: 1, 1: 1}]
    assert not failed


def test_a_transaction_ends_though_there_is_always_more() -> None:
    """What comes in when the pause is over belongs to the next one: else a busy worker would commit once a second only."""

    async def steps(lane: Lane, told: list[str], _: Any) -> None:
        members = members_of(told, endless=True)
        members[2].inbox = 1
        lane.run(members)
        await until(lambda: told.count("commit") >= 4)

    told, failed = story(steps)
    assert told.count("commit") >= 4
    assert told.count("take 2") > told.count("commit")
    assert not failed


def test_a_transaction_is_not_longer_for_many_partitions_and_each_has_its_turn() -> None:
    """Each takes 20 ms here for a chunk, ten of them twice as long as a transaction may last."""

    class Slow(ModelMember):
        def take_chunk(self) -> bool:
            time.sleep(0.02)
            return super().take_chunk()

    async def steps(lane: Lane, told: list[str], _: Any) -> None:
        members = [Slow(partition, told, endless=True) for partition in range(10)]
        for member in members:
            member.inbox = 1
        lane.run(members)
        await until(lambda: sum(what.startswith("take") for what in told) >= 25)

    told, failed = story(steps)
    taken = [what for what in told if what.startswith("take") or what == "commit"]
    longest = max(
        len(list(group)) for is_commit, group in groupby(taken, lambda what: what == "commit") if not is_commit
    )
    assert longest <= MOST_S / 0.02 + 1
    turns = Counter(what for what in taken if what != "commit")
    assert len(turns) == 10
    assert max(turns.values()) - min(turns.values()) <= 1
    assert not failed


@pytest.mark.parametrize("at", ["take", "settle", "committed"])
def test_the_partition_at_work_is_to_blame_and_nothing_is_committed_that_was_not_complete(at: str) -> None:
    async def steps(lane: Lane, told: list[str], failed: list[Any]) -> None:
        members = members_of(told, fails_at=at)
        for member in members:
            member.inbox = 1
        lane.run(members)
        await until(lambda: failed)
        assert [(blamed.partition, type(error)) for blamed, error in failed] == [(2, LookupError)]

    told, _ = story(steps)
    assert ("commit" in told) == (at == "committed")
    assert told[-1] == "stop"


def test_nobody_is_to_blame_for_a_producer_that_fails() -> None:
    async def steps(lane: Lane, told: list[str], failed: list[Any]) -> None:
        async def commit_transaction() -> None:
            raise LookupError

        producer: Any = lane.producer
        producer.commit_transaction = commit_transaction
        members = members_of(told)
        members[0].inbox = 1
        lane.run(members)
        await until(lambda: failed)
        assert [(blamed, type(error)) for blamed, error in failed] == [(None, LookupError)]

    told, _ = story(steps)
    assert "committed 0" not in told


def test_partitions_are_handed_over_with_where_they_stand_between_two_transactions() -> None:
    async def steps(lane: Lane, told: list[str], failed: list[Any]) -> None:
        other = lane_of([], failed)
        moving: Any = ModelMember(7, told)
        moving.inbox = 2
        other.run([ModelMember(0, [])])
        lane.run([moving])
        await until(lambda: not moving.inbox and "committed 7" in told)
        lane.join(other)
        await until(lambda: lane.has_joined)
        assert other.members[1:] == [moving]
        assert moving.owner == (other.producer, other.wake)
        producer: Any = lane.producer
        (at,) = producer.positions[-1].values()
        assert (at.offset, at.metadata) == (2, other.id)
        await other.close()

    told, failed = story(steps)
    assert told[-6:] == ["begin", "positions", "commit", "move 7", "stop", "stop"]
    assert not failed


def test_partitions_that_cannot_be_handed_over_fail_and_are_opened_again() -> None:
    """The other lane has ended in the meantime; its producer owns them now, and whoever opens them begins with its id."""

    async def steps(lane: Lane, told: list[str], failed: list[Any]) -> None:
        other = lane_of([], failed)
        other.run([])
        await other.close()
        moving: Member = ModelMember(7, told)
        lane.run([moving])
        lane.join(other)
        await until(lambda: failed)
        assert [type(error) for _, error in failed] == [RuntimeError]
        assert lane.members == [moving]
        assert not lane.has_joined

    story(steps)
