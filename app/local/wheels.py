"""Tools that come as Python wheels (Java, a Maven resolver), in the cache: the environment stays as locked."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from app.local.errors import BrokerError


def find_wheel(module: str, cache: Path) -> Path | None:
    """Return the folder that has ``module``, among the installed packages or in the cache, else None."""
    spec = importlib.util.find_spec(module)
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).parent.parent
    folder = _folder(module, cache)
    return folder if (folder / module / "__init__.py").is_file() else None


def install_wheel(module: str, requirement: str, cache: Path, environ: Mapping[str, str]) -> Path:
    """Install ``requirement`` into the cache and return the folder. Raises `BrokerError` with pip's last line."""
    folder = _folder(module, cache)
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "--upgrade",
    ]
    done = subprocess.run(
        [*command, "--target", str(folder), requirement],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=dict(environ),
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
        message = f"{requirement} could not be installed: {reason}"
        raise BrokerError(message)
    return folder


def python_path_with(module: str, requirement: str, cache: Path, environ: Mapping[str, str]) -> str:
    """Return a PYTHONPATH with which ``module`` can be imported, installing it when it is nowhere."""
    folder = find_wheel(module, cache) or install_wheel(module, requirement, cache, environ)
    return os.pathsep.join(filter(None, [str(folder), environ.get("PYTHONPATH")]))


def _folder(module: str, cache: Path) -> Path:
    """Where the cache keeps one wheel and what it needs."""
    return cache / "wheels" / module
