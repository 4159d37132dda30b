"""Walks: stretches of a meter merge, none is lost, and what is committed is what is left."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from app.streams.walks import Walk, Walks

stretches = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 8)), max_size=12)


@given(stretches)
def test_the_walks_of_a_meter_hold_each_instant_asked_for_once(asked: list[tuple[int, int]]) -> None:
    walks = Walks()
    for start_us, length_us in asked:
        walks.add("meter|", start_us, start_us + length_us)
    wanted = {at_us for start_us, length_us in asked for at_us in range(start_us, start_us + length_us)}
    found = list(walks)
    assert [at_us for walk in found for at_us in range(walk.start_us, walk.end_us)] == sorted(wanted)
    assert all(one.end_us < other.start_us for one, other in pairwise(found))


def test_very_many_stretches_of_a_meter_become_one() -> None:
    walks = Walks()
    for number in range(100):
        walks.add("meter|", 10 * number, 10 * number + 1)
    assert len(list(walks)) < 70
    assert next(iter(walks)).start_us == 0
    assert max(walk.end_us for walk in walks) == 991


def test_what_is_committed_is_what_is_left() -> None:
    walks = Walks()
    walks.add("one|", 0, 10)
    walks.add("two|", 5, 6)
    committed = dict(walks.take_changes())
    assert list(walks.take_changes()) == []

    again = Walks()
    again.restore((prefix, value) for prefix, value in committed.items() if value is not None)
    assert list(again) == list(walks)
    assert again.pop() == Walk("one|", 0, 10)
    again.add("one|", 7, 10)  # the rest of it
    changes = dict(again.take_changes())
    assert changes.keys() == {"one|"}
    assert [again.pop() for _ in range(len(again))] == [Walk("two|", 5, 6), Walk("one|", 7, 10)]
    assert dict(again.take_changes()) == {"one|": None, "two|": None}
    assert not again


def test_a_walk_that_begins_and_ends_in_one_transaction_leaves_no_trace() -> None:
    walks = Walks()
    walks.add("one|", 0, 10)
    walks.pop()
    walks.add("two|", 3, 3)
    assert list(walks.take_changes()) == []
