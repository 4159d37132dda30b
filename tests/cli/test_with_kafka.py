"""The commands on a real broker."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.record.default_records import DefaultRecordBase

from app.domain.partitioning import partition_for
from app.local.broker import LocalBroker
from app.settings import Settings
from app.streams.publish import Publisher
from app.streams.topics import TopicNames, create_topics, topic_names
from app.wire.rejected import RejectedRecord, encode
from tests.codecs import codecs_of_fetches
from tests.making import location

pytestmark = pytest.mark.broker

PARTITIONS = 3
_numbers = count()


class Commands:
    """The command line with topics of its own."""

    def __init__(self, servers: str, prefix: str) -> None:
        self.settings = Settings(bootstrap_servers=servers, topic_prefix=prefix, partitions=PARTITIONS)
        self.more: dict[str, str] = {}

    @property
    def names(self) -> TopicNames:
        return topic_names(self.settings)

    def start(self, *arguments: str, stdin: BinaryIO | int = subprocess.PIPE) -> "subprocess.Popen[str]":
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("METERSTREAM_", "KAFKA_"))}
        ours = {
            "METERSTREAM_BOOTSTRAP_SERVERS": self.settings.bootstrap_servers,
            "METERSTREAM_TOPIC_PREFIX": self.settings.topic_prefix,
            "METERSTREAM_PARTITIONS": str(PARTITIONS),
        }
        command = [sys.executable, "-m", "app.cli", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=stdin, stdout=pipe, stderr=pipe, text=True, env=plain | ours | self.more)

    def run(self, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        process = self.start(*arguments)
        stdout, stderr = process.communicate(stdin, timeout=60)
        return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)

    def publish(self, topic: str, messages: Sequence[tuple[str, bytes]]) -> None:
        async def send() -> None:
            async with Publisher(self.settings.bootstrap_servers) as publisher:
                for key, value in messages:
                    await publisher.send(topic, key.encode(), value)

        asyncio.run(send())

    def read(self, topic: str) -> list[Any]:
        async def fetch() -> list[Any]:
            consumer = AIOKafkaConsumer(bootstrap_servers=self.settings.bootstrap_servers, auto_offset_reset="earliest")
            await consumer.start()
            try:
                partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
                consumer.assign(partitions)
                waiting = {one for one, end in (await consumer.end_offsets(partitions)).items() if end}
                found = []
                while waiting:
                    for one, records in (await asyncio.wait_for(consumer.getmany(timeout_ms=10_000), 20)).items():
                        found += records
                        waiting.discard(one)
                return found
            finally:
                await consumer.stop()

        return asyncio.run(fetch())


@pytest.fixture
def commands(kafka: str) -> Commands:
    with_topics = Commands(kafka, f"cli-{os.getpid()}-{next(_numbers)}.")
    asyncio.run(create_topics(with_topics.settings))
    return with_topics


def record(location_id: str = "loc_1", **changed: object) -> bytes:
    return json.dumps({"location_id": location_id, "units": "KWH", "value": 1} | changed).encode()


def rejected(location_id: str | None, error: str, raw: str | None, at: str = "2025-03-01T00:00:00Z") -> bytes:
    entry = RejectedRecord(error, "why", 0, None, location_id, "meter.records", 0, 7, at, raw, "text")
    return encode(entry)


def test_topics_are_created_once_compared_and_listed(kafka: str) -> None:
    commands = Commands(kafka, f"cli-{os.getpid()}-{next(_numbers)}.")
    empty = commands.run("topics", "list")
    assert (empty.returncode, empty.stdout) == (0, "")
    assert "none of the topics exists" in empty.stderr
    created = commands.run("topics", "create")
    assert created.returncode == 0
    assert {line.split()[0] for line in created.stdout.splitlines()} == {"created"}
    again = commands.run("topics", "create")
    assert again.returncode == 0
    assert {line.split()[0] for line in again.stdout.splitlines()} == {"exists"}
    listed = commands.run("topics", "list").stdout.splitlines()
    assert len(listed) == len(commands.names)
    assert any(line.startswith(f"{commands.names.records}  partitions={PARTITIONS} replication=1") for line in listed)


def test_sent_rows_arrive_keyed_and_in_their_order(commands: Commands, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    lines = [record(f"loc_{number % 7}", value=number) for number in range(300)]
    path.write_bytes(b"\n".join(lines) + b"\nnonsense\n[]\n")
    done = commands.run("send", str(path), "--failures", str(tmp_path / "failures.jsonl"))
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "submitted 300 records in 300 messages",
        "accepted  300 by the broker",
        "failed    2",
    ]
    assert f"{path}:301: not a JSON line" in done.stderr
    failures = [json.loads(line) for line in (tmp_path / "failures.jsonl").read_text().splitlines()]
    assert [failure["row"] for failure in failures] == [301, 302]
    arrived = commands.read(commands.names.records)
    assert sorted(one.value for one in arrived) == sorted(lines)
    for number in range(7):
        mine = [one for one in arrived if one.key == f"loc_{number}".encode()]
        assert {one.partition for one in mine} == {partition_for(f"loc_{number}", PARTITIONS)}
        assert [json.loads(one.value)["value"] for one in mine] == list(range(number, 300, 7))


def test_csv_rows_are_put_together_into_messages_of_a_location(commands: Commands, tmp_path: Path) -> None:
    path = tmp_path / "readings.csv"
    rows = [f"MP{point},2025-03-01T{hour:02}:00:00Z,{hour}.5" for hour in range(24) for point in range(2)]
    path.write_text("metering_point,period_start,quantity\n" + "\n".join(rows))
    done = commands.run("send", "--batch", "10", str(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert "submitted 48 records in 6 messages" in done.stdout
    for message in commands.read(commands.names.records):
        assert {one["location_id"] for one in json.loads(message.value)} == {message.key.decode()}


def test_standard_input_is_json_lines(commands: Commands) -> None:
    done = commands.run("send", "-", stdin=record().decode())
    assert done.returncode == 0
    assert [one.value for one in commands.read(commands.names.records)] == [record()]


def test_standard_input_from_a_file_is_read_to_its_end(commands: Commands, tmp_path: Path) -> None:
    lines = [record(value=number) for number in range(10)]
    path = tmp_path / "records.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b"\n".join(lines))
    with path.open("rb") as file, commands.start("send", "-", stdin=file) as process:
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (0, "")
    assert "accepted  10 by the broker" in stdout
    assert [one.value for one in commands.read(commands.names.records)] == lines


def test_lines_of_a_pipe_are_numbered_whatever_pieces_they_come_in(commands: Commands) -> None:
    pieces = ["\ufeff" + record(value=0).decode() + "\n\nnon", "sense\n", record(value=1).decode() + "\n[]", "\n\n[1]"]
    process = commands.start("send", "-", "--batch", "100")
    assert process.stdin is not None
    for number, piece in enumerate(pieces):
        process.stdin.write(piece)
        process.stdin.flush()
        ends_at_s = time.monotonic() + 30
        while number == 0 and len(commands.read(commands.names.records)) == 0:
            assert time.monotonic() < ends_at_s, "what is there waits for what comes"
        time.sleep(0.1)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert stdout.splitlines()[:2] == ["submitted 2 records in 2 messages", "accepted  2 by the broker"]
    assert [line.split(":")[1] for line in stderr.splitlines()] == ["3", "5", "7"]
    assert [json.loads(one.value)["value"] for one in commands.read(commands.names.records)] == [0, 1]


def test_a_record_that_the_broker_refuses_is_a_failed_row(commands: Commands) -> None:
    done = commands.run("send", "-", stdin=record(note="x" * 2_000_000).decode() + "\n" + record().decode())
    assert done.returncode == 1
    assert "accepted  1 by the broker\nfailed    1\n" in done.stdout
    assert "-:1: refused by the broker: " in done.stderr


def test_a_missing_topic_is_told(kafka: str) -> None:
    commands = Commands(kafka, "cli-nowhere.")
    for arguments in (["send", "-"], ["tail"], ["rejected", "list"]):
        done = commands.run(*arguments, stdin=record().decode())
        assert done.returncode == 2
        assert "does not exist" in done.stderr
        assert "`meterstream topics create` creates it" in done.stderr


def test_documents_arrive_under_their_names(commands: Commands, tmp_path: Path) -> None:
    point = {"start_time": "2025-03-01T00:00:00Z", "end_time": "2025-03-01T01:00:00Z", "value": "0.1"}
    documents = [
        {"location_id": "loc_1", "timezone": "Europe/London"},
        {"series_id": "A", "kind": "price", "unit": "GBP/kWh", "points": [point]},
    ]
    path = tmp_path / "documents.json"
    path.write_text(json.dumps(documents))
    done = commands.run("load", str(path))
    assert done.returncode == 0
    assert done.stdout.splitlines() == ["loaded 1 locations", "loaded 0 tariffs", "loaded 1 series"]
    (location,) = commands.read(commands.names.locations)
    (series,) = commands.read(commands.names.series)
    assert (location.key, json.loads(location.value)["timezone"]) == (b"loc_1", "Europe/London")
    assert (series.key, json.loads(series.value)["points"]) == (b"A/2025-03-01", [point])


def test_what_the_commands_publish_is_compressed_where_that_is_asked_for(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands.more["METERSTREAM_COMPRESSION"] = "zstd"
    places = [location(f"loc_{number}") for number in range(60)]
    path = tmp_path / "locations.json"
    path.write_text(json.dumps(places))
    raw = record().decode()
    commands.publish(commands.names.rejected, [("loc_1", rejected("loc_1", "unknown_location", raw))] * 60)
    for send, topic in (
        (lambda: commands.run("load", str(path)), commands.names.locations),
        (lambda: commands.run("rejected", "replay", "--yes"), commands.names.records),
        (lambda: commands.run("send", "-", stdin=f"{raw}\n" * 60), commands.names.records),
    ):
        before = len(commands.read(topic))
        assert send().returncode == 0
        with codecs_of_fetches(monkeypatch) as codecs:
            assert len(commands.read(topic)) == before + 60
        assert codecs == {DefaultRecordBase.CODEC_ZSTD}


def test_a_wrong_document_keeps_all_from_being_sent(commands: Commands, tmp_path: Path) -> None:
    path = tmp_path / "documents.jsonl"
    path.write_text('{"location_id":"a","timezone":"Europe/London"}\n{"location_id":"b","timezone":"Mars"}')
    done = commands.run("load", str(path))
    assert done.returncode == 2
    assert f"{path}: line 2: timezone: 'Mars'" in done.stderr
    assert commands.read(commands.names.locations) == []


def priced(location_id: str, sequence: int, **changed: object) -> bytes:
    fields = {
        "location_id": location_id,
        "device_id": None,
        "tariff_direction": "IMPORT",
        "start_time": "2025-03-01T00:00:00Z",
        "end_time": "2025-03-01T00:30:00Z",
        "energy_wh": 512.5,
        "complete": True,
        "status": "priced",
        "cost": "0.15375",
        "currency": "GBP",
        "sequence": sequence,
        "revision": 1,
    }
    return json.dumps(fields | changed).encode()


def test_tail_shows_a_line_for_each_priced_record(commands: Commands) -> None:
    pending = priced("loc_2", 1, status="pending", cost=None, currency=None, reason="no_tariff", complete=False)
    commands.publish(commands.names.priced, [("k", priced("loc_1", 1)), ("k", pending), ("k", priced("loc_1", 2))])
    done = commands.run("tail", "--from-start", "--max", "3")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "2025-03-01 00:00Z-00:30Z  loc_1  IMPORT  0.5125 kWh  0.15375 GBP  priced  seq 1  rev 1",
        "2025-03-01 00:00Z-00:30Z  loc_2  IMPORT  0.5125 kWh partial  no cost (no_tariff)  pending  seq 1  rev 1",
        "2025-03-01 00:00Z-00:30Z  loc_1  IMPORT  0.5125 kWh  0.15375 GBP  priced  seq 2  rev 1",
    ]
    chosen = commands.run("tail", "--from-start", "--max", "1", "--location", "loc_2", "--json")
    assert chosen.stdout.encode().strip() == pending


def test_tail_begins_with_what_comes_next_and_ends_well_with_ctrl_c(commands: Commands) -> None:
    commands.publish(commands.names.priced, [("k", priced("old", 1))])
    process = commands.start("tail")
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    ends_at_s, seen, sequence = time.monotonic() + 30, "", 1
    while "seq" not in seen and time.monotonic() < ends_at_s:
        sequence += 1
        commands.publish(commands.names.priced, [("k", priced("new", sequence))])
        time.sleep(0.5)
        with suppress(BlockingIOError):
            seen += os.read(process.stdout.fileno(), 65_536).decode()
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    process.communicate()
    assert "  new  " in seen
    assert "  old  " not in seen


def test_rejected_records_are_listed_by_what_is_asked_for(commands: Commands) -> None:
    entries = [
        rejected("loc_1", "unknown_location", "{}"),
        rejected("loc_2", "unknown_location", "{}"),
        rejected("loc_1", "negative_value", "{}", at="2025-03-02T00:00:00Z"),
    ]
    commands.publish(commands.names.rejected, [("loc_1", entry) for entry in entries])
    assert commands.run("rejected", "list").stderr == "3 rejected: 1 negative_value, 2 unknown_location\n"
    one = commands.run("rejected", "list", "--location", "loc_1", "--error", "unknown_location", "--json")
    assert one.stdout.encode().splitlines() == [entries[0]]
    late = commands.run("rejected", "list", "--since", "2025-03-01T12:00:00Z")
    assert late.stdout.splitlines()[0] == ("2025-03-02T00:00:00Z  meter.records/0@7[0]  loc_1  negative_value: why")
    assert commands.run("rejected", "list", "--max", "2").stderr == "2 rejected: 2 unknown_location\n"


def test_a_list_of_which_only_the_first_line_is_read_ends_without_complaint(commands: Commands) -> None:
    entry = rejected("loc_1", "unknown_location", "x" * 10_000)
    commands.publish(commands.names.rejected, [("loc_1", entry)] * 100)
    with commands.start("rejected", "list", "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().encode().strip() == entry
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (1, "")


def test_entries_behind_an_open_transaction_are_not_waited_for(commands: Commands) -> None:
    entry = rejected("loc_1", "unknown_location", "{}")
    commands.publish(commands.names.rejected, [("loc_1", entry)])

    async def list_meanwhile() -> "subprocess.CompletedProcess[str]":
        servers, name = commands.settings.bootstrap_servers, f"{commands.names.rejected}-writer"
        async with AIOKafkaProducer(bootstrap_servers=servers, transactional_id=name) as producer:
            await producer.begin_transaction()
            for partition in range(PARTITIONS):
                await producer.send_and_wait(commands.names.rejected, entry, b"loc_1", partition=partition)
            done = await asyncio.to_thread(commands.run, "rejected", "list", "--json")
            await producer.abort_transaction()
        return done

    done = asyncio.run(list_meanwhile())
    assert (done.returncode, done.stderr) == (0, "1 rejected: 1 unknown_location\n")
    assert done.stdout.encode().splitlines() == [entry]


def test_a_broker_that_falls_silent_is_not_the_end_of_the_list(own_broker: LocalBroker) -> None:
    commands = Commands(own_broker.bootstrap_servers, "silent.")
    asyncio.run(create_topics(commands.settings))
    entry = rejected("loc_1", "unknown_location", "x" * 1_000)
    commands.publish(commands.names.rejected, [("loc_1", entry)] * 20_000)
    with commands.start("rejected", "list", "--json") as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        os.kill(own_broker.pid, signal.SIGSTOP)
        try:
            _, stderr = process.communicate(timeout=60)
        finally:
            os.kill(own_broker.pid, signal.SIGCONT)
    assert process.returncode == 3
    silence = f"Error: Kafka at {own_broker.bootstrap_servers} has not answered for 10 s; "
    assert stderr == f"{silence}{commands.names.rejected} was read only in part\n"


def test_replay_sends_the_raw_bytes_with_their_key(commands: Commands) -> None:
    raw = '{"location_id": "loc_1",  "value": 1}'
    entries = [
        ("loc_1", rejected("loc_1", "unknown_location", raw)),
        ("loc_9", rejected(None, "malformed_json", "nonsense")),
        ("loc_1", rejected("loc_1", "unknown_location", None)),
    ]
    commands.publish(commands.names.rejected, entries)
    dry = commands.run("rejected", "replay", "--dry-run")
    assert dry.returncode == 0
    assert "2 rejected records to send" in dry.stdout
    assert "1 are left out: no raw bytes" in dry.stdout
    assert commands.read(commands.names.records) == []
    unsure = commands.run("rejected", "replay", "--error", "unknown_location", stdin="n\n")
    assert unsure.returncode == 1
    assert commands.read(commands.names.records) == []
    done = commands.run("rejected", "replay", "--error", "unknown_location", "--yes")
    assert done.returncode == 0
    assert "1 accepted by the broker, 0 failed" in done.stdout
    (again,) = commands.read(commands.names.records)
    assert (again.key, again.value) == (b"loc_1", raw.encode())
