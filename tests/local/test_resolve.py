"""Which Kafka this machine gets, and what somebody is told who can have none."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.local.docker import COMPOSE_PORT
from app.local.java import find_java
from app.local.paths import cache_dir, state_dir
from app.local.resolve import WHAT_TO_INSTALL, ExternalBroker, choose_broker
from app.local.server_properties import container_environment, server_properties

ROOT = Path(__file__).parents[2]


def test_a_kafka_that_is_named_is_used_and_never_stopped(tmp_path: Path) -> None:
    broker = choose_broker(tmp_path, environ={"KAFKA_BOOTSTRAP_SERVERS": "kafka.example:9092"})
    assert broker == ExternalBroker("kafka.example:9092")
    broker.start()
    broker.stop()
    assert broker.bootstrap_servers == "kafka.example:9092"


def test_without_java_docker_and_network_one_sentence_says_what_to_install(tmp_path: Path) -> None:
    environ = {
        "HOME": str(tmp_path),
        "PATH": str(tmp_path),
        "PIP_NO_INDEX": "1",  # no Java can be installed either
        "PIP_CONFIG_FILE": os.devnull,
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "dev"], env=environ, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert WHAT_TO_INSTALL in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("version", ["11", "1.8"])
def test_an_old_java_does_not_count(tmp_path: Path, version: str) -> None:
    java = tmp_path / "jdk" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(
        f"#!/bin/sh\necho '    java.home = /jdk' >&2\necho '    java.specification.version = {version}' >&2\n"
    )
    java.chmod(0o755)
    found = find_java({"JAVA_HOME": str(tmp_path / "jdk"), "PATH": "/usr/bin:/bin"}, tmp_path)
    assert found is None or found.executable != java


def test_a_java_that_only_asks_to_be_installed_does_not_count(tmp_path: Path) -> None:
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'Unable to locate a Java Runtime.' >&2\nexit 1\n")
    java.chmod(0o755)
    found = find_java({"PATH": str(tmp_path)}, tmp_path)
    assert found is None or found.executable != java


def test_folders_follow_xdg() -> None:
    assert cache_dir({"HOME": "/home/x"}) == Path("/home/x/.cache/meterstream")
    assert state_dir({"HOME": "/home/x"}) == Path("/home/x/.local/state/meterstream")
    assert cache_dir({"HOME": "/home/x", "XDG_CACHE_HOME": "/c"}) == Path("/c/meterstream")
    assert state_dir({"HOME": "/home/x", "XDG_STATE_HOME": "relative"}) == Path("/home/x/.local/state/meterstream")


def test_the_compose_file_has_the_settings_of_the_local_broker() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    variables = dict(re.findall(r'^      ([A-Z_]+): "(.*)"$', text, re.MULTILINE))
    assert variables == container_environment(f"127.0.0.1:{COMPOSE_PORT}")
    assert f'"127.0.0.1:{COMPOSE_PORT}:9092"' in text


def test_nothing_listens_beyond_loopback() -> None:
    for line in server_properties(Path("/data"), 1, 2, {}).splitlines():
        if "listeners=" in line or "voters=" in line:
            assert re.findall(r"[A-Z]+://([^:]+):|@([^:]+):", line)
            assert not re.search(r"0\.0\.0\.0|://:|\[::\]", line)


def test_what_is_given_wins_over_our_settings() -> None:
    text = server_properties(Path("/data"), 1, 2, {"message.max.bytes": "5", "new.one": "a\\b"})
    assert "message.max.bytes=5\n" in text
    assert "new.one=a\\\\b\n" in text
