"""Workers that come, go, and freeze: partitions move, and nothing is lost or published twice."""

import time
from collections.abc import Callable
from itertools import chain

import pytest

from tests.faults.load import Feeder, load_documents, load_messages
from tests.faults.mutants import Moments
from tests.faults.scale import Counts, scaled
from tests.harness import Stream
from tests.worker_process import Worker

pytestmark = pytest.mark.broker

LOCATIONS = 60


def test_a_frozen_worker_that_wakes_up_is_fenced(kafka: str, streams: Callable[..., Stream], counts: Counts) -> None:
    stream = streams(kafka, partitions=2, emit_every_s=1, transaction_max_ms=5000)
    load_documents(stream, LOCATIONS)
    records, freezes = scaled(4000, 15_000), scaled(1, 5)
    moments = Moments.within(stream.folder)
    folders = [stream.folder / name for name in ("one", "other")]
    with Feeder(stream, load_messages(4, LOCATIONS, records), per_second=scaled(300, 60)):
        for number in range(freezes):
            # It freezes with a transaction that is complete but for its commit: nothing but the fence holds that back.
            frozen = stream.worker(
                "-m", "tests.faults.mutants", "none", environ=moments.environ(), log_level="debug", data_dir=folders[0]
            )
            moments.refused.unlink(missing_ok=True)
            moments.at_commit.write_text("suspend", encoding="ascii")
            stream.wait(lambda: not moments.at_commit.exists(), "a commit of records")
            other = stream.worker(data_dir=folders[1])  # it has to wait until the frozen one is given up
            assert _last_opened(other) == [0, 1]
            _await_more_prices(stream)
            logged = len(frozen.log())
            frozen.resume()
            frozen.await_log("partitions_opened", times=2)
            assert moments.refused.exists()
            assert frozen.logged("partition_fenced")
            _require_nothing_committed(frozen, logged)
            assert [frozen.exit_code, other.exit_code] == [None, None]
            assert not any(entry["level"] == "critical" for entry in frozen.log() + other.log())
            if number < freezes - 1:
                assert [frozen.terminate(), other.terminate()] == [0, 0]
    stream.verify()
    counts.note(
        "workers frozen (SIGSTOP) before a commit, and woken up after it was another's",
        freezes=freezes,
        records=records,
    )


def _await_more_prices(stream: Stream) -> None:
    count = len(stream.seen(stream.names.priced))
    stream.wait(lambda: len(stream.seen(stream.names.priced)) > count, "more prices")


def _require_nothing_committed(frozen: Worker, logged: int) -> None:
    """Require that a worker that woke up has committed nothing before it was given partitions again."""
    since = [entry["event"] for entry in frozen.log()[logged:]]
    assert "transaction" not in since[: since.index("partitions_opened")], since


@pytest.mark.full
def test_workers_join_and_leave_under_load(kafka: str, streams: Callable[..., Stream], counts: Counts) -> None:
    stream = streams(kafka, partitions=4, emit_every_s=1)
    load_documents(stream, LOCATIONS)
    messages = load_messages(5, LOCATIONS, 4000)
    first = stream.worker()
    with Feeder(stream, messages, per_second=400):
        stream.wait(lambda: stream.seen(stream.names.priced), "the first prices")
        second = stream.worker(data_dir=stream.folder / "second")
        stream.wait(lambda: len(_last_opened(first)) + len(_last_opened(second)) == 4, "each partition opened once")
        assert _last_opened(first)
        assert _last_opened(second)
        time.sleep(1)
        assert second.terminate() == 0
        stream.wait(lambda: len(_last_opened(first)) == 4, "all partitions back")
        assert first.exit_code is None
        # It comes back with a store that has fallen behind.
        second = stream.worker(data_dir=stream.folder / "second")
        assert first.terminate() == 0
    stream.verify()
    assert _last_opened(second) == [0, 1, 2, 3]
    counts.note("workers that join and leave under load", joined=2, left=2, records=4000)


def _last_opened(worker: Worker) -> list[int]:
    opened = worker.logged("partitions_opened")
    partitions: list[int] = opened[-1]["partitions"] if opened else []
    return partitions


def test_one_worker_becomes_three_and_then_two(kafka: str, streams: Callable[..., Stream], counts: Counts) -> None:
    stream = streams(kafka, partitions=6, emit_every_s=1)
    load_documents(stream, LOCATIONS)
    records = scaled(4000, 40_000)
    first = stream.worker()
    with Feeder(stream, load_messages(8, LOCATIONS, records), per_second=scaled(1000, 500)):
        others = [stream.worker(started=False, data_dir=stream.folder / name) for name in ("second", "third")]
        _await_all_opened(stream, [first, *others])
        assert others[0].terminate() == 0
        _await_all_opened(stream, [first, others[1]])
    stream.verify()
    assert [worker.exit_code for worker in (first, others[1])] == [None, None]
    counts.note("workers scaled from 1 to 3 to 2 under load", records=records)


def test_rolling_restarts_under_load(kafka: str, streams: Callable[..., Stream], counts: Counts) -> None:
    stream = streams(kafka, partitions=6, emit_every_s=1)
    load_documents(stream, LOCATIONS)
    records, restarts = scaled(4000, 40_000), scaled(2, 15)
    folders = [stream.folder / name for name in ("first", "second", "third")]
    workers = [stream.worker(started=False, data_dir=folder) for folder in folders]
    _await_all_opened(stream, workers)
    with Feeder(stream, load_messages(9, LOCATIONS, records), per_second=scaled(1000, 300)):
        for number in range(restarts):
            at = number % len(workers)
            assert workers[at].terminate() == 0
            workers[at] = stream.worker(data_dir=folders[at])
    stream.verify()
    counts.note("rolling restarts of three workers under load", restarts=restarts, records=records)


def test_sigterm_ends_a_worker_in_order_within_ten_seconds(
    kafka: str, streams: Callable[..., Stream], counts: Counts
) -> None:
    stream = streams(kafka, partitions=6, emit_every_s=1)
    load_documents(stream, LOCATIONS)
    rounds, longest_s = scaled(2, 17), 0.0
    messages = load_messages(10, LOCATIONS, 2000 * rounds)
    for number in range(rounds):
        workers = [stream.worker(started=False, data_dir=stream.folder / str(at)) for at in range(3)]
        for worker in workers:
            worker.await_log("reference_read")
        if number % 2:  # while they are at work, or while partitions still move; else when there is nothing to do
            stream.publish(*messages[4000 * (number // 2) : 4000 * (number // 2 + 1)])
        else:
            _await_all_opened(stream, workers)
        for worker in workers:
            began_s = time.monotonic()
            assert worker.terminate(timeout_s=10.0) == 0
            longest_s = max(longest_s, time.monotonic() - began_s)
    stream.worker()
    stream.verify()
    counts.note("SIGTERM: exit 0 within 10 s", signals=3 * rounds, longest_s=round(longest_s, 1))


def _await_all_opened(stream: Stream, workers: list[Worker]) -> None:
    """Wait until each partition is open at one of some workers, and each worker has some."""
    every = list(range(stream.settings.partitions))
    stream.wait(
        lambda: all(map(_last_opened, workers)) and sorted(chain.from_iterable(map(_last_opened, workers))) == every,
        "each partition opened once",
    )
