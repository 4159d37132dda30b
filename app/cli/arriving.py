"""Lines of a pipe or a terminal as they come, without holding the event loop up."""

import asyncio
import os
import select
from collections.abc import AsyncGenerator
from typing import Final

_READ_BYTES: Final = 65_536
_TOGETHER_MAX_BYTES: Final = 1_048_576
"""Most of what is there already that comes in one piece: messages are put together from it."""


async def arriving_lines(descriptor: int) -> AsyncGenerator[list[bytes], None]:
    """Yield the lines that have come since, without their ends; the last one may lack one. Files are read too."""
    begun = b""
    while True:
        await _readable(descriptor)
        piece = _read(descriptor)
        if not piece:
            break
        *lines, rest = piece.split(b"\n")
        if lines:
            lines[0] = begun + lines[0]
            begun = rest
            yield lines
        else:
            begun += rest
    if begun:
        yield [begun]


async def _readable(descriptor: int) -> None:
    """Wait until there is something to read, or the end."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    try:
        loop.add_reader(descriptor, ready.set)
    except OSError:  # a file: it always has something, and cannot be waited for
        await asyncio.sleep(0)
        return
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)


def _read(descriptor: int) -> bytes:
    """Read what is there, up to a limit; empty at the end. The descriptor stays as it is: others may share it."""
    pieces: list[bytes] = []
    size_bytes = 0
    while size_bytes < _TOGETHER_MAX_BYTES:
        piece = os.read(descriptor, _READ_BYTES)
        pieces.append(piece)
        size_bytes += len(piece)
        if not piece or not select.select([descriptor], [], [], 0)[0]:
            break
    return b"".join(pieces)
