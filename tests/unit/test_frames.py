"""Large answers are received where they are kept: the same bytes as through asyncio's stream, and the same faults."""

import asyncio
import gc
import random
import struct
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from app.streams.frames import FrameProtocol, joined
from app.streams.txn_requests import ProduceInTransaction, ProduceRequestV12

pytestmark = pytest.mark.usefixtures("either_function")

Send = Callable[[asyncio.StreamWriter], Awaitable[None]]


async def connected(send: Send, work: Callable[[asyncio.StreamReader], Awaitable[Any]]) -> Any:
    """Connect to a server that sends something and hangs up, and do something with what comes."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await send(writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=2**16, loop=loop)
    protocol = FrameProtocol(loop.create_future(), reader, loop=loop)
    transport, _ = await loop.create_connection(lambda: protocol, *server.sockets[0].getsockname())
    try:
        return await asyncio.wait_for(work(reader), 20)
    finally:
        transport.close()
        server.close()


async def frames(reader: asyncio.StreamReader, count: int) -> list[bytes]:
    """Read as Kafka's client does: a length, and so many bytes."""
    found = []
    for number in range(count):
        (size,) = struct.unpack(">i", await reader.readexactly(4))
        found.append(await reader.readexactly(size))
        if number % 3 == 0:
            await asyncio.sleep(0.001)  # more comes in before it is asked for
    return found


@pytest.mark.parametrize("seed", range(12))
def test_answers_are_those_that_were_sent(seed: int) -> None:
    choose = random.Random(seed)  # noqa: S311 - chance, not secrets
    sizes = [
        choose.choice([0, 1, 4, 100, 65_535, 65_536, 65_537, 131_073, choose.randrange(3_000_000)]) for _ in range(30)
    ]
    sent = [choose.randbytes(size) for size in sizes]
    stream = b"".join(struct.pack(">i", len(answer)) + answer for answer in sent)

    async def send(writer: asyncio.StreamWriter) -> None:
        at = 0
        while at < len(stream):
            piece = choose.choice([1, 3, 70, 5_000, 65_536, 1_000_000])
            writer.write(stream[at : at + piece])
            at += piece
            if choose.random() < 0.3:
                await writer.drain()

    found = asyncio.run(connected(send, lambda reader: frames(reader, len(sent))))
    assert found == sent
    assert sum(map(len, found)) > 100_000


@pytest.mark.parametrize("there", [0, 3, 100, 70_000, 199_999])
def test_a_connection_that_ends_in_an_answer_says_how_far_it_came(there: int) -> None:
    async def send(writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * there)
        await writer.drain()

    with pytest.raises(asyncio.IncompleteReadError) as caught:
        asyncio.run(connected(send, lambda reader: reader.readexactly(200_000)))
    assert caught.value.partial == b"x" * there
    assert caught.value.expected == 200_000


@pytest.mark.parametrize("asked", [4, 200_000])
def test_who_reads_when_the_connection_is_gone_hears_that(asked: int) -> None:
    async def send(writer: asyncio.StreamWriter) -> None:
        writer.write(b"xy")
        await writer.drain()

    async def late(reader: asyncio.StreamReader) -> bytes:
        reader._transport.close()  # type: ignore[attr-defined]
        await asyncio.sleep(0.05)
        return await reader.readexactly(asked)

    with pytest.raises(asyncio.IncompleteReadError):
        asyncio.run(connected(send, late))


def test_a_connection_that_breaks_in_an_answer_raises_what_broke_it() -> None:
    async def send(writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * 100_000)
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.get_extra_info("socket").setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER of 0: a reset
        writer.transport.abort()

    with pytest.raises(ConnectionResetError):
        asyncio.run(connected(send, lambda reader: reader.readexactly(200_000)))


def test_a_reader_that_is_let_go_takes_its_protocol_along() -> None:
    """The client relies on it: a connection that nobody has any more is closed without a search for cycles."""

    async def made() -> Any:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        return weakref.ref(FrameProtocol(loop.create_future(), reader, loop=loop))

    gc.disable()
    try:
        assert asyncio.run(made())() is None
    finally:
        gc.enable()


# What is sent


def test_a_request_in_pieces_has_the_bytes_of_its_layout_and_its_large_batches_are_not_copied() -> None:
    rng = random.Random(7)  # noqa: S311 - nothing secret
    for _ in range(50):
        topics = {
            f"meter.topic-{number}": [
                (partition, rng.randbytes(rng.choice((0, 1, 127, 128, 65_535, 65_536, 300_000))))
                for partition in range(rng.randrange(3))
            ]
            for number in range(rng.randrange(4))
        }
        request = ProduceInTransaction("meterstream-3", 3_000, topics).build(ProduceRequestV12)
        as_said = ProduceRequestV12.SCHEMA.encode([getattr(request, name) for name in ProduceRequestV12.SCHEMA.names])
        written = list(joined(request.pieces()))
        assert b"".join(written) == as_said == request.encode()
        large = [batch for partitions in topics.values() for _, batch in partitions if len(batch) > 65_535]
        views = [piece.obj for piece in written if isinstance(piece, memoryview)]
        assert len(views) == len(large)
        assert all(view is batch for view, batch in zip(views, large, strict=True))
