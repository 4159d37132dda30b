"""One broker with the input of a job on it: topics for each run of each side, and what the broker tells of their progress."""

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import GroupCoordinatorNotAvailableError
from aiokafka.structs import TopicPartition

from app.settings import Settings, load_settings
from app.streams.publish import Publisher
from app.streams.topics import create_topics, topic_configs, topic_names
from benchmarks.peers.job import Job, documents, messages
from benchmarks.peers.sides import Side
from benchmarks.setting import read_all

PARTITIONS: Final = 4
_SETTLE_S: Final = 0.2
_DELETE_TIMEOUT_S: Final = 60.0
_LEAVE_TIMEOUT_S: Final = 120.0
_MEMBERS: Final = 5
"""Where the members stand in the broker's description of a group."""


class Tuning(NamedTuple):
    """What the peers are given alike: what one would choose for throughput, or for latency. A worker has its defaults else."""

    commit_interval_ms: int = 1000
    linger_ms: int = 20
    fetch_max_bytes: int = 4_194_304
    batch_bytes: int = 1_048_576
    cache_mb: int = 64


class Outputs(NamedTuple):
    """The topics of one run, its consumer group, and how its program is told of them."""

    group: str
    priced: str
    rejected: str
    arguments: list[str]
    environ: dict[str, str]
    state_dir: Path


