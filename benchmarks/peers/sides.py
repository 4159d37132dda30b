"""Who takes part: how each side is started, and what it guarantees."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from benchmarks.peers.environments import PROGRAMS, java_command, python_command

OURS: Final = "meterstream"
BARE: Final = "bare"


@dataclass(frozen=True, slots=True)
class Side:
    """One side. `command` makes the environment that it needs, and may raise `UnavailableError`.

    `guarantee` is what its documentation promises when a process is killed. `commits` tells whether its positions are those
    of a consumer group; where they are not, it is done when everything is written. `state_in_kafka`: it can come back without
    its disk. `most_records` is what a slow side is given at most, so that a run ends within an hour; `only_if_named`: it is left
    out of a run of all sides.
    """

    name: str
    title: str
    guarantee: str
    command: Callable[[], list[str]]
    config: tuple[tuple[str, str], ...] = ()
    is_ours: bool = False
    commits: bool = True
    state_in_kafka: bool = True
    most_records: int | None = None
    only_if_named: bool = False


def _python(name: str, program: str) -> Callable[[], list[str]]:
    return lambda: python_command(name, str(PROGRAMS / program))


def _worker(interpreter: str) -> Callable[[], list[str]]:
    return lambda: [interpreter, "-m", "app.cli", "worker"]


def _streams() -> list[str]:
    return java_command("StreamsBilling")


SIDES: Final = (
    Side(
        BARE,
        "bare loop (confluent-kafka, orjson, a dict)",
        "none: a crash takes the state",
        _python("bare", "bare_loop.py"),
        commits=False,
        state_in_kafka=False,
    ),
    Side(
        OURS,
        "meterstream",
        "exactly once; state in Kafka and RocksDB",
        _worker(sys.executable),
        is_ours=True,
    ),
    Side(
        "meterstream-2",
        "meterstream, two workers",
        "exactly once; state in Kafka and RocksDB",
        lambda: [sys.executable, str(PROGRAMS / "two_workers.py")],
        is_ours=True,
        # When the second one takes partitions over, it publishes intervals that were held back incomplete: more than the job.
        only_if_named=True,
    ),
    Side(
        "streams-alo",
        "Kafka Streams, at least once",
        "at least once; state in Kafka and RocksDB",
        _streams,
        (("guarantee", "at_least_once"),),
    ),
    Side(
        "streams-eos",
        "Kafka Streams, exactly once v2",
        "exactly once; state in Kafka and RocksDB",
        _streams,
        (("guarantee", "exactly_once_v2"),),
    ),
    Side(
        "quix-alo",
        "Quix Streams, at least once",
        "at least once; state in Kafka and RocksDB",
        _python("quix", "quix_streams.py"),
        (("guarantee", "at-least-once"),),
    ),
    Side(
        "quix-eos",
        "Quix Streams, exactly once",
        "exactly once; state in Kafka and RocksDB",
        _python("quix", "quix_streams.py"),
        (("guarantee", "exactly-once"),),
    ),
    Side(
        "bytewax",
        "Bytewax",
        "at least once; snapshots of state in SQLite on the local disk",
        _python("bytewax", "bytewax_flow.py"),
        commits=False,
        state_in_kafka=False,
    ),
    Side(
        "pathway",
        "Pathway (community edition)",
        "at least once; journal of the input on the local disk",
        _python("pathway", "pathway_graph.py"),
        commits=False,
        state_in_kafka=False,
    ),
    Side(
        "faust",
        "faust-streaming as documented",
        "at least once; state in Kafka and RocksDB",
        _python("faust", "stock_faust.py"),
        most_records=100_000,
    ),
)
"""In the order of a run."""


def with_interpreters(sides: Sequence[Side], interpreters: Sequence[str]) -> list[Side]:
    """Return the sides, and after our own one more for each other interpreter, which has our packages installed."""
    found: list[Side] = []
    for side in sides:
        found.append(side)
        if side.name == OURS:
            for interpreter in interpreters:
                version = _version(interpreter)
                name, title = f"{side.name}-{version}", f"{side.title}, Python {version}"
                found.append(replace(side, name=name, title=title, command=_worker(interpreter)))
    return found


def _version(interpreter: str) -> str:
    command = [interpreter, "-c", "import platform; print(platform.python_version())"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
