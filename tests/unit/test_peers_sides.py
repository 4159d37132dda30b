"""Who takes part in the comparison with peers."""

import platform
import sys

from benchmarks.peers.sides import OURS, SIDES, with_interpreters


def test_another_interpreter_is_a_side_of_its_own_after_ours() -> None:
    sides = with_interpreters(SIDES, [sys.executable])
    names = [side.name for side in sides]
    at = names.index(OURS)
    assert names[at + 1] == f"{OURS}-{platform.python_version()}"
    assert [*names[: at + 1], *names[at + 2 :]] == [side.name for side in SIDES]
    assert sides[at + 1].title == f"meterstream, Python {platform.python_version()}"
    assert sides[at + 1].command() == [sys.executable, "-m", "app.cli", "worker"]
    assert sides[at + 1].is_ours


def test_without_other_interpreters_the_sides_are_as_they_are() -> None:
    assert with_interpreters(SIDES, []) == list(SIDES)
