"""Kafka in Docker, for a machine without Java: the project's `docker-compose.yml`, started and waited for."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from app.local.errors import BrokerError

COMPOSE_PORT: Final = 9092
_NAME: Final = "docker-compose.yml"
_PLACES: Final = (Path(__file__).with_name(_NAME), Path(__file__).parents[2] / _NAME)
"""Beside this file in an installed package, at the root in a checkout."""


class ComposeBroker:
    """The service of `docker-compose.yml`; it keeps its data in a volume."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Prepare; nothing starts yet. Raises `BrokerError` when the compose file is nowhere."""
        self._environ: Final = dict(environ)
        self._file: Final = next((path for path in _PLACES if path.is_file()), None)
        if self._file is None:
            message = f"{_NAME} was not found"
            raise BrokerError(message)

    @property
    def bootstrap_servers(self) -> str:
        """Where the container is published: loopback only."""
        return f"127.0.0.1:{COMPOSE_PORT}"

    def start(self) -> None:
        """Start the container and wait until it is healthy; pulling the image takes minutes the first time."""
        self._compose("up", "--detach", "--wait")

    def stop(self) -> None:
        """Stop the container; its data stays."""
        self._compose("stop")

    def _compose(self, *arguments: str) -> None:
        """Run `docker compose`. Raises `BrokerError` with what it says when it fails."""
        client = shutil.which("docker", path=self._environ.get("PATH", "")) or "docker"
        done = subprocess.run(
            [client, "compose", "--file", str(self._file), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=self._environ,
            check=False,
        )
        if done.returncode:
            message = f"`docker compose {arguments[0]}` failed:\n{done.stderr.strip() or done.stdout.strip()}"
            raise BrokerError(message)
