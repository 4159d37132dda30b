"""The jars of Apache Kafka: pinned, checked, resolved by their Maven coordinates into a folder of the user's cache."""

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from app.local.errors import BrokerError
from app.local.wheels import python_path_with

PINNED_JARS: Final = Path(__file__).with_name("kafka_jars.sha256")
JGO_REQUIREMENT: Final = "jgo==3.2.0"
_COPY_GOAL: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_DOWNLOAD_TIMEOUT_S: Final = 900
_REASON_CHARACTERS: Final = 400

Report = Callable[[int, int, str], None]
"""Told of progress: how many jars are there, how many there will be, and the name of the newest."""


@dataclass(frozen=True, slots=True)
class Jar:
    """One pinned jar."""

    sha256: str
    size_bytes: int
    group: str
    artifact: str
    version: str

    @property
    def file_name(self) -> str:
        """Name of the file in the cache, as Maven gives it."""
        return f"{self.artifact}-{self.version}.jar"

    @property
    def coordinates(self) -> str:
        """The Maven coordinates, ``group:artifact:version``."""
        return f"{self.group}:{self.artifact}:{self.version}"


def read_pinned_jars(path: Path = PINNED_JARS) -> tuple[Jar, ...]:
    """Read the committed list. Raises ValueError for a line that is not `sha256 size group:artifact:version`."""
    jars = []
    for line in path.read_text(encoding="ascii").splitlines():
        if line and not line.startswith("#"):
            sha256, size_bytes, coordinates = line.split()
            group, artifact, version = coordinates.split(":")
            jars.append(Jar(sha256, int(size_bytes), group, artifact, version))
    return tuple(jars)


def kafka_version(jars: Iterable[Jar]) -> str:
    """Version of Kafka among the pinned jars."""
    return next(jar.version for jar in jars if jar.artifact == "kafka_2.13")


def ensure_jars(
    cache: Path, *, jars: tuple[Jar, ...], environ: Mapping[str, str], java_home: Path, report: Report
) -> Path:
    """Return the folder with all pinned jars, filling it first when they are not there.

    May take a minute the first time. It is safe when two do it at once (a lock file), and an interrupted download goes
    on where it stopped: jars are collected in a folder of their own, which gets its name when every checksum was right.
    Raises `BrokerError` when they cannot be downloaded or one is not what was pinned.
    """
    target = cache / f"kafka-{kafka_version(jars)}"
    if _looks_complete(target, jars):
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / f"{target.name}.lock"):
        if _looks_complete(target, jars):  # another process was filling it while this one waited
            return target
        partial = cache / f"{target.name}.partial"
        if target.exists():  # incomplete or damaged: what is still right in it is used again
            shutil.rmtree(partial, ignore_errors=True)
            target.rename(partial)
        partial.mkdir(exist_ok=True)
        missing = _without(jars, _drop_wrong(partial, jars))
        if missing:
            _download(
                missing, partial, cache=cache, total=len(jars), environ=environ, java_home=java_home, report=report
            )
        _require_right(partial, jars)
        partial.rename(target)
    return target


def _looks_complete(folder: Path, jars: Iterable[Jar]) -> bool:
    """Check names and sizes: what a start can afford. The checksums were right when the folder got its name."""
    try:
        return all((folder / jar.file_name).stat().st_size == jar.size_bytes for jar in jars)
    except FileNotFoundError:
        return False


def _is_right(path: Path, jar: Jar) -> bool:
    """Compare the checksum of a file with the pinned one."""
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == jar.sha256


def _drop_wrong(folder: Path, jars: Iterable[Jar]) -> list[Jar]:
    """Remove every file that is not a pinned jar, byte by byte; return the jars that are there."""
    right = {jar.file_name: jar for jar in jars if _is_right(folder / jar.file_name, jar)}
    for path in folder.iterdir():
        if path.name not in right:
            path.unlink()
    return list(right.values())


