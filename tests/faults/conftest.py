"""Streams on the session's broker, and on a broker that the test may kill."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

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
