"""When stores are rebuilt by processes of their own, and by how many; that they do it right is for tests/faults."""

import pytest
from aiokafka.structs import TopicPartition

from app.streams import rebuild
from app.streams.rebuild import WORTH_OFFSETS, missing_of, processes_for


def test_what_is_missing_is_counted_over_both_changelogs_of_a_partition() -> None:
    unread = {
        TopicPartition("changelog", 0): (10, 110),
        TopicPartition("priced", 0): (0, 50),
        TopicPartition("changelog", 1): (7, 7),
        TopicPartition("priced", 1): (9, 9),
    }
    assert missing_of(unread) == {0: 150, 1: 0}


@pytest.mark.parametrize(
    ("most", "missing", "expected"),
    [
        (None, {0: WORTH_OFFSETS // 2, 1: WORTH_OFFSETS // 2}, 2),
        (None, {0: WORTH_OFFSETS // 2, 1: WORTH_OFFSETS // 2 - 1}, 1),
        (None, dict.fromkeys(range(8), WORTH_OFFSETS), 4),
        (None, {0: WORTH_OFFSETS}, 1),
        (None, {0: WORTH_OFFSETS, 1: 0}, 1),
        (None, {}, 1),
        (1, dict.fromkeys(range(8), WORTH_OFFSETS), 1),
        (6, dict.fromkeys(range(8), 1), 6),
        (6, {0: 1, 1: 1, 2: 0}, 2),
        (6, {0: 0}, 1),
    ],
)
def test_processes_are_as_many_as_pay_or_as_the_setting_says(
    most: int | None, missing: dict[int, int], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild, "cores", lambda: 4)
    assert processes_for(most, missing) == expected
