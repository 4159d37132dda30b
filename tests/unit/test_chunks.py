"""When the next fetch begins."""

from app.streams.chunks import Pace


def test_a_fetch_of_a_few_records_is_followed_by_a_pause() -> None:
    pace = Pace(0.010, 2000)
    assert pace.rest_s(5.0) == 0  # the first one
    pace.note(5.0, 1)
    assert 0.0069 < pace.rest_s(5.003) < 0.0071
    assert pace.rest_s(5.010) == 0
    assert pace.rest_s(9.0) == 0  # the first record after a while waits for nothing


def test_who_is_behind_gets_the_next_records_at_once() -> None:
    pace = Pace(0.010, 2000)
    pace.note(5.0, 499)
    assert pace.rest_s(5.0) > 0
    pace.note(5.0, 500)
    assert pace.rest_s(5.0) == 0
    small = Pace(0.010, 20)  # a chunk of a partition may be full with 20
    small.note(5.0, 4)
    assert small.rest_s(5.0) > 0
    small.note(5.0, 5)
    assert small.rest_s(5.0) == 0


def test_a_fetch_that_waited_in_vain_is_followed_by_the_next_one() -> None:
    pace = Pace(0.010, 2000)
    pace.note(5.0, 3)
    pace.note(5.2, 0)
    assert pace.rest_s(5.2) == 0