def _without(jars: Iterable[Jar], present: list[Jar]) -> tuple[Jar, ...]:
    """Return the jars that are not present yet."""
    return tuple(jar for jar in jars if jar not in present)


def _require_right(folder: Path, jars: Iterable[Jar]) -> None:
    """Refuse a folder in which a jar is missing or is not the pinned one; the wrong one is removed."""
    for jar in jars:
        path = folder / jar.file_name
        if not path.is_file():
            message = f"{jar.coordinates} could not be downloaded"
            raise BrokerError(message)
        if not _is_right(path, jar):
            found = hashlib.sha256(path.read_bytes()).hexdigest()
            path.unlink()
            message = f"{jar.coordinates} was refused: its sha256 is {found}, pinned is {jar.sha256}"
            raise BrokerError(message)


def _download(
    missing: tuple[Jar, ...],
    folder: Path,
    *,
    cache: Path,
    total: int,
    environ: Mapping[str, str],
    java_home: Path,
    report: Report,
) -> None:
    """Resolve the missing jars into ``folder`` with Maven, or with jgo where there is no Maven."""
    report(total - len(missing), total, "")
    maven = shutil.which("mvn", path=environ.get("PATH", ""))
    if maven:
        command = _maven_command(maven, missing, folder)
        variables = {**environ, "JAVA_HOME": str(java_home)}
    else:
        command = [sys.executable, str(Path(__file__).with_name("jgo_download.py")), str(folder), str(cache / "jgo")]
        command += [jar.coordinates for jar in missing]
        variables = {**environ, "PYTHONPATH": python_path_with("jgo", JGO_REQUIREMENT, cache, environ)}
    waiting = {jar.file_name for jar in missing}
    lines: list[str] = []
    for line in _output_of(command, variables, folder):
        lines.append(line)
        # Maven names a jar as it downloads it; one that its own cache has is copied without a word.
        for name in () if "Downloading" in line else waiting & {part.rpartition("/")[2] for part in line.split()}:
            waiting.discard(name)
            report(total - len(waiting), total, name)
    if any(not (folder / jar.file_name).is_file() for jar in missing):
        reason = next((line for line in lines if "[ERROR]" in line), lines[-1] if lines else "no output")
        raise BrokerError(
            f"the Kafka jars could not be downloaded: {reason.removeprefix('[ERROR] ')[:_REASON_CHARACTERS]}"
        )


def _output_of(command: list[str], environ: Mapping[str, str], folder: Path) -> Iterator[str]:
    """Run a command and yield its output line by line; it is killed when the reader stops early."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=dict(environ),
        cwd=folder,
    ) as process:
        try:
            assert process.stdout is not None  # noqa: S101 - it is a pipe, as asked for above
            yield from (line.rstrip() for line in process.stdout)
            process.wait(_DOWNLOAD_TIMEOUT_S)
        finally:
            process.kill()


def _maven_command(maven: str, jars: Iterable[Jar], folder: Path) -> list[str]:
    """Write a pom of exactly these jars, without what they depend on; return the command that copies them."""
    pom = folder.with_name(folder.name + ".pom.xml")
    wanted = "".join(
        f"<dependency><groupId>{escape(jar.group)}</groupId><artifactId>{escape(jar.artifact)}</artifactId>"
        f"<version>{escape(jar.version)}</version><exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId>"
        "</exclusion></exclusions></dependency>"
        for jar in jars
    )
    pom.write_text(
        "<project><modelVersion>4.0.0</modelVersion><groupId>meterstream</groupId><artifactId>kafka-jars</artifactId>"
        f"<version>1</version><dependencies>{wanted}</dependencies></project>",
        encoding="utf-8",
    )
    options = [f"-DoutputDirectory={folder}", "-Dmdep.overWriteReleases=true", "-Dstyle.color=never"]
    return [maven, "--batch-mode", "--file", str(pom), _COPY_GOAL, *options]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a file lock: the second to fill the cache waits for the first. The kernel drops it with the process."""
    with path.open("w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
