"""Help: quick, complete, with an example of every command."""

import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from app.cli import COMMANDS, main
from app.settings import Settings, describe


def every_command(group: click.Group, names: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*names, name)
        if isinstance(command, click.Group):
            yield from every_command(command, (*names, name))


ALL = list(every_command(main))


@pytest.mark.parametrize("names", [(), *ALL], ids=" ".join)
def test_the_help_of_every_command_has_an_example(names: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*names, "--help"], prog_name="meterstream")
    assert result.exit_code == 0
    assert "Example" in result.output
    assert f"meterstream {' '.join(names)}" in result.output.split("Example")[1]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_what_the_command_itself_says(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.name == name
    first_words = COMMANDS[name][2].removesuffix(".")
    assert (command.help or "").startswith(first_words)


def test_the_help_names_the_exit_codes() -> None:
    output = " ".join(CliRunner().invoke(main, ["--help"]).output.split())
    assert "0 done; 1 something failed" in output
    assert "3 no Kafka broker could be reached" in output


def test_the_help_of_the_worker_lists_every_setting() -> None:
    output = CliRunner().invoke(main, ["worker", "--help"]).output
    for setting in describe(Settings()):
        assert setting.variable in output


def test_help_imports_no_kafka_and_no_command() -> None:
    code = (
        "import sys\nfrom app.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'aiokafka', 'faust', 'pydantic', 'rich', 'app.cli.send'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "app.cli", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("meterstream ")
