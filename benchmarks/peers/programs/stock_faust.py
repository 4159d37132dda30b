"""The job on faust-streaming as its documentation teaches it: an agent, a Record, a Table in RocksDB.

Values arrive as bytes, because a record that cannot be decoded has to be published with the reason: Faust would drop it.
"""

import json
import sys
from pathlib import Path

import faust
import mode.loop
from billing import Billing, Place, RefusedError, keep, new_state, refusal

mode.loop.use("uvloop")

config = json.loads(Path(sys.argv[1]).read_bytes())
billing = Billing(Path(config["documents"]))

app = faust.App(
    config["group"],
    broker=f"kafka://{config['bootstrap_servers']}",
    store="rocksdb://",
    datadir=config["state_dir"],
    topic_partitions=config["partitions"],
    topic_replication_factor=1,
    topic_disable_leader=True,
    web_enabled=False,
    broker_commit_interval=config["commit_interval_ms"] / 1000,
    consumer_max_fetch_size=config["fetch_max_bytes"],
    producer_linger=config["linger_ms"] / 1000,
    producer_max_batch_size=config["batch_bytes"],
)


class MeterRecord(faust.Record, serializer="json"):
    """A record as published; null is what was left out."""

    location_id: str | None = None
    device_id: str | None = None
    session_reference_id: str | None = None
    record_reference_id: str | None = None
    energy_flow_direction: str | None = None
    tariff_direction: str | None = None
    units: str | None = None
    confidence: float | None = None
    value: float | None = None
    start_time: str | None = None
    end_time: str | None = None


records = app.topic(config["input"], key_type=bytes, key_serializer="raw", value_type=bytes, value_serializer="raw")
priced = app.topic(config["priced"], key_type=str, value_type=bytes, value_serializer="raw")
rejected = app.topic(config["rejected"], key_type=bytes, value_type=bytes, value_serializer="raw")
intervals = app.Table("intervals", partitions=config["partitions"])


def read(raw: bytes) -> MeterRecord:
    """Decode a record. Raises `RefusedError`."""
    try:
        return MeterRecord.loads(raw)
    except (TypeError, ValueError, faust.exceptions.DecodeError) as error:
        raise RefusedError("malformed_json", f"the record cannot be read: {error}") from None


@app.agent(records)
async def bill(stream: faust.Stream[bytes]) -> None:
    """Read, keep, price and publish."""
    async for event in stream.events():
        message = event.message
        try:
            reading = billing.check(read(event.value).asdict())
            interval_id = reading.interval_id
            state = intervals.get(interval_id) or new_state()
            complete = keep(state, reading, message.offset)
            intervals[interval_id] = state
            if complete:
                value = billing.price(reading, state, round(message.timestamp * 1000))
                await priced.send(key=interval_id, value=value)
        except RefusedError as error:
            place = Place(message.topic, message.partition, message.offset, round(message.timestamp * 1000))
            await rejected.send(key=message.key, value=refusal(error, event.value, place))


if __name__ == "__main__":
    # At warning level the worker's spinner turns debug logging on, which costs a tenth of the CPU.
    sys.argv = [sys.argv[0], "worker", "--loglevel", "info", "--without-web"]
    app.main()
