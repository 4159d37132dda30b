"""A leftover of a killed run is recognised and ended; nobody else's process ever is."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.local.launch import start_identity
from app.local.processes import ChildProcess, end_leftover

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that meterstream has not started."""
    with subprocess.Popen(SLEEPER, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def _note(record: Path, pid: int, started: str | None) -> None:
    record.write_text(json.dumps({"pid": pid, "started": started}))


def test_a_child_notes_who_it_is_and_forgets_it_at_the_end(tmp_path: Path) -> None:
    record = tmp_path / "child.json"
    child = ChildProcess(SLEEPER, record=record, log_path=tmp_path / "log", environ=os.environ)
    while "up" not in child.log_text():
        assert child.exit_code is None
    assert json.loads(record.read_text()) == {"pid": child.pid, "started": start_identity(child.pid)}
    assert os.getsid(child.pid) == child.pid, "Ctrl-C at the terminal must not reach it"
    assert child.stop(10) == -15
    assert not record.exists()


def test_a_leftover_is_ended(stranger: subprocess.Popen[bytes], tmp_path: Path) -> None:
    record = tmp_path / "leftover.json"
    _note(record, stranger.pid, start_identity(stranger.pid))
    assert end_leftover(record)
    assert stranger.wait(10) == -9
    assert not record.exists()


def test_a_new_child_replaces_the_leftover_of_its_record(stranger: subprocess.Popen[bytes], tmp_path: Path) -> None:
    record = tmp_path / "child.json"
    _note(record, stranger.pid, start_identity(stranger.pid))
    child = ChildProcess(SLEEPER, record=record, log_path=tmp_path / "log", environ=os.environ)
    assert stranger.wait(10) == -9
    assert child.kill() == -9


def test_another_process_with_the_same_id_is_left_alone(stranger: subprocess.Popen[bytes], tmp_path: Path) -> None:
    record = tmp_path / "old.json"
    _note(record, stranger.pid, "another boot/12345")
    assert not end_leftover(record)
    assert stranger.poll() is None
    assert not record.exists()


@pytest.mark.parametrize("text", ["", "{", '{"pid": 1}', "[]", '{"pid": "x", "started": null}'])
def test_half_a_record_is_dropped(tmp_path: Path, text: str) -> None:
    record = tmp_path / "half.json"
    record.write_text(text)
    assert not end_leftover(record)
    assert not record.exists()


def test_no_record_is_no_leftover(tmp_path: Path) -> None:
    assert not end_leftover(tmp_path / "none.json")


def test_a_command_that_does_not_exist_ends_and_says_so(tmp_path: Path) -> None:
    command = [str(tmp_path / "missing")]
    child = ChildProcess(command, record=tmp_path / "child.json", log_path=tmp_path / "log", environ=os.environ)
    assert child.wait(10) == 1
    assert "FileNotFoundError" in child.log_tail()
