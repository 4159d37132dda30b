"""Recovery as stock faust-streaming does it: the same entries in the changelog of a Faust table, whose store is empty.

Faust's own changelogs have no transactions: it takes one that ends with a transaction marker for one that never ends. So the
committed entries of a worker are copied to the changelog of a table with RocksDB behind it, as Faust's documentation has it:
the state of an interval and its priced record in one value, which is less work than in two tables.

Run by `python -m benchmarks.recovery`; as a program of its own it is the Faust worker.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import faust
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from app.settings import Settings
from app.streams.tables import INTERVAL_MARK
from app.streams.topics import topic_names
from benchmarks.setting import read_all

_LONGEST_S: Final = 300.0


def build(bootstrap_servers: str, app_id: str, partitions: int, folder: Path) -> faust.App:
    """Return an application with one table that an agent would fill; it says how long its recovery took, and what came of it."""
    app = faust.App(
        app_id,
        broker=[f"kafka://{server}" for server in bootstrap_servers.split(",")],
        store="rocksdb://",
        datadir=str(folder),
        topic_partitions=partitions,
        key_serializer="raw",
        value_serializer="raw",
        web_enabled=False,
        topic_allow_declare=False,
    )
    records = app.topic(f"{app_id}-records")
    intervals: Any = app.Table("intervals", partitions=partitions, key_type=bytes, value_type=bytes)
    began_s = [0.0]

    @app.agent(records)
    async def bucket(stream: Any) -> None:
        async for key, value in stream.items():
            intervals[key] = value

    @app.on_partitions_assigned.connect
    async def on_assigned(*_: Any, **__: Any) -> None:
        began_s[0] = time.monotonic()

    @intervals.on_recover
    async def on_recovered() -> None:
        seconds = time.monotonic() - began_s[0]
        found = len(list(intervals.keys()))
        os.write(
            1, json.dumps({"seconds": seconds, "entries": found}).encode() + b"\n"
        )  # Faust logs what goes to sys.stdout

    return app


async def measure_stock(settings: Settings, limit: int) -> dict[str, float]:
    """Copy up to so many intervals to the changelog of a Faust table, and let a Faust worker recover them."""
    names = topic_names(settings)
    states = {r.key[1:]: r.value for r in await read_all(settings, names.intervals_changelog) if _is_interval(r)}
    priced = {r.key: r.value for r in await read_all(settings, names.priced) if r.value is not None}
    entries = [(key, states[key] + value) for key, value in priced.items() if key in states][:limit]
    app_id = f"{settings.app_id}-stock"
    await _fill(settings, app_id, entries)
    with tempfile.TemporaryDirectory(prefix="meterstream-bench-") as folder:
        told = await asyncio.to_thread(_run_worker, settings, app_id, Path(folder))
    if told["entries"] != len(entries):
        message = f"stock Faust restored {told['entries']} entries, expected {len(entries)}"
        raise AssertionError(message)
    return {
        "intervals": len(entries),
        "intervals_per_second": len(entries) / told["seconds"],
        "intervals_per_cpu_second": len(entries) / told["cpu_s"],
        "seconds": told["seconds"],
    }


def _is_interval(record: Any) -> bool:
    return record.key.startswith(INTERVAL_MARK) and record.value is not None


async def _fill(settings: Settings, app_id: str, entries: list[tuple[bytes, bytes]]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    await admin.start()
    changelog = f"{app_id}-intervals-changelog"
    try:
        await admin.create_topics([NewTopic(name, settings.partitions, 1) for name in (changelog, f"{app_id}-records")])
    finally:
        await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers, linger_ms=5, max_batch_size=262_144)
    await producer.start()
    try:
        for key, value in entries:
            last = await producer.send(changelog, value, key)
        await producer.flush()
        await last
    finally:
        await producer.stop()


def _run_worker(settings: Settings, app_id: str, folder: Path) -> dict[str, float]:
    command = [
        sys.executable,
        "-m",
        __name__,
        settings.bootstrap_servers,
        app_id,
        str(settings.partitions),
        str(folder),
    ]
    log_path = folder / "log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=dict(os.environ))
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            os.set_blocking(process.stdout.fileno(), False)
            said, end_s = b"", time.monotonic() + _LONGEST_S
            while b"\n" not in said:
                if process.poll() is not None or time.monotonic() > end_s:
                    raise RuntimeError(log_path.read_text()[-2000:])
                said += process.stdout.read() or b""
                time.sleep(0.05)
            stat = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        finally:
            process.kill()
            process.wait()
    told: dict[str, float] = json.loads(said.splitlines()[0])
    told["cpu_s"] = (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
    return told


if __name__ == "__main__":
    _servers, _app_id, _partitions, _folder = sys.argv[1:]
    faust.Worker(build(_servers, _app_id, int(_partitions), Path(_folder)), loglevel="INFO").execute_from_commandline()
