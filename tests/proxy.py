"""A network between a client and a broker that can be slow, cut, closed or half open: a TCP proxy in a thread of its own."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, Self, TypeVar

from app.local.server_properties import HOST

T = TypeVar("T")

_READ_BYTES: Final = 256 * 1024
_HELD_S: Final = 0.02
_RESET_AT_CLOSE: Final = struct.pack("ii", 1, 0)


class _Link:
    """Two sockets that belong together. One that has been silent stays so: whoever forgot it does not remember it."""

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self.writers: Final = list(writers)
        self.silent = False

    def reset(self) -> None:
        """Close both ends with RST, as a firewall or a router that starts again does."""
        for writer in self.writers:
            raw = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
            writer.transport.abort()


class Proxy:
    """Passes connections on to `target_port`. A context manager: leaving it closes everything.

    Its port is known from the beginning, so that a broker can be told to advertise it before the broker runs.
    """

    def __init__(self) -> None:
        """Take a free port; connections are passed on once `target_port` is set."""
        self.target_port = 0
        self.to_broker_delay_s = 0.0
        self.to_client_delay_s = 0.0
        self.connections = 0
        self.dropped_bytes = 0
        self.is_held: Callable[[], bool] = lambda: False
        """Whether a new connection has to wait; asked when it comes, and again until it has not."""
        self._links: set[_Link] = set()
        self._silent = False
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: Final = asyncio.new_event_loop()
        self._thread: Final = threading.Thread(target=self._loop.run_forever, daemon=True)
        with socket.socket() as free:
            free.bind((HOST, 0))
            self.port: Final = int(free.getsockname()[1])

    @property
    def address(self) -> str:
        """Where clients come to."""
        return f"{HOST}:{self.port}"

    def __enter__(self) -> Self:
        """Begin to listen."""
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        """Close everything."""
        self.refuse()
        self._run(self._end_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # What can happen to a network

    def cut(self) -> int:
        """Reset all connections, and say how many there were; new ones are welcome."""
        return self._call(self._cut)

    def refuse(self) -> None:
        """Reset all connections and listen no more: new ones are refused."""
        self._run(self._stop_listening())
        self.cut()

    def accept(self) -> None:
        """Listen again after `refuse`."""
        self._run(self._listen())

    def silence(self) -> None:
        """Swallow everything without a word: connections stay open, new ones are accepted, and nobody ever answers."""
        self._call(lambda: self._set_silent(silent=True))

    def heal(self) -> None:
        """Pass on what comes over new connections. Those that were open during the silence are never heard of again."""
        self._call(lambda: self._set_silent(silent=False))

    # How it is done, in the thread's loop

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    def _call(self, function: Callable[[], T]) -> T:
        async def call() -> T:
            return function()

        return self._run(call())

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, HOST, self.port, limit=_READ_BYTES)

    async def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _end_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _cut(self) -> int:
        links, self._links = self._links, set()
        for link in links:
            link.reset()
        return len(links)

    def _set_silent(self, *, silent: bool) -> None:
        self._silent = silent
        for link in self._links:
            link.silent = link.silent or silent

    async def _serve(self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.current_task())  # type: ignore[arg-type]
        self.connections += 1
        link = _Link(client_writer)
        link.silent = self._silent
        self._links.add(link)
        try:
            while self.is_held():  # noqa: ASYNC110 - whoever holds is in another thread
                await asyncio.sleep(_HELD_S)
            reader, writer = await asyncio.open_connection(HOST, self.target_port, limit=_READ_BYTES)
            link.writers.append(writer)
            ways = [
                asyncio.create_task(self._pass_on(link, client_reader, writer, lambda: self.to_broker_delay_s)),
                asyncio.create_task(self._pass_on(link, reader, client_writer, lambda: self.to_client_delay_s)),
            ]
            try:
                await asyncio.gather(*ways)
            finally:  # where one way ends, the other one does
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            pass  # an end has gone, or was never there: the other one learns of it
        finally:
            self._links.discard(link)
            link.reset()
            self._tasks.discard(asyncio.current_task())  # type: ignore[arg-type]

    async def _pass_on(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: Callable[[], float]
    ) -> None:
        """Pass on what is read, each piece so much later; a pause of the sender is no longer for it."""
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            while True:
                due_s, data = await waiting.get()
                await asyncio.sleep(max(0.0, due_s - self._loop.time()))
                if link.silent:
                    self.dropped_bytes += len(data)
                elif data:
                    writer.write(data)
                    await writer.drain()
                if not data and not link.silent:
                    raise ConnectionResetError

        delivering = asyncio.create_task(deliver())
        try:
            while True:
                data = await reader.read(_READ_BYTES)
                waiting.put_nowait((self._loop.time() + delay_s(), data))
                if not data:
                    break
            await delivering
        finally:
            delivering.cancel()
            await asyncio.gather(delivering, return_exceptions=True)
