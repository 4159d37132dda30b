"""The tables of the pages and the program: settings, commands, codes, log events; links that lead somewhere."""

import re
import shlex
from pathlib import Path
from typing import Any, Final, get_args

import click
import pytest

from app.cli import main
from app.domain.records import ErrorCode
from app.settings import Settings, describe

ROOT: Final = Path(__file__).resolve().parents[2]
_PAGES: Final = sorted(path.relative_to(ROOT) for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))
_LINK: Final = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)")
_EVENT: Final = re.compile(
    r"\b(?:log|events)\.(?:debug|info|warning|error|critical|exception)\(\s*(?:\"(\w+)\"(?:\s+if\s+\w+\s+else\s+\"(\w+)\")?)"
)


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def test_the_settings_of_the_readme_are_those_of_the_program(documents: Any) -> None:
    expected = [
        [
            f"`{one.variable}`",
            "empty" if not one.value else "off" if one.value == "off" else f"`{one.value}`",
            one.meaning,
        ]
        for one in describe(Settings())
    ]
    assert documents.table("README.md", "settings") == expected


def leaves(group: click.Group, names: tuple[str, ...] = ()) -> list[str]:
    found = []
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        found += leaves(command, (*names, name)) if isinstance(command, click.Group) else [" ".join((*names, name))]
    return found


def test_the_commands_of_the_readme_are_those_of_the_help(documents: Any) -> None:
    assert [quoted(row[0])[0] for row in documents.table("README.md", "commands")] == leaves(main)


def find(words: list[str]) -> tuple[click.Command, list[str]]:
    command: click.Command = main
    while isinstance(command, click.Group) and words:
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, words
        command, words = found, words[1:]
    return command, words


def test_the_commands_that_the_pages_show_exist_with_their_options(documents: Any) -> None:
    text = "\n".join(documents.pages.values()).replace("\\\n", " ")
    shown = re.findall(r"(?:^    |`)(?:[A-Z_]+=\S+ )*meterstream ([a-z][^`\n]*)", text, re.MULTILINE)
    assert len(shown) > 15
    for line in shown:
        command, rest = find(shlex.split(line))
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        assert {word for word in rest if word.startswith("--")} <= known, line


def test_the_targets_that_the_pages_show_are_in_the_makefile(documents: Any) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    shown = set(
        re.findall(r"(?:^    |`)(?:\S+=\S+ )?make ([a-z-]+)", "\n".join(documents.pages.values()), re.MULTILINE)
    )
    assert {"run", "test", "bench"} <= shown <= targets


def test_the_codes_of_the_formats_are_those_of_the_program(documents: Any) -> None:
    assert [quoted(row[0])[0] for row in documents.table("docs/formats.md", "codes")] == list(get_args(ErrorCode))


def test_the_log_events_of_the_operations_are_those_of_the_program(documents: Any) -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "app").rglob("*.py")))
    logged = {name for match in _EVENT.findall(code) for name in match if name} | {"worker_starting"}
    told = {name for row in documents.table("docs/operations.md", "events") for name in quoted(row[0])}
    assert told == logged


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", _PAGES, ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    for path, anchor in _LINK.findall((ROOT / page).read_text(encoding="utf-8")):
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), path
        if anchor:
            assert anchor in anchors(target), f"{path}#{anchor}"


def test_decisions_are_short_and_of_one_form() -> None:
    decisions = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert [path.name[:4] for path in decisions] == [f"{number:04}" for number in range(1, len(decisions) + 1)]
    for path in decisions:
        text = path.read_text(encoding="utf-8")
        assert re.findall(r"^## (.+)$", text, re.MULTILINE)[:4] == ["Context", "Decision", "Why", "Consequences"], (
            path.name
        )
        assert len(text.splitlines()) < 70, path.name
