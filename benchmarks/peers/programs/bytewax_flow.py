"""The job on Bytewax: a dataflow whose state is kept for each interval, snapshots of it in a recovery store.

Positions and state go into the same snapshot at the end of each epoch, so that state is never ahead of what was read.
"""

import json
import sys
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
from billing import Billing, Place, Reading, RefusedError, State, keep, new_state, refusal
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import cluster_main

Message = KafkaSourceMessage[bytes, bytes]
Read = tuple[Reading, int, int]
"""A reading, its offset and its Kafka timestamp in ms."""


def flow_of(config: dict[str, Any]) -> Dataflow:
    """Return the dataflow."""
    billing = Billing(Path(config["documents"]))
    servers = [config["bootstrap_servers"]]

    def read(message: Message) -> tuple[str, Read] | KafkaSinkMessage[bytes, bytes]:
        timestamp_ms = message.timestamp[1]
        try:
            reading = billing.read(message.value)
        except RefusedError as error:
            place = Place(message.topic, message.partition, message.offset, timestamp_ms)
            return KafkaSinkMessage(message.key, refusal(error, message.value, place))
        return reading.interval_id, (reading, message.offset, timestamp_ms)

    def bill(state: State | None, given: Read) -> tuple[State, Iterable[bytes]]:
        reading, offset, timestamp_ms = given
        known = state or new_state()
        complete = keep(known, reading, offset)
        return known, [billing.price(reading, known, timestamp_ms)] if complete else []

    flow = Dataflow("billing")
    source = KafkaSource(
        servers,
        [config["input"]],
        add_config={"fetch.message.max.bytes": str(config["fetch_max_bytes"])},
        batch_size=5000,
    )
    decided = op.map("read", op.input("records", flow, source), read)
    split = op.branch("refused", decided, lambda one: isinstance(one, KafkaSinkMessage))
    priced = op.stateful_flat_map("bill", split.falses, bill)
    messages = op.map("message", priced, lambda one: KafkaSinkMessage(one[0].encode(), one[1]))
    options = {"batch.size": str(config["batch_bytes"]), "queue.buffering.max.messages": "1000000"}
    op.output("priced", messages, KafkaSink(servers, config["priced"], options))
    op.output("rejected", split.trues, KafkaSink(servers, config["rejected"], options))
    return flow


def main() -> None:
    """Run one worker until it is ended."""
    config = json.loads(Path(sys.argv[1]).read_bytes())
    store = Path(config["state_dir"])
    if not any(store.iterdir()):
        init_db_dir(store, 1)
    epoch = timedelta(milliseconds=config["commit_interval_ms"])
    cluster_main(flow_of(config), [], 0, recovery_config=RecoveryConfig(str(store)), epoch_interval=epoch)


if __name__ == "__main__":
    main()
