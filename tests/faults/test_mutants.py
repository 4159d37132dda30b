"""Tests of the tests: a program that is broken on purpose does not pass the check that the program as it is passes."""

import json
import shutil
from collections.abc import Callable
from typing import Final

import pytest

from tests.checker import DECIDED
from tests.faults.mutants import MUTATIONS, Moments
from tests.faults.scale import Counts, scaled
from tests.harness import Stream
from tests.making import Json, Unkeyed, body_of
from tests.sites import Site, sites
from tests.worker_process import Worker

pytestmark = pytest.mark.broker

AS_IT_IS: Final = "none"
TAKEOVER: Final = ("producer_after_the_seek",)
"""Mutations that only show when a partition has two owners; the others show on a bad day."""
ON_A_BAD_DAY: Final = tuple(name for name in MUTATIONS if name not in (AS_IT_IS, *TAKEOVER))
IN_EVERY_RUN: Final = ("offsets_outside_the_transaction",)
"""It takes ten seconds, and so does each of the others, which are for `make faults`."""
TIMES: Final = scaled(1, 2)
UNSEEN: Final = 2
"""So often a takeover may have nothing to show (one of four had not): two owners do not always write the same twice."""
TIMEOUT_S: Final = 2.0
"""How long a mutant's results are waited for, when a later record of every partition has been priced."""


SHOWS: Final[dict[str, set[str]]] = {
    "offsets_outside_the_transaction": {"records lost"},
    "store_before_the_commit": {"records twice"},
    "revision_from_a_clock": {"prices wrong"},
    "dropped_rekey": {"records lost"},
    "changelog_of_intervals_skipped": {"prices wrong"},
    "changelog_of_prices_skipped": {"sequences"},
    "producer_after_the_seek": {"sequences"},
}
"""In which way a mutant has to be caught, whatever else is wrong then: another way may be a bad day of the machine."""


class Patient:
    """A stream whose worker is a mutant, and which is asked to fail at certain moments."""

    def __init__(self, stream: Stream, mutation: str) -> None:
        self.stream: Final = stream
        self.moments: Final = Moments.within(stream.folder)
        self._mutation: Final = mutation
        self.sites: Final = list(sites(stream, 4))
        assert {stream.partition_of(site.location_id) for site in self.sites} == {0, 1}

    def worker(self, **settings: object) -> Worker:
        return self.stream.worker(
            "-m", "tests.faults.mutants", self._mutation, environ=self.moments.environ(), **settings
        )

    def at_next_commit(self, what: str) -> None:
        """Say what happens when records would be committed next."""
        self.moments.at_commit.write_text(what, encoding="ascii")

    def await_moment(self) -> None:
        self.stream.wait(lambda: not self.moments.at_commit.exists(), "a commit of records")

    def publish(self, minute: int, kwh: float) -> None:
        """Publish a record of every location."""
        for site in self.sites:
            site.publish(site.record(minute, 30, kwh))

    def misplace(self, site: Site, one: Json) -> None:
        """Publish a record to a partition that is not its location's."""
        self.stream.publish(Unkeyed(one), partition=self.stream.partition_not_of(site.location_id))

    def settle(self) -> None:
        """Wait until all that was published is behind the program, whatever it has made of it."""
        for site in self.sites:
            site.settle()


def bad_day(patient: Patient) -> None:
    """A commit fails, the worker is killed before another one, the store is lost, and corrections come."""
    worker = patient.worker()
    patient.publish(0, 1.0)
    patient.misplace(patient.sites[0], patient.sites[0].record(30, 30, 0.5))
    patient.settle()
    patient.at_next_commit("fail")
    patient.publish(60, 2.0)
    patient.await_moment()
    patient.settle()
    patient.at_next_commit("kill")
    patient.publish(90, 3.0)
    patient.stream.wait(lambda: worker.exit_code is not None, "the end of the worker")
    shutil.rmtree(patient.stream.settings.data_dir)
    patient.worker()
    for site in patient.sites:
        site.publish(site.record(0, 15, 0.25), site.record(60, 30, 2.5))
    patient.settle()


