"""The local store: what is in it belongs together with the position that it tells, however the process ended."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rocksdict import Options

from app.streams.faults import StoreCorruptError, StoreError
from app.streams.store import PartitionStore, StoreCache, lock_data_dir

WRITER = """
import sys, time
from pathlib import Path
from app.streams.store import PartitionStore, StoreCache
store = PartitionStore(Path(sys.argv[1]), StoreCache(8), "topics")
for number in range(int(sys.argv[2])):
    store.write([(b"%07d" % number, b"x" * 2000), (b"last", b"%d" % number)], {"topic": number + 1})
print("written", flush=True)
time.sleep(600)
"""


def opened(path: Path, identity: str = "topics") -> PartitionStore:
    return PartitionStore(path, StoreCache(8), identity)


@pytest.mark.parametrize("writes", [100, 30_000])
def test_after_a_kill_the_store_holds_just_what_is_before_its_position(tmp_path: Path, writes: int) -> None:
    """30,000 writes are 60 MB: more than stays in memory, so that the rest begins in the middle of them."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "store"), str(writes)], stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"written\n"
        writer.send_signal(signal.SIGKILL)
    store = opened(tmp_path / "store")
    position = store.position("topic")
    keys = [key for key, _ in store.items(b"0", b"9")]
    assert keys == [b"%07d" % number for number in range(position)]
    assert store.get(b"last") == (b"%d" % (position - 1) if position else None)
    assert (position > 0) == (writes > 20_000)
    store.close()


def test_what_is_closed_is_all_there_again(tmp_path: Path) -> None:
    store = opened(tmp_path / "store")
    store.write([(b"a", b"1"), (b"b", b"2"), (b"c", b"3")], {"topic": 7})
    store.write([(b"b", None)], {"topic": 8})
    store.close()
    again = opened(tmp_path / "store")
    assert (list(again.items(b"a", b"z")), again.position("topic")) == ([(b"a", b"1"), (b"c", b"3")], 8)
    assert (again.last_before(b"c", b"a"), again.last_before(b"a", b"a")) == (b"a", None)
    again.close()


def test_a_store_that_is_opened_again_is_read_as_fast_as_a_new_one(tmp_path: Path) -> None:
    """Its files have filters and an index in parts, and it has the cache that it was given: RocksDB would not remember."""
    for _ in range(2):
        store = PartitionStore(tmp_path / "store", StoreCache(24), "topics")
        store.write(((b"%09d" % number, b"x" * 500) for number in range(40_000)), {})  # more than stays in memory
        assert store._db.property_int_value("rocksdb.block-cache-capacity") == 24 * 1024 * 1024
        store.close()
    properties = _properties_of(PartitionStore(tmp_path / "store", StoreCache(24), "topics"))
    assert int(properties["# entries"]) > 80_000
    assert properties["# entries for filter"] == properties["# entries"]
    assert int(properties["# index partitions"]) > 20


def _properties_of(store: PartitionStore) -> dict[str, str]:
    """Return what RocksDB says of the files of a store that has just been opened, and close it."""
    told = store._db.property_value("rocksdb.aggregated-table-properties")
    store.close()
    assert told is not None
    return dict(line.strip().partition("=")[::2] for line in told.split(";"))


def test_a_store_whose_files_were_merged_by_levels_is_taken_over(tmp_path: Path) -> None:
    """Versions up to 0.1.0 merged them so; a worker that is brought up to date need not read its changelogs again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.streams.store._options", _by_levels)
        old = opened(tmp_path / "store")
        held = {b"%07d" % (number * 7919 % 20_000): b"%07d" % number * 40 for number in range(20_000)}
        old.write(held.items(), {"topic": 20_000})
        old._db.flush()
        _eventually(lambda: old._db.property_int_value("rocksdb.num-files-at-level0") == 0)
        assert any(old._db.property_int_value(f"rocksdb.num-files-at-level{level}") for level in range(1, 7))
        old.close()
    store = opened(tmp_path / "store")
    assert (dict(store.items(b"0", b"9")), store.position("topic")) == (held, 20_000)
    for number in range(12):
        changed = {key: b"%d" % number * 300 for key in held if key.endswith(b"%d" % (number % 10))}
        store.write(changed.items(), {"topic": 20_001 + number})
        store._db.flush()
        held |= changed
    _eventually(lambda: store._db.property_int_value("rocksdb.num-files-at-level0") < 12)
    assert dict(store.items(b"0", b"9")) == held
    store.close()


def test_a_write_does_not_wait_for_the_files_of_a_rebuilt_store_to_be_merged(tmp_path: Path) -> None:
    """It would hold up the whole process, the worker's membership too: for two seconds after a million and a half entries."""
    store = opened(tmp_path / "store")
    store.begin_bulk()
    for number in range(60):
        store.write([(b"%07d" % (number + 60 * each), b"x" * 1000) for each in range(200)], {"topic": number})
        store._db.flush()
    assert store._db.property_int_value("rocksdb.num-files-at-level0") == 60
    store.end_bulk()
    assert store._db.property_int_value("rocksdb.is-write-stopped") == 0
    assert store._db.property_int_value("rocksdb.actual-delayed-write-rate") == 0
    store.close()


