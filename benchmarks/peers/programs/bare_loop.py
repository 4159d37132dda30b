"""The ceiling: a loop around confluent-kafka's consumer and producer, state in a dict. What a crash takes is gone.

It reads from the beginning, keeps nothing but in memory, and commits positions so that one can see how far it is.
"""

import json
import sys
from pathlib import Path

from billing import Billing, Place, RefusedError, State, keep, new_state, refusal
from confluent_kafka import Consumer, Message, Producer

_BATCH = 5000


def main(config_path: str) -> None:
    """Read, decide, price and write until it is ended."""
    config = json.loads(Path(config_path).read_bytes())
    billing = Billing(Path(config["documents"]))
    servers = {"bootstrap.servers": config["bootstrap_servers"]}
    consumer = Consumer(
        servers
        | {
            "group.id": config["group"],
            "auto.offset.reset": "earliest",
            "auto.commit.interval.ms": config["commit_interval_ms"],
            "fetch.message.max.bytes": config["fetch_max_bytes"],
        }
    )
    producer = Producer(
        servers
        | {
            "linger.ms": config["linger_ms"],
            "batch.size": config["batch_bytes"],
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    consumer.subscribe([config["input"]])
    states: dict[str, State] = {}
    while True:
        for message in consumer.consume(_BATCH, 0.05):
            _take(message, billing, states, producer, config)
        producer.poll(0)


def _take(
    message: Message, billing: Billing, states: dict[str, State], producer: Producer, config: dict[str, str]
) -> None:
    raw = message.value()
    try:
        reading = billing.read(raw)
        interval_id = reading.interval_id
        state = states.get(interval_id)
        if state is None:
            state = states[interval_id] = new_state()
        if keep(state, reading, message.offset()):
            submitted_ms = message.timestamp()[1]
            producer.produce(config["priced"], billing.price(reading, state, submitted_ms), interval_id)
    except RefusedError as error:
        place = Place(message.topic(), message.partition(), message.offset(), message.timestamp()[1])
        producer.produce(config["rejected"], refusal(error, raw, place), message.key())


if __name__ == "__main__":
    main(sys.argv[1])
