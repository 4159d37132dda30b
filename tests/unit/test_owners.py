"""Partitions change owners in every order of steps: nobody ever commits what was decided on positions that are not his.

The brokers are a model here, of what the protocol rests on and no more: who begins with a transactional id refuses whoever had it
before and ends his transaction; positions become visible when their transaction is committed. What real brokers do is told in
tests/stream/test_transactions.py and by the frozen and killed workers of tests/faults.
"""

import asyncio
import random
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from aiokafka.errors import ProducerFenced
from faust.types import TP

from app.settings import load_settings
from app.streams.owners import Committed, Owners, owned

SETTINGS = load_settings({"METERSTREAM_APP_ID": "app"})
GROUP = "app"
BASE = "app-meter.records"
INPUTS = {partition: (TP("records", partition), TP("intervals", partition)) for partition in range(3)}
FIRST = 7
"""Where the inputs begin: what was before has been deleted."""


class Cluster:
    """Transactions and committed positions."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._epochs: dict[str, int] = {}
        self._open: dict[str, dict[Any, Any]] = {}
        self.positions: dict[TP, Committed] = {}
        self.moved = 0

    async def turn(self, most: int = 4) -> None:
        """Let others do some steps before the next one is done here."""
        for _ in range(self._chance.randrange(most)):
            await asyncio.sleep(0)

    def begin_with(self, transactional_id: str) -> int:
        self._open.pop(transactional_id, None)
        self._epochs[transactional_id] = self._epochs.get(transactional_id, 0) + 1
        return self._epochs[transactional_id]

    def add(self, transactional_id: str, epoch: int, offsets: Mapping[Any, Any]) -> None:
        self._check(transactional_id, epoch)
        self._open.setdefault(transactional_id, {}).update(offsets)

    def commit(self, transactional_id: str, epoch: int) -> None:
        self._check(transactional_id, epoch)
        for tp, at in self._open.pop(transactional_id).items():
            before = self.positions.get(TP(*tp), Committed(FIRST, "")).offset
            # Either an owner is written, with the position as it is, or one message has been taken: never one of before.
            assert at.offset in (before, before + 1), f"{tp} goes from {before} to {at.offset}"
            self.moved += at.offset - before
            self.positions[TP(*tp)] = Committed(at.offset, at.metadata)

    def _check(self, transactional_id: str, epoch: int) -> None:
        if self._epochs[transactional_id] != epoch:
            raise ProducerFenced

    async def committed(self, tps: Iterable[TP]) -> dict[TP, Committed]:
        await self.turn()
        found = {tp: self.positions.get(tp, Committed(None, "")) for tp in tps}
        await self.turn()
        return found

    async def begins(self, tps: Iterable[TP]) -> dict[TP, int]:
        await self.turn()
        return dict.fromkeys(tps, FIRST)


class ModelProducer:
    """A producer of the model, each of whose steps is one request."""

    def __init__(self, cluster: Cluster, transactional_id: str) -> None:
        self._cluster, self.id = cluster, transactional_id
        self._epoch = 0

    async def start(self) -> None:
        await self._cluster.turn()
        self._epoch = self._cluster.begin_with(self.id)
        await self._cluster.turn()

    async def begin_transaction(self) -> None: ...

    async def send_offsets_to_transaction(self, offsets: Mapping[Any, Any], group_id: str) -> None:
        assert group_id == GROUP
        await self._cluster.turn()
        self._cluster.add(self.id, self._epoch, offsets)

    async def commit_transaction(self) -> None:
        await self._cluster.turn()
        self._cluster.commit(self.id, self._epoch)
        await self._cluster.turn()

    async def stop(self) -> None: ...


class Worker:
    """Takes partitions over again and again, whoever has them, and then takes messages until somebody else is the owner."""

    def __init__(self, name: int, cluster: Cluster, chance: random.Random) -> None:
        self._name, self._cluster, self._chance = name, cluster, chance
        self._made = 0
        self.ownerships = 0

    def _shared(self) -> ModelProducer:
        self._made += 1
        return ModelProducer(self._cluster, f"{BASE}-{self._name}{self._made:031x}")

    async def run(self, times: int) -> None:
        for _ in range(times):
            await self._cluster.turn(self._chance.choice((4, 400)))
            some = self._chance.sample(sorted(INPUTS), self._chance.randint(1, len(INPUTS)))
            try:
                await self._own(some)
            except ProducerFenced:
                await self._cluster.turn()

    async def _own(self, partitions: list[int]) -> None:
        owners = Owners(SETTINGS, lambda _, transactional_id: ModelProducer(self._cluster, transactional_id))
        producer = self._shared()
        await producer.start()
        inputs = {partition: INPUTS[partition] for partition in partitions}
        stands = await owners.take_over(inputs, producer.id, self._cluster)
        self.ownerships += 1
        for _ in range(self._chance.randrange(8)):
            await self._cluster.turn(40 if self._chance.random() < 0.2 else 4)  # some are frozen for a while
            if self._chance.random() < 0.3:
                producer = await self._hand_over(producer, stands)
                continue
            some = self._chance.sample(sorted(stands), self._chance.randint(1, len(stands)))
            stands |= {tp: stands[tp] + 1 for tp in some}
            await producer.send_offsets_to_transaction(owned({tp: stands[tp] for tp in some}, producer.id), GROUP)
            await producer.commit_transaction()

    async def _hand_over(self, producer: ModelProducer, stands: dict[TP, int]) -> ModelProducer:
        """Go on with another producer, as a lane does that hands its partitions over."""
        successor = self._shared()
        await successor.start()
        await producer.send_offsets_to_transaction(owned(stands, successor.id), GROUP)
        await producer.commit_transaction()
        return successor


@pytest.mark.parametrize("seeds", [range(first, first + 100) for first in range(0, 400, 100)], ids=str)
def test_whoever_owns_a_partition_and_whenever_he_wakes_up_each_message_is_taken_once(seeds: range) -> None:
    ownerships = moved = 0
    for seed in seeds:
        chance = random.Random(seed)  # noqa: S311 - not for secrets
        cluster = Cluster(chance)
        workers = [Worker(name, cluster, chance) for name in range(3)]

        async def all_of_them(workers: list[Worker] = workers) -> None:
            await asyncio.gather(*(worker.run(12) for worker in workers))

        try:
            asyncio.run(all_of_them())
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise
        ownerships += sum(worker.ownerships for worker in workers)
        moved += cluster.moved
    assert ownerships > 1_000
    assert moved > 1_000


def test_who_takes_over_what_nobody_had_stands_at_the_beginning_and_says_so() -> None:
    """A position that somebody has set by hand, who says nothing with it, is kept."""
    cluster = Cluster(random.Random(1))  # noqa: S311 - not for secrets
    kept, other = INPUTS[0]
    cluster.positions[kept] = Committed(12, "by hand")

    async def taken() -> dict[TP, int]:
        owners = Owners(SETTINGS, lambda _, transactional_id: ModelProducer(cluster, transactional_id))
        return await owners.take_over({0: INPUTS[0]}, f"{BASE}-me", cluster)

    assert asyncio.run(taken()) == {kept: 12, other: FIRST}
    assert cluster.positions == {kept: Committed(12, f"{BASE}-me"), other: Committed(FIRST, f"{BASE}-me")}