def _by_levels(_: StoreCache) -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_size(256 * 1024)
    options.set_level_zero_file_num_compaction_trigger(1)
    options.set_max_bytes_for_level_base(1024 * 1024)
    return options


def _eventually(is_so: Callable[[], bool], timeout_s: float = 20.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < end_s
        time.sleep(0.02)


def test_the_store_of_other_topics_is_begun_anew(tmp_path: Path) -> None:
    store = opened(tmp_path / "store")
    store.write([(b"a", b"1")], {"topic": 7})
    store.close()
    other = opened(tmp_path / "store", "other topics")
    assert (other.get(b"a"), other.position("topic")) == (None, 0)
    other.close()


@pytest.mark.parametrize(
    ("start", "stop", "found"),
    [
        (b"b", b"d", [b"b", b"c"]),
        (b"a\0", b"c\0", [b"b", b"c"]),
        (b"d", b"z", []),
        (b"c", b"c", []),
        (b"Z", b"b", [b"a"]),
    ],
)
def test_entries_are_found_from_a_key_up_to_another(
    tmp_path: Path, start: bytes, stop: bytes, found: list[bytes]
) -> None:
    store = opened(tmp_path / "store")
    store.write([(key, b"") for key in (b"a", b"b", b"c")], {})
    assert [key for key, _ in store.items(start, stop)] == found
    for limit in range(1, 5):
        assert [key for key, _ in store.first(start, stop, limit)] == found[:limit]
    store.close()


def test_entries_that_cannot_be_read_are_not_taken_for_the_end(tmp_path: Path) -> None:
    store = opened(tmp_path / "store")
    store.write([(b"%05d" % number, os.urandom(100)) for number in range(20_000)], {})
    store.close()
    (data,) = (tmp_path / "store").glob("*.sst")
    with data.open("r+b") as file:
        file.seek(data.stat().st_size // 2)
        file.write(b"\xde\xad" * 20)
    damaged = opened(tmp_path / "store")
    with pytest.raises(StoreCorruptError, match="cannot be read"):
        list(damaged.items(b"0", b"9"))
    with pytest.raises(StoreCorruptError, match="cannot be read"):
        damaged.first(b"0", b"9", 20_000)
    assert len(list(damaged.items(b"00000", b"00010"))) == len(damaged.first(b"0", b"9", 10)) == 10
    damaged.close()


@contextlib.contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """Let the operating system refuse whatever makes a file larger: Python ignores the signal, so that writes fail."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write_more_than_memory_takes(store: PartitionStore) -> None:
    """40 MB: the buffers are written to files in the background, and only a later write can tell what became of that."""
    for number in range(200):
        store.write([(b"%d-%d" % (number, at), os.urandom(1000)) for at in range(200)], {"topic": number})


def test_a_disk_that_takes_no_more_is_told_when_memory_is_full(tmp_path: Path) -> None:
    store = opened(tmp_path / "store")
    with files_of_at_most(100_000), pytest.raises(StoreError, match="store cannot be written"):
        write_more_than_memory_takes(store)
    with pytest.raises(StoreError, match="store cannot be written"):
        store.close()
    store.close()
    again = opened(tmp_path / "store")
    assert again.position("topic") == 0
    again.close()


def test_a_disk_that_takes_no_more_is_told_when_the_store_is_closed(tmp_path: Path) -> None:
    store = opened(tmp_path / "store")
    store.write([(b"a", b"1")], {"topic": 7})
    store.close()
    store = opened(tmp_path / "store")
    store.write([(b"b", os.urandom(200_000))], {"topic": 8})
    with files_of_at_most(100_000), pytest.raises(StoreError, match="store cannot be written"):
        store.close()
    again = opened(tmp_path / "store")
    assert (list(again.items(b"a", b"z")), again.position("topic")) == ([(b"a", b"1")], 7)
    again.close()


def test_a_store_that_a_full_disk_does_not_let_open_is_kept(tmp_path: Path) -> None:
    store = opened(tmp_path / "store")
    store.write([(b"a", b"1")], {"topic": 7})
    store.close()
    with files_of_at_most(1000), pytest.raises(StoreError, match="store cannot be opened"):
        opened(tmp_path / "store")
    again = opened(tmp_path / "store")
    assert (again.get(b"a"), again.position("topic")) == (b"1", 7)
    again.close()


def test_a_data_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"METERSTREAM_DATA_DIR=.*/file/data cannot be used: .*Not a directory"):
        lock_data_dir(tmp_path / "file" / "data")
