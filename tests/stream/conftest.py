"""Streams on the session's broker: one with a worker that many stories share, and fresh ones for the others."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.harness import Stream
from tests.sites import Site, sites

SITES = 60
RECORD_BYTES = 6_000_000


@pytest.fixture(scope="session")
def shared(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stream, Iterator[Site]]]:
    """A stream with a worker at work and locations that nobody has used yet."""
    folder = tmp_path_factory.mktemp("shared")
    limits = {"max_record_bytes": RECORD_BYTES, "fetch_max_bytes": 2 * RECORD_BYTES}
    with Stream(kafka, folder, emit_every_s=1, **limits) as stream:
        unused = sites(stream, SITES)
        stream.worker()
        yield stream, unused


@pytest.fixture
def stream(shared: tuple[Stream, Iterator[Site]]) -> Stream:
    """The stream that stories share; it publishes incomplete intervals once a second."""
    return shared[0]


@pytest.fixture
def site(shared: tuple[Stream, Iterator[Site]]) -> Site:
    """A location of the shared stream that is this test's own."""
    return next(shared[1])


@pytest.fixture
def another_site(shared: tuple[Stream, Iterator[Site]], site: Site) -> Site:
    """A location in another partition than `site`."""
    stream, unused = shared
    return next(
        each for each in unused if stream.partition_of(each.location_id) != stream.partition_of(site.location_id)
    )


@pytest.fixture
def site_beside(shared: tuple[Stream, Iterator[Site]], site: Site) -> Site:
    """Another location in the same partition as `site`."""
    stream, unused = shared
    return next(
        each for each in unused if stream.partition_of(each.location_id) == stream.partition_of(site.location_id)
    )


@pytest.fixture
def new_stream(kafka: str, tmp_path: Path) -> Iterator[Callable[..., Stream]]:
    """Make streams of the test's own, with other settings or no worker."""
    with ExitStack() as stack:
        made: list[Stream] = []

        def make(**settings: object) -> Stream:
            made.append(stack.enter_context(Stream(kafka, tmp_path / f"stream-{len(made)}", **settings)))
            return made[-1]

        yield make
