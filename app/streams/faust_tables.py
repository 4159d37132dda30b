"""The Faust tables `intervals` and `priced`: what anybody in the application reads of the shards' state.

They are read like any Faust table (`app.tables["priced"][interval_id]`); they are written only by the transactions of shards.
"""

import logging
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from faust.stores.base import Store
from faust.tables.table import Table

from app.domain.partitioning import partition_for
from app.domain.records import MeterId
from app.streams.held import INTERVAL_MARK
from app.streams.shards import Shards
from app.streams.tables import PRICED_MARK
from app.wire.interval import MeterText, decode_state

_MARKS: Final[dict[str, bytes]] = {"intervals": INTERVAL_MARK, "priced": PRICED_MARK}


class ShardStore(Store[str, Any]):
    """A read-only view of one table over all shards that are open in this worker."""

    logger = logging.getLogger("faust.stores")

    def __init__(self, *args: Any, shards: Shards, partitions: int, **kwargs: Any) -> None:
        """Look into some shards."""
        super().__init__(*args, **kwargs)
        self._shards = shards
        self._partitions = partitions
        self._mark = _MARKS[self.table_name]

    def __getitem__(self, interval_id: str) -> Any:
        value = self._find(interval_id)
        if value is None:
            raise KeyError(interval_id)
        return self._public(interval_id, value)

    def __contains__(self, interval_id: object) -> bool:
        return isinstance(interval_id, str) and self._find(interval_id) is not None

    def __iter__(self) -> Iterator[str]:
        for shard in self._shards.open_shards():
            for key, _ in shard.store.items(self._mark, self._mark + b"\xff"):
                yield key[1:].decode()

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TypeError(_READ_ONLY)

    def __delitem__(self, key: Any) -> None:
        raise TypeError(_READ_ONLY)

    def clear(self) -> None:
        """Refuse: the table is written by transactions only."""
        raise TypeError(_READ_ONLY)

    def apply_changelog_batch(self, batch: Iterable[Any], to_key: Any, to_value: Any) -> None:
        """Do nothing: shards catch up by themselves."""

    def reset_state(self) -> None:
        """Do nothing: shards are thrown away and opened by themselves."""

    def persisted_offset(self, tp: Any) -> int | None:
        """Return nothing: Faust's recovery is not used."""
        return None

    async def backup_partition(self, tp: Any, flush: bool = True, purge: bool = False, keep: int = 1) -> None:  # noqa: FBT001, FBT002
        """Refuse: the changelog topics are the backup."""
        raise TypeError(_READ_ONLY)

    def restore_backup(self, tp: Any, latest: bool = True, backup_id: int = 0) -> None:  # noqa: FBT001, FBT002
        """Refuse: the changelog topics are the backup."""
        raise TypeError(_READ_ONLY)

    def _find(self, interval_id: str) -> bytes | None:
        location_id, _, _ = interval_id.partition("|")
        shard = self._shards.shard(partition_for(location_id, self._partitions))
        return None if shard is None else shard.store.get(self._mark + interval_id.encode())

    def _public(self, interval_id: str, value: bytes) -> Any:
        """Return the public form of a stored value."""
        if self._mark == PRICED_MARK:
            return msgspec.json.decode(value)
        location_id, device_id, flow, direction, _ = interval_id.split("|")
        meter_id = MeterId(location_id, device_id, flow, direction)  # type: ignore[arg-type]
        return msgspec.json.decode(MeterText(meter_id).encode(decode_state(value)))


_READ_ONLY: Final = "this table is written by the transactions of its partitions only"


class ShardTable(Table[str, Any]):
    """A Faust table whose data are the shards'."""

    logger = logging.getLogger("faust.tables")

    def _new_store(self) -> ShardStore:
        app: Any = self.app
        return ShardStore(
            "shards:",
            app,
            self,
            table_name=self.name,
            key_type=str,
            loop=self.loop,
            shards=app.shards,
            partitions=app.settings.partitions,
        )
