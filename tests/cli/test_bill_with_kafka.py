"""``bill`` from the table, on a real broker."""

import asyncio
import json
import os
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from click.testing import CliRunner

from app.cli import main
from app.domain.bill_records import PricedInterval
from app.domain.instants import parse_instant_us
from app.domain.partitioning import partition_for
from app.domain.sessions import SessionPart
from app.settings import Settings
from app.streams.priced_reader import PricedReader
from app.streams.topics import create_topics, topic_names
from app.wire.documents import iter_documents
from tests.harness import Stream

pytestmark = pytest.mark.broker

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "example"
DAYS = ("--from", "2025-03-03", "--to", "2025-03-06")
START_US, END_US = parse_instant_us("2025-03-03T00:00:00Z"), parse_instant_us("2025-03-04T00:00:00Z")
PARTITIONS = 3
_numbers = count()

Json = dict[str, Any]


def bill(*options: str, env: dict[str, str] | None = None) -> Json:
    result = CliRunner().invoke(main, ["bill", "--location", "home", *DAYS, "--json", *options], env=env)
    assert (result.exit_code, result.stderr) == (0, "")
    found: Json = json.loads(result.stdout)
    return found


def offline(folder: Path, lines: Sequence[str], documents: Path) -> Json:
    (folder / "records.jsonl").write_text("\n".join(lines))
    return bill("--records", str(folder / "records.jsonl"), "--locations", str(documents))


def charge_point() -> list[Json]:
    """Return the documents of the example, with charges for sessions on the import tariff."""
    documents = [dict(raw) for _, raw in iter_documents(EXAMPLE / "home.json")]
    (tou,) = [one for one in documents if one.get("tariff_id") == "home-tou"]
    any_time = {"name": "any", "amount": "1.2"}
    tou["charges"] += [
        {"charge_id": "start", "kind": "session", "per": "session", "bands": [any_time]},
        {"charge_id": "time", "kind": "session", "per": "hour", "bands": [any_time | {"step_seconds": 900}]},
    ]
    return documents


def session(start: str, end: str, session_id: str | None) -> str:
    times = {"start_time": f"2025-03-{start}:00Z", "end_time": f"2025-03-{end}:00Z"}
    fields = {"location_id": "home", "device_id": "car", "units": "KWH", "value": 3}
    return json.dumps(fields | times | {"session_reference_id": session_id})


def quantities(found: Json) -> list[tuple[str, str]]:
    return [(line["charge_id"], line["quantity"]) for line in found["lines"] if line["kind"] == "session"]


def test_the_bill_from_the_table_is_the_one_from_files_and_corrections_change_it(kafka: str, tmp_path: Path) -> None:
    documents = charge_point()
    (tmp_path / "home.json").write_text(json.dumps(documents))
    lines = (EXAMPLE / "home.jsonl").read_text(encoding="utf-8").splitlines()
    lines += [
        session("03T10:10", "03T10:50", "whole"),
        session("02T23:50", "03T00:20", "before"),
        session("04T08:00", "04T09:00", "mistaken"),
    ]
    corrected = [json.dumps(json.loads(lines[0]) | {"value": 99.5}), session("04T08:00", "04T09:00", None)]
    with Stream(kafka, tmp_path / "stream", emit_every_s=0) as stream:
        stream.load(*documents)
        stream.publish(*(json.loads(line) for line in lines))
        stream.worker()
        first = offline(tmp_path, lines, tmp_path / "home.json")
        stream.wait(lambda: bill(env=stream.environ) == first, "the table's bill to be that of the files")
        stream.publish(*map(json.loads, corrected))
        second = offline(tmp_path, [*lines, *corrected], tmp_path / "home.json")
        stream.wait(lambda: bill(env=stream.environ) == second, "the corrections to be billed")
    assert [found["meters"][0]["energy_kwh"] for found in (first, second)] == ["30.425", "123.625"]
    # whole: 40 minutes, which is 45 in steps; before: 20 of its 30 minutes, which are two steps; mistaken: an hour
    assert quantities(first) == [("start", "2"), ("time", "2.083333333333")]
    assert quantities(second) == [("start", "1"), ("time", "1.083333333333")]


# --- what is read of the topics ---


