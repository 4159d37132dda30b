"""``rejected replay`` beside a worker: what it changes, it changes once."""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Stream
from tests.making import flat_tariff, location, record
from tests.worker_process import ROOT

pytestmark = pytest.mark.broker


@pytest.fixture
def stream(kafka: str, tmp_path: Path) -> Iterator[Stream]:
    with Stream(kafka, tmp_path / "stream", partitions=2, emit_every_s=1) as made:
        yield made


def replay(stream: Stream, *options: str) -> str:
    command = [sys.executable, "-m", "app.cli", "rejected", "replay", *options, "--yes"]
    environ = stream._worker_environ({})
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_replay_done_twice_changes_what_it_should_once(stream: Stream) -> None:
    stream.load(flat_tariff("flat"), location("known"))
    worker = stream.worker()
    raw = json.dumps(record("new", 60, 30, 3.0)).encode()
    no_utf8 = raw.replace(b"new", b"n\xffw")
    batch = [record("known", 0, 30, 1.0), record("new", 0, 30, 2.0), record("new", 30, 30, 2.5)]
    stream.publish(batch, key="new")
    stream.publish(raw, key="new")
    stream.publish(no_utf8, key=b"\xfe key")
    stream.wait(lambda: len(stream.rejected()) == 4, "four refusals")
    refused = stream.seen(stream.names.rejected)
    assert sorted(each.key for each in refused) == [b"new", b"new", b"new", b"\xfe key"]
    (coded,) = (each for each in stream.rejected() if each["raw_encoding"] == "base64")
    assert base64.b64decode(coded["raw"]) == no_utf8

    stream.load(location("new"))
    stream.publish(record("known", 30, 30, 1.0))
    stream.wait(lambda: len(stream.priced("known")) == 2, "a price of what came after the document")
    assert "3 accepted by the broker, 0 failed" in replay(stream, "--error", "unknown_location")
    stream.wait(lambda: len(stream.priced("new")) == 3, "three prices of what was replayed")
    once = {each["interval_id"]: (each["sequence"], each["revision"], each["cost"]) for each in stream.priced("new")}
    assert {(sequence, revision) for sequence, revision, _ in once.values()} == {(1, 1)}
    before = stream.totals()

    # Whatever was mended since, the entries stay in meter.rejected: the second time they are the same records again.
    assert "3 accepted by the broker, 0 failed" in replay(stream, "--error", "unknown_location")
    stream.wait(lambda: stream.totals()["input"] == before["input"] + 3, "three records decided again")
    after = stream.totals()
    assert after["duplicate"] == before["duplicate"] + 3
    assert after["accepted"] == before["accepted"]
    stream.publish(record("known", 60, 30, 1.0), record("new", 600, 30, 1.0))
    stream.wait(lambda: stream.priced("known")[2:] and stream.priced("new")[3:], "what came after it")
    assert len(stream.priced("known")) == 3
    assert len(stream.priced("new")) == 4
    assert len(stream.wait(lambda: stream.intervals("new")[3:] and stream.intervals("new"), "its interval")) == 4

    # Bytes that are no UTF-8 come back as they were, with the key that they had.
    assert "1 accepted by the broker" in replay(stream, "--error", coded["error"])
    stream.wait(lambda: len(stream.rejected()) == 5, "the same refusal again")
    again = [each for each in stream.seen(stream.names.rejected) if each.key == b"\xfe key"]
    assert len(again) == 2
    assert {base64.b64decode(json.loads(each.value)["raw"]) for each in again} == {no_utf8}
    assert worker.terminate() == 0
