"""Follow the reference documents: locations, tariffs and series, read whole before anything is priced, and from then on.

Every worker reads all partitions of the three compacted topics into one book. A document that cannot be used is logged with
every problem that it has, and the one before it stays in force.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition
from msgspec import Struct

from app.domain.reference import NOTHING, Affected, ReferenceBook
from app.streams.config import StreamConfig
from app.streams.fetch import fetch_parsed
from app.streams.security import client_options
from app.streams.timeouts import REQUEST_TIMEOUT_MS
from app.streams.topics import TopicNames
from app.wire.documents import DocumentError, version_key
from app.wire.location import parse_location
from app.wire.series import parse_series
from app.wire.tariff import parse_tariff

log = structlog.get_logger(__name__)

Kind = Literal["location", "tariff", "series"]
Positions = dict[str, dict[str, int]]
"""Topic -> partition (as text, for JSON) -> offset of the first document that is not in the book."""


def earlier(one: Positions, other: Positions) -> Positions:
    """Return the positions up to which both have read."""
    return {
        topic: {partition: min(offset, other.get(topic, {}).get(partition, 0)) for partition, offset in offsets.items()}
        for topic, offsets in one.items()
    }


class Known(Struct, frozen=True, gc=False):
    """Where the newest version of a document stood."""

    topic: str
    partition: int
    offset: int


class Change(NamedTuple):
    """What a batch of documents means: the intervals to price again, the locations to look up again, how far it was read."""

    affected: list[Affected]
    location_ids: list[str]
    positions: Positions


class ReferenceReader:
    """Keeps a book up to date with the reference topics."""

    def __init__(
        self,
        settings: StreamConfig,
        names: TopicNames,
        book: ReferenceBook,
        on_change: Callable[[Change], None],
    ) -> None:
        """Read nothing yet; `on_change` is told what each batch of changes affects, once the book has been read whole."""
        self._settings = settings
        self._kinds: Final[dict[str, Kind]] = {
            names.locations: "location",
            names.tariffs: "tariff",
            names.series: "series",
        }
        self._book = book
        self._on_change = on_change
        self._known: Final[dict[Kind, dict[str, Known]]] = {kind: {} for kind in self._kinds.values()}
        self._positions: Positions = {topic: {} for topic in self._kinds}
        self._read: frozenset[TopicPartition] = frozenset()
        self._consumer: AIOKafkaConsumer | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def positions(self) -> Positions:
        """Return how far the book has been read."""
        return {topic: dict(offsets) for topic, offsets in self._positions.items()}

    @property
    def is_read(self) -> bool:
        """Tell whether everything that was there at the start has been read."""
        return self._task is not None

    async def start(self) -> None:
        """Read everything that is there, then go on reading in the background."""
        consumer = self._consumer = AIOKafkaConsumer(
            **client_options(self._settings),
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=self._settings.reference_poll_ms,
            metadata_max_age_ms=60_000,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )
        await consumer.start()
        tps = [TopicPartition(topic, p) for topic in self._kinds for p in await self._partitions(consumer, topic)]
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        await consumer.seek_to_beginning(*tps)
        behind = {tp for tp in tps if ends[tp] > 0}
        self._read = frozenset(tps)
        while behind:
            self._apply(await self._fetch(consumer))
            behind = {tp for tp in behind if await consumer.position(tp) < ends[tp]}
        for tp in tps:
            self._positions[tp.topic][str(tp.partition)] = await consumer.position(tp)
        log.info("reference_read", documents=sum(map(len, self._known.values())))
        self._task = asyncio.create_task(self._follow(consumer), name="reference")

    async def _fetch(self, consumer: AIOKafkaConsumer) -> dict[TopicPartition, list[Any]]:
        return await fetch_parsed(consumer, self._read, self._settings.reference_poll_ms / 1000)

    @staticmethod
    async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
        partitions = consumer.partitions_for_topic(topic)
        if not partitions:
            await consumer._client._wait_on_metadata(topic)  # noqa: SLF001 - the public call does not wait
            partitions = consumer.partitions_for_topic(topic)
        return partitions or set()

    async def stop(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._consumer is not None:
            await self._consumer.stop()

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            try:
                fetched = await self._fetch(consumer)
                if fetched:
                    affected, location_ids = self._apply(fetched)
                    self._on_change(Change(affected, location_ids, self.positions))
            except asyncio.CancelledError:
                raise
            except Exception:
                log.exception("reference_failed", action="try again")
                await asyncio.sleep(self._settings.reference_poll_ms / 1000)

    def _apply(self, fetched: dict[TopicPartition, list[Any]]) -> tuple[list[Affected], list[str]]:
        """Put what was fetched into the book; return what it affects, and the locations whose documents came."""
        found = []
        location_ids = []
        for tp, records in fetched.items():
            kind = self._kinds[tp.topic]
            known = self._known[kind]
            for record in records:
                key = (record.key or b"").decode(errors="replace")
                affected = self._take(kind, key, record)
                if affected != NOTHING:
                    found.append(affected)
                if kind == "location":
                    location_ids.append(key)
                known[key] = Known(tp.topic, tp.partition, record.offset)
            self._positions[tp.topic][str(tp.partition)] = records[-1].offset + 1
        return found, location_ids

    def _take(self, kind: Kind, key: str, record: Any) -> Affected:
        """Put one document into the book, or take it out."""
        try:
            if record.value is None:
                return self._remove(kind, key)
            return self._put(kind, key, record.value)
        except DocumentError as error:
            problems = error.problems
        except Exception as error:  # noqa: BLE001 - one document must not keep the others out
            problems = [f"{type(error).__name__}: {error}"]
        log.error("document_refused", kind=kind, key=key, offset=record.offset, problems=problems)
        return NOTHING

    def _put(self, kind: Kind, key: str, value: bytes) -> Affected:
        if kind == "location":
            location = parse_location(value)
            _check_key(key, location.location_id)
            return self._book.put_location(location)
        if kind == "tariff":
            tariff = parse_tariff(value)
            _check_key(key, tariff.tariff_id, version_key(tariff))
            return self._book.put_tariff(tariff, key)
        day = parse_series(value)
        _check_key(key, day.key)
        return self._book.put_series(day)

    def _remove(self, kind: Kind, key: str) -> Affected:
        if kind == "location":
            return self._book.remove_location(key)
        if kind == "tariff":
            return self._book.remove_tariff(key)
        return self._book.remove_series_day(key)

    def since(self, positions: Positions) -> list[tuple[Kind, str]]:
        """Return the documents that are newer than positions: what changed while a partition had no owner."""
        return [
            (kind, key)
            for kind, documents in self._known.items()
            for key, known in documents.items()
            if known.offset >= positions.get(known.topic, {}).get(str(known.partition), 0)
        ]


def _check_key(key: str, *expected: str) -> None:
    """Require the key that compaction and deletion go by."""
    if key not in expected:
        names = " or ".join(map(repr, expected))
        raise DocumentError([f"the message's key is {key!r} (expected {names}, the document's own)"])
