"""The page about bills and the program: the example is what is printed, and every field is told of."""

import json
import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any, Final, get_args

import pytest
from click.testing import CliRunner

from app.cli import main
from app.domain.bill_records import NotBilled, ProblemKind, Unbilled
from app.domain.rates import Reason
from app.wire.tariff import _ALIASES, _FIELDS_OF_KIND
from tests.golden_bills.test_golden_bills import STORIES, made

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = "docs/bills.md"

Json = dict[str, Any]


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def run(line: str) -> str:
    words = shlex.split(line.replace("\\\n", " "))
    assert words[0] == "meterstream"
    result = CliRunner().invoke(main, [str(ROOT / word) if word.startswith("docs/") else word for word in words[1:]])
    assert result.exit_code == 0, result.stderr
    return result.stdout


@cache
def bill_as_json(line: str) -> Json:
    found: Json = json.loads(run(line))
    return found


def command(documents: Any) -> str:
    """Return the command of the example."""
    (block,) = documents.blocks("billtable")
    found: str = block.removeprefix("$ ").split("\nBill of", 1)[0]
    return found


def test_the_bill_that_the_page_begins_with_is_what_its_command_prints(documents: Any) -> None:
    (block,) = documents.blocks("billtable")
    line = command(documents)
    printed = "\n".join(row.rstrip() for row in run(line).splitlines())
    assert block.removeprefix(f"$ {line}\n").rstrip() == printed


@pytest.mark.parametrize(("kind", "inside"), [("line", "lines"), ("problem", "problems"), ("day", "days")])
def test_the_json_that_the_page_shows_is_on_the_bill_to_6_march(documents: Any, kind: str, inside: str) -> None:
    (block,) = documents.blocks(f"bill{kind}")
    line = command(documents).replace("--to 2025-03-05", "--to 2025-03-06").replace("--days", "--json")
    shown = json.loads(block)
    same = next(one for one in bill_as_json(line)[inside] if one == shown)
    assert list(shown) == list(same)  # in the order in which it is printed


PLACES: Final = {
    "bill": "",
    "bill-meter": "meters",
    "bill-line": "lines",
    "bill-tax": "totals.taxes",
    "bill-total": "totals",
    "bill-band": "days.bands",
    "bill-problem": "problems",
}
"""Where in the JSON the objects are that each table of the page is about."""


def objects(place: str) -> list[Json]:
    """Return the objects at a place of all golden bills."""
    found: list[Any] = [made(story) for story in STORIES]
    for name in place.split(".") if place else ():
        found = [inner for outer in found for inner in outer[name]]
    return found


@pytest.mark.parametrize("table", PLACES)
def test_every_field_of_the_json_is_on_the_page_and_no_other(documents: Any, table: str) -> None:
    told = [name for row in documents.table(PAGE, table) for name in quoted(row[0])]
    assert dict.fromkeys(told) == dict.fromkeys(name for one in objects(PLACES[table]) for name in one)


def test_the_fields_of_months_and_days_are_on_the_page(documents: Any) -> None:
    told = [name for row in documents.table(PAGE, "bill-period") for name in quoted(row[0])]
    assert told == ["month", "day", "energy", "costs", "bands"]
    for place, name in (("months", "month"), ("days", "day")):
        assert {tuple(one) for one in objects(place)} == {(name, "energy", "costs", "bands")}
    costs = next(row[1] for row in documents.table(PAGE, "bill-period") if row[0] == "`costs`")
    assert {tuple(one) for one in objects("days.costs")} == {tuple(quoted(costs))}


def test_the_fields_of_charges_are_on_the_page_of_formats(documents: Any) -> None:
    told = {quoted(row[0])[0]: set(quoted(row[1])) for row in documents.table("docs/formats.md", "charges")}
    assert told == {kind: {_ALIASES.get(name, name) for name in names} for kind, names in _FIELDS_OF_KIND.items()}


def test_every_problem_is_on_the_page(documents: Any) -> None:
    told = [(quoted(row[0])[0], *quoted(row[1])) for row in documents.table(PAGE, "problems")]
    unpriced = [("unpriced", reason) for reason in get_args(Reason)]
    unbilled = [("unbilled", reason) for reason in get_args(Unbilled)]
    assert sorted(told) == sorted([("missing",), ("incomplete",), *unpriced, *unbilled])
    assert {kind for kind, *_ in told} == set(get_args(ProblemKind))
    meter_reason = next(row[1] for row in documents.table(PAGE, "bill-meter") if row[0] == "`reason`")
    assert quoted(meter_reason) == list(get_args(NotBilled))
