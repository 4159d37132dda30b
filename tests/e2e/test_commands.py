"""Stories of people at the command line, with a worker on a real broker."""

import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from app.settings import Settings, load_settings
from app.streams.topics import topic_names
from tests.e2e.commands import BAD_INPUT, DONE, FAILED, UNREACHABLE, Commands, finish
from tests.e2e.conftest import EMIT_EVERY_S
from tests.e2e.topics import message_count
from tests.harness import Stream
from tests.making import flat_tariff, instant, location, record
from tests.worker_process import WAIT_S

pytestmark = pytest.mark.broker

MANY: Final = 100_000
"""Records of a file that takes seconds to send."""


def write(path: Path, *documents: dict[str, Any]) -> Path:
    """Write JSON Lines."""
    path.write_text("".join(json.dumps(each) + "\n" for each in documents))
    return path


class Alone(NamedTuple):
    """Commands that look for a broker at an address where there is none."""

    address: str
    running: dict[str, "subprocess.Popen[str]"]


@pytest.fixture(scope="module", autouse=True)
def left_alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    """Begin at once with what takes its time, to be looked at when all else is done."""
    folder = tmp_path_factory.mktemp("alone")
    documents = write(folder / "documents.jsonl", location("loc_1"))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # taken, and nobody listens
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        alone = Commands({"METERSTREAM_BOOTSTRAP_SERVERS": address, "METERSTREAM_DATA_DIR": str(folder / "store")})
        commands = {
            "topics create": alone.start("topics", "create"),
            "load": alone.start("load", documents),
            "rejected replay": alone.start("rejected", "replay"),
            "worker": alone.start("worker"),
        }
        yield Alone(address, commands)
        for process in commands.values():
            if process.poll() is None:
                process.kill()
            process.communicate()


def test_topics_are_created_once_and_those_that_differ_are_told(commands: Commands, product: Stream) -> None:
    again = commands.succeed("topics", "create").splitlines()
    assert sorted(again) == sorted(f"exists   {name}" for name in product.names)
    differing = Commands(product.environ | {"METERSTREAM_PARTITIONS": "5"}).run("topics", "create")
    assert (differing.returncode, differing.stderr) == (FAILED, "")
    expected = [f"differs  {name}  (partitions is 3 (expected 5))" for name in product.names]
    assert sorted(differing.stdout.splitlines()) == sorted(expected)


def test_wrong_documents_are_told_in_full_and_nothing_is_loaded(
    commands: Commands, product: Stream, tmp_path: Path
) -> None:
    homes = write(
        tmp_path / "locations.jsonl",
        location("fine"),
        location("far", timezone="Mars/Olympus", interval_minutes=7),
        location("twice"),
        location("twice", interval_minutes=15),
    )
    only_winter = {"name": "winter", "when": [{"from": "10-01", "to": "03-31"}], "tiers": [{"rate": "0.3"}]}
    charge = {"charge_id": "energy", "kind": "energy", "bands": [only_winter]}
    prices = tmp_path / "tariffs.json"
    not_exact = {**charge, "bands": [{"name": "all", "when": [], "tiers": [{"rate": 0.3}]}]}
    tariffs = [flat_tariff("fine"), flat_tariff("half", charges=[charge]), flat_tariff("float", charges=[not_exact])]
    prices.write_text(json.dumps(tariffs))
    topics = (product.names.locations, product.names.tariffs, product.names.series)
    before = [message_count(product.settings, topic) for topic in topics]
    done = commands.run("load", homes, prices)
    assert (done.returncode, done.stdout) == (BAD_INPUT, "")
    wanted = [
        f"{homes}: line 2: timezone: 'Mars/Olympus'",
        f"{homes}: line 2: interval_minutes: ",
        f"{prices}: [1]: charges[0]",
        f"{prices}: [2]: charges[0].bands[0].tiers[0].rate: ",
        # What documents say against each other comes after what each has against itself.
        f"{homes}: line 4: location 'twice' is another one than at {homes}: line 3",
    ]
    told = done.stderr.splitlines()
    assert len(told) == len(wanted), told
    for line, beginning in zip(told, wanted, strict=True):
        assert line.startswith(f"Error: {beginning}"), line
    assert [message_count(product.settings, topic) for topic in topics] == before


