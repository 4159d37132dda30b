"""Messages may be compressed: what comes in, in any of Kafka's ways, and what a worker puts out, where it is told to."""

import asyncio
from collections.abc import Callable

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import DefaultRecordBase

from app.streams.security import client_options
from tests.codecs import codecs_of_fetches
from tests.harness import Stream
from tests.making import Json, encoded
from tests.sites import Site, sites

pytestmark = pytest.mark.broker


def _publish_compressed(stream: Stream, codec: str, records: list[Json]) -> None:
    async def publish() -> None:
        options = client_options(stream.settings)
        async with AIOKafkaProducer(**options, compression_type=codec, linger_ms=100) as producer:
            key = records[0]["location_id"].encode()
            await asyncio.gather(
                *[await producer.send(stream.names.records, encoded(record), key) for record in records]
            )

    asyncio.run(publish())
    stream.published.extend(encoded(record) for record in records)


def _codecs_on_the_broker(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Return the codecs of all batches of output topics that have some messages, as a new reader gets them."""
    with codecs_of_fetches(monkeypatch) as codecs:
        stream.read_again()
    return codecs


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "Python"])
def test_records_are_read_however_they_are_compressed(new_stream: Callable[..., Stream], *, compiled: bool) -> None:
    stream = new_stream(partitions=2, emit_every_s=1)
    places = list(sites(stream, 4))
    stream.worker(compiled=compiled)
    for codec, site in zip(("gzip", "snappy", "lz4", "zstd"), places, strict=True):
        _publish_compressed(stream, codec, [site.record(5 * n, 5, 0.1 * (n + 1)) for n in range(12)])
        assert site.await_priced(0)["energy_wh"] == 2100
        assert site.await_priced(30)["energy_wh"] == 5700
    stream.verify()


def _correct_all(places: list[Site], kwh: float) -> None:
    stream = places[0].stream
    stream.publish(*(each.record(15 * n, 15, kwh) for n in range(40) for each in places))
    stream.wait(lambda: all(_is_priced(each, kwh) for each in places), "the last prices")


def _is_priced(site: Site, kwh: float) -> bool:
    return [price["energy_wh"] for price in site.priced(570)[-1:]] == [2000 * kwh]


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "Python"])
def test_what_a_worker_puts_out_compressed_is_read_by_consumers_and_by_the_next_worker(
    new_stream: Callable[..., Stream], monkeypatch: pytest.MonkeyPatch, *, compiled: bool
) -> None:
    stream = new_stream(partitions=2, emit_every_s=1, compression="zstd", compiled=compiled)
    places = list(sites(stream, 10))
    first = stream.worker()
    _correct_all(places, 1.0)
    stream.publish(*[{"location_id": places[0].location_id}] * 20)  # refused
    places[0].settle()
    assert _codecs_on_the_broker(stream, monkeypatch) == {DefaultRecordBase.CODEC_ZSTD}
    first.kill()
    # Another disk: everything that this worker knows it has read of what the other one wrote.
    second = stream.worker(data_dir=stream.folder / "another disk")
    _correct_all(places, 2.0)
    second.kill()
    # It can be switched off again, and what is there stays readable.
    stream.worker(data_dir=stream.folder / "a third disk", compression="off")
    _correct_all(places, 3.0)
    assert _codecs_on_the_broker(stream, monkeypatch) == {0, DefaultRecordBase.CODEC_ZSTD}
    stream.verify()
