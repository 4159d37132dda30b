"""The local store of one partition: RocksDB, one database for both tables, so that a transaction's changes are one write.

It is a copy: everything in it can be read again from the changelog topics, and the changelog positions that it corresponds to
are written together with the changes. A store that cannot be opened, or that belongs to other topics, is thrown away.
"""

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final

import structlog
from rocksdict import (
    BlockBasedIndexType,
    BlockBasedOptions,
    Cache,
    DbClosedError,
    DBCompactionStyle,
    DBCompressionType,
    Options,
    Rdict,
    ReadOptions,
    WriteBatch,
    WriteBufferManager,
    WriteOptions,
)

from app.streams.faults import StoreCorruptError, StoreError

log = structlog.get_logger(__name__)

_POSITION_MARK: Final = b"@"
_FIRST: Final = b"\0"
"""Behind one key, and before all others that are greater."""

_MEMTABLE_BYTES: Final = 16 * 1024 * 1024
_MEMTABLES: Final = 2
_UNWRITTEN_BYTES: Final = 32 * 1024 * 1024
"""Of all stores of a process together; RocksDB writes the largest of them to a file when there is about as much."""
_SORTED_RUNS: Final = 8
"""So many files lie beside each other before some are merged: fewer cost more merging, and the filters say where not to look."""
_ANY_NUMBER: Final = 1 << 30
_BLOCK_BYTES: Final = 8 * 1024
_BLOOM_BITS: Final = 10
_WITHOUT_LOG: Any = WriteOptions()
_WITHOUT_LOG.disable_wal = True
"""What a killed process had not written to a file yet is read from the changelog again, from the position that the files have."""

_DISK_REFUSES: Final = tuple(
    map(
        os.strerror,
        (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EMFILE, errno.ENFILE),
    )
)
"""What the operating system says when it takes nothing more: the files that are there are right, and are kept."""

_FORMAT: Final = "2"
_FORMAT_KEY: Final = b"#format"


