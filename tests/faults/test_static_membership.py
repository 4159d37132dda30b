"""Workers with instance ids: a restart moves no partitions of the others, and of two with one id the newer stays."""

from collections.abc import Callable
from typing import Final

import pytest

from app.streams.membership import EXIT_INSTANCE_ID
from tests.faults.load import Feeder, load_documents, load_messages
from tests.faults.scale import Counts, scaled
from tests.harness import Stream
from tests.worker_process import Worker

pytestmark = pytest.mark.broker

LOCATIONS: Final = 60
RECORDS: Final = scaled(3000, 20_000)


def opened(worker: Worker) -> list[list[int]]:
    """Return the partitions that a worker has opened, once for each time that it was assigned some."""
    return [entry["partitions"] for entry in worker.logged("partitions_opened")]


def start(stream: Stream, name: str) -> Worker:
    return stream.worker(instance_id=name, data_dir=stream.folder / name, started=False)


@pytest.mark.full
def test_a_restart_with_the_same_instance_id_moves_no_partitions(
    kafka: str, streams: Callable[..., Stream], counts: Counts
) -> None:
    stream = streams(kafka, partitions=6, emit_every_s=1, session_timeout_ms=30_000)
    load_documents(stream, LOCATIONS)
    workers = {name: start(stream, name) for name in ("one", "two", "three")}
    stream.wait(
        lambda: [len([[], *opened(each)][-1]) for each in workers.values()] == [2, 2, 2],
        "two partitions opened by each worker",
    )
    ends = scaled([Worker.kill, Worker.terminate], [Worker.kill, Worker.terminate] * 3)
    with Feeder(stream, load_messages(6, LOCATIONS, RECORDS), per_second=scaled(1000, 200)):
        for end in ends:
            before = {name: opened(each) for name, each in workers.items()}
            end(workers["two"])
            workers["two"] = start(stream, "two").await_started()
            assert opened(workers["two"]) == before["two"][-1:]
            assert [opened(workers[name]) for name in ("one", "three")] == [before["one"], before["three"]]
    stream.verify()
    counts.note("restarts with static membership, three workers", restarts=len(ends), records=RECORDS, moved=0)


def test_of_two_workers_with_one_instance_id_the_older_ends_with_one_line(
    kafka: str, streams: Callable[..., Stream], counts: Counts
) -> None:
    stream = streams(kafka, partitions=2, emit_every_s=1, instance_id="one")
    load_documents(stream, LOCATIONS)
    older = stream.worker()
    with Feeder(stream, load_messages(7, LOCATIONS, RECORDS), per_second=1000):
        stream.wait(lambda: stream.seen(stream.names.priced), "the first prices")
        newer = stream.worker(data_dir=stream.folder / "newer")
        stream.wait(lambda: older.exit_code is not None, "the end of the older worker")
    stream.verify()
    assert older.exit_code == EXIT_INSTANCE_ID
    (taken,) = older.logged("instance_id_taken")
    assert taken["instance_id"] == "one"
    assert newer.exit_code is None
    assert opened(newer) == [[0, 1]]
    counts.note("two workers with one instance id: the older ended", workers=2, records=RECORDS)
