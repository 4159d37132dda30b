"""Recovery writes the newest entry of each key of a fetch; the store is then as if every record had been applied in its turn."""

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import TopicPartition
from hypothesis import example, given
from hypothesis import strategies as st

from app.streams.changelog import _changed_marks, newest_entries
from app.streams.fetch import parser_of
from app.streams.held import HELD_MARK, INTERVAL_MARK, HeldMarks
from app.streams.progress import Progress, Recovered
from app.streams.tables import (
    GRID_MARK,
    META_KEY,
    PRICED_MARK,
    Changes,
    MemoryStore,
    priced_entry,
    store_entries,
)
from tests.making import either_way
from tests.simulation import interval_entries


class Record(NamedTuple):
    key: bytes
    value: bytes | None


def _records(choose: random.Random, count: int) -> list[Record]:
    keys = [INTERVAL_MARK + b"%d" % number for number in range(8)] + [GRID_MARK + b"m", META_KEY]
    return [
        Record(choose.choice(keys), choose.choice([b"h%d" % number, b".%d" % number, None])) for number in range(count)
    ]


def _fetched(records: Sequence[Record]) -> list[Any]:
    """Return records as a fetch brings them."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, 0, -1, 10_000_000)
    for at, record in enumerate(records):
        builder.append(at, 0, record.key, record.value, [])
    return list(parser_of(bytes(builder.build())).next_batch())


def _content(store: MemoryStore) -> list[tuple[bytes, bytes]]:
    return list(store.items(b"", b"\xff"))


@pytest.mark.usefixtures("either_function")
@pytest.mark.parametrize("seed", range(50))
def test_a_store_recovered_fetch_by_fetch_is_the_one_recovered_record_by_record(seed: int) -> None:
    choose = random.Random(seed)  # noqa: S311 - chance, not secrets
    records = _records(choose, 60)
    one_by_one, by_fetch = MemoryStore(), MemoryStore()
    for record in records:
        one_by_one.write(interval_entries(*record))
    held: set[bytes] = set()
    while records:
        taken = choose.randrange(1, 12)
        entries = newest_entries(_fetched(records[:taken]), b"")
        by_fetch.write([*entries, *_changed_marks(entries, held)])
        records = records[taken:]
    assert _content(by_fetch) == _content(one_by_one)
    assert held == {key for key, _ in by_fetch.items(b"h", b"i")}


@pytest.mark.parametrize("limit", [0, 1, 3, 100])
@pytest.mark.parametrize("seed", range(40))
def test_a_store_written_at_each_commit_is_as_if_recovered_once_it_is_read_from_where_it_says(
    seed: int, limit: int
) -> None:
    choose = random.Random(seed)  # noqa: S311 - chance, not secrets
    recovered, committed, changelog = MemoryStore(), MemoryStore(), list[tuple[bytes, bytes | None]]()
    held = HeldMarks([], limit)
    for _ in range(12):
        logged = list({record.key: record.value for record in _records(choose, 6)}.items())
        changes = Changes()
        changes.priced = {f"{choose.randrange(8)}": choose.choice([b"price", None]) for _ in range(3)}
        committed.write([*store_entries(logged, changes), *held.take(logged, len(changelog))])
        changelog += logged
        recovered.write(entry for each in logged for entry in interval_entries(*each))
        recovered.write(priced_entry(key.encode(), value) for key, value in changes.priced.items())
        # Whoever opens it now, after a kill:
        reopened = MemoryStore()
        reopened.write(_content(committed))
        for record in changelog[held.known_to(len(changelog)) :]:
            reopened.write(interval_entries(*record))
        assert _content(reopened) == _content(recovered)
        # And after it has been closed:
        closed = MemoryStore()
        closed.write(_content(committed))
        if choose.random() < 0.3:
            marks = held.set_all()
            committed.write(marks)
            closed.write(marks)
            assert held.known_to(len(changelog)) == len(changelog)
            assert _content(closed) == _content(recovered)


def test_a_mark_is_set_only_where_an_interval_waits_for_long() -> None:
    held = HeldMarks([], limit=2)
    a, b, c = (INTERVAL_MARK + name for name in (b"a", b"b", b"c"))
    assert held.take([(a, b"h1"), (b, b"h1")], 10) == []
    assert held.known_to(12) == 10
    assert held.take([(a, b".1")], 12) == []  # published: nobody has to know that it waited
    assert held.known_to(13) == 10
    assert held.take([(b, b"h2"), (c, b"h1")], 13) == []  # the first change counts: before it, it did not wait
    assert held.known_to(15) == 10
    assert held.take([(b, None)], 15) == []
    assert held.known_to(16) == 13
    assert held.take([(a, b"h3"), (b, b"h3")], 16) == [(HELD_MARK + name, b"") for name in (b"c", b"a", b"b")]
    assert held.known_to(18) == 18
    assert held.take([(c, b".2"), (a, b"h4")], 18) == [(HELD_MARK + b"c", None)]


def test_no_more_of_the_changelog_is_read_again_than_takes_a_moment() -> None:
    held = HeldMarks(["known"], limit=1000)
    a, known = INTERVAL_MARK + b"a", INTERVAL_MARK + b"known"
    assert held.take([(a, b"h1"), (known, b"h2")], 50) == []
    assert held.take([], 200_050) == []
    assert held.take([], 200_051) == [(HELD_MARK + b"a", b"")]
    assert held.take([(known, b".3")], 200_060) == [(HELD_MARK + b"known", None)]


def test_the_newest_price_of_a_fetch_counts() -> None:
    records = [Record(b"a", b"1"), Record(b"b", b"1"), Record(b"a", b"2"), Record(b"b", None)]
    expected = [priced_entry(b"a", b"2"), priced_entry(b"b", None)]
    assert either_way(lambda: newest_entries(_fetched(records), PRICED_MARK)) == (expected, expected)


keys = st.binary(max_size=3).map(lambda key: key.replace(b"\x01", b"\xff"))
pairs = st.lists(st.builds(Record, keys, st.one_of(st.none(), st.binary(max_size=2))), min_size=1, max_size=200)


@given(pairs, st.sampled_from([b"", b"p", b"\xff"]))
@example(
    [Record(b"a\0", b"1"), Record(b"a", b"2"), Record(b"a\xff", b"3"), Record(b"", b"4"), Record(b"a", b"5")], b"p"
)
def test_the_newest_of_each_key_in_order(records: list[Record], mark: bytes) -> None:
    expected = sorted({mark + record.key: record.value for record in records}.items())
    assert either_way(lambda: newest_entries(_fetched(records), mark)) == (expected, expected)
    assert newest_entries(list(records), mark) == expected  # of another parser


@pytest.mark.usefixtures("either_function")
@pytest.mark.parametrize("mark", [b"", b"p"])
def test_a_record_without_a_key_is_in_no_table(mark: bytes) -> None:
    with pytest.raises(TypeError):
        newest_entries(_fetched([Record(b"a", b"1"), Record(None, b"2")]), mark)  # type: ignore[arg-type]


def test_no_records_are_no_entries() -> None:
    assert either_way(lambda: newest_entries([], b"p")) == ([], [])


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
