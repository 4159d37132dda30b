"""Recovery writes the newest entry of each key of a fetch; the store is then as if every record had been applied in its turn."""

import random
from typing import NamedTuple

import pytest
from aiokafka.structs import TopicPartition

from app.streams.changelog import _newest_intervals, _newest_priced
from app.streams.progress import Progress, Recovered
from app.streams.tables import (
    GRID_MARK,
    INTERVAL_MARK,
    META_KEY,
    Changes,
    MemoryStore,
    interval_entries,
    priced_entry,
    store_entries,
)


class Record(NamedTuple):
    key: bytes
    value: bytes | None


def _records(choose: random.Random, count: int) -> list[Record]:
    keys = [INTERVAL_MARK + b"%d" % number for number in range(8)] + [GRID_MARK + b"m", META_KEY]
    return [
        Record(choose.choice(keys), choose.choice([b"h%d" % number, b".%d" % number, None])) for number in range(count)
    ]


@pytest.mark.parametrize("seed", range(50))
def test_a_store_recovered_fetch_by_fetch_is_the_one_recovered_record_by_record(seed: int) -> None:
    choose = random.Random(seed)  # noqa: S311 - chance, not secrets
    records = _records(choose, 60)
    one_by_one, with_fewer_entries, by_fetch = MemoryStore(), MemoryStore(), MemoryStore()
    known: set[bytes] = set()
    for record in records:
        one_by_one.write(interval_entries(*record))
        with_fewer_entries.write(interval_entries(*record, known))
    assert list(with_fewer_entries.items(b"", b"\xff")) == list(one_by_one.items(b"", b"\xff"))
    assert known == {key for key, _ in one_by_one.items(b"h", b"i")}
    held: set[bytes] = set()
    while records:
        taken = choose.randrange(1, 12)
        by_fetch.write(_newest_intervals(records[:taken], held).items())
        records = records[taken:]
    assert list(by_fetch.items(b"", b"\xff")) == list(one_by_one.items(b"", b"\xff"))
    assert held == {key for key, _ in by_fetch.items(b"h", b"i")}


@pytest.mark.parametrize("seed", range(50))
def test_a_store_written_at_each_commit_is_the_one_recovered_from_the_changelog(seed: int) -> None:
    choose = random.Random(seed)  # noqa: S311 - chance, not secrets
    recovered, committed = MemoryStore(), MemoryStore()
    held: set[bytes] = set()
    for _ in range(12):
        logged = list({record.key: record.value for record in _records(choose, 6)}.items())
        changes = Changes()
        changes.priced = {f"{choose.randrange(8)}": choose.choice([b"price", None]) for _ in range(3)}
        committed.write(store_entries(logged, changes, held))
        recovered.write(entry for each in logged for entry in interval_entries(*each))
        recovered.write(priced_entry(key.encode(), value) for key, value in changes.priced.items())
    assert list(committed.items(b"", b"\xff")) == list(recovered.items(b"", b"\xff"))
    assert held == {key for key, _ in committed.items(b"h", b"i")}


def test_the_newest_price_of_a_fetch_counts() -> None:
    records = [Record(b"a", b"1"), Record(b"b", b"1"), Record(b"a", b"2"), Record(b"b", None)]
    assert _newest_priced(records) == dict([priced_entry(b"a", b"2"), priced_entry(b"b", None)])


def test_progress_is_told_by_partition_and_forgotten_at_the_end() -> None:
    progress = Progress()
    changelog, priced = TopicPartition("changelog", 3), TopicPartition("priced", 3)
    progress.begin(changelog, 10, 110)
    progress.begin(priced, 0, 50)
    progress.begin(TopicPartition("priced", 4), 7, 7)
    progress.reach(changelog, 60)
    progress.reach(priced, 51)
    assert progress.by_partition() == {3: Recovered(100, 150), 4: Recovered(0, 0)}
    assert progress.total() == Recovered(100, 150)
    progress.end([changelog, priced])
    assert progress.by_partition() == {4: Recovered(0, 0)}
