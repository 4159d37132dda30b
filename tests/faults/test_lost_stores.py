"""The local store may be lost, cut off or full of garbage: it is rebuilt, and results are the same."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.load import load_documents, load_messages
from tests.harness import Site, Stream, record, sites

pytestmark = pytest.mark.broker

LOCATIONS = 60


def _lose(store: Path) -> None:
    """Delete everything."""
    shutil.rmtree(store)


def _cut_in_half(store: Path) -> None:
    """Cut every file with data or a log of writes in half."""
    for file in _data_files(store):
        with file.open("r+b") as opened:
            opened.truncate(file.stat().st_size // 2)


def _empty_all_files(store: Path) -> None:
    """Leave every file, with nothing in it."""
    for file in _files(store):
        file.write_bytes(b"")


def _fill_all_files_with_garbage(store: Path) -> None:
    """Overwrite every file."""
    for file in _files(store):
        file.write_bytes(b"\xde\xad" * 2000)


def _flip_bytes_of_data(store: Path) -> None:
    """Overwrite a stretch in the first part of each file with data or a log of writes: where the entries are."""
    for file in _data_files(store):
        with file.open("r+b") as opened:
            opened.seek(file.stat().st_size // 8)
            opened.write(b"\xde\xad" * 20)


def _delete_data(store: Path) -> None:
    """Delete the files with data, and leave those that say what there is."""
    for file in _data_files(store):
        file.unlink()


def _files(store: Path) -> list[Path]:
    return [file for file in store.iterdir() if file.is_file()]


def _data_files(store: Path) -> list[Path]:
    found = [file for file in _files(store) if file.suffix in {".sst", ".log"} and file.stat().st_size > 0]
    assert found
    return found


# A store that was closed in order has its data in other files than one that was not. A damage for each partition:
AFTER_A_KILL = (_lose, _cut_in_half, _flip_bytes_of_data, _empty_all_files)
AFTER_AN_END_IN_ORDER = (_fill_all_files_with_garbage, _cut_in_half, _flip_bytes_of_data, _delete_data)


def test_damaged_stores_are_rebuilt_and_nothing_changes(kafka: str, streams: Callable[..., Stream]) -> None:
    stream = streams(kafka, partitions=len(AFTER_A_KILL), emit_every_s=1, instance_id="one")
    load_documents(stream, LOCATIONS)
    messages = load_messages(2, LOCATIONS, 6000)
    stream.publish(*messages[:2000])
    worker = stream.worker()
    for at, damages in ((2000, AFTER_A_KILL), (4000, AFTER_AN_END_IN_ORDER)):
        stream.verify(quiet_s=0.3)
        if damages is AFTER_A_KILL:
            worker.kill()
        else:
            assert worker.terminate() == 0
        for partition, damage in enumerate(damages):
            damage(stream.settings.data_dir / f"partition-{partition}")
        # Corrections and repetitions of what only the store knows, and new records.
        stream.publish(*messages[at : at + 2000])
        worker = stream.worker(started=False)
    stream.verify()
    assert worker.exit_code is None


def test_bytes_that_flip_deep_inside_a_store_cost_no_record(kafka: str, streams: Callable[..., Stream]) -> None:
    # Only a large store has parts that are not read when it is opened.
    stream = streams(kafka, partitions=1, emit_every_s=1, instance_id="one")
    site = next(sites(stream, 1))
    stream.publish(*(site.record(30 * number, 15, 1.0) for number in range(12_000)))
    worker = stream.worker()
    stream.verify(quiet_s=0.3)
    assert worker.terminate() == 0
    for file in _data_files(stream.settings.data_dir / "partition-0"):
        with file.open("r+b") as opened:
            for at in range(file.stat().st_size // 8, file.stat().st_size // 2, 100_000):
                opened.seek(at)
                opened.write(b"\xde\xad" * 20)
    stream.publish(*(site.record(30 * number, 15, 2.0) for number in range(0, 12_000, 3)))
    stream.publish(site.record(0, 1440, 96.0))
    stream.worker(started=False)
    stream.verify()


def test_a_file_in_place_of_a_store_is_no_obstacle(kafka: str, streams: Callable[..., Stream]) -> None:
    stream = streams(kafka, partitions=1)
    site = next(sites(stream, 1))
    stream.settings.data_dir.mkdir()
    (stream.settings.data_dir / "partition-0").write_bytes(b"no folder")
    worker = stream.worker(started=False)
    stream.publish(site.record(0, 30, 1.0))
    site.await_priced(0)
    assert worker.exit_code is None


def test_a_store_of_other_topics_is_not_believed(kafka: str, streams: Callable[..., Stream]) -> None:
    old = streams(kafka, partitions=1)
    site = next(sites(old, 1))
    old.publish(*(site.record(30 * number, 30, 1.0) for number in range(200)))
    worker = old.worker()
    old.verify()
    assert worker.terminate() == 0
    # The same names, and topics that begin anew: here, another application with the data folder of the first.
    new = streams(kafka, partitions=1, data_dir=old.settings.data_dir)
    again = next(sites(new, 1))
    new.publish(again.record(0, 30, 7.0))
    new.worker()
    new.verify()


def test_incomplete_intervals_that_were_held_back_are_published_after_a_restart(
    kafka: str, streams: Callable[..., Stream]
) -> None:
    stream = streams(kafka, partitions=2, emit_every_s=3600, instance_id="one")
    places = list(sites(stream, 6))
    worker = stream.worker()
    stream.publish(*(each.record(0, 10, 1.0) for each in places))
    _await_accepted(stream, 6)
    worker.kill()
    assert not any(stream.priced(each.location_id) for each in places)
    # The next one knows of them from its store; the one after that from the changelog alone.
    worker = stream.worker(emit_every_s=1)
    _await_prices(stream, places, 1)
    worker.kill()
    worker = stream.worker()
    stream.publish(*(each.record(10, 10, 1.0) for each in places))
    _await_accepted(stream, 12)
    assert worker.terminate() == 0
    _lose(stream.settings.data_dir)
    stream.worker(emit_every_s=1)
    _await_prices(stream, places, 2)
    stream.verify()


def _await_accepted(stream: Stream, count: int) -> None:
    stream.wait(lambda: stream.totals()["accepted"] == count, f"{count} records accepted")


def _await_prices(stream: Stream, places: list[Site], times: int) -> None:
    for each in places:
        assert each.await_priced(0, times)["covered_seconds"] == 600 * times


def test_a_worker_that_finds_its_store_in_use_says_so_and_ends(kafka: str, streams: Callable[..., Stream]) -> None:
    stream = streams(kafka, partitions=1)
    stream.worker()
    other = streams(kafka, partitions=1, data_dir=stream.settings.data_dir)
    second = other.worker(started=False)
    other.wait(lambda: second.exit_code is not None, "the end of the second worker")
    assert second.exit_code not in (0, None)
    assert "METERSTREAM_DATA_DIR" in second.log_tail()
    stream.load(*other.documents.values())
    assert stream.workers[0].exit_code is None


def test_records_of_a_meter_find_their_past_in_a_rebuilt_store(kafka: str, streams: Callable[..., Stream]) -> None:
    stream = streams(kafka, partitions=1, instance_id="one")
    site = next(sites(stream, 1))
    worker = stream.worker()
    stream.publish(*(record(site.location_id, 30 * number, 30, 1.0) for number in range(50)))
    stream.verify(quiet_s=0.2)
    worker.kill()
    _lose(stream.settings.data_dir)
    # The same records again, a partial overlap, and one correction: only the last is news.
    stream.publish(*(record(site.location_id, 30 * number, 30, 1.0) for number in range(50)))
    stream.publish(record(site.location_id, 15, 30, 1.0), record(site.location_id, 60, 30, 2.0))
    stream.worker()
    stream.verify()
    assert [each["sequence"] for each in site.priced(60)] == [1, 2]
    assert len(stream.seen(stream.names.priced)) == 51
    assert stream.totals()["duplicate"] == 50
