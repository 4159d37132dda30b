"""Workers that are broken on purpose: `python -m tests.faults.mutants NAME` starts one, as `meterstream worker` would.

Each mutation takes away one thing that the guarantees rest on; "none" takes nothing away, so that the same story can be told
of the program as it is. What has to happen at one certain moment is asked for with files, which `Moments` names: their
content says what happens at the next commit of records, and their presence holds a worker up between its seek and its start.
"""

import asyncio
import inspect
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, ProducerFenced

from app.cli import main
from app.domain.intervals import Interval
from app.settings import load_settings
from app.streams import shards
from app.streams.chunks import ChunkConsumerThread
from app.streams.lane import Lane
from app.streams.owners import Owners
from app.streams.pipeline import Pipeline
from app.streams.rights import transactional_id
from app.streams.topics import topic_names

AT_COMMIT_VARIABLE: Final = "FAULT_AT_COMMIT"
AFTER_SEEK_VARIABLE: Final = "FAULT_AFTER_SEEK"


class Moments(NamedTuple):
    """The two files with which a test says what happens when, and their variables in a worker's environment."""

    at_commit: Path
    after_seek: Path

    @classmethod
    def within(cls, folder: Path) -> "Moments":
        """Return the files' names in a folder; neither is there yet."""
        return cls(folder / "at-commit", folder / "after-seek")

    def environ(self) -> dict[str, str]:
        """Return what tells a worker of them."""
        return {AT_COMMIT_VARIABLE: str(self.at_commit), AFTER_SEEK_VARIABLE: str(self.after_seek)}

    @property
    def refused(self) -> Path:
        """Return the file by which a worker says that the broker refused the commit at which something happened."""
        return self.at_commit.with_suffix(".refused")

    @property
    def sought(self) -> Path:
        """Return the file by which a worker says that it is held up between its seek and its start."""
        return self.after_seek.with_suffix(".reached")


