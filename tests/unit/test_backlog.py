"""How a shard knows that it has priced all that is published, without reading it."""

from app.streams.backlog import Backlog
from tests.simulation import message


def opened(committed: int, *offsets: int, end: int) -> Backlog:
    """Return the backlog of a partition with messages at some offsets, opened by the position that is committed."""
    backlog = Backlog()
    backlog.taken_to = backlog.known_to = committed
    backlog.next_at = end
    for offset in offsets:
        backlog.find(message(b"{}", offset, key=b"id"))
    return backlog


def test_a_partition_that_was_left_in_order_has_no_backlog() -> None:
    assert opened(7, end=8).is_empty()  # the marker is at 7


def test_what_was_not_priced_is_waited_for_until_it_is_taken() -> None:
    backlog = opened(3, 3, 4, 6, end=9)
    assert backlog.counts == {"id": 3}
    for taken_to, is_empty in [(5, False), (7, True)]:
        backlog.taken_to = taken_to
        assert backlog.is_empty() is is_empty


def test_a_message_without_a_key_is_no_interval_but_has_to_be_taken() -> None:
    backlog = opened(3, end=4)
    backlog.find(message(b"{}", 3))
    assert not backlog.counts
    assert not backlog.is_empty()


def test_own_messages_are_where_they_are_expected_behind_the_marker_of_the_transaction_before() -> None:
    backlog = opened(7, end=8)
    assert backlog.publish(end=11, count=3)
    assert backlog.publish(end=13, count=1)
    assert (backlog.known_to, backlog.next_at) == (13, 14)


def test_anything_that_somebody_else_has_written_moves_them() -> None:
    backlog = opened(7, end=8)
    assert not backlog.publish(end=12, count=3)  # before them, or between them
    assert backlog.publish(end=16, count=3)
    assert not backlog.is_empty()  # until it is read what that was


def test_beyond_somebody_elses_messages_it_is_not_known_where_the_next_one_will_be() -> None:
    backlog = opened(7, end=8)
    backlog.taken_to = 9
    assert not backlog.is_empty()
    backlog.publish(end=11, count=1)
    backlog.taken_to = 11
    assert backlog.is_empty()
