"""How commands end: which error has which exit code, and how it is told in a line."""

import asyncio
import time
from typing import Final, NamedTuple

import click

EXIT_FAILED: Final = 1
EXIT_BAD_INPUT: Final = 2
EXIT_UNREACHABLE: Final = 3
EXIT_REFUSED: Final = 4
EXIT_CODES: Final = (
    "Exit codes: 0 done; 1 something failed (rows, messages that the broker refused, topics that differ); "
    "2 wrong usage, files or settings; 3 no Kafka broker could be reached; "
    "4 Kafka refused this client: its password or certificate, its trust in the broker, or a right that is missing."
)

_CONNECT_TIMEOUT_S: Final = 10.0
_RETRY_EVERY_S: Final = 0.5

# By name, so that telling an error does not import what could have raised it (Kafka, pydantic).
_EXIT_CODE_OF: Final = {
    "BrokerUnreachableError": EXIT_UNREACHABLE,
    "KafkaConnectionError": EXIT_UNREACHABLE,
    "BrokerError": EXIT_UNREACHABLE,
    "AccessError": EXIT_REFUSED,
    "TopicAuthorizationFailedError": EXIT_REFUSED,
    "GroupAuthorizationFailedError": EXIT_REFUSED,
    "ClusterAuthorizationFailedError": EXIT_REFUSED,
    "TransactionalIdAuthorizationFailed": EXIT_REFUSED,
    "SaslAuthenticationFailed": EXIT_REFUSED,
    "TopicMissingError": EXIT_BAD_INPUT,
    "TopicsError": EXIT_BAD_INPUT,
    "KafkaError": EXIT_FAILED,
    "SettingsError": EXIT_BAD_INPUT,
    "FileError": EXIT_BAD_INPUT,
    "DocumentError": EXIT_BAD_INPUT,
    "DocumentsError": EXIT_BAD_INPUT,
}


class Explained(NamedTuple):
    """How to end, and what to say."""

    exit_code: int
    lines: list[str]


class NoBrokerError(click.ClickException):
    """No broker could be reached."""

    exit_code = EXIT_UNREACHABLE


class InputError(click.ClickException):
    """A file or an argument cannot be used."""

    exit_code = EXIT_BAD_INPUT


def explain(error: BaseException) -> Explained:
    """Return how to tell an error and how to end."""
    for kind in type(error).__mro__:
        exit_code = _EXIT_CODE_OF.get(kind.__name__)
        if exit_code is not None:
            problems = getattr(error, "problems", None)
            lines = [str(problem) for problem in problems] if problems else [str(error) or kind.__name__]
            return Explained(exit_code, [" ".join(line.split()) for line in lines])
    name = type(error).__name__
    return Explained(
        EXIT_FAILED, [f"nobody foresaw this {name}: {error} (`meterstream --debug …` shows where it is from)"]
    )


async def require_broker(bootstrap_servers: str) -> None:
    """Wait until some broker takes connections. Raises `NoBrokerError` after a bounded time.

    Kafka's clients have time-outs of their own, of up to minutes; nobody wants to look at a prompt for that long.
    """
    ends_at_s = time.monotonic() + _CONNECT_TIMEOUT_S
    while time.monotonic() < ends_at_s:
        for server in bootstrap_servers.split(","):
            host, _, port = server.rpartition(":")
            try:
                _, writer = await asyncio.wait_for(
                    asyncio.open_connection(host.strip("[]"), int(port)), _RETRY_EVERY_S * 4
                )
            except (OSError, TimeoutError):
                continue
            writer.close()
            return
        await asyncio.sleep(_RETRY_EVERY_S)
    message = f"no Kafka broker answered at {bootstrap_servers} within {_CONNECT_TIMEOUT_S:g} s"
    raise NoBrokerError(message)
