"""The Faust application: its topics, its tables and its two agents, which hand the chunks of a partition to its shard."""

import logging
from typing import IO, Any, Final, Protocol

import faust
import structlog
from faust.app.base import BootStrategy
from faust.types import TP

from app.domain.reference import ReferenceBook
from app.streams.chunks import EXIT_REFUSED, ChunkTopic, ChunkTransport, Gate
from app.streams.condition import Condition
from app.streams.config import StreamConfig
from app.streams.faults import StoreError
from app.streams.faust_tables import ShardTable
from app.streams.publish import BrokerUnreachableError
from app.streams.recovery import ShardTableManager
from app.streams.reference import ReferenceReader
from app.streams.rights import AccessError, check_access, worker_needs
from app.streams.security import security_options, tls_context, uses_sasl, uses_tls
from app.streams.shard import ShardParts
from app.streams.shards import Shards, exit_for_store
from app.streams.store import lock_data_dir
from app.streams.topics import TopicNames, TopicsError, require_topics

_QUEUE_CHUNKS: Final = 8
_EXIT_CODES: Final[dict[type[Exception], int]] = {TopicsError: 2, BrokerUnreachableError: 3, AccessError: EXIT_REFUSED}
"""Those of `meterstream worker`, which checks the same before it builds an application."""

log = structlog.get_logger(__name__)


class _NoWeb(BootStrategy):
    """Faust's start without its web server, whatever its command line says: its pages have no authentication."""

    enable_web = False


class Beside(Protocol):
    """Something that runs in the worker's loop from before the first document is read until the last shard is closed."""

    async def start(self) -> None:
        """Begin."""

    async def stop(self) -> None:
        """End."""


class MeterApp(faust.App):
    """Faust's application with the parts of meterstream that its services look for."""

    settings: StreamConfig
    gate: Gate
    shards: Shards
    reference: ReferenceReader
    topic_names: TopicNames
    data_dir_lock: IO[bytes]
    book: ReferenceBook
    beside: tuple[Beside, ...] = ()

    logger = logging.getLogger("faust.app")
    BootStrategy = _NoWeb

    def _create_directories(self) -> None:
        try:
            self.data_dir_lock = lock_data_dir(self.settings.data_dir)
        except StoreError as error:
            exit_for_store(error)

    def _new_transport(self) -> Any:
        return ChunkTransport(self.conf.broker_consumer, self)

    async def on_first_start(self) -> None:
        """Read the reference documents whole before anything is fetched."""
        await super().on_first_start()
        for each in self.beside:
            await each.start()
        await self._require_surroundings()
        await self.reference.start()

    async def _require_surroundings(self) -> None:
        """Check the broker, the rights and the topics: what is missing is a line, and ends the process before it begins."""
        try:
            await check_access(self.settings, worker_needs(self.settings))
            await require_topics(self.settings)
        except (AccessError, BrokerUnreachableError, TopicsError) as error:
            log.critical("worker_cannot_start", reason=str(error))
            # Not an Exception: Faust would log where that was raised, in thirty lines, and end with another status.
            raise SystemExit(_EXIT_CODES[type(error)]) from None

    async def on_stop(self) -> None:
        """Close the shards while the consumer still is in its group, so that their last transactions are committed."""
        await self.shards.stop()
        await self.reference.stop()
        for each in self.beside:
            await each.stop()
        await super().on_stop()

    def condition(self) -> Condition:
        """Return what the worker does at this moment."""
        return Condition(self.reference.is_read, self.shards.condition())


def build_app(settings: StreamConfig, parts: ShardParts) -> MeterApp:
    """Return the application with its agents; nothing is started."""
    names = parts.names
    app = MeterApp(
        settings.app_id,
        broker=[f"kafka://{server}" for server in settings.bootstrap_servers.split(",")],
        broker_session_timeout=settings.session_timeout_ms / 1000,
        broker_heartbeat_interval=settings.heartbeat_interval_ms / 1000,
        broker_request_timeout=40.0,
        broker_credentials=_credentials(settings),
        datadir=str(settings.data_dir),
        Topic=ChunkTopic,
        Table=ShardTable,
        TableManager=ShardTableManager,
        store="memory://",
        stream_buffer_maxsize=_QUEUE_CHUNKS,
        stream_wait_empty=False,
        stream_recovery_delay=0.0,
        topic_disable_leader=True,
        topic_allow_declare=False,
        reply_create_topic=False,
        web_enabled=False,
        worker_redirect_stdouts=False,
        autodiscover=False,
    )
    app.settings = settings
    app.gate = parts.gate
    app.book = parts.book
    app.topic_names = names
    app.shards = Shards(parts)
    app.reference = ReferenceReader(settings, names, parts.book, app.shards.on_reference_change)
    app.shards.reference = app.reference
    _declare(app)
    return app


def _credentials(settings: StreamConfig) -> Any:
    """Return what Faust's own clients have to show; the consumer of chunks is made by ourselves."""
    if uses_sasl(settings):
        options = security_options(settings)
        return faust.SASLCredentials(
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            mechanism=options["sasl_mechanism"],
            ssl_context=options.get("ssl_context"),
        )
    return faust.SSLCredentials(tls_context(settings)) if uses_tls(settings) else None


def _declare(app: MeterApp) -> None:
    """Declare topics, tables and agents. None of these topics is acknowledged: transactions commit their positions."""
    names = app.topic_names
    records = app.topic(names.records, names.records_by_location, acks=False)
    intervals = app.topic(names.intervals, acks=False)
    changelog = app.topic(names.intervals_changelog, acks=False)
    priced = app.topic(names.priced, acks=False)
    app.Table("intervals", changelog_topic=changelog, partitions=app.settings.partitions)
    app.Table("priced", changelog_topic=priced, partitions=app.settings.partitions)

    async def bucket(stream: Any) -> None:
        """Validate the records of each partition and put them into intervals."""
        async for event in stream.events():
            app.shards.deliver(TP(event.message.topic, event.message.partition), event.value)

    async def cost(stream: Any) -> None:
        """Price the intervals of each partition."""
        async for event in stream.events():
            app.shards.deliver(TP(event.message.topic, event.message.partition), event.value)

    app.agent(records, name="bucket")(bucket)
    app.agent(intervals, name="cost")(cost)

    async def close_shards(*_: Any, **__: Any) -> None:
        await app.shards.close()

    app.on_partitions_revoked.connect(close_shards)
