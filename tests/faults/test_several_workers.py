"""Workers that come, go, and freeze: partitions move, and nothing is lost or published twice."""

import time
from collections.abc import Callable

import pytest

from tests.faults.load import Feeder, load_documents, load_messages
from tests.harness import Stream
from tests.worker_process import Worker

pytestmark = pytest.mark.broker

LOCATIONS = 60


def test_a_frozen_worker_that_wakes_up_is_fenced(kafka: str, streams: Callable[..., Stream]) -> None:
    stream = streams(kafka, partitions=2, emit_every_s=1)
    load_documents(stream, LOCATIONS)
    messages = load_messages(4, LOCATIONS, 4000)
    frozen = stream.worker()
    with Feeder(stream, messages, per_second=300):
        stream.wait(lambda: stream.seen(stream.names.priced), "the first prices")
        frozen.suspend()
        other = stream.worker(data_dir=stream.folder / "other")  # it has to wait until the frozen one is given up
        count = len(stream.seen(stream.names.priced))
        stream.wait(lambda: len(stream.seen(stream.names.priced)) > count, "prices by the second worker")
        frozen.resume()
        stream.wait(lambda: len(frozen.logged("partitions_opened")) > 1, "the return of the frozen worker to the group")
    stream.verify()
    assert frozen.exit_code is None
    assert other.exit_code is None
    assert not any(entry["level"] == "critical" for entry in frozen.log() + other.log())


def test_workers_join_and_leave_under_load(kafka: str, streams: Callable[..., Stream]) -> None:
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


def _last_opened(worker: Worker) -> list[int]:
    opened = worker.logged("partitions_opened")
    partitions: list[int] = opened[-1]["partitions"] if opened else []
    return partitions