def lock_data_dir(data_dir: Path) -> IO[bytes]:
    """Take a data folder for this process, until the file that is returned is closed or the process ends.

    Raises:
        StoreError: another worker has it, or the disk does not take it.

    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = (data_dir / "lock").open("ab")
    except OSError as error:
        message = f"METERSTREAM_DATA_DIR={data_dir} cannot be used: {error}"
        raise StoreError(message) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        message = f"{data_dir} is in use by another worker (each needs a METERSTREAM_DATA_DIR of its own)"
        raise StoreError(message) from error
    return lock


class StoreCache:
    """The memory that the stores of a worker share: the block cache, and what is written and not in files yet."""

    def __init__(self, megabytes: int) -> None:
        """Reserve nothing yet; grow to at most so many megabytes."""
        self.cache: Final = Cache(megabytes * 1024 * 1024)
        self.unwritten: Final = WriteBufferManager(_UNWRITTEN_BYTES, allow_stall=False)


class PartitionStore:
    """A sorted map of bytes on disk, with the changelog positions that it corresponds to."""

    def __init__(self, path: Path, cache: StoreCache, identity: str) -> None:
        """Open the store of the topics that `identity` names, or begin an empty one where there is none that can be used.

        Raises:
            StoreError: another process has it, or the disk does not take it.

        """
        self.path: Final = path
        self.identity: Final = identity
        self._cache = cache
        self._format = f"{_FORMAT}\n{identity}".encode()
        self.take_back()

    def take_back(self) -> None:
        """Open it after `close`, with what another process has made of it; begin empty where it cannot be used.

        Raises:
            StoreError: another process has it, or the disk does not take it.

        """
        self._db = self._open()
        if not self._is_ours():
            self.wipe()

    def _is_ours(self) -> bool:
        try:
            return self.get(_FORMAT_KEY) == self._format
        except StoreCorruptError as error:
            log.warning("store_unusable", path=str(self.path), reason=str(error), action="rebuild from the changelog")
            return False

    def _open(self) -> Rdict:
        try:
            return self._open_or_create()
        except Exception as error:
            if "lock file" in str(error) or "lock hold" in str(error):
                message = (
                    f"{self.path} is in use by another process (each worker needs a METERSTREAM_DATA_DIR of its own)"
                )
                raise StoreError(message) from error
            if any(refusal in str(error) for refusal in _DISK_REFUSES):
                message = f"{self.path} cannot be opened: {error}"
                raise StoreError(message) from error
            log.warning("store_unusable", path=str(self.path), reason=str(error), action="rebuild from the changelog")
        try:
            self.remove()
            return self._open_or_create()
        except Exception as error:
            message = f"{self.path} cannot be opened: {error}"
            raise StoreError(message) from error

    def _open_or_create(self) -> Rdict:
        self.path.mkdir(parents=True, exist_ok=True)
        options = _options(self._cache)
        options.set_write_buffer_manager(self._cache.unwritten)
        # Named too: what is not named is opened with the options that its files tell of, and these know no cache and no filter.
        return Rdict(str(self.path), options=options, column_families={"default": options})

    def remove(self) -> None:
        """Delete the files of the store, which is closed."""
        if self.path.is_dir():
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            self.path.unlink(missing_ok=True)

    def wipe(self) -> None:
        """Begin empty.

        Raises:
            StoreError: the disk does not take it.

        """
        with contextlib.suppress(StoreError):  # what cannot be written to files any more is not wanted either
            self.close()
        try:
            self.remove()
            self._db = self._open()
            self._db[_FORMAT_KEY] = self._format
        except StoreError:
            raise
        except Exception as error:
            raise self._not_written(error) from error

    def close(self) -> None:
        """Write to files what is in memory and close the database; of no use then before `take_back`, whatever is raised.

        Raises:
            StoreError: the disk does not take it.
            StoreCorruptError: what is on the disk is not what was written.

        """
        try:
            self._db.close()
        except DbClosedError:
            return
        except Exception as error:
            raise self._not_written(error) from error

    def get(self, key: bytes) -> bytes | None:
        """Return a value, or None.

        Raises:
            StoreCorruptError: what is on the disk is not what was written.

        """
        try:
            value: bytes | None = self._db.get(key)
        except Exception as error:
            raise self._corrupt(error) from error
        return value

    def items(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the entries with start <= key < stop, in order.

        Raises:
            StoreCorruptError: what is on the disk is not what was written. (An iterator of RocksDB only ends early then.)

        """
        bounded = _bounded(stop)
        entries: Any = self._db.items(from_key=start, read_opt=bounded)
        key = b""
        for key, value in entries:
            yield key, value
        self._check_end(key + _FIRST if key else start, stop)

    def first(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Return the first entries with start <= key < stop, in order, at most `limit` of them.

        Raises:
            StoreCorruptError: what is on the disk is not what was written.

        """
        bounded = _bounded(stop)
        entries: Any = self._db.items(from_key=start, read_opt=bounded)
        found = list(islice(entries, limit))
        if len(found) < limit:
            self._check_end(found[-1][0] + _FIRST if found else start, stop)
        return found

    def _check_end(self, start: bytes, stop: bytes) -> None:
        """Ask whether there is really nothing in [start, stop), where an iterator of items ended: it does not tell why."""
        cursor: Any = self._db.iter()
        cursor.seek(start)
        if cursor.valid() and cursor.key() < stop:
            raise self._corrupt(RuntimeError(f"the entries from {start!r} on are not to be read"))
        self._check(cursor)

    def last_before(self, key: bytes, start: bytes) -> bytes | None:
        """Return the greatest key in [start, key), or None.

        Raises:
            StoreCorruptError: what is on the disk is not what was written.

        """
        cursor: Any = self._db.iter()
        cursor.seek_for_prev(key)
        if cursor.valid() and cursor.key() == key:
            cursor.prev()
        if not cursor.valid():
            self._check(cursor)
            return None
        found: bytes = cursor.key()
        return found if found >= start else None

    def _check(self, cursor: Any) -> None:
        """Ask an iterator that ended whether it came to the end."""
        try:
            cursor.status()
        except Exception as error:
            raise self._corrupt(error) from error

    def _corrupt(self, error: BaseException) -> StoreCorruptError:
        return StoreCorruptError(f"{self.path} cannot be read: {error}")

    def _not_written(self, error: BaseException) -> StoreError:
        if str(error).startswith("Corruption"):
            return self._corrupt(error)
        return StoreError(f"{self.path} cannot be written: {error}")

    def position(self, topic: str) -> int:
        """Return the offset of the changelog's first record that is not in the store.

        Raises:
            StoreCorruptError: what is on the disk is not what was written.

        """
        value = self.get(_POSITION_MARK + topic.encode())
        return 0 if value is None else int(value)

    def write(self, entries: Iterable[tuple[bytes, bytes | None]], positions: Mapping[str, int]) -> None:
        """Put and delete entries together with the changelog positions that they bring the store to.

        Raises:
            StoreError: the disk does not take it.
            StoreCorruptError: what is on the disk is not what was written.

        """
        batch = WriteBatch(raw_mode=True)
        put, delete = batch.put, batch.delete
        for key, value in entries:
            if value is None:
                delete(key)
            else:
                put(key, value)
        for topic, offset in positions.items():
            put(_POSITION_MARK + topic.encode(), b"%d" % offset)
        try:
            self._db.write(batch, _WITHOUT_LOG)
        except Exception as error:
            raise self._not_written(error) from error

    def begin_bulk(self) -> None:
        """Expect very many entries: what is written is not put in order in the background meanwhile, nor compressed.

        Raises:
            StoreError: the disk does not take it.

        """
        self._set(disable_auto_compactions="true", compression="kNoCompression")

    def end_bulk(self) -> None:
        """Put in order and compress, in the background, what has been written, and from now on whatever will be.

        Raises:
            StoreError: the disk does not take it.

        """
        self._set(disable_auto_compactions="false", compression="kLZ4Compression")

    def _set(self, **options: str) -> None:
        try:
            self._db.set_options(options)  # RocksDB writes a file with its options each time
        except Exception as error:
            raise self._not_written(error) from error


def _bounded(stop: bytes) -> ReadOptions:
    """Return options that end an iterator before a key. They hold the key that it compares with: keep them until it ends."""
    bounded = ReadOptions()
    bounded.set_iterate_upper_bound(stop)
    return bounded


def _options(cache: StoreCache) -> Options:
    """Return small, bounded buffers, and a filter that answers "never seen" without a look at the disk."""
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_size(_MEMTABLE_BYTES)
    options.set_max_write_buffer_number(_MEMTABLES)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_keep_log_file_num(2)
    options.set_max_background_jobs(2)
    # By levels, each file of every flush would be merged with all of the next level: ids of all meters are in each of them.
    options.set_compaction_style(DBCompactionStyle.universal())
    options.set_level_zero_file_num_compaction_trigger(_SORTED_RUNS)
    # A write that waits for the merging holds the interpreter's lock, and everything with it: files may lie there meanwhile.
    options.set_level_zero_slowdown_writes_trigger(_ANY_NUMBER)
    options.set_level_zero_stop_writes_trigger(_ANY_NUMBER)
    table = BlockBasedOptions()
    table.set_block_size(_BLOCK_BYTES)
    table.set_bloom_filter(_BLOOM_BITS, block_based=False)
    table.set_block_cache(cache.cache)
    table.set_cache_index_and_filter_blocks(True)
    # In parts: the index of a file of 64 MB is larger than what one shard of the cache holds, and would be read for each look.
    table.set_index_type(BlockBasedIndexType.two_level_index_search())
    table.set_partition_filters(True)
    table.set_pin_top_level_index_and_filter(True)
    table.set_pin_l0_filter_and_index_blocks_in_cache(True)
    options.set_block_based_table_factory(table)
    return options
