"""Errors: one line, the exit code that help promises, and a traceback only for who asks for it."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from app.cli import main
from app.cli.errors import EXIT_FAILED, explain

RECORD = '{"location_id":"loc_1","units":"KWH","value":1}'


def environment(**settings: str) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("METERSTREAM_", "KAFKA_"))}
    return plain | settings


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment(**settings), timeout=60, check=False)


@pytest.fixture
def records(tmp_path: Path) -> Path:
    path = tmp_path / "records.jsonl"
    path.write_text(RECORD + "\n")
    return path


def test_settings_that_are_wrong_end_with_2_and_a_line_each() -> None:
    done = run("topics", "list", METERSTREAM_PARTITIONS="many", METERSTREAM_PARTITION="3")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "Error: METERSTREAM_PARTITIONS='many': expected a valid integer, unable to parse string as an integer",
        "Error: METERSTREAM_PARTITION is no setting; did you mean METERSTREAM_PARTITIONS?",
    ]


def test_nobody_at_the_address_ends_with_3_in_bounded_time(records: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # taken, and nobody listens
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        bill = ["bill", "--location", "loc_1", "--from", "2025-03-01", "--to", "2025-04-01"]
        commands = (["topics", "list"], ["send", str(records)], ["tail"], ["rejected", "list"], bill)
        running = [
            subprocess.Popen(
                [sys.executable, "-m", "app.cli", *arguments],
                stderr=subprocess.PIPE,
                text=True,
                env=environment(METERSTREAM_BOOTSTRAP_SERVERS=address),
            )
            for arguments in commands
        ]
        for process in running:
            _, stderr = process.communicate(timeout=40)
            assert process.returncode == 3
            assert stderr.splitlines() == [f"Error: no Kafka broker answered at {address} within 10 s"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["send", "{folder}/none.csv"], "none.csv: cannot be read: No such file or directory"),
        (["send", "{folder}/what.dat"], "say which with --format"),
        (["send", "--format", "csv", "{folder}/what.dat"], "expected a header with metering_point"),
        (["send", "--map", "{folder}/none", "{folder}/what.dat"], "none: cannot be read"),
        (["send", "--format", "csv", "-"], "standard input can only be JSON Lines"),
        (["load", "{folder}/what.dat"], "what.dat: not JSON"),
        (["rejected", "list", "--since", "yesterday"], "is not a timestamp"),
        (["send", "--map", "a", "--location", "b", "c"], "--map and --location exclude each other"),
        (["send"], "Missing argument 'FILE...'"),
        (["send", "--batch", "0", "x"], "'--batch': 0 is not in the range"),
        (["tail", "--max", "none"], "'--max': 'none' is not a valid integer"),
        (["nonsense"], "No such command 'nonsense'"),
    ],
)
def test_bad_input_ends_with_2_and_a_line(tmp_path: Path, arguments: list[str], said: str) -> None:
    (tmp_path / "what.dat").write_text("hello")
    result = CliRunner().invoke(main, [one.format(folder=tmp_path) for one in arguments])
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert isinstance(result.exception, SystemExit)


def test_a_file_that_is_unusable_keeps_all_files_from_being_sent(tmp_path: Path, records: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("metering_point,period_start,quantity\na,2025-03-01T00:00:00Z,1\n")
    done = run("send", str(records), str(bad), METERSTREAM_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert done.returncode == 2
    assert "give --granularity" in done.stderr
    assert done.stdout == ""


def test_debug_shows_where_an_error_is_from(tmp_path: Path) -> None:
    done = run("--debug", "send", str(tmp_path / "none.csv"))
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    done = run("send", str(tmp_path / "none.csv"), METERSTREAM_LOG_LEVEL="debug")
    assert "Traceback" in done.stderr


def test_an_error_that_nobody_foresaw_is_a_line_too() -> None:
    explained = explain(ZeroDivisionError("division by zero"))
    assert explained.exit_code == EXIT_FAILED
    assert explained.lines == [
        "nobody foresaw this ZeroDivisionError: division by zero (`meterstream --debug …` shows where it is from)"
    ]


def test_the_worker_checks_its_settings_without_starting() -> None:
    done = run("worker", "--check", METERSTREAM_PARTITIONS="3", KAFKA_BOOTSTRAP_SERVERS="kafka:9092")
    assert done.returncode == 0
    assert "METERSTREAM_PARTITIONS=3" in done.stdout.splitlines()
    assert "METERSTREAM_BOOTSTRAP_SERVERS=kafka:9092" in done.stdout.splitlines()
    assert run("worker", METERSTREAM_LINGER="3").returncode == 2


def test_wrong_settings_end_a_worker_of_fausts_command_line_with_2_too() -> None:
    command = [sys.executable, "-m", "faust", "-A", "app.worker", "worker"]
    settings = environment(METERSTREAM_PARTITIONS="many", METERSTREAM_LINGER="3")
    done = subprocess.run(command, capture_output=True, text=True, env=settings, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "meterstream: the settings are wrong:",
        "  METERSTREAM_PARTITIONS='many': expected a valid integer, unable to parse string as an integer",
        "  METERSTREAM_LINGER is no setting; did you mean METERSTREAM_LINGER_MS?",
    ]
