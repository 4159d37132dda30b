"""The job on Quix Streams: one StreamingDataFrame, its state in RocksDB with a changelog topic, two topics out.

Keyed state rather than a window: a window publishes with every update or when time has gone past it, and the job is to
publish an interval when it is complete.
"""

import json
import sys
from pathlib import Path
from typing import Any

from billing import Billing, Place, RefusedError, keep, new_state, refusal
from quixstreams import Application, State, message_context
from quixstreams.models import SerializationContext, Serializer

config = json.loads(Path(sys.argv[1]).read_bytes())
billing = Billing(Path(config["documents"]))

Output = tuple[bool, str, bytes]
"""Whether it is priced, its key, and its value."""


class OutputSerializer(Serializer):
    """Publishes the last part of an output."""

    def __call__(self, value: Output, ctx: SerializationContext) -> bytes:  # noqa: ARG002 - Quix gives it
        """Return the bytes."""
        return value[2]


def bill(raw: bytes, key: str, timestamp_ms: int, _headers: Any, state: State) -> list[Output]:
    """Read, keep and price one record."""
    at = message_context()
    try:
        reading = billing.read(raw)
        interval_id = reading.interval_id
        known = state.get(interval_id) or new_state()
        complete = keep(known, reading, at.offset)
        state.set(interval_id, known)
    except RefusedError as error:
        place = Place(at.topic, at.partition, at.offset, timestamp_ms)
        return [(False, key, refusal(error, raw, place))]
    return [(True, interval_id, billing.price(reading, known, timestamp_ms))] if complete else []


def main() -> None:
    """Run until it is ended."""
    app = Application(
        broker_address=config["bootstrap_servers"],
        consumer_group=config["group"],
        auto_offset_reset="earliest",
        processing_guarantee=config["guarantee"],
        commit_interval=config["commit_interval_ms"] / 1000,
        state_dir=config["state_dir"],
        consumer_extra_config={"fetch.message.max.bytes": config["fetch_max_bytes"]},
        producer_extra_config={
            "linger.ms": config["linger_ms"],
            "batch.size": config["batch_bytes"],
            "queue.buffering.max.messages": 1_000_000,
        },
        loglevel="WARNING",
    )
    out = {"value_serializer": OutputSerializer(), "key_serializer": "str"}
    records = app.topic(config["input"], value_deserializer="bytes", key_deserializer="str")
    priced, rejected = app.topic(config["priced"], **out), app.topic(config["rejected"], **out)
    billed = app.dataframe(records).apply(bill, stateful=True, metadata=True, expand=True)
    billed.filter(lambda output: output[0]).to_topic(priced, key=lambda output: output[1])
    billed.filter(lambda output: not output[0]).to_topic(rejected, key=lambda output: output[1])
    app.run()


if __name__ == "__main__":
    main()
