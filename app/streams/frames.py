"""Large answers of a broker are received where they are kept: a fetch of megabytes is not put together from pieces.

The client reads through asyncio's stream, which takes pieces of up to 256 kB, adds each to a buffer that moves as it grows, and
stops reading whenever there is more than 128 kB. Here the stream knows how long the answer is that it waits for, and the socket
writes into it.
"""

import asyncio
import weakref
from typing import Any, Final

from aiokafka.conn import AIOKafkaProtocol

from app.wire import compiled

_LARGE: Final = 65_536
"""Answers that are longer than this are worth it."""

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
