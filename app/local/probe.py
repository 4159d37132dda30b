"""Ask a Kafka broker, in its own protocol, whether it works: a socket that accepts is not yet a broker."""

import socket
import struct
from typing import Final

_METADATA_KEY: Final = 3
_METADATA_VERSION: Final = 4  # the last whose encoding is this plain; Kafka 4 still speaks it
_CORRELATION_ID: Final = 1
_CLIENT_ID: Final = b"meterstream-probe"
_LARGEST_ANSWER_BYTES: Final = 1 << 20


def live_cluster(host: str, port: int, timeout_s: float) -> str | None:
    """Return the id of the cluster that answers there and counts a broker as live; None when there is none yet.

    The id matters: somebody else's Kafka may sit on a port that was free a moment ago. Sends one Metadata request
    without topics (protocol guide: request header version 1, request and response version 4).
    """
    body = struct.pack(
        f">hhih{len(_CLIENT_ID)}siB",
        _METADATA_KEY,
        _METADATA_VERSION,
        _CORRELATION_ID,
        len(_CLIENT_ID),
        _CLIENT_ID,
        0,
        0,
    )
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            connection.sendall(struct.pack(">i", len(body)) + body)
            (length,) = struct.unpack(">i", _read(connection, 4))
            return _cluster_in(_read(connection, length)) if 0 < length <= _LARGEST_ANSWER_BYTES else None
    except (OSError, EOFError, struct.error, UnicodeDecodeError):
        return None


def _cluster_in(answer: bytes) -> str | None:
    """Read the cluster's id from a Metadata response, if it lists a broker. Raises struct.error for something else."""
    _, _throttle_ms, brokers = struct.unpack_from(">iii", answer)
    at = 12
    for _ in range(brokers):
        at += 4  # the broker's id
        _, at = _text_at(answer, at)
        at += 4  # its port
        _, at = _text_at(answer, at)
    cluster, _ = _text_at(answer, at)
    return cluster if brokers > 0 else None


def _text_at(answer: bytes, at: int) -> tuple[str | None, int]:
    """Read a text with its length before it (-1 means null); return it and what comes after."""
    (length,) = struct.unpack_from(">h", answer, at)
    end = at + 2 + max(length, 0)
    return (None if length < 0 else answer[at + 2 : end].decode()), end


def _read(connection: socket.socket, length: int) -> bytes:
    """Read exactly so many bytes. Raises EOFError when the other side closes before."""
    parts = bytearray()
    while len(parts) < length:
        part = connection.recv(length - len(parts))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)
