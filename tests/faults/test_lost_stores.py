"""The local store may be lost, cut off or full of garbage: it is rebuilt, and results are the same."""

import json
import shutil
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.load import load_documents, load_messages
from tests.faults.scale import Counts
from tests.harness import Stream
from tests.making import Json
from tests.sites import sites
from tests.worker_process import Worker

pytestmark = pytest.mark.broker

LOCATIONS = 60
DAYS = 1000


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


def _replace_by_a_file(store: Path) -> None:
    """Put a file where the folder should be."""
    shutil.rmtree(store)
    store.write_bytes(b"no folder")


def _files(store: Path) -> list[Path]:
    return [file for file in store.iterdir() if file.is_file()]


def _data_files(store: Path) -> list[Path]:
    found = [file for file in _files(store) if file.suffix in {".sst", ".log"} and file.stat().st_size > 0]
    assert found
    return found


# A worker that ended in order has written everything to files, a killed one what it did not have in memory. A damage for each
# partition:
AFTER_A_KILL = (_lose, _cut_in_half, _flip_bytes_of_data, _empty_all_files, _replace_by_a_file)
AFTER_AN_END_IN_ORDER = (_fill_all_files_with_garbage, _cut_in_half, _flip_bytes_of_data, _delete_data, _lose)


def test_damaged_stores_are_rebuilt_and_nothing_changes(
    kafka: str, streams: Callable[..., Stream], counts: Counts
) -> None:
    stream = streams(kafka, partitions=len(AFTER_A_KILL), emit_every_s=1, instance_id="one", recovery_processes=2)
    load_documents(stream, LOCATIONS)
    messages = load_messages(2, LOCATIONS, 6000)
    stream.publish(*messages[:2000])
    worker = stream.worker()
    for at, damages in ((2000, AFTER_A_KILL), (4000, AFTER_AN_END_IN_ORDER)):
        stream.verify(quiet_s=0.3)
        assert worker.terminate() == 0
        if damages is AFTER_A_KILL:
            # The files are then those of the worker before it, and what came since is in the changelog alone.
            worker = stream.worker()
            stream.publish(*messages[at : at + 500])
            stream.verify(quiet_s=0.3)
            worker.kill()
        for partition, damage in enumerate(damages):
            damage(stream.settings.data_dir / f"partition-{partition}")
        # Corrections and repetitions of what only the store knows, and new records.
        stream.publish(*messages[at : at + 2000])
        worker = stream.worker(started=False)
    stream.verify()
    assert worker.exit_code is None
    damages = len(AFTER_A_KILL) + len(AFTER_AN_END_IN_ORDER)
    counts.note(
        "stores deleted, cut off or filled with garbage", damages=damages, records=len(stream.published), lost=0
    )


