"""``meterstream topics``: create the topics, and look at them."""

import asyncio

import click

from app.cli.access import require_access
from app.cli.errors import EXIT_FAILED
from app.settings import Settings, load_settings
from app.streams.topics import TopicInfo, TopicResult, create_topics, list_topics

_SHOWN = ("cleanup.policy", "retention.ms", "message.timestamp.type", "max.message.bytes")


@click.group("topics")
def topics_command() -> None:
    """Create and list the topics.

    \b
    Example:
      METERSTREAM_PARTITIONS=16 meterstream topics create
    """  # noqa: D301 - click reads the \b


@topics_command.command("create")
def create_command() -> None:
    """Create the topics that are missing.

    Partitions, replication and retention come from the settings. A topic that exists is never changed; one that
    differs from the settings is told, and the exit code is 1.

    \b
    Example:
      meterstream topics create
    """  # noqa: D301 - click reads the \b
    results = asyncio.run(_create(load_settings()))
    for result in results:
        click.echo(f"{result.status:<8} {result.name}" + (f"  ({result.detail})" if result.detail else ""))
    if any(result.status == "differs" for result in results):
        raise SystemExit(EXIT_FAILED)


@topics_command.command("list")
def list_command() -> None:
    """List the topics that exist, with how they are set up.

    \b
    Example:
      meterstream topics list
    """  # noqa: D301 - click reads the \b
    settings = load_settings()
    infos = asyncio.run(_list(settings))
    if not infos:
        click.echo(
            f"none of the topics exists at {settings.bootstrap_servers}; `meterstream topics create` creates them",
            err=True,
        )
    for info in infos:
        config = " ".join(f"{name}={info.config[name]}" for name in _SHOWN if info.config.get(name))
        click.echo(f"{info.name}  partitions={info.partitions} replication={info.replication} {config}".rstrip())


async def _create(settings: Settings) -> list[TopicResult]:
    await require_access(settings)
    return await create_topics(settings)


async def _list(settings: Settings) -> list[TopicInfo]:
    await require_access(settings)
    return await list_topics(settings)
