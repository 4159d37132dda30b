"""``meterstream worker``: start a worker."""

import asyncio
import sys

import click
import msgspec

from app.settings import Settings, describe, load_settings


def _variables() -> str:
    """List every setting for the help."""
    lines = ["\b", "Settings (environment variables, with their defaults):"]
    for setting in describe(Settings()):
        lines += [f"  {setting.variable}={'' if setting.value == 'off' else setting.value}", f"      {setting.meaning}"]
    return "\n".join(lines)


@click.command("worker", epilog=_variables())
@click.option("--check", is_flag=True, help="Check and print the settings, and start nothing.")
def worker_command(check: bool) -> None:  # noqa: FBT001 - click passes it by name
    """Start a worker; more workers share the work.

    Ends with Ctrl-C or SIGTERM, after the work in hand is committed. Settings are checked before anything starts.

    \b
    Example:
      METERSTREAM_EMIT_EVERY_S=1 meterstream worker
      meterstream worker --check
    """  # noqa: D301 - click reads the \b
    settings = load_settings()
    if check:
        for setting in describe(settings):
            click.echo(f"{setting.variable}={'' if setting.value == 'off' else setting.value}")
        return
    from app.worker import run  # noqa: PLC0415 - brings Faust, which the check and the help can do without

    if settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty()):
        click.echo(_intent(settings), err=True)
    else:
        values = {setting.name: setting.value for setting in describe(settings)}
        click.echo(msgspec.json.encode({"event": "worker_starting", "level": "info", "settings": values}), err=True)
    asyncio.run(_require_surroundings(settings))
    raise SystemExit(run(settings))


async def _require_surroundings(settings: Settings) -> None:
    """Check the broker and the topics, so that what is missing is one line and not a worker that waits for it."""
    from app.cli.access import require_access  # noqa: PLC0415 - brings aiokafka
    from app.streams.rights import worker_needs  # noqa: PLC0415 - the same
    from app.streams.topics import require_topics  # noqa: PLC0415 - the same

    await require_access(settings, needs=worker_needs(settings))
    await require_topics(settings)


def _intent(settings: Settings) -> str:
    """Say what the worker is about to do, with the settings that are not the defaults."""
    defaults = {setting.name: setting.value for setting in describe(Settings())}
    changed = [f"{one.variable}={one.value}" for one in describe(settings) if one.value != defaults[one.name]]
    where = f"{settings.topic_prefix}meter.* at {settings.bootstrap_servers}"
    return f"worker of {settings.app_id}: {where}; " + (
        ", ".join(changed) if changed else "all settings are the defaults"
    )