def test_bytes_that_flip_deep_inside_a_store_cost_no_record(
    kafka: str, streams: Callable[..., Stream], counts: Counts
) -> None:
    # Only a large store has parts that are not read when it is opened.
    stream = streams(kafka, partitions=1, emit_every_s=1, instance_id="one")
    site = next(sites(stream, 1))
    stream.publish(*(site.record(30 * number, 15, 1.0) for number in range(6000)))
    worker = stream.worker()
    stream.verify(quiet_s=0.3)
    assert worker.terminate() == 0
    stretches = 0
    for file in _data_files(stream.settings.data_dir / "partition-0"):
        with file.open("r+b") as opened:
            for at in range(file.stat().st_size // 8, file.stat().st_size // 2, 100_000):
                opened.seek(at)
                opened.write(b"\xde\xad" * 20)
                stretches += 1
    stream.publish(*(site.record(30 * number, 15, 2.0) for number in range(0, 6000, 3)))
    stream.publish(site.record(0, 1440, 96.0))
    stream.worker(started=False)
    stream.verify()
    counts.note("bytes overwritten inside a store", stretches=stretches, records=len(stream.published), lost=0)


def test_a_store_of_other_topics_is_neither_shared_nor_believed(
    kafka: str, streams: Callable[..., Stream], counts: Counts
) -> None:
    old = streams(kafka, partitions=1)
    site = next(sites(old, 1))
    old.publish(*(site.record(30 * number, 30, 1.0) for number in range(200)))
    worker = old.worker()
    new = streams(kafka, partitions=1, data_dir=old.settings.data_dir)
    again = next(sites(new, 1))
    new.publish(again.record(0, 30, 7.0))
    refused = new.worker(started=False)
    new.wait(lambda: refused.exit_code is not None, "the end of a worker that finds its store in use")
    assert refused.exit_code not in (0, None)
    assert "METERSTREAM_DATA_DIR" in refused.log_tail()
    old.verify(quiet_s=0.2)
    assert worker.terminate() == 0
    new.worker()
    new.verify(quiet_s=0.5)
    counts.note(
        "a store of other topics", workers=3, refused=1, records=len(old.published) + len(new.published), lost=0
    )


@pytest.mark.parametrize("end", [Worker.kill, Worker.terminate])
def test_incomplete_intervals_that_were_held_back_are_published_after_a_restart(
    kafka: str, streams: Callable[..., Stream], end: Callable[[Worker], object], counts: Counts
) -> None:
    stream = streams(kafka, partitions=2, emit_every_s=3600, instance_id="one")
    places = list(sites(stream, 6))
    worker = stream.worker()
    stream.publish(*(each.record(0, 10, 1.0) for each in places))
    stream.wait(lambda: stream.totals()["accepted"] == 6, "six records accepted")
    end(worker)
    assert stream.seen(stream.names.intervals) == []
    # In one partition the next worker knows of them from its store, if that was closed; in the other from the changelog alone.
    _lose(stream.settings.data_dir / "partition-1")
    assert {stream.partition_of(each.location_id) for each in places} == {0, 1}
    stream.worker(emit_every_s=1)
    for each in places:
        assert each.await_priced(0)["covered_seconds"] == 600
    stream.verify(quiet_s=0.5)
    assert len(stream.seen(stream.names.intervals)) == 6
    how = "killed" if end is Worker.kill else "ended in order"
    counts.note(f"intervals held back by a worker that was {how}", intervals=6, lost=0)


@pytest.mark.full
def test_a_worker_that_rebuilds_its_store_answers_how_far_it_is(
    kafka: str, streams: Callable[..., Stream], counts: Counts
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    stream = streams(kafka, partitions=1, emit_every_s=1, health_port=port)
    site = next(sites(stream, 1))
    stream.publish(*(site.record(1440 * day, 1440, 48.0) for day in range(DAYS)))
    worker = stream.worker()
    stream.wait(lambda: stream.totals()["priced"] >= 48 * DAYS, f"{48 * DAYS} intervals priced", 180)
    assert worker.terminate() == 0
    _lose(stream.settings.data_dir)
    worker = stream.worker(started=False)
    answers: list[tuple[int, Json]] = []
    while not answers or answers[-1][0] != 200:
        assert worker.exit_code is None
        answers += _readiness(port)
        time.sleep(0.02)
    told = [answer["partitions"]["0"] for _, answer in answers if answer["partitions"]]
    applied = [each["applied"] for each in told if each["state"] == "recovering"]
    of_about = {each["of_about"] for each in told if each["state"] == "recovering"}
    assert sorted(applied) == applied
    assert len(set(applied)) > 3
    assert of_about
    assert min(of_about) > 2 * 48 * DAYS
    assert told[-1] == {"state": "open"}
    assert {status for status, _ in answers[:-1]} == {503}
    stream.verify(quiet_s=0.5, reference=False)
    counts.note("readiness while a store is rebuilt", intervals=48 * DAYS, answers=len(applied), lost=0)


def _readiness(port: int) -> list[tuple[int, Json]]:
    """Return what the worker says to "are you ready?", with the status; nothing before it listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=30) as found:
            return [(found.status, json.load(found))]
    except urllib.error.HTTPError as refused:
        return [(refused.code, json.load(refused))]
    except OSError:
        return []
