"""A seed's story, told to two workers in memory by a scheduler that the seed drives, and checked in the end.

`python -m tests.faults.simulate SEED` runs one seed again and prints its schedule.
"""

import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Final, NamedTuple

from app.compose import price_offline
from app.domain.locations import Location
from app.domain.partitioning import partition_for
from app.domain.tariffs import SeriesDay, Tariff
from app.wire import compiled
from tests.checker import Expected, sequences_problems
from tests.faults.cluster import Broker, FencedError
from tests.faults.generator import PARTITIONS, Story, story
from tests.faults.simulated import (
    BY_LOCATION,
    CHANGELOG,
    INTERVALS,
    PRICED,
    RECORDS,
    REJECTED,
    Fault,
    SimulatedShard,
    SimulatedWorker,
    all_of,
    document_of,
    last_by_key,
    totals,
)
from tests.making import Json, body_of, sequence_of
from tests.oracles.records import has_bad_ids, read_records
from tests.oracles.table import Place, Table

STRANGER: Final = b"somebody else's"
_MOST_STEPS: Final = 100_000
"""No story takes so many: a pipeline that never comes to rest is a fault too."""


class Simulation:
    """One seed. `lines` is its schedule, as far as it has gone."""

    def __init__(self, seed: int, fault: Fault | None = None) -> None:
        """Prepare a broker, the documents and two workers."""
        self.seed: Final = seed
        self.story: Final[Story] = story(seed)
        self.lines: Final[list[str]] = []
        self.done: Final[Counter[str]] = Counter()
        self.broker: Final = Broker()
        self.broker.documents += self.story.documents
        self._fault: Final = fault
        self._choose: Final = random.Random(seed + 1)  # noqa: S311 - chance, not secrets
        self._emit_every_s: Final = self._choose.choice([0.0, 0.0, 0.02, 0.5])
        self._workers: Final = [SimulatedWorker(self.broker) for _ in range(2)]
        self._owner: Final = {partition: self._choose.choice(self._workers) for partition in range(PARTITIONS)}
        self._zombies: list[tuple[SimulatedWorker, SimulatedShard]] = []
        self._published = 0
        self._corrections = list(self.story.corrections)
        for partition in range(PARTITIONS):
            self._open(partition)

    def _say(self, what: str) -> None:
        self.lines.append(f"{self.broker.now_ms:6d} {what}")

    # The schedule

    def run(self) -> None:
        """Tell the story, with everything that may come in between; then let all that is left be done.

        Every second seed is written by Python's functions alone.
        """
        compiled.use(wanted=self.seed % 2 == 0)
        try:
            for _ in range(self._choose.randint(20, 90)):
                self._event()
            self._calmly()
        finally:
            compiled.use(wanted=True)

    def _event(self) -> None:
        kind = self._choose.random()
        if kind < 0.30:
            self._publish(self._choose.randint(1, 4))
        elif kind < 0.80:
            self._step(self._choose.randrange(PARTITIONS), self._choose.choice([1, 2, 5, 10, 40]))
        elif kind < 0.86:
            self._hear(self._choose.choice(self._workers))
        elif kind < 0.92:
            self._kill(self._choose.choice(self._workers))
        elif kind < 0.97:
            self._move(self._choose.randrange(PARTITIONS))
        elif kind < 0.975:
            self._interfere(self._choose.randrange(PARTITIONS))
        elif kind < 0.98:
            self._compact(self._choose.choice([CHANGELOG, PRICED, INTERVALS]), self._choose.randrange(PARTITIONS))
        elif self._zombies:
            self._wake(self._choose.randrange(len(self._zombies)))
        self.broker.now_ms += self._choose.choice([0, 1, 20, 200])

    def _publish(self, count: int) -> None:
        for one in self.story.messages[self._published : self._published + count]:
            key = one.key.encode() if isinstance(one.key, str) else None
            own = 0 if key is None else partition_for(key.decode(), PARTITIONS)
            self.broker.append((RECORDS, own if one.partition is None else one.partition), key, one.value)
        self._published = min(self._published + count, len(self.story.messages))
        self._say(f"published: {self._published} messages so far")
        while self._corrections and self._corrections[0].after <= self._published:
            self.broker.documents.append(self._corrections.pop(0).document)
            self._say("a document was changed")

    def _hear(self, worker: SimulatedWorker) -> None:
        worker.hear()
        self._say(f"worker {self._workers.index(worker)} reads documents: {worker.heard}")

    def _open(self, partition: int) -> None:
        worker = self._owner[partition]
        shard = SimulatedShard(worker, partition, self._choose, self._emit_every_s, self._fault)
        worker.shards[partition] = shard
        self._say(f"worker {self._workers.index(worker)} opens partition {partition}")

    def _step(self, partition: int, count: int) -> bool:
        """Let a shard make some writes; tell whether it had anything to do."""
        shard = self._owner[partition].shards[partition]
        for number in range(count):
            what = next(shard.steps)
            if what == "idle":
                return number > 0
            self.done["writes"] += 1
            self._say(f"partition {partition}: {what}")
        return True

    def _step_to(self, worker: SimulatedWorker, stage: str | None) -> None:
        """Let a shard of a worker come to the moment after a certain write, where it has that much to do."""
        owned = [partition for partition, owner in self._owner.items() if owner is worker]
        if stage is None or not owned:
            return
        shard = worker.shards[self._choose.choice(owned)]
        for what in islice(shard.steps, 60):
            self._say(f"partition {shard.partition}: {what}")
            if what in {stage, "idle"}:
                return

    def _kill(self, worker: SimulatedWorker) -> None:
        """End a process between two writes, and begin it again with what its disk has."""
        self._step_to(worker, self._choose.choice([None, "sent to the changelog", "committed", "stored"]))
        self.done["kills"] += 1
        self._say(f"worker {self._workers.index(worker)} is killed")
        self._zombies = [one for one in self._zombies if one[0] is not worker]
        for disk in worker.disks.values():
            lost = self._choose.random()
            if lost < 0.2:
                self.done["lost stores"] += 1
                disk.lose()
            elif lost < 0.6:
                disk.go_back(self._choose)
        worker.start()
        for partition, owner in self._owner.items():
            if owner is worker:
                self._open(partition)

    def _move(self, partition: int) -> None:
        """Give a partition to the other worker, whose predecessor may not know it yet."""
        before = self._owner[partition]
        shard = before.shards.pop(partition)
        after = self._owner[partition] = next(worker for worker in self._workers if worker is not before)
        self._zombies = [one for one in self._zombies if one[0] is not after or one[1].partition != partition]
        if self._choose.random() < 0.5:
            self._zombies.append((before, shard))
        self.done["moves"] += 1
        self._open(partition)

    def _interfere(self, partition: int) -> None:
        """Let somebody else write to the topic of intervals: whoever does not read it has to notice."""
        self.broker.append((INTERVALS, partition), STRANGER, None)
        self._say(f"somebody else writes to {INTERVALS} of partition {partition}")
        self.done["interferences"] += 1

    def _compact(self, topic: str, partition: int) -> None:
        """Let the broker's cleaner come by."""
        at = (topic, partition)
        before = self._choose.randint(0, len(self.broker.logs[at]))
        self._say(f"{topic} of partition {partition} is compacted: {self.broker.compact(at, before)} messages less")
        self.done["compactions"] += 1

    def _wake(self, number: int) -> None:
        """Let an owner that lost its partition go on where it was; the broker has to refuse what it writes."""
        worker, shard = self._zombies[number]
        self._say(f"the former owner of partition {shard.partition} goes on")
        try:
            for _ in range(self._choose.randint(1, 30)):
                if next(shard.steps) == "idle":
                    break
        except FencedError:
            self.done["fenced"] += 1
            self._say("and is fenced")
            self._zombies = [one for one in self._zombies if one != (worker, shard)]

    def _calmly(self) -> None:
        """Publish the rest, and let everybody work until nothing is left to do."""
        self._say("everything is published, and nothing is disturbed any more")
        self._publish(len(self.story.messages))
        while self._corrections:
            self.broker.documents.append(self._corrections.pop(0).document)
        for worker in self._workers:
            self._hear(worker)
        while self._zombies:
            self._wake(0)
            self._zombies = self._zombies[1:]
        for _ in range(_MOST_STEPS):
            worked = [self._step(partition, 1) for partition in range(PARTITIONS)]
            if not any(worked):
                self.broker.now_ms += 1 + int(self._emit_every_s * 1000)
                if not any(self._owner[partition].shards[partition].has_work() for partition in range(PARTITIONS)):
                    return
        message = f"seed {self.seed} never comes to rest"
        raise AssertionError(message)

    # The check

    def problems(self) -> Iterator[str]:
        """Yield a sentence for everything that is not as it must be."""
        documents = self.story.final_documents()
        table = Table([one for one in documents if "timezone" in one and "location_id" in one])
        decided = self._take_history(table)
        yield from self._problems_of_places(decided)
        tariffs = [one for one in documents if "charges" in one]
        recut = self.story.recut_locations()
        expected = Expected(table, tariffs, [one for one in documents if "points" in one], recut)
        intervals = last_by_key(self.broker, INTERVALS)
        intervals.pop(STRANGER.decode(), None)
        yield from expected.intervals_problems(intervals)
        priced = last_by_key(self.broker, PRICED)
        yield from expected.priced_problems(priced)
        published = [((one.key or b"").decode(), one.value or b"") for one in all_of(self.broker, PRICED)]
        yield from sequences_problems((key, sequence_of(value)) for key, value in published)
        refused = [one.value or b"" for one in all_of(self.broker, REJECTED)]
        yield from expected.refusals_problems(refused)
        yield from expected.counts_problems(totals(self.broker))
        if not self.story.tangled:
            yield from self._problems_offline(priced, documents)

    def _take_history(self, table: Table) -> Counter[Place]:
        """Let the reference take what was committed, in that order; return which records that were."""
        decided: Counter[Place] = Counter()
        for at, message in self.broker.history:
            place = Place(*at, message.offset, 0, message.timestamp)
            for name, value in message.headers:
                assert name == "meterstream-origin"
                topic, partition, offset, number = value.decode().split("/")[:4]
                first = self.broker.logs[topic, int(partition)][int(offset)].message
                assert first is not None
                place = Place(topic, int(partition), int(offset), int(number), first.timestamp)
            for number, record in enumerate(read_records(message.value)):
                if isinstance(record, str) or has_bad_ids(record) or _owner_of(record) == at[1]:
                    where = place._replace(record_num=place.record_num + number)
                    decided[where] += 1
                    table.take(record, where)
        return decided

    def _problems_of_places(self, decided: Counter[Place]) -> Iterator[str]:
        """Every record that was published is decided once."""
        published: Counter[Place] = Counter()
        for partition in range(PARTITIONS):
            for message in self.broker.committed((RECORDS, partition)):
                for number, _ in enumerate(read_records(message.value)):
                    published[Place(RECORDS, partition, message.offset, number, message.timestamp)] += 1
        if decided != published:
            yield f"decided twice: {decided - published}; never decided: {published - decided}"

    def _problems_offline(self, priced: dict[str, bytes], documents: list[Json]) -> Iterator[str]:
        """Compare with what pricing without Kafka makes of the same messages, byte for byte but for the tails."""
        parsed = [document_of(json.dumps(one)) for one in documents]
        offline = price_offline(
            [one.value for one in self.story.messages],  # type: ignore[misc] - a message may have no value
            [one for one in parsed if isinstance(one, Location)],
            [one for one in parsed if isinstance(one, Tariff)],
            [one for one in parsed if isinstance(one, SeriesDay)],
        )
        expected = {json.loads(value)["interval_id"]: body_of(value) for value in offline.priced}
        found = {interval_id: body_of(value) for interval_id, value in priced.items()}
        recut = self.story.recut_locations()
        for interval_id in sorted(expected.keys() | found.keys()):
            if interval_id.split("|")[0] not in recut and expected.get(interval_id) != found.get(interval_id):
                yield f"{interval_id} is {found.get(interval_id)!r}, price has {expected.get(interval_id)!r}"