def replace(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Replace a part of the program by what `make` makes of it.

    A part that is no longer there, or takes other arguments, is a mistake in this file.
    """
    real = getattr(owner, name)
    made = make(real)
    takes = inspect.signature(made).parameters.values()
    if all(each.kind is not each.VAR_POSITIONAL for each in takes) and len(takes) != len(
        inspect.signature(real).parameters
    ):
        message = f"{owner.__name__}.{name} takes other arguments than its mutation here"
        raise TypeError(message)
    setattr(owner, name, made)


# What happens when


def at_the_commit_of_records(at_commit: Path) -> None:
    """Do what a file says just before the next transaction would be committed in which records were taken; once.

    Where it speaks of prices: in which intervals were taken, so that it has their prices.
    """
    names = topic_names(load_settings())
    with_records: set[int] = set()

    def note(real: Any) -> Any:
        async def send_offsets_to_transaction(self: Any, offsets: Any, group_id: str) -> None:
            wanted = names.intervals if "prices" in _said(at_commit) else names.records
            if any(tp.topic == wanted for tp in offsets) and _is_shared(self):
                with_records.add(id(self))
            await real(self, offsets, group_id)

        return send_offsets_to_transaction

    def act(real: Any) -> Any:
        async def commit_transaction(self: Any) -> None:
            what = ""
            if id(self) in with_records:
                with_records.discard(id(self))
                what = _taken(at_commit)
                _act(what)
            try:
                await real(self)
            except ProducerFenced:
                if what:
                    await asyncio.to_thread(at_commit.with_suffix(".refused").touch)
                raise
            if what == "suspend, commit prices and die":
                os.kill(os.getpid(), signal.SIGKILL)

        return commit_transaction

    replace(AIOKafkaProducer, "send_offsets_to_transaction", note)
    replace(AIOKafkaProducer, "commit_transaction", act)


def _is_shared(producer: Any) -> bool:
    """Tell whether a producer is that of a lane, and not one that writes the owner of a partition."""
    settings = load_settings()
    writers = {transactional_id(settings, partition) for partition in range(settings.partitions)}
    return producer._txn_manager.transactional_id not in writers


def _said(file: Path) -> str:
    """Return what a file says; nothing where there is none."""
    return file.read_text(encoding="ascii") if file.exists() else ""


def _taken(file: Path) -> str:
    """Return what a file says, and delete it: two partitions that commit at the same time do not both do it."""
    said = _said(file)
    file.unlink(missing_ok=True)
    return said


def _act(what: str) -> None:
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what.startswith("suspend"):
        os.kill(os.getpid(), signal.SIGSTOP)
    elif what == "fail":
        message = "this commit fails on purpose"
        raise KafkaError(message)


def between_seek_and_start(after_seek: Path) -> None:
    """Hold a worker up when it has gone to its positions, for as long as a file is there."""

    def hold(real: Any) -> Any:
        async def seek_all(self: Any, positions: Any) -> None:
            await real(self, positions)
            while await asyncio.to_thread(after_seek.exists):
                await asyncio.to_thread(after_seek.with_suffix(".reached").touch)
                await asyncio.sleep(0.02)

        return seek_all

    replace(ChunkConsumerThread, "seek_all", hold)


# Mutations


def offsets_outside_the_transaction() -> None:
    """Commit the position in the input by itself, before the outputs behind it."""
    others: dict[int, AIOKafkaProducer] = {}
    settings = load_settings()

    def mutate(real: Any) -> Any:
        async def send_offsets_to_transaction(self: Any, offsets: Any, group_id: str) -> None:
            if _is_shared(self):
                if id(self) not in others:
                    name = f"{settings.app_id}-offsets-{os.getpid()}-{len(others)}"
                    others[id(self)] = AIOKafkaProducer(
                        bootstrap_servers=settings.bootstrap_servers, transactional_id=name
                    )
                    await others[id(self)].start()
                other = others[id(self)]
                await _begin(other)
                await real(other, offsets, group_id)
                await _commit(other)
            await real(self, offsets, group_id)  # as before, so that the moments are the same

        return send_offsets_to_transaction

    replace(AIOKafkaProducer, "send_offsets_to_transaction", mutate)


_begin: Final = AIOKafkaProducer.begin_transaction
_commit: Final = AIOKafkaProducer.commit_transaction


def store_before_the_commit() -> None:
    """Write the local store first, and commit what it says afterwards."""

    def mutate(real: Any) -> Any:
        async def commit(self: Any, working: Any, now_s: float) -> None:
            producer = self.producer
            self.producer = _Postponing(producer)
            try:
                await real(self, working, now_s)
            finally:
                self.producer = producer
            await producer.commit_transaction()

        return commit

    replace(Lane, "_commit", mutate)


class _Postponing:
    """A producer that does not commit when it is told to."""

    def __init__(self, producer: Any) -> None:
        self._producer: Final = producer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    async def commit_transaction(self) -> None:
        """Leave it to whoever put this in the producer's place."""


def producer_after_the_seek() -> None:
    """Fence the owners before only when their positions have been read and gone to."""
    waiting: list[tuple[Owners, str]] = []
    real_begin = Owners._begin_with

    async def begin_with(self: Owners, transactional_id: str) -> None:
        waiting.append((self, transactional_id))

    def mutate(real: Any) -> Any:
        async def seek_all(self: Any, positions: Any) -> None:
            await real(self, positions)
            while waiting:
                await real_begin(*waiting.pop())

        return seek_all

    replace(Owners, "_begin_with", lambda _real: begin_with)
    replace(ChunkConsumerThread, "seek_all", mutate)


def revision_from_a_clock() -> None:
    """Number an interval's revisions by the time of day."""
    os.environ["METERSTREAM_COMPILED"] = "false"  # which would publish by itself

    def mutate(real: Any) -> Any:
        def publish(self: Any, interval_id: str, interval: Interval, meter: Any, put: Any) -> None:
            now_ms = time.time_ns() // 1_000_000
            real(self, interval_id, msgspec.structs.replace(interval, revision=now_ms), meter, put)

        return publish

    replace(Pipeline, "_publish", mutate)


def dropped_rekey() -> None:
    """Forget a record that stands in another partition than its location's, instead of sending it there."""
    replace(Pipeline, "_forward", lambda _real: lambda *_: None)


def changelog_of_intervals_skipped() -> None:
    """Read another topic than the changelog of intervals when a store is caught up."""
    _skip_at_catch_up("intervals_changelog")


def changelog_of_prices_skipped() -> None:
    """Read another topic than the priced records when a store is caught up."""
    _skip_at_catch_up("priced")


def _skip_at_catch_up(which: str) -> None:
    def mutate(real: Any) -> Any:
        async def catch_up(settings: Any, names: Any, *rest: Any, **more: Any) -> Any:
            # Both are of the same kind; what is refused says nothing to a store.
            return await real(settings, names._replace(**{which: names.rejected}), *rest, **more)

        return catch_up

    replace(shards, "catch_up", mutate)


def none() -> None:
    """Leave the program as it is."""


MUTATIONS: Final[dict[str, Callable[[], None]]] = {
    mutation.__name__: mutation
    for mutation in (
        none,
        offsets_outside_the_transaction,
        store_before_the_commit,
        producer_after_the_seek,
        revision_from_a_clock,
        dropped_rekey,
        changelog_of_intervals_skipped,
        changelog_of_prices_skipped,
    )
}


def start(name: str) -> None:
    """Start a worker with one mutation, and the moments that the environment asks for."""
    # The moments first: a mutation is put around them, and what it does late happens after them.
    at_the_commit_of_records(Path(os.environ[AT_COMMIT_VARIABLE]))
    between_seek_and_start(Path(os.environ[AFTER_SEEK_VARIABLE]))
    MUTATIONS[name]()
    main(["worker"])


if __name__ == "__main__":
    start(sys.argv[1])
