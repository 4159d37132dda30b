"""Ctrl-C and SIGTERM end a command in the same way: in order, and with a word where there is one to say."""

import asyncio
import signal
from collections.abc import Coroutine


def run(main: Coroutine[object, object, None]) -> None:
    """Run to the end. Raises `KeyboardInterrupt` after a SIGINT or SIGTERM, when ``main`` has cleaned up behind it."""
    try:
        asyncio.run(_until_sigterm(main))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def _until_sigterm(main: Coroutine[object, object, None]) -> None:
    """Let SIGTERM cancel the task, as asyncio lets SIGINT."""
    task = asyncio.ensure_future(main)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await task
