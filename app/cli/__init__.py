"""The command line: ``meterstream``, or ``python -m app.cli``.

Commands are imported when they are run, so that help is quick and ``price`` never loads Kafka.
"""

import logging
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import click

from app.cli.errors import EXIT_CODES, explain

COMMANDS: Final = {
    "worker": ("app.cli.worker", "worker_command", "Start a worker."),
    "topics": ("app.cli.topics", "topics_command", "Create and list the topics."),
    "load": ("app.cli.load", "load_command", "Load locations, tariffs and series."),
    "send": ("app.cli.send", "send_command", "Send meter records from files."),
    "price": ("app.cli.price", "price_command", "Price a file of records without Kafka."),
    "tariff": ("app.cli.tariff", "tariff_command", "Import, check and show tariffs."),
    "bill": ("app.cli.bill", "bill_command", "Bill a location for some days, from the table or from files."),
    "tail": ("app.cli.tail", "tail_command", "Show priced records as they come."),
    "rejected": ("app.cli.rejected", "rejected_command", "Show and replay rejected records."),
    "dev": ("app.cli.dev", "dev_command", "Start a Kafka for this machine, demo data and a worker."),
}
"""Module, attribute and short help of each command, in the order in which help lists them."""


class LazyGroup(click.Group):
    """Loads a command when it is asked for, and ends every error with one line and its exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names, in our order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(import_module(module), attribute)
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, short_help) for name, (_, _, short_help) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        """Run; an error becomes a line on stderr, unless somebody looks for its cause."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            # A pipe whose reader has gone (`… | head`) is nobody's mistake: click ends without a word.
            click_ends = click.exceptions.Exit | click.Abort | click.ClickException | BrokenPipeError
            if ctx.params.get("debug") or isinstance(error, click_ends):
                raise
            if _wants_tracebacks():
                raise
            known = explain(error)
            for line in known.lines:
                click.echo(f"Error: {line}", err=True)
            ctx.exit(known.exit_code)


def _wants_tracebacks() -> bool:
    """Tell whether METERSTREAM_LOG_LEVEL is debug."""
    from app.settings import SettingsError, load_settings  # noqa: PLC0415 - only when something went wrong

    try:
        return load_settings().log_level == "debug"
    except SettingsError:
        return False


def _version() -> str:
    """Return the installed version."""
    try:
        return version("meterstream")
    except PackageNotFoundError:
        return "0 (not installed)"


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EXIT_CODES,
)
@click.version_option(_version(), prog_name="meterstream", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show tracebacks, and what the Kafka client logs.")
def main(debug: bool) -> None:  # noqa: FBT001 - click passes it by name
    """Meter records in, priced intervals out, on Kafka.

    Settings are METERSTREAM_* environment variables; `meterstream worker --help` lists them.

    \b
    Example:
      meterstream topics create
      meterstream load locations.json tariffs.json
      meterstream send readings.csv
      meterstream tail
    """  # noqa: D301 - click reads the \b
    if not debug:
        # What the client retries is not worth a line; what it gives up on comes back as an error.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL + 1)
