"""A worker whose disk takes no more ends with one clear message, and has lost nothing when there is room again."""

import time
from collections.abc import Callable

import pytest

from tests.faults.load import load_documents, load_messages
from tests.faults.scale import Counts, scaled
from tests.faults.small_disk import LimitedFiles, SmallDisk, small_disk
from tests.harness import Stream
from tests.making import Json
from tests.sites import Site, sites
from tests.worker_process import Worker

pytestmark = pytest.mark.broker

EXIT_STORE = 74
LOCATIONS = 20
DAYS = 3000
"""Most days to publish until the disk has refused: some hundreds fill the buffer of a store, which then is written."""


def _days(place: Site, start: int, count: int) -> list[Json]:
    """Return a record for each of so many days: 48 intervals."""
    return [place.record(1440 * day, 1440, 48.0 + day % 900) for day in range(start, start + count)]


def _require_one_clear_message(stream: Stream, worker: Worker, reason: str) -> None:
    """Wait for the end of a worker, and require that its log says once why, with the folder and what the system said."""
    stream.wait(lambda: worker.exit_code is not None, "the end of a worker whose disk takes no more")
    assert worker.exit_code == EXIT_STORE, worker.log_tail()
    told = worker.logged("store_failed")
    assert len(told) == 1, worker.log_tail()
    assert str(stream.folder / "disk" / "data") in told[0]["reason"]
    assert reason in told[0]["reason"]
    assert worker.logged("store_unusable") == []
    assert "Traceback" not in worker.log_path.read_text(encoding="utf-8")


@pytest.mark.full
def test_a_disk_that_fills_ends_the_worker_and_costs_nothing(
    kafka: str, streams: Callable[..., Stream], counts: Counts
) -> None:
    stream = streams(kafka, partitions=1, emit_every_s=1)
    place = next(sites(stream, 1))
    with small_disk(stream.folder / "disk") as disk:
        reason = "No space left on device" if isinstance(disk, SmallDisk) else "File too large"
        worker = disk.worker(stream)
        stream.publish(place.record(-1440, 1440, 1.0))
        place.await_priced(-1440)
        disk.fill(worker)
        published = 0
        while worker.exit_code is None and published < DAYS:
            stream.publish(*_days(place, published, 50))
            published += 50
            time.sleep(0.2)
        _require_one_clear_message(stream, worker, reason)
        disk.make_room()
        disk.worker(stream)
        stream.publish(*(place.record(1440 * day, 1440, 7.0) for day in range(0, published, 50)))
        stream.verify(quiet_s=0.5, reference=False)
    counts.note("disk full while a worker is at work", disk=disk.what, records=len(stream.published), lost=0)


def test_what_a_full_disk_does_not_take_at_the_end_is_read_again(
    kafka: str, streams: Callable[..., Stream], counts: Counts
) -> None:
    stream = streams(kafka, partitions=1, emit_every_s=1)
    load_documents(stream, LOCATIONS)
    messages = load_messages(7, LOCATIONS, scaled(900, 9000))
    with small_disk(stream.folder / "disk") as disk:
        worker = disk.worker(stream)
        stream.publish(*messages[: len(messages) // 2])
        stream.wait(lambda: stream.totals()["input"], "records decided")
        disk.fill(worker)
        assert worker.terminate() == EXIT_STORE
        _require_one_clear_message(stream, worker, "cannot be written")
        if isinstance(disk, SmallDisk):
            again = disk.worker(stream, started=False)
            _require_one_clear_message(stream, again, "No space left on device")
        disk.make_room()
        stream.publish(*messages[len(messages) // 3 :])
        disk.worker(stream)
        stream.verify(quiet_s=0.5)
    counts.note(
        "disk full when a worker ends and when the next starts", disk=disk.what, records=len(stream.published), lost=0
    )


@pytest.mark.full
def test_a_disk_that_can_only_be_read_is_told_at_the_start(
    kafka: str, streams: Callable[..., Stream], counts: Counts
) -> None:
    stream = streams(kafka, partitions=1, emit_every_s=1)
    load_documents(stream, LOCATIONS)
    messages = load_messages(8, LOCATIONS, scaled(600, 6000))
    with small_disk(stream.folder / "disk") as disk:
        if isinstance(disk, LimitedFiles):
            pytest.skip("a disk for reading only needs user namespaces, which this machine does not allow")
        stream.publish(*messages[: len(messages) // 2])
        worker = disk.worker(stream)
        stream.wait(lambda: stream.totals()["input"], "records decided")
        assert worker.terminate() == 0
        disk.allow_writing(allowed=False)
        stream.publish(*messages[len(messages) // 3 :])
        _require_one_clear_message(stream, disk.worker(stream, started=False), "Read-only file system")
        disk.allow_writing(allowed=True)
        disk.worker(stream)
        stream.verify(quiet_s=0.5)
    counts.note("disk read-only when a worker starts", workers=1, records=len(stream.published), lost=0)


@pytest.mark.full
def test_a_data_folder_that_cannot_be_made_is_told_at_the_start(
    kafka: str, streams: Callable[..., Stream], counts: Counts
) -> None:
    stream = streams(kafka, partitions=1)
    file = stream.folder / "disk"
    file.touch()
    worker = stream.worker(started=False, data_dir=file / "data")
    _require_one_clear_message(stream, worker, "Not a directory")
    counts.note("data folder that cannot be made", workers=1, lost=0)
