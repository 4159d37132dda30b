"""The health endpoint: what it says before, while and after a worker opens its partitions."""

import json
import socket
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiokafka.structs import TopicPartition

from app.compose import create_app
from app.settings import load_settings
from app.streams.condition import Condition, PartitionCondition
from app.web.health import EXIT_PORT, metrics_of, missing_of
from tests.harness import Stream
from tests.proxy import Proxy
from tests.sites import sites
from tests.worker_process import Worker

COMMANDS = {
    "meterstream": ("-m", "app.cli", "worker"),
    "faust": ("-m", "faust", "-A", "app.worker", "worker", "--without-web"),
}


class Answer(NamedTuple):
    """What the endpoint answered; status 0 is nobody there."""

    status: int
    body: str


def ask(port: int, path: str) -> Answer:
    """Ask once."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as found:
            return Answer(found.status, found.read().decode())
    except urllib.error.HTTPError as refused:
        return Answer(refused.code, refused.read().decode())
    except OSError:
        return Answer(0, "")


def committed(metrics: str) -> Counter[str]:
    """Add up the committed totals of all partitions, by kind."""
    found: Counter[str] = Counter()
    for line in metrics.splitlines():
        if line.startswith("meterstream_committed_total{"):
            labels, value = line.rsplit(" ", 1)
            found[labels.split('kind="')[1].split('"')[0]] += int(value)
    return found


@pytest.fixture
def port() -> int:
    """A port that is free."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def stream(kafka: str, tmp_path: Path, port: int) -> Iterator[Stream]:
    """A stream whose workers have a health endpoint."""
    with Stream(kafka, tmp_path / "stream", partitions=2, emit_every_s=1, health_port=port) as made:
        yield made


@pytest.mark.broker
@pytest.mark.parametrize("command", COMMANDS)
def test_a_worker_is_unready_until_its_partitions_are_open_and_counts_what_is_committed(
    stream: Stream, port: int, kafka: str, command: str
) -> None:
    places = list(sites(stream, 4))
    stream.publish(*(place.record(30 * number, 30, 1.0) for place in places for number in range(20)), b"no record")
    with Proxy() as proxy:
        proxy.target_port = int(kafka.rpartition(":")[2])
        proxy.is_held = lambda: ask(port, "/health/live").status != 0  # from then on nothing is read until it is let go
        worker = stream.worker(*COMMANDS[command], started=False, bootstrap_servers=proxy.address)
        first = stream.wait(lambda: found if (found := ask(port, "/health/ready")).status else None, "an answer")
        assert first.status == 503, first
        assert "reading documents" in json.loads(first.body)["missing"]
        assert ask(port, "/health/live").status == 200
        proxy.is_held = lambda: False
        ready = stream.wait(lambda: found if (found := ask(port, "/health/ready")).status == 200 else None, "readiness")
    two_open = {"0": {"state": "open"}, "1": {"state": "open"}}
    assert json.loads(ready.body) == {"ready": True, "missing": [], "partitions": two_open}
    stream.wait(lambda: stream.totals()["priced"] >= 80, "80 intervals priced")
    stream.verify(quiet_s=0.2, reference=False)
    metrics = ask(port, "/metrics").body
    assert committed(metrics) == stream.totals()
    assert committed(metrics)["accepted"] == 80
    assert "\nmeterstream_ready 1\n" in metrics
    assert "\nmeterstream_partitions_open 2\n" in metrics
    assert ask(port, "/").status == 404
    assert worker.terminate() == 0
    assert ask(port, "/health/live").status == 0


@pytest.mark.broker
def test_a_port_in_use_is_one_clear_line_and_the_end(stream: Stream, port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        worker = stream.worker(started=False)
        stream.wait(lambda: worker.exit_code is not None, "the end of a worker whose port is in use")
    assert worker.exit_code == EXIT_PORT
    _require_one_line(worker, f"METERSTREAM_HEALTH_PORT={port}")


def _require_one_line(worker: Worker, reason: str) -> None:
    told = worker.logged("health_failed")
    assert len(told) == 1, worker.log_tail()
    assert reason in told[0]["reason"]
    assert "Traceback" not in worker.log_path.read_text(encoding="utf-8")


def composed(tmp_path: Path) -> Any:
    """Return a worker's application that is not started."""
    return create_app(load_settings({"METERSTREAM_DATA_DIR": str(tmp_path)}))


def test_a_worker_that_has_not_begun_says_what_it_waits_for(tmp_path: Path) -> None:
    assert missing_of(composed(tmp_path).condition()) == ["reading documents", "no partitions assigned yet"]


def test_partitions_that_are_recovering_say_how_far_they_are(tmp_path: Path) -> None:
    app = composed(tmp_path)
    app.shards._assigned = [0, 1]
    app.shards.progress.begin(TopicPartition("changelog", 1), 100, 1100)
    app.shards.progress.begin(TopicPartition("priced", 1), 0, 500)
    app.shards.progress.reach(TopicPartition("changelog", 1), 350)
    condition = app.condition()
    expected = ["reading documents", "partition 0 opening", "partition 1 recovering: 250 of about 1500"]
    assert missing_of(condition) == expected
    lines = list(metrics_of(condition))
    assert 'meterstream_recovery_applied{partition="1"} 250' in lines
    assert 'meterstream_recovery_of_about{partition="1"} 1500' in lines
    assert "meterstream_partitions_assigned 2" in lines
    assert "meterstream_ready 0" in lines


def test_a_worker_without_partitions_is_ready_and_one_that_reopens_one_is_not() -> None:
    assert missing_of(Condition(documents_read=True, partitions=[])) == []
    working = PartitionCondition(0, "open", 0, 0, {"input": 7})
    failed = PartitionCondition(1, "reopening", 0, 0, {})
    assert missing_of(Condition(documents_read=True, partitions=[working])) == []
    assert missing_of(Condition(documents_read=True, partitions=[working, failed])) == ["partition 1 reopening"]
