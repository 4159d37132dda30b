"""What the Python peers of the side-by-side benchmark share: held to the job's answer without a broker."""

import importlib.util
import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from benchmarks.peers import environments
from benchmarks.peers.answers import Difference, compare
from benchmarks.peers.job import Job, answers, documents, messages, refusals

JOB = Job(records=3_000, locations=30)


@pytest.fixture(scope="module")
def billing() -> ModuleType:
    spec = importlib.util.spec_from_file_location("billing", environments.PROGRAMS / "billing.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Message:
    def __init__(self, value: bytes) -> None:
        self.value = value


@pytest.fixture
def published(billing: ModuleType, tmp_path: Path) -> tuple[list[Any], list[Any]]:
    path = tmp_path / "documents.json"
    path.write_text(json.dumps(documents(JOB)))
    peer = billing.Billing(path)
    states: dict[str, Any] = {}
    priced, rejected = [], []
    for offset, message in enumerate(messages(JOB)):
        try:
            reading = peer.read(message.value)
            state = states.setdefault(reading.interval_id, billing.new_state())
            if billing.keep(state, reading, offset):
                priced.append(_Message(peer.price(reading, state, offset)))
        except billing.RefusedError as error:
            rejected.append(_Message(billing.refusal(error, message.value, billing.Place("t", 0, offset, 0))))
    return priced, rejected


def test_the_peers_answer_is_the_jobs(published: tuple[list[Any], list[Any]]) -> None:
    assert compare(*published, answers(JOB), refusals(JOB)) == Difference(0, 0, 0, 0, 0)


def test_each_kind_of_difference_is_seen(published: tuple[list[Any], list[Any]]) -> None:
    priced, rejected = published
    changed = json.loads(priced[0].value) | {"cost": "0.1"}
    rounded = json.loads(priced[1].value, parse_float=Decimal)
    rounded["energy_wh"] = float(rounded["energy_wh"]) + 0.5
    other = json.loads(priced[2].value) | {"interval_id": "nobody"}
    outputs = [*(_Message(json.dumps(one).encode()) for one in (changed, rounded, other)), *priced[3:], priced[-1]]
    found = compare(outputs, rejected[:-1], answers(JOB), refusals(JOB))
    assert found == Difference(missing=1, wrong=2, unexpected=1, repeated=1, refusals=1)
    assert str(found) == "1 missing, 2 wrong, 1 unexpected, 1 repeated, 1 refusals"


def test_a_copy_is_not_published_and_what_is_delivered_again_is(billing: ModuleType) -> None:
    def reading(start_s: int, energy_uwh: int) -> Any:
        return billing.Reading("loc", "", "INBOUND", "IMPORT", 0, start_s, start_s + 900, energy_uwh, 1)

    state = billing.new_state()
    assert not billing.keep(state, reading(0, 5), 1)
    assert billing.keep(state, reading(900, 7), 2)
    assert not billing.keep(state, reading(900, 7), 3)
    assert billing.keep(state, reading(900, 7), 2)
    assert state[0] == 1
    assert billing.keep(state, reading(900, 8), 4)
    assert (state[0], [kept[2] for kept in state[1]]) == (2, [5, 8])


def test_amounts_are_exact_and_rounded_half_even(billing: ModuleType) -> None:
    assert billing._text(billing._money(25, 13)) == "0.000000000002"
    assert billing._text(billing._money(35, 13)) == "0.000000000004"
    assert billing._text(billing._money(-105, 2)) == "-1.05"
    assert billing._text(0) == "0"


def test_every_reason_of_refusal_is_among_the_rejected(published: tuple[list[Any], list[Any]]) -> None:
    assert set(Counter(json.loads(message.value)["error"] for message in published[1])) == set(refusals(JOB))
