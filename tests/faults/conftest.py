"""Streams on the session's broker, and on a broker that the test may kill."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.scale import FULL, Counts
from tests.harness import Stream


@pytest.fixture
def streams(tmp_path: Path) -> Iterator[Callable[..., Stream]]:
    """Make streams on a broker: `streams(bootstrap_servers, **settings)`."""
    with ExitStack() as stack:
        made: list[Stream] = []

        def make(bootstrap_servers: str, **settings: object) -> Stream:
            made.append(stack.enter_context(Stream(bootstrap_servers, tmp_path / f"stream-{len(made)}", **settings)))
            return made[-1]

        yield make


@pytest.fixture
def counts(request: pytest.FixtureRequest) -> Iterator[Counts]:
    """Take what the test counted; it is written only when the test passes."""
    taken = Counts(request.node.nodeid)
    failed_before = request.session.testsfailed
    yield taken
    if request.session.testsfailed == failed_before:
        taken.write()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only `make faults` runs: nothing that `make test` promises is among it."""
    if FULL:
        return
    left_out = [item for item in items if item.get_closest_marker("full") is not None]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