@pytest.fixture(scope="module")
def house(commands: Commands, product: Stream, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A location with three priced intervals."""
    folder = tmp_path_factory.mktemp("house")
    commands.succeed("load", write(folder / "house.jsonl", flat_tariff("house"), location("house", "house")))
    lines = write(folder / "records.jsonl", *(record("house", 30 * n, 30, n + 0.5) for n in range(3)))
    commands.succeed("send", lines)
    product.wait(lambda: len(product.priced("house")) == 3, "three priced intervals")
    return "house"


def test_tail_shows_so_many_priced_records_and_ends(commands: Commands, product: Stream, house: str) -> None:
    options = ["tail", "--from-start", "--location", house, "--max"]
    assert commands.succeed(*options, 3).splitlines() == [
        "2025-03-01 00:00Z-00:30Z  house  IMPORT  0.5 kWh  0.1575 GBP  priced  seq 1  rev 1",
        "2025-03-01 00:30Z-01:00Z  house  IMPORT  1.5 kWh  0.4725 GBP  priced  seq 1  rev 1",
        "2025-03-01 01:00Z-01:30Z  house  IMPORT  2.5 kWh  0.7875 GBP  priced  seq 1  rev 1",
    ]
    as_json = commands.succeed(*options, 2, "--json").splitlines()
    assert [json.loads(line) for line in as_json] == product.priced(house)[:2]


def test_records_of_an_unknown_location_are_replayed_when_it_is_known_and_twice_is_once(
    commands: Commands, product: Stream, tmp_path: Path
) -> None:
    lines = write(tmp_path / "early.jsonl", *(record("newcomer", 30 * n, 30, n + 1) for n in range(4)))
    commands.succeed("send", lines)
    product.wait(lambda: len(product.rejected("newcomer")) == 4, "all of them refused")
    listed = commands.run("rejected", "list", "--location", "newcomer")
    assert (listed.returncode, listed.stderr) == (DONE, "4 rejected: 4 unknown_location\n")
    assert listed.stdout.count("newcomer  unknown_location: location_id: 'newcomer' is not known") == 4

    commands.succeed("load", write(tmp_path / "new.jsonl", flat_tariff("new", "0.2"), location("newcomer", "new")))
    replay = ["rejected", "replay", "--location", "newcomer", "--error", "unknown_location", "--yes"]
    said = [
        f"4 rejected records to send to {product.names.records} again: 4 unknown_location",
        "4 accepted by the broker, 0 failed",
    ]
    assert commands.succeed(*replay).splitlines() == said
    product.wait(lambda: len(product.priced("newcomer")) == 4, "all of them priced")
    costs = {each["start_time"]: each["cost"] for each in product.priced("newcomer")}
    assert costs == {instant(0): "0.21", instant(30): "0.42", instant(60): "0.63", instant(90): "0.84"}

    totals = product.totals()
    assert commands.succeed(*replay).splitlines() == said
    product.wait(lambda: product.totals()["duplicate"] == totals["duplicate"] + 4, "all of them seen to be there")
    time.sleep(2 * EMIT_EVERY_S)
    assert (
        len(product.intervals("newcomer")) == len(product.priced("newcomer")) == len(product.rejected("newcomer")) == 4
    )
    assert product.totals()["accepted"] == totals["accepted"]


def test_a_worker_tells_everything_that_is_wrong_with_its_settings() -> None:
    wrong = {
        "METERSTREAM_BOOTSTRAP_SERVERS": "nowhere",
        "METERSTREAM_PARTITIONS": "0",
        "METERSTREAM_EMIT_EVERY_S": "soon",
        "METERSTREAM_LOG_FORMAT": "xml",
        "METERSTREAM_LINGER": "3",
    }
    done = Commands(wrong).run("worker")
    assert (done.returncode, done.stdout) == (BAD_INPUT, "")
    told = done.stderr.splitlines()
    assert len(told) == len(wrong)
    for name, value in wrong.items():
        said = (
            f"Error: {name} is no setting; did you mean {name}_MS?"
            if name.endswith("R")
            else f"Error: {name}='{value}': "
        )
        assert [line for line in told if line.startswith(said)], (name, told)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_tail_ends_at_a_signal_without_a_word(commands: Commands, house: str, number: signal.Signals) -> None:
    process = commands.start("tail", "--from-start", "--location", house)
    assert process.stdout is not None
    assert process.stdout.readline()
    process.send_signal(number)
    done = finish(process)
    assert (done.returncode, done.stderr.strip()) == (DONE, "")


class Quiet(NamedTuple):
    """A stream that no worker reads, and a file that takes seconds to send."""

    commands: Commands
    settings: Settings
    path: Path

    def arrived(self) -> int:
        """Return how many records the broker has."""
        return message_count(self.settings, topic_names(self.settings).records)

    def begin_to_send(self) -> "subprocess.Popen[str]":
        """Start to send the file, and return when the broker has got some of it."""
        before, deadline = self.arrived(), time.monotonic() + WAIT_S
        process = self.commands.start("send", self.path)
        while self.arrived() == before:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return process


@pytest.fixture(scope="module")
def quiet(product: Stream, tmp_path_factory: pytest.TempPathFactory) -> Quiet:
    """Create the topics and write the file."""
    path = tmp_path_factory.mktemp("quiet") / "long.jsonl"
    path.write_text((json.dumps(record("house", 0, 30, 1)) + "\n") * MANY)
    environ = product.environ | {"METERSTREAM_TOPIC_PREFIX": f"{product.settings.topic_prefix}quiet."}
    commands = Commands(environ)
    commands.succeed("topics", "create")
    return Quiet(commands, load_settings(environ), path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_send_with_an_honest_count(quiet: Quiet, number: signal.Signals) -> None:
    before, process = quiet.arrived(), quiet.begin_to_send()
    process.send_signal(number)
    done = finish(process)
    assert (done.returncode, done.stderr.strip()) == (FAILED, "Aborted!")
    counts = {line.split()[0]: int(line.split()[1].rstrip(":")) for line in done.stdout.splitlines()}
    assert MANY > counts["submitted"] == counts["accepted"] + counts.get("unknown", 0)
    assert counts["accepted"] <= quiet.arrived() - before <= counts["submitted"]
    assert counts["failed"] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_live_pipe_is_sent_as_it_comes_until_a_signal(quiet: Quiet, number: signal.Signals) -> None:
    before, process = quiet.arrived(), quiet.commands.start("send", "-")
    assert process.stdin is not None
    for sent in range(1, 3):
        process.stdin.write(json.dumps(record("house", 0, 30, sent)) + "\n")
        process.stdin.flush()
        deadline = time.monotonic() + WAIT_S
        while quiet.arrived() < before + sent:
            assert time.monotonic() < deadline, "the record waits for the next one"
            time.sleep(0.05)
    process.send_signal(number)
    assert process.wait(10) == FAILED  # while the pipe is open
    done = finish(process)
    assert done.stderr.strip() == "Aborted!"
    assert done.stdout.splitlines() == ["submitted 2 records in 2 messages", "accepted  2 by the broker", "failed    0"]


def test_without_a_broker_every_command_ends_with_3_and_a_line(left_alone: Alone) -> None:
    for name, process in left_alone.running.items():
        done = finish(process)
        complaints = [line for line in done.stderr.splitlines() if not line.startswith('{"event":"worker_starting"')]
        assert (done.returncode, done.stdout) == (UNREACHABLE, ""), name
        assert complaints == [f"Error: no Kafka broker answered at {left_alone.address} within 10 s"], name
