"""Kafka's jars are the pinned ones or none: checked, collected aside, and put in place at once."""

import dataclasses
import hashlib
import re
from pathlib import Path

import pytest

from app.local.errors import BrokerError
from app.local.jars import Jar, ensure_jars, kafka_version, read_pinned_jars

# A Maven that "downloads" by copying from a folder: what is tested is what becomes of the files, not the network.
FAKE_MAVEN = """#!/bin/sh
for option in "$@"; do case "$option" in -DoutputDirectory=*) out="${option#*=}";; esac; done
echo run >> "$REPOSITORY/../runs"
for jar in "$REPOSITORY"/*.jar; do
    [ -e "$out/${jar##*/}" ] || { cp "$jar" "$out/"; echo "[INFO] Downloaded from there: /${jar##*/} (1 kB)"; }
done
"""


def _jar(name: str, content: bytes) -> Jar:
    return Jar(hashlib.sha256(content).hexdigest(), len(content), "org.example", name, "1.0")


JARS = (_jar("kafka_2.13", b"kafka"), _jar("scala", b"scala"), _jar("slf4j", b"slf4j"))


class Setup:
    """A cache, and a repository from which the jars come."""

    def __init__(self, folder: Path) -> None:
        self.cache = folder / "cache"
        self.repository = folder / "repository"
        self.repository.mkdir()
        self.runs = folder / "runs"
        for jar, content in zip(JARS, (b"kafka", b"scala", b"slf4j"), strict=True):
            (self.repository / jar.file_name).write_bytes(content)
        tools = folder / "bin"
        tools.mkdir()
        (tools / "mvn").write_text(FAKE_MAVEN)
        (tools / "mvn").chmod(0o755)
        self.environ = {"PATH": f"{tools}:/usr/bin:/bin", "REPOSITORY": str(self.repository)}
        self.seen: list[tuple[int, int, str]] = []

    def ensure(self) -> Path:
        def report(have: int, total: int, name: str) -> None:
            self.seen.append((have, total, name))

        return ensure_jars(self.cache, jars=JARS, environ=self.environ, java_home=Path("/java"), report=report)

    def count_runs(self) -> int:
        return len(self.runs.read_text().splitlines()) if self.runs.exists() else 0


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(tmp_path)


def test_jars_are_downloaded_once_and_told_one_by_one(setup: Setup) -> None:
    folder = setup.ensure()
    assert sorted(path.name for path in folder.iterdir()) == sorted(jar.file_name for jar in JARS)
    assert [have for have, _, _ in setup.seen] == [0, 1, 2, 3]
    assert {total for _, total, _ in setup.seen} == {3}
    assert setup.ensure() == folder
    assert setup.count_runs() == 1


def test_a_jar_with_another_checksum_is_refused(setup: Setup) -> None:
    (setup.repository / JARS[1].file_name).write_bytes(b"SCALA")
    with pytest.raises(
        BrokerError, match=r"org\.example:scala:1\.0 was refused: its sha256 is [0-9a-f]{64}, pinned is"
    ):
        setup.ensure()
    assert not (setup.cache / "kafka-1.0").exists()
    assert not (setup.cache / "kafka-1.0.partial" / JARS[1].file_name).exists()

    (setup.repository / JARS[1].file_name).write_bytes(b"scala")
    assert setup.ensure().is_dir()


def test_a_jar_that_does_not_come_is_named(setup: Setup) -> None:
    (setup.repository / JARS[2].file_name).unlink()
    with pytest.raises(BrokerError, match="could not be downloaded"):
        setup.ensure()


def test_an_interrupted_download_goes_on_where_it_stopped(setup: Setup) -> None:
    partial = setup.cache / "kafka-1.0.partial"
    partial.mkdir(parents=True)
    (partial / JARS[0].file_name).write_bytes(b"kafka")
    (partial / JARS[1].file_name).write_bytes(b"sca")  # cut off
    (partial / "leftover.tmp").write_bytes(b"x")
    folder = setup.ensure()
    assert setup.seen[0] == (1, 3, "")
    assert {path.name for path in folder.iterdir()} == {jar.file_name for jar in JARS}
    assert (folder / JARS[1].file_name).read_bytes() == b"scala"


def test_a_damaged_cache_is_mended(setup: Setup) -> None:
    folder = setup.ensure()
    (folder / JARS[1].file_name).write_bytes(b"s")
    (folder / JARS[2].file_name).unlink()
    assert setup.ensure() == folder
    assert (folder / JARS[1].file_name).read_bytes() == b"scala"
    assert setup.count_runs() == 2


def test_the_pinned_list_is_complete_and_plain() -> None:
    jars = read_pinned_jars()
    assert re.fullmatch(r"4\.\d+\.\d+", kafka_version(jars))
    assert len({jar.file_name for jar in jars}) == len(jars) > 40
    for jar in jars:
        assert re.fullmatch(r"[0-9a-f]{64}", jar.sha256)
        assert jar.size_bytes > 1000
        assert "/" not in "".join(map(str, dataclasses.astuple(jar)))