def takeover(patient: Patient) -> None:
    """A worker freezes before a commit, and wakes up when another one has read where to go on, and has not begun yet."""
    stream = patient.stream
    frozen = patient.worker()
    patient.publish(0, 1.0)
    patient.settle()
    patient.at_next_commit("suspend, commit prices and die")  # if it can commit
    patient.publish(30, 2.0)
    patient.await_moment()
    patient.moments.after_seek.touch()
    other = patient.worker(started=False, data_dir=stream.folder / "other")
    stream.wait(patient.moments.sought.exists, "the seek of the second worker")
    frozen.resume()
    stream.wait(
        lambda: frozen.exit_code is not None or patient.moments.refused.exists(),
        "what the first worker does when it wakes up",
    )
    patient.moments.after_seek.unlink()
    other.await_started()
    patient.settle()


def differences(stream: Stream) -> set[str]:
    """Return in which ways a settled stream is not as it should be."""
    offline, found, totals = stream.offline(), stream.newest_priced(), stream.totals()
    expected = {json.loads(value)["interval_id"]: body_of(value) for value in offline.priced}
    decided = sum(totals[name] for name in DECIDED)
    kinds = {
        "records lost": decided < offline.counts["input"],
        "records twice": decided > offline.counts["input"],
        "prices missing": bool(expected.keys() - found.keys()),
        "prices wrong": any(found[key] != expected[key] for key in expected.keys() & found.keys()),
        "sequences": not _passes(stream.check_sequences),
    }
    return {kind for kind, is_so in kinds.items() if is_so}


def _passes(check: Callable[[], None]) -> bool:
    try:
        check()
    except AssertionError:
        return False
    return True


SETTINGS: Final[dict[Callable[[Patient], None], dict[str, object]]] = {
    bad_day: {"instance_id": "one"},
    # The last: so that the broker gives the frozen transaction up only after five times as long.
    takeover: {"session_timeout_ms": 2000, "heartbeat_interval_ms": 500, "transaction_max_ms": 20_000},
}


@pytest.mark.parametrize("story", [bad_day, pytest.param(takeover, marks=pytest.mark.full)])
def test_the_program_as_it_is_passes(
    kafka: str, streams: Callable[..., Stream], counts: Counts, story: Callable[[Patient], None]
) -> None:
    for _ in range(TIMES):
        stream = streams(kafka, partitions=2, emit_every_s=0, **SETTINGS[story])
        story(Patient(stream, AS_IT_IS))
        stream.verify(quiet_s=0.2)
    counts.note(f"mutants' story without a mutation: {story.__name__.replace('_', ' ')}", passed=TIMES)


@pytest.mark.parametrize(
    "mutation",
    [
        name if name in IN_EVERY_RUN else pytest.param(name, marks=pytest.mark.full)
        for name in (*ON_A_BAD_DAY, *TAKEOVER)
    ],
)
def test_a_mutant_is_caught(kafka: str, streams: Callable[..., Stream], counts: Counts, mutation: str) -> None:
    story = takeover if mutation in TAKEOVER else bad_day
    caught = told = 0
    while caught < TIMES:
        stream = streams(kafka, partitions=2, emit_every_s=0, **SETTINGS[story])
        story(Patient(stream, mutation))
        caught, told = caught + _is_caught(stream, mutation), told + 1
        assert told - caught <= (UNSEEN if mutation in TAKEOVER else 0), f"{told} times, and caught {caught} times"
    counts.note(f"mutant caught: {mutation.replace('_', ' ')}", times=told, caught=caught)


def _is_caught(stream: Stream, mutation: str) -> bool:
    """Tell whether the check fails, and require that it fails for what this mutation does."""
    try:
        stream.verify(timeout_s=TIMEOUT_S, quiet_s=0.2)
    except (AssertionError, pytest.fail.Exception):
        found = differences(stream)
        assert found >= SHOWS[mutation], f"it should show as {SHOWS[mutation]}, and shows as {found}"
        return True
    return False
