"""The topics: their names, how they are set up, and the commands that create and list them."""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code

from app.streams.config import StreamConfig
from app.streams.security import client_options

_HOUR_MS: Final = 3_600_000
_REJECTED_GROWTH: Final = 2
_REJECTED_ENVELOPE_BYTES: Final = 64 * 1024
STATE_BYTES: Final = 8 * 1024 * 1024
"""Largest interval, with all its records: READINGS_LIMIT of them, with references of full length."""


class TopicNames(NamedTuple):
    """The names of all topics, prefixed."""

    records: str
    records_by_location: str
    rejected: str
    intervals: str
    priced: str
    intervals_changelog: str
    tariffs: str
    series: str
    locations: str


class TopicResult(NamedTuple):
    """What became of a topic that was to be created; `detail` says how an existing one differs."""

    name: str
    status: Literal["created", "exists", "differs"]
    detail: str


class TopicInfo(NamedTuple):
    """A topic as it is on the broker."""

    name: str
    partitions: int
    replication: int
    config: Mapping[str, str]


def topic_names(settings: StreamConfig) -> TopicNames:
    """Return the names of the topics under a settings' prefix."""
    prefix = settings.topic_prefix
    return TopicNames(
        records=f"{prefix}meter.records",
        records_by_location=f"{prefix}meter.records-by-location",
        rejected=f"{prefix}meter.rejected",
        intervals=f"{prefix}meter.intervals",
        priced=f"{prefix}meter.priced",
        intervals_changelog=f"{prefix}{settings.app_id}-intervals-changelog",
        tariffs=f"{prefix}meter.tariffs",
        series=f"{prefix}meter.series",
        locations=f"{prefix}meter.locations",
    )


def topic_configs(settings: StreamConfig) -> dict[str, dict[str, str]]:
    """Return the configuration of each topic by its name."""
    names = topic_names(settings)
    record_bytes = settings.max_record_bytes
    # A refused message travels on as text inside JSON: escapes or base64, and a sentence around it.
    rejected_bytes = _REJECTED_GROWTH * record_bytes + _REJECTED_ENVELOPE_BYTES
    # The time of arrival, everywhere: a backfill of last year's readings is not deleted by time-based retention, and a worker
    # whose clock is wrong is not refused by the broker (a message from more than an hour ahead is).
    arrival = {"message.timestamp.type": "LogAppendTime"}
    compacted = arrival | {"cleanup.policy": "compact", "max.message.bytes": str(max(record_bytes, STATE_BYTES))}
    records = arrival | {
        "cleanup.policy": "delete",
        "retention.ms": str(settings.records_retention_hours * _HOUR_MS),
        "max.message.bytes": str(record_bytes),
    }
    configs = {
        names.records: records,
        # A header carries the time of the first publication over: it orders a forwarded record among the others.
        names.records_by_location: records | {"max.message.bytes": str(record_bytes + _REJECTED_ENVELOPE_BYTES)},
        names.rejected: arrival
        | {
            "cleanup.policy": "delete",
            "retention.ms": str(settings.rejected_retention_hours * _HOUR_MS),
            "max.message.bytes": str(rejected_bytes),
        },
        names.intervals: compacted,
        names.priced: compacted,
        names.intervals_changelog: compacted,
        names.tariffs: compacted,
        names.series: compacted,
        names.locations: compacted,
    }
    # All copies but one have to have a message before it counts: one broker may be lost, and what was acknowledged is not.
    in_step = {"min.insync.replicas": str(max(1, settings.replication_factor - 1))}
    return {name: config | in_step for name, config in configs.items()}


async def create_topics(settings: StreamConfig) -> list[TopicResult]:
    """Create the topics that do not exist; those that do are compared, never changed."""
    configs = topic_configs(settings)
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    try:
        existing = set(await admin.list_topics())
        new = [
            NewTopic(
                name=name,
                num_partitions=settings.partitions,
                replication_factor=settings.replication_factor,
                topic_configs=config,
            )
            for name, config in configs.items()
            if name not in existing
        ]
        created: dict[str, str] = {}
        if new:
            response = await admin.create_topics(new)
            for name, code, *rest in response.topic_errors:
                error = for_code(code)
                if code and error is not TopicAlreadyExistsError:
                    message = f"{name}: {rest[0] if rest and rest[0] else error.__name__}"
                    raise error(message)
                created[name] = "exists" if code else "created"
        found = {info.name: info for info in await _describe(admin, [n for n in configs if n in existing])}
        return [
            _compare(name, config, settings, found.get(name), created.get(name)) for name, config in configs.items()
        ]
    finally:
        await admin.close()


def _compare(
    name: str, config: Mapping[str, str], settings: StreamConfig, found: TopicInfo | None, created: str | None
) -> TopicResult:
    if found is None:
        return TopicResult(name, "created" if created == "created" else "exists", "")
    differences = []
    if found.partitions != settings.partitions:
        differences.append(f"partitions is {found.partitions} (expected {settings.partitions})")
    for key, expected in config.items():
        actual = found.config.get(key)
        if actual is not None and actual != expected:
            differences.append(f"{key} is {actual} (expected {expected})")
    return TopicResult(name, "differs" if differences else "exists", "; ".join(differences))


class TopicsError(Exception):
    """The topics are not as a worker needs them; `problems` has one sentence for each."""

    def __init__(self, problems: list[str]) -> None:
        """Keep the sentences."""
        super().__init__("; ".join(problems))
        self.problems: Final = problems


async def require_topics(settings: StreamConfig) -> None:
    """Check that every topic exists and has the partitions that locations are assigned by.

    Raises:
        TopicsError: some do not.

    """
    found = {info.name: info.partitions for info in await list_topics(settings)}
    problems = []
    for name in topic_names(settings):
        if name not in found:
            problems.append(f"the topic {name} does not exist (`meterstream topics create` makes it)")
        elif found[name] != settings.partitions:
            problems.append(
                f"the topic {name} has {found[name]} partitions (METERSTREAM_PARTITIONS={settings.partitions})"
            )
    if problems:
        raise TopicsError(problems)


async def list_topics(settings: StreamConfig) -> list[TopicInfo]:
    """Return those of the topics that exist, as they are on the broker."""
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    try:
        existing = set(await admin.list_topics())
        return await _describe(admin, [name for name in topic_configs(settings) if name in existing])
    finally:
        await admin.close()


async def _describe(admin: AIOKafkaAdminClient, names: list[str]) -> list[TopicInfo]:
    if not names:
        return []
    topics = {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics(names)}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    configs: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs(resources):
        for _, _, _, name, entries in response.resources:
            configs[name] = {entry[0]: entry[1] for entry in entries}
    return [
        TopicInfo(
            name, len(topics[name]), len(topics[name][0]["replicas"]) if topics[name] else 0, configs.get(name, {})
        )
        for name in names
    ]