class Topics:
    """Topics of their own, into which anything can be written."""

    def __init__(self, servers: str) -> None:
        prefix = f"bill-{os.getpid()}-{next(_numbers)}."
        self.settings = Settings(bootstrap_servers=servers, topic_prefix=prefix, partitions=PARTITIONS)
        self.names = topic_names(self.settings)
        asyncio.run(create_topics(self.settings))

    def write(
        self, topic: str, *messages: tuple[str, bytes | None], partition: int | None = None, abort: bool = False
    ) -> None:
        """Write messages in one transaction: to the partition of home, if to no other."""
        to = partition_for("home", PARTITIONS) if partition is None else partition

        async def send() -> None:
            name = f"{self.names.priced}-writer"
            servers = self.settings.bootstrap_servers
            async with AIOKafkaProducer(bootstrap_servers=servers, transactional_id=name) as producer:
                await producer.begin_transaction()
                for key, value in messages:
                    await producer.send_and_wait(topic, value, key.encode(), partition=to)
                await (producer.abort_transaction() if abort else producer.commit_transaction())
            # The broker answers before readers see it; whoever asks for the same id is answered when they do.
            async with AIOKafkaProducer(bootstrap_servers=servers, transactional_id=name):
                pass

        asyncio.run(send())

    def priced(self, *values: bytes, **how: Any) -> None:
        self.write(self.names.priced, *((json.loads(value)["interval_id"], value) for value in values), **how)

    def read(self) -> tuple[list[PricedInterval], list[str]]:
        async def fetch() -> tuple[list[PricedInterval], list[str]]:
            async with PricedReader(self.settings) as reader:
                return await reader.priced("home", START_US, END_US), reader.problems

        return asyncio.run(fetch())

    def read_sessions(self) -> tuple[list[SessionPart], list[str]]:
        async def fetch() -> tuple[list[SessionPart], list[str]]:
            async with PricedReader(self.settings) as reader:
                return await reader.sessions("home", START_US, END_US), reader.problems

        return asyncio.run(fetch())


@pytest.fixture
def topics(kafka: str) -> Topics:
    return Topics(kafka)


def priced(sequence: int, energy_wh: float, location_id: str = "home", minute: int = 0) -> bytes:
    start = f"2025-03-03T00:{minute:02d}:00Z"
    fields = {
        "interval_id": f"{location_id}||INBOUND|IMPORT|{start}",
        "location_id": location_id,
        "device_id": None,
        "energy_flow_direction": "INBOUND",
        "tariff_direction": "IMPORT",
        "start_time": start,
        "end_time": f"2025-03-03T00:{minute + 5:02d}:00Z",
        "energy_wh": energy_wh,
        "covered_seconds": 300,
        "complete": True,
        "status": "pending",
        "reason": "no_tariff",
        "tariff_id": None,
        "tariff_version": None,
        "components": [],
        "sequence": sequence,
    }
    return json.dumps(fields).encode()


def test_the_highest_sequence_of_each_interval_is_billed(topics: Topics) -> None:
    topics.priced(priced(1, 100), priced(3, 300), priced(2, 200), priced(1, 50, minute=5))
    intervals, problems = topics.read()
    assert sorted(one.energy_uwh for one in intervals) == [50_000_000, 300_000_000]
    assert problems == []


def test_what_was_aborted_is_not_billed(topics: Topics) -> None:
    topics.priced(priced(1, 100))
    topics.priced(priced(2, 999), abort=True)
    assert [one.energy_uwh for one in topics.read()[0]] == [100_000_000]


def test_only_the_locations_own_partition_is_read_and_of_it_only_its_records(topics: Topics) -> None:
    elsewhere = (partition_for("home", PARTITIONS) + 1) % PARTITIONS
    topics.priced(priced(1, 100))
    topics.priced(priced(9, 999), partition=elsewhere)
    neighbour = json.loads(priced(9, 999, "home-2"))["interval_id"]
    topics.write(topics.names.priced, (neighbour, priced(9, 999, "home-2")), (neighbour, b"nonsense"))
    intervals, problems = topics.read()
    assert [one.energy_uwh for one in intervals] == [100_000_000]
    assert problems == []


