"""A real Apache Kafka as a child process: KRaft, one node, loopback only."""

import base64
import fcntl
import json
import os
import socket
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from app.local.errors import BrokerError
from app.local.java import Java
from app.local.probe import live_cluster
from app.local.processes import ChildProcess, end_leftover
from app.local.server_properties import HOST, JVM_OPTIONS, server_properties

READY_TIMEOUT_S: Final = 120.0
STOP_TIMEOUT_S: Final = 15.0
_POLL_S: Final = 0.05
_PROBE_TIMEOUT_S: Final = 1.0
_START_ATTEMPTS: Final = 3
_LINES_SHOWN: Final = 20
_PORT_TAKEN: Final = ("Address already in use", "BindException")


class LocalBroker:
    """One broker and its data. Use it as a context manager, or call `start` and `stop`.

    The data survives `stop`, `kill` and the end of this process; another `LocalBroker` on the same folder goes on with
    it, on the same ports where they are still free. Only one process at a time may use a folder. The broker itself ends
    with the thread that started it (Linux) or is ended by the next start on its folder.
    """

    def __init__(  # noqa: PLR0913 - options by name, most with a default
        self,
        data_dir: Path,
        *,
        java: Java,
        jars: Path,
        log_path: Path | None = None,
        extra_properties: Mapping[str, str] | None = None,
        preferred_port: int | None = None,
        environ: Mapping[str, str] | None = None,
        format_options: Sequence[str] = (),
        cluster_id: str | None = None,
    ) -> None:
        """Prepare a broker; nothing starts yet. ``jars`` is the folder with Kafka's jars.

        ``extra_properties`` win over our own. ``preferred_port`` is taken for the first start if it is free.
        ``format_options`` go to the tool that formats the storage the first time, and so does ``cluster_id``, the same for
        all brokers of a cluster; a broker without one is a cluster of its own.
        """
        self.data_dir: Final = data_dir.resolve()
        self.log_path: Final = log_path or self.data_dir / "broker.log"
        self._java: Final = java
        self._jars: Final = jars
        self._extra_properties: Final = dict(extra_properties or {})
        self._preferred_port: Final = preferred_port
        self._environ: Final = dict(os.environ if environ is None else environ)
        self._given_cluster_id: Final = cluster_id
        self._format_options: Final = tuple(format_options)
        self._ports: tuple[int, int] | None = None
        self._child: ChildProcess | None = None
        self._lock: IO[str] | None = None

    @property
    def bootstrap_servers(self) -> str:
        """``host:port`` for clients; known from the first `start` on, and the same after `restart`."""
        if self._ports is None:
            message = "the broker has not been started"
            raise BrokerError(message)
        return f"{HOST}:{self._ports[0]}"

    @property
    def pid(self) -> int:
        """Process id of the running broker. Raises `BrokerError` when it does not run."""
        if self._child is None:
            message = "the broker does not run"
            raise BrokerError(message)
        return self._child.pid

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._child is not None and self._child.exit_code is None

    def start(self) -> None:
        """Start it and wait until it answers; the storage is formatted the first time.

        Raises `BrokerError` with the end of its log when it dies, when it is not ready after two minutes, or when
        another process uses the folder.
        """
        if self.is_running:
            return
        self._take_folder()
        try:
            self._start_on_free_ports()
        except BaseException:
            self.kill()
            self._leave_folder()
            raise

    def stop(self) -> None:
        """Stop it in order (SIGTERM), or by force after fifteen seconds; the data is kept."""
        if self._child is not None:
            self._child.stop(STOP_TIMEOUT_S)
            self._child = None
        self._leave_folder()

    def kill(self) -> None:
        """Kill it (SIGKILL), as a crash would. `restart` brings it back with its data."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def restart(self) -> None:
        """Stop it if it runs, and start it on the same ports with the same data."""
        if self._child is not None:
            self._child.stop(STOP_TIMEOUT_S)
            self._child = None
        self.start()

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()

    def _take_folder(self) -> None:
        """Lock the folder, then end a broker that a killed process has left on it."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        if self._lock is None:
            lock = (self.data_dir / "lock").open("w", encoding="ascii")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                message = f"another process is using the broker in {self.data_dir}"
                raise BrokerError(message) from None
            self._lock = lock
        end_leftover(self._record)

    def _leave_folder(self) -> None:
        """Let another process use the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @property
    def _record(self) -> Path:
        """Where the running broker's id and start time are noted."""
        return self.data_dir / "broker.pid.json"

    def _start_on_free_ports(self) -> None:
        """Start on the ports of last time; on others when these are taken, unless clients of `restart` rely on them."""
        pinned = self._ports is not None
        for attempt in range(1, _START_ATTEMPTS + 1):
            if not pinned:
                self._ports = self._choose_ports(remembered=attempt == 1)
            self._format_storage()
            self._launch()
            if self._await_ready():
                return
            said = "" if self._child is None else self._child.log_text()
            self.kill()
            if pinned or attempt == _START_ATTEMPTS or not any(sign in said for sign in _PORT_TAKEN):
                raise BrokerError(f"Kafka did not start; from {self.log_path}:\n{_reason_in(said)}")

    def _choose_ports(self, *, remembered: bool) -> tuple[int, int]:
        """Return a port for clients and one for the controller, both free at this moment, and remember them."""
        path = self.data_dir / "ports.json"
        wanted = [self._preferred_port or 0, 0]
        if remembered and path.exists():
            wanted = json.loads(path.read_text(encoding="ascii"))
        elif not remembered:
            wanted = [0, 0]
        with socket.socket() as first, socket.socket() as second:
            ports = (_bind(first, wanted[0]), _bind(second, wanted[1]))
        path.write_text(json.dumps(ports), encoding="ascii")
        return ports

    def _format_storage(self) -> None:
        """Write the configuration and format the storage once. Raises `BrokerError` with what the tool says."""
        assert self._ports is not None  # noqa: S101 - chosen just before
        properties = self.data_dir / "server.properties"
        log_dir = self.data_dir / "log"
        properties.write_text(server_properties(log_dir, *self._ports, self._extra_properties), encoding="utf-8")
        formatted = self.data_dir / "formatted"
        if formatted.exists():
            return
        cluster_id = self._given_cluster_id or new_cluster_id()
        options = [
            "format",
            "--ignore-formatted",
            f"--cluster-id={cluster_id}",
            f"--config={properties}",
            *self._format_options,
        ]
        done = subprocess.run(
            [*self._java_command(), "kafka.tools.StorageTool", *options],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=self._environ,
            check=False,
        )
        if done.returncode:
            message = f"Kafka's storage in {log_dir} could not be formatted:\n{done.stdout}{done.stderr}"
            raise BrokerError(message)
        formatted.touch()

    def _java_command(self) -> list[str]:
        """Java with its options and the class path, in a stable order."""
        class_path = os.pathsep.join(str(path) for path in sorted(self._jars.glob("*.jar")))
        return [str(self._java.executable), *JVM_OPTIONS, "-cp", class_path]

    def _launch(self) -> None:
        """Start the process."""
        self._child = ChildProcess(
            [*self._java_command(), "kafka.Kafka", str(self.data_dir / "server.properties")],
            record=self._record,
            log_path=self.log_path,
            environ=self._environ,
        )

    def _await_ready(self) -> bool:
        """Wait until it answers and its cluster counts a broker as live; False when the process ends or time is up."""
        assert self._child is not None  # noqa: S101 - launched just before
        assert self._ports is not None  # noqa: S101 - chosen before that
        cluster = self._cluster_id()
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline and self._child.exit_code is None:
            if live_cluster(HOST, self._ports[0], _PROBE_TIMEOUT_S) == cluster:
                return True
            time.sleep(_POLL_S)
        return False

    def _cluster_id(self) -> str:
        """Read the id that the storage was formatted with."""
        text = (self.data_dir / "log" / "meta.properties").read_text(encoding="utf-8")
        return next(line.removeprefix("cluster.id=") for line in text.splitlines() if line.startswith("cluster.id="))


def new_cluster_id() -> str:
    """Return an id that no other cluster has."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def _reason_in(log: str) -> str:
    """Pick the lines of a failed start that say why: after the error come hundreds about the shutdown."""
    lines = log.splitlines()
    first = next((number for number, line in enumerate(lines) if " ERROR " in line or "Exception" in line), None)
    return "\n".join(lines[-_LINES_SHOWN:] if first is None else lines[first : first + _LINES_SHOWN])


def _bind(free: socket.socket, port: int) -> int:
    """Bind to ``port`` on loopback, or to any other when it is taken; return the port."""
    free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Kafka does: ports of the last run are free at once
    try:
        free.bind((HOST, port))
    except OSError:
        free.bind((HOST, 0))
    return int(free.getsockname()[1])
