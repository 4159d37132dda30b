"""The job on Pathway: a table of records, grouped by interval, reduced to the readings of each, and priced from those.

Pathway keeps every group up to date, so what is published follows from the readings of an interval in the order of their
offsets; copies change nothing in it, and no difference is published. Persistence is that of its community edition: input and
positions are journaled, and computed again after a crash.
"""

import json
import sys
from pathlib import Path
from typing import Any

import orjson
import pathway as pw
from billing import Billing, Place, Reading, RefusedError, keep, new_state, refusal

config = json.loads(Path(sys.argv[1]).read_bytes())
billing = Billing(Path(config["documents"]))


def _place(metadata: Any) -> Place:
    at = metadata.value
    return Place(at["topic"], at["partition"], at["offset"], at["timestamp_millis"])


@pw.udf(deterministic=True)
def read(data: bytes, metadata: pw.Json) -> tuple[str, bytes]:
    """Return the interval_id and the reading, or "" and the refusal."""
    place = _place(metadata)
    try:
        reading = billing.read(data)
    except RefusedError as error:
        return "", refusal(error, data, place)
    return reading.interval_id, orjson.dumps([*reading, place.timestamp_ms])


@pw.udf(deterministic=True)
def offset_of(metadata: pw.Json) -> int:
    """Return a message's offset."""
    return _place(metadata).offset


@pw.udf(deterministic=True)
def price(readings: tuple[tuple[int, bytes], ...]) -> bytes:
    """Return the priced record that an interval's readings lead to; nothing while it is incomplete."""
    state, value = new_state(), b""
    for offset, encoded in readings:
        *fields, submitted_ms = orjson.loads(encoded)
        reading = Reading(*fields)
        if keep(state, reading, offset):
            value = billing.price(reading, state, submitted_ms)
    return value


def main() -> None:
    """Run until it is ended."""
    servers = {"bootstrap.servers": config["bootstrap_servers"]}
    source = servers | {"group.id": config["group"], "auto.offset.reset": "earliest", "enable.auto.commit": "false"}
    sink = servers | {"linger.ms": str(config["linger_ms"]), "batch.size": str(config["batch_bytes"])}
    records = pw.io.kafka.read(
        source,
        config["input"],
        format="raw",
        with_metadata=True,
        autocommit_duration_ms=config["commit_interval_ms"],
        name="records",
    )
    decided = records.select(pw.this.key, result=read(pw.this.data, pw.this._metadata), at=offset_of(pw.this._metadata))  # noqa: SLF001 - its name for the column
    parts = decided.select(pw.this.key, pw.this.at, interval_id=pw.this.result[0], value=pw.this.result[1])
    refused = parts.filter(pw.this.interval_id == "")
    intervals = (
        parts.filter(pw.this.interval_id != "")
        .groupby(pw.this.interval_id)
        .reduce(pw.this.interval_id, readings=pw.reducers.sorted_tuple(pw.make_tuple(pw.this.at, pw.this.value)))
    )
    priced = intervals.select(key=pw.this.interval_id, value=price(pw.this.readings))
    complete = priced.filter(pw.this.value != b"")
    for table, topic in ((complete, config["priced"]), (refused, config["rejected"])):
        pw.io.kafka.write(table, sink, topic, format="raw", key=table.key, value=table.value)
    backend = pw.persistence.Backend.filesystem(config["state_dir"])
    pw.run(
        monitoring_level=pw.MonitoringLevel.NONE,
        persistence_config=pw.persistence.Config(backend, snapshot_interval_ms=config["commit_interval_ms"]),
    )


if __name__ == "__main__":
    main()
