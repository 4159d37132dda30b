"""Thousands of schedules of two workers in memory: whatever comes in between, the end is what the reference says.

`python -m tests.faults.simulate SEED` runs one of them again and prints its schedule.
"""

from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import get_args

import pytest

from tests.faults.scale import FULL, Counts, scaled
from tests.faults.simulate import Outcome, outcome, simulate
from tests.faults.simulated import Fault

SEEDS = scaled(200, 10_000)
_ENOUGH = 3000
"""Seeds within which each fault that is made on purpose has to be found."""


def _outcomes() -> list[Outcome]:
    """Run the seeds: in two processes where there are many, in this one (whose lines are counted) where there are few."""
    if not FULL:
        return [outcome(seed) for seed in range(SEEDS)]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        return list(pool.map(outcome, range(SEEDS), chunksize=100))


def test_no_schedule_loses_a_record_or_counts_one_twice(counts: Counts) -> None:
    found = _outcomes()
    failed = [one for one in found if one.problems]
    shown = "".join(
        f"\n  python -m tests.faults.simulate {one.seed}   # {len(one.problems)} problems, such as {one.problems[0]}"
        for one in failed[:5]
    )
    assert not failed, f"{len(failed)} of {SEEDS} seeds fail:{shown}"
    done = sum((one.counts for one in found), start=Counter())
    assert all(
        done[name] > 0 for name in ("kills", "lost stores", "moves", "fenced", "aborted", "forwarded", "superseded")
    )
    counts.note(
        "schedules of two simulated workers",
        seeds=done["seeds"],
        records=done["input"],
        writes=done["writes"],
        kills=done["kills"],
        lost_stores=done["lost stores"],
        moved_partitions=done["moves"],
        fenced=done["fenced"],
        aborted_transactions=done["aborted"],
        compactions=done["compactions"],
    )


RARE: Fault = "documents taken for read"
"""Two workers must have read differently far, and the one that has read less must be killed: about one seed in 300."""


@pytest.mark.parametrize(
    "fault", [pytest.param(one, marks=pytest.mark.full if one == RARE else ()) for one in get_args(Fault)]
)
def test_what_is_broken_on_purpose_is_found(fault: Fault, counts: Counts) -> None:
    """A test of the check: a shard that writes in another order, or forgets something, does not pass it."""
    seed = next((seed for seed in range(_ENOUGH) if simulate(seed, fault)[1].problems), None)
    assert seed is not None, f"{fault} is not found"
    assert simulate(seed)[1].problems == []
    counts.note(f"simulated workers broken on purpose: {fault}", found_by_seed=seed)


def test_a_seed_runs_the_same_way_each_time(counts: Counts) -> None:
    assert simulate(7)[0].lines == simulate(7)[0].lines
    counts.note("schedules run twice", seeds=1)