def test_a_deleted_interval_is_not_billed_and_what_is_no_record_is_named(topics: Topics) -> None:
    key = json.loads(priced(1, 100))["interval_id"]
    topics.write(topics.names.priced, (key, priced(1, 100)), (key, None), (key, b"nonsense"))
    intervals, problems = topics.read()
    assert intervals == []
    (problem,) = problems
    assert problem.startswith(f"{topics.names.priced}, partition {partition_for('home', PARTITIONS)}, offset 2: ")


def interval(session_id: str | None, location_id: str = "home", minute: int = 0) -> tuple[str, bytes]:
    start, end = f"2025-03-03T00:{minute:02d}:00Z", f"2025-03-03T00:{minute + 5:02d}:00Z"
    told = {"session_reference_id": session_id, "start_time": start, "end_time": end, "energy_wh": 1}
    head = {"interval_id": f"{location_id}|car|INBOUND|IMPORT|{start}", "location_id": location_id, "device_id": "car"}
    fields = head | {"tariff_direction": "IMPORT", "records": [told]}
    return head["interval_id"], json.dumps(fields, separators=(",", ":")).encode()


def test_sessions_are_those_of_the_newest_committed_interval_of_each_key(topics: Topics) -> None:
    gone, _ = interval("gone", minute=10)
    told = [interval("old"), interval("new"), interval("other", minute=5), interval("gone", minute=10), (gone, None)]
    topics.write(topics.names.intervals, *told, interval("elsewhere", "home-2"), (gone, b"nonsense"))
    topics.write(topics.names.intervals, interval("aborted"), abort=True)
    parts, problems = topics.read_sessions()
    assert sorted(part.session_id for part in parts) == ["new", "other"]
    assert len(problems) == 1


def test_documents_are_the_newest_usable_ones_wherever_they_are(topics: Topics) -> None:
    place: Json = {"location_id": "home", "timezone": "Europe/London"}
    charge: Json = {"charge_id": "standing", "kind": "fixed", "per": "day", "amount": "1"}
    energy: Json = {"charge_id": "energy", "kind": "energy"}
    energy["bands"] = [{"name": "all", "when": [], "tiers": [{"up_to_kwh": None, "rate": "0.1"}]}]
    tariff: Json = {"tariff_id": "tou", "direction": "IMPORT", "currency": "GBP", "timezone": "Europe/London"}
    tariff["charges"] = [energy, charge]
    raw = [
        json.dumps(one).encode() for one in (place, place | {"timezone": "Europe/Paris"}, place | {"timezone": "Mars"})
    ]
    topics.write(topics.names.locations, *(("home", value) for value in raw), partition=1)
    versions = [json.dumps(tariff | {"version": number}).encode() for number in (1, 2, 3)]
    topics.write(topics.names.tariffs, ("tou", versions[0]), ("tou/2", versions[1]), partition=0)
    topics.write(topics.names.tariffs, ("tou/3", versions[2]), ("tou/3", None), ("other", versions[0]), partition=2)

    async def fetch() -> tuple[Any, Any, list[str]]:
        async with PricedReader(topics.settings) as reader:
            return await reader.location("home"), await reader.tariffs({"tou"}), reader.problems

    found, tariffs, problems = asyncio.run(fetch())
    assert found.timezone == "Europe/Paris"
    assert [one.version for one in tariffs["tou"]] == [1, 2]
    assert len(problems) == 1


def test_an_unknown_location_and_a_missing_topic_are_told(topics: Topics) -> None:
    env = {"METERSTREAM_BOOTSTRAP_SERVERS": topics.settings.bootstrap_servers}
    given = ["bill", "--location", "nobody", *DAYS]
    unknown = CliRunner().invoke(main, given, env=env | {"METERSTREAM_TOPIC_PREFIX": topics.settings.topic_prefix})
    assert (unknown.exit_code, unknown.stdout) == (2, "")
    assert unknown.stderr.startswith("Error: no location 'nobody' in Kafka at ")
    missing = CliRunner().invoke(main, given, env=env | {"METERSTREAM_TOPIC_PREFIX": "bill-nowhere."})
    assert (missing.exit_code, missing.stdout) == (2, "")
    assert "bill-nowhere.meter.locations does not exist" in missing.stderr