def _owner_of(record: Json) -> int:
    return partition_for(record["location_id"], PARTITIONS)


class Outcome(NamedTuple):
    """What became of a seed."""

    seed: int
    problems: list[str]
    counts: Counter[str]


def simulate(seed: int, fault: Fault | None = None) -> tuple[Simulation, Outcome]:
    """Run a seed and check it. An exception on the way is a problem like any other."""
    simulation = Simulation(seed, fault)
    try:
        simulation.run()
        problems = list(simulation.problems())
    except Exception as error:  # noqa: BLE001 - the seed has to be named, whatever it was
        problems = [f"{type(error).__name__}: {error}"]
    forwarded, published = (len(all_of(simulation.broker, topic)) for topic in (BY_LOCATION, PRICED))
    counts = simulation.done + simulation.broker.counts + totals(simulation.broker)
    counts.update(seeds=1, forwarded_messages=forwarded, priced_messages=published)
    return simulation, Outcome(seed, problems, counts)


def outcome(seed: int) -> Outcome:
    """Run a seed and return what became of it: for processes of a pool."""
    return simulate(seed)[1]


def main() -> None:
    """Run the seeds that are named, and print the schedule of each and what is wrong with it."""
    for text in sys.argv[1:]:
        simulation, found = simulate(int(text))
        sys.stdout.write(
            "\n".join([*simulation.lines, f"seed {text}: {len(found.problems)} problems", *found.problems])
        )
        sys.stdout.write(f"\n{dict(found.counts)}\n")
        if found.problems:
            sys.exit(1)


if __name__ == "__main__":
    main()
