"""Large answers of a broker are received where they are kept, and large batches are sent from where they were filled.

The client reads through asyncio's stream, which takes pieces of up to 256 kB, adds each to a buffer that moves as it grows, and
stops reading whenever there is more than 128 kB. Here the stream knows how long the answer is that it waits for, and the socket
writes into it. What is sent the client copies eight times, from each layer of a request into the next, each time into new memory.
Here the socket is given the batches themselves.
"""

import asyncio
import struct
import weakref
from collections.abc import Awaitable, Iterable, Iterator
from typing import Any, Final

from aiokafka.conn import AIOKafkaConnection, AIOKafkaProtocol, CloseReason
from aiokafka.errors import KafkaConnectionError
from aiokafka.util import wait_for

from app.streams.txn_requests import ProduceInTransaction
from app.wire import compiled

_LARGE: Final = 65_536
"""Answers and batches that are longer than this are worth it."""

_SMALL_BYTES: Final = 65_536


class FrameProtocol(AIOKafkaProtocol, asyncio.BufferedProtocol):
    """The client's protocol, whose reader is given large answers whole. It stands on the inside of asyncio's `StreamReader`."""

    def __init__(self, closed: Any, reader: asyncio.StreamReader, **kwargs: Any) -> None:
        """Take the place of the reader's `readexactly`."""
        super().__init__(closed, reader, **kwargs)
        self._reader: Final = weakref.ref(reader)  # asyncio's own reference is gone when the connection is
        self._small: Final = memoryview(bytearray(_SMALL_BYTES))
        self._rest: memoryview | None = None
        """What is still to be written of the answer that is waited for."""
        reader.readexactly = self._read  # type: ignore[method-assign, assignment]

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Return where the next bytes go."""
        return self._small if self._rest is None else self._rest

    def buffer_updated(self, nbytes: int) -> None:
        """Hear that so many bytes are there."""
        rest = self._rest
        if rest is None:
            self.data_received(self._small[:nbytes])
            return
        self._rest = rest[nbytes:]
        if not self._rest:
            self._rest = None
            reader: Any = self._reader()
            reader._wakeup_waiter()  # noqa: SLF001 - as `feed_data` does

    async def _read(self, size: int) -> bytes | bytearray:
        """Return exactly so many bytes.

        Raises:
            asyncio.IncompleteReadError: the connection has ended before.

        """
        reader: Any = self._reader()
        if size <= _LARGE or len(reader._buffer) >= size or reader._eof or reader.exception() is not None:  # noqa: SLF001
            return await asyncio.StreamReader.readexactly(reader, size)
        answer, room = _room_for(size)
        have = len(reader._buffer)  # noqa: SLF001
        room[:have] = reader._buffer  # noqa: SLF001
        reader._buffer.clear()  # noqa: SLF001
        self._rest = room[have:]
        try:
            await self._fill(reader, room)
        finally:
            self._rest = None
        return answer

    async def _fill(self, reader: Any, room: memoryview) -> None:
        while (rest := self._rest) is not None:
            if reader._eof:  # noqa: SLF001
                raise asyncio.IncompleteReadError(bytes(room[: len(room) - len(rest)]), len(room))
            await reader._wait_for_data("readexactly")  # noqa: SLF001 - it lets a paused transport go on


def _room_for(size: int) -> tuple[bytes | bytearray, memoryview]:
    """Return an object of so many bytes, and the way to write it: as `bytes`, which the client does not copy, where it can be."""
    if compiled.parts is not None:
        return compiled.parts.writable_bytes(size)
    answer = bytearray(size)
    return answer, memoryview(answer)


class FrameConnection(AIOKafkaConnection):
    """The client's connection, which does not copy the batches of a transaction."""

    def send(self, request: Any, expect_response: bool = True) -> Awaitable[Any]:  # noqa: FBT001, FBT002 - the client's signature
        """Send a request; return what becomes its answer."""
        answer: Awaitable[Any]
        if self._writer is None or not isinstance(request, ProduceInTransaction):
            answer = super().send(request, expect_response)
            return answer
        built = request.prepare(self._versions)
        correlation_id = self._next_correlation_id()
        header = built.build_request_header(correlation_id=correlation_id, client_id=self._client_id).encode()
        pieces = built.pieces()
        size = struct.pack(">i", len(header) + sum(map(len, pieces)))
        try:
            for piece in joined((size, header, *pieces)):
                self._writer.write(piece)
        except OSError as error:
            self.close(reason=CloseReason.CONNECTION_BROKEN)
            message = f"Connection at {self._host}:{self._port} broken: {error}"
            raise KafkaConnectionError(message) from error
        future = self._loop.create_future()
        self._requests.append((correlation_id, built, future))
        answer = wait_for(future, self._request_timeout)
        return answer


def joined(pieces: Iterable[bytes]) -> Iterator[bytes | memoryview]:
    """Yield pieces, those that are small in one; large ones as views, of which asyncio copies only what has to wait."""
    small: list[bytes] = []
    for piece in pieces:
        if len(piece) < _LARGE:
            small.append(piece)
            continue
        yield b"".join(small)
        small.clear()
        yield memoryview(piece)
    if small:
        yield b"".join(small)
