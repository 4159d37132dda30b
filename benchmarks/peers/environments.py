"""Environments of the peers: a virtual environment for each in Python, jars and compiled classes for the one in Java.

All of it lies below `build/peers`, is made the first time, and again when what it is made from has changed.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

from app.local.jars import ensure_jars, read_pinned_jars
from app.local.java import find_java
from app.local.paths import cache_dir

HERE: Final = Path(__file__).parent
PROGRAMS: Final = HERE / "programs"
BUILD: Final = HERE.parents[1] / "build" / "peers"
_JARS: Final = HERE / "streams_jars.sha256"
_STAMP: Final = ".made-from"
_JVM: Final = ("-Xms512m", "-Xmx1g", "-XX:+UseParallelGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")


class UnavailableError(RuntimeError):
    """A peer cannot run here; the message says what it needs."""


def python_command(name: str, *program: str) -> list[str]:
    """Return the command that runs a program with the packages of a peer, making its environment first.

    Raises:
        UnavailableError: its packages cannot be installed here.

    """
    folder, requirements = BUILD / name, HERE / "requirements" / f"{name}.txt"
    made_from = _digest([requirements]) + sys.version
    python = folder / "bin" / "python"
    stamp = folder / _STAMP
    if not stamp.exists() or stamp.read_text() != made_from:
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
        done = subprocess.run(
            [*command, "--requirement", str(requirements)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise UnavailableError(f"the packages of {name} cannot be installed: {done.stderr.strip()[-300:]}")
        stamp.write_text(made_from)
    return [str(python), *program]


def java_command(main_class: str) -> list[str]:
    """Return the command that runs a class of `programs`, fetching jars and compiling first.

    Raises:
        UnavailableError: there is no Java compiler.

    """
    cache = cache_dir(os.environ)
    java = find_java(os.environ, cache)
    compiler = None if java is None else shutil.which("javac", path=f"{java.home}/bin:{os.environ.get('PATH', '')}")
    if java is None or compiler is None:
        raise UnavailableError("Kafka Streams needs a Java development kit (javac), version 17 or newer")
    broker_jars, own_jars = read_pinned_jars(), read_pinned_jars(_JARS)
    folders = [
        ensure_jars(cache, jars=broker_jars, environ=os.environ, java_home=java.home, report=_silent),
        ensure_jars(BUILD / "jars", jars=own_jars, environ=os.environ, java_home=java.home, report=_silent),
    ]
    class_path = ":".join(f"{folder}/*" for folder in folders)
    sources = sorted(PROGRAMS.glob("*.java"))
    classes, made_from = BUILD / "classes", _digest([*sources, _JARS])
    stamp = classes / _STAMP
    if not stamp.exists() or stamp.read_text() != made_from:
        shutil.rmtree(classes, ignore_errors=True)
        classes.mkdir(parents=True)
        subprocess.run([compiler, "-d", str(classes), "-cp", class_path, *map(str, sources)], check=True)
        stamp.write_text(made_from)
    return [str(java.executable), *_JVM, "-cp", f"{classes}:{class_path}", main_class]


def _digest(files: list[Path]) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _silent(_have: int, _of: int, _name: str) -> None:
    """Say nothing of downloads."""