class Arena:
    """The input of a job on a broker, and a folder. An asynchronous context manager, made by `arena`."""

    def __init__(self, job: Job, settings: Settings, environ: dict[str, str], folder: Path) -> None:
        """Connect to nothing yet."""
        self.job: Final = job
        self.settings: Final = settings
        self.folder: Final = folder
        self._environ: Final = environ
        self._documents: Final = folder / "documents.json"
        self.admin: Final = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
        self._consumer = AIOKafkaConsumer(bootstrap_servers=settings.bootstrap_servers, enable_auto_commit=False)

    async def open(self) -> None:
        """Connect, and publish the documents."""
        await self.admin.start()
        await self._consumer.start()
        await create_topics(self.settings)
        given, names = documents(self.job), topic_names(self.settings)
        self._documents.write_text(json.dumps(given))
        async with Publisher(self.settings.bootstrap_servers) as publisher:
            for one in given["locations"]:
                await publisher.send(names.locations, one["location_id"].encode(), json.dumps(one).encode())
            tariff = given["tariff"]
            await publisher.send(names.tariffs, tariff["tariff_id"].encode(), json.dumps(tariff).encode())

    async def publish_input(self) -> None:
        """Publish the records of the job."""
        topic = topic_names(self.settings).records
        async with Publisher(self.settings.bootstrap_servers) as publisher:
            for message in messages(self.job):
                await publisher.send(topic, message.key, message.value)

    async def empty_input(self) -> None:
        """Take all records out of the input: the topic is made anew."""
        await self._forget_topics()
        await self._delete_topics([topic_names(self.settings).records])
        await create_topics(self.settings)

    async def close(self) -> None:
        """Disconnect, and delete the topics."""
        await self._delete(self.settings.topic_prefix)
        await self._consumer.stop()
        await self.admin.close()

    async def prepare(self, side: Side, run: str, tuning: Tuning) -> Outputs:
        """Make the topics of a run and write what its program is told."""
        group = f"{self.settings.topic_prefix}{side.name}-{run}"
        if side.is_ours:
            return await self._prepare_ours(group, tuning)
        priced, rejected = f"{group}.priced", f"{group}.rejected"
        configs, names = topic_configs(self.settings), topic_names(self.settings)
        alike = {priced: configs[names.priced], rejected: configs[names.rejected]}
        await self.admin.create_topics([NewTopic(t, PARTITIONS, 1, topic_configs=c) for t, c in alike.items()])
        state_dir = self.folder / group
        state_dir.mkdir()
        config = {
            "bootstrap_servers": self.settings.bootstrap_servers,
            "input": names.records,
            "priced": priced,
            "rejected": rejected,
            "group": group,
            "documents": str(self._documents),
            "state_dir": str(state_dir),
            "partitions": PARTITIONS,
            **tuning._asdict(),
            **dict(side.config),
        }
        config_path = self.folder / f"{group}.json"
        config_path.write_text(json.dumps(config))
        return Outputs(group, priced, rejected, [str(config_path)], {}, state_dir)

    async def _prepare_ours(self, group: str, tuning: Tuning) -> Outputs:
        """Give a worker of this project topics without anything of another one; the records and documents stay."""
        names = topic_names(self.settings)
        await self._delete_topics([names.intervals, names.priced, names.rejected, names.records_by_location])
        data_dir = self.folder / group
        data_dir.mkdir()
        environ = self._environ | {
            "METERSTREAM_APP_ID": group,
            "METERSTREAM_DATA_DIR": str(data_dir),
            # What is published of an incomplete interval is no part of the job.
            "METERSTREAM_EMIT_EVERY_S": "86400",
            "METERSTREAM_TRANSACTION_MAX_MS": str(tuning.commit_interval_ms),
        }
        settings = load_settings(environ)
        await create_topics(settings)
        return Outputs(group, names.priced, names.rejected, [], environ, data_dir)

    async def discard(self, outputs: Outputs) -> None:
        """Delete every topic of a run, those that its program has made too."""
        await self._forget_topics()
        await self._delete(outputs.group)

    async def _forget_topics(self) -> None:
        """Ask with a new consumer: the old one would ask for topics of earlier runs for ever."""
        await self._consumer.stop()
        self._consumer = AIOKafkaConsumer(bootstrap_servers=self.settings.bootstrap_servers, enable_auto_commit=False)
        await self._consumer.start()

    async def ends(self, *topics: str) -> int:
        """Return how many offsets some topics have: their messages, and markers of transactions."""
        tps = [TopicPartition(topic, p) for topic in topics for p in range(PARTITIONS)]
        return sum((await self._consumer.end_offsets(tps)).values())

    async def committed(self, group: str, topic: str) -> int:
        """Return the sum of the positions that a group has committed on a topic."""
        return sum(max(0, offset) for tp, offset in (await self._positions(group)).items() if tp.topic == topic)

    async def _positions(self, group: str) -> dict[TopicPartition, int]:
        """Return what a group has committed; nothing while the broker has no group yet."""
        try:
            offsets = await self.admin.list_consumer_group_offsets(group)
        except GroupCoordinatorNotAvailableError:
            return {}
        return {tp: at.offset for tp, at in offsets.items()}

    async def wait_until_left(self, group: str) -> None:
        """Wait until a group has no members: one that was killed is missed after its session timeout."""
        end_s = time.monotonic() + _LEAVE_TIMEOUT_S
        while True:
            (response,) = await self.admin.describe_consumer_groups([group])
            if not response.groups[0][_MEMBERS]:
                return
            if time.monotonic() > end_s:
                raise TimeoutError(f"the members of {group} do not leave")
            await asyncio.sleep(_SETTLE_S)

    async def is_committed(self, side: Side, outputs: Outputs) -> bool:
        """Tell whether everything that a side reads has been committed by it."""
        names = topic_names(self.settings)
        if await self.committed(outputs.group, names.records) < await self.ends(names.records):
            return False
        if not side.is_ours:
            return True
        # The last offset of each partition of `meter.intervals` is a marker, which nobody commits a position behind.
        ends = await self._consumer.end_offsets([TopicPartition(names.intervals, p) for p in range(PARTITIONS)])
        committed = await self._positions(outputs.group)
        return all(committed.get(tp, 0) >= end - 1 for tp, end in ends.items() if end)

    async def read(self, topic: str) -> list[Any]:
        """Return the committed messages of a topic."""
        return await read_all(self.settings, topic)

    async def _delete(self, mark: str) -> None:
        await self._delete_topics([topic for topic in await self.admin.list_topics() if mark in topic])

    async def _delete_topics(self, topics: list[str]) -> None:
        """Delete topics and wait until they are gone: their names may be needed again."""
        existing = [topic for topic in topics if topic in set(await self.admin.list_topics())]
        if not existing:
            return
        await self.admin.delete_topics(existing)
        end_s = time.monotonic() + _DELETE_TIMEOUT_S
        while set(existing) & set(await self.admin.list_topics()):
            if time.monotonic() > end_s:
                raise TimeoutError(f"the broker does not delete {existing}")
            await asyncio.sleep(_SETTLE_S)


@asynccontextmanager
async def arena(job: Job, bootstrap_servers: str, environ: Mapping[str, str], prefix: str) -> AsyncIterator[Arena]:
    """Lend a broker's topics with the documents of a job."""
    with tempfile.TemporaryDirectory(prefix="meterstream-peers-") as folder:
        own = {
            **environ,
            "METERSTREAM_BOOTSTRAP_SERVERS": bootstrap_servers,
            "METERSTREAM_TOPIC_PREFIX": prefix,
            "METERSTREAM_PARTITIONS": str(PARTITIONS),
            "METERSTREAM_APP_ID": f"{prefix}app",
            "METERSTREAM_DATA_DIR": folder,
            "METERSTREAM_LOG_FORMAT": "json",
        }
        here = Arena(job, load_settings(own), own, Path(folder))
        await here.open()
        try:
            yield here
        finally:
            await here.close()
