"""The composition root: every part that the product is made of is put together here, and nowhere else."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import structlog

from app.domain.reference import ReferenceBook
from app.settings import Settings, load_settings
from app.streams.pipeline import Context, Pipeline
from app.streams.sources import Log, OfflineMessage
from app.streams.tables import MemoryStore, Tables
from app.streams.validate import reading_of
from app.wire import compiled
from app.wire.documents import version_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from app.domain.locations import Location
    from app.domain.tariffs import SeriesDay, Tariff
    from app.streams.agents import MeterApp
    from app.streams.held import Entry
    from app.streams.outputs import Metric, Output
    from app.streams.pipeline import Stage

log = structlog.get_logger(__name__)

OFFLINE_TOPIC = "meter.records"


def create_app(settings: Settings | None = None, *, validate: Stage = reading_of) -> MeterApp:
    """Return the worker's application, wired and not started. A part can be replaced by another with the same promise."""
    from app.streams.agents import build_app
    from app.streams.chunks import Gate
    from app.streams.shard import ShardParts
    from app.streams.store import StoreCache
    from app.streams.topics import topic_names

    given = settings or load_settings()
    log.info("compiled_functions", used=compiled.use(wanted=given.compiled))
    parts = ShardParts(
        settings=given,
        names=topic_names(given),
        book=ReferenceBook(),
        gate=Gate(),
        cache=StoreCache(given.store_cache_mb),
        validate=validate,
    )
    app = build_app(given, parts)
    if given.health_port is not None:
        from app.web.health import HealthServer

        app.beside = (HealthServer(given.health_host, given.health_port, app.condition),)
    return app


class OfflineResult(NamedTuple):
    """What pricing without Kafka leads to: priced and rejected records and intervals in their public forms, and counts."""

    priced: list[bytes]
    rejected: list[bytes]
    counts: Counter[Metric]
    intervals: list[bytes]


class _OfflineSink:
    """Gathers outputs in memory."""

    def __init__(self) -> None:
        self.outputs: dict[Output, list[tuple[bytes | None, bytes]]] = {}

    def emit(
        self,
        output: Output,
        key: bytes | None,
        value: bytes | None,
        *,
        partition: int | None = None,  # noqa: ARG002 - there is one partition
        headers: Sequence[tuple[str, bytes]] = (),  # noqa: ARG002 - nothing is forwarded
    ) -> None:
        """Keep an output."""
        assert value is not None  # noqa: S101 - nothing is too old, and nothing deleted
        self.outputs.setdefault(output, []).append((key, value))

    def emit_all(self, output: Output, entries: list[Entry]) -> None:
        """Keep outputs."""
        for key, value in entries:
            self.emit(output, key, value)


def price_offline(
    records: Iterable[bytes],
    locations: Iterable[Location],
    tariffs: Iterable[Tariff],
    series: Iterable[SeriesDay] = (),
) -> OfflineResult:
    """Price messages of `meter.records` with the worker's own stages, without Kafka.

    Each message counts as submitted after those before it. `submitted_at` is 1970-01-01T00:00:00Z, because nothing was, and
    `sequence` is 1; everything else is what a worker publishes once it has read all of them, sorted by interval_id.
    """
    book = ReferenceBook()
    for tariff in tariffs:
        book.put_tariff(tariff, version_key(tariff))
    for day in series:
        book.put_series(day)
    for location in locations:
        book.put_location(location)
    sink = _OfflineSink()
    pipeline = Pipeline(Context(0, 1, OFFLINE_TOPIC), Tables(MemoryStore()), book, sink)
    submitted = (OfflineMessage(offset, 0, None, value) for offset, value in enumerate(records))
    pipeline.take_records(Log(OFFLINE_TOPIC, 0), submitted)
    pipeline.settle(0.0)
    # In order of time within each meter: what is counted towards tiers then grows, and nothing is priced twice.
    found = sorted(sink.outputs.pop("intervals", []), key=_by_key)
    pipeline.take_intervals(Log("meter.intervals", 0), [OfflineMessage(0, 0, key, value) for key, value in found])
    while pipeline.walks:
        pipeline.walk(len(found))
    return OfflineResult(
        priced=[value for _, value in sorted(sink.outputs.get("priced", []), key=_by_key)],
        rejected=[value for _, value in sink.outputs.get("rejected", [])],
        counts=pipeline.metrics,
        intervals=[value for _, value in found],
    )


def _by_key(output: tuple[bytes | None, bytes]) -> bytes:
    return output[0] or b""
