"""Ask a Kafka broker, in its own protocol, whether it works: a socket that accepts is not yet a broker."""

import socket
import struct
from typing import Final

_METADATA_KEY: Final = 3
_METADATA_VERSION: Final = 4  # the last whose encoding is this plain; Kafka 4 still speaks it
_CORRELATION_ID: Final = 1
_CLIENT_ID: Final = b"meterstream-probe"
_LARGEST_ANSWER_BYTES: Final = 1 << 20


def count_live_brokers(host: str, port: int, timeout_s: float) -> int:
    """Return how many brokers the cluster counts as live; 0 when there is no answer yet.

    Sends one Metadata request without topics (protocol guide: header version 1, request version 4).
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
            if not 0 < length <= _LARGEST_ANSWER_BYTES:
                return 0
            answer = _read(connection, length)
    except (OSError, EOFError):
        return 0
    correlation_id, _throttle_ms, brokers = struct.unpack_from(">iii", answer)
    return int(brokers) if correlation_id == _CORRELATION_ID else 0


def _read(connection: socket.socket, length: int) -> bytes:
    """Read exactly so many bytes. Raises EOFError when the other side closes before."""
    parts = bytearray()
    while len(parts) < length:
        part = connection.recv(length - len(parts))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)
