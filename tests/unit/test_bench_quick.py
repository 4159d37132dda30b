"""The guard of speed: what it says about a ratio beside the one that is kept."""

import json

from benchmarks.quick import KEPT, judge


def test_a_slower_worker_is_warned_about_and_a_faster_one_is_not() -> None:
    assert judge(5.0, 5.5) == "a record costs 5.50 times the bare loop; kept is 5.00: 91% of the speed"
    assert judge(5.0, 5.6).startswith(
        "WARNING: a record costs 5.60 times the bare loop; kept is 5.00: 89% of the speed, "
    )
    assert "WARNING" not in judge(5.0, 2.5)


def test_a_ratio_is_kept() -> None:
    assert json.loads(KEPT.read_text(encoding="ascii"))["ratio_to_bare_loop"] > 1
