"""Ask a broker whether it takes our credentials, and which rights they have: before anything relies on them.

Kafka's clients hide the reason when they cannot sign in ("unable to bootstrap"), and try again for minutes; a missing right
shows only where it is used. Here one connection signs in and asks for all rights, and what is refused is a sentence.
"""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal, NamedTuple

from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.errors import IllegalSaslStateError, KafkaError, SaslAuthenticationFailed, UnsupportedSaslMechanismError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataResponse_v5
from aiokafka.protocol.transaction import AddOffsetsToTxnRequest
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

from app.streams.config import StreamConfig
from app.streams.publish import BrokerUnreachableError
from app.streams.security import principal, security_options, uses_sasl, uses_tls
from app.streams.topics import topic_names

_PATIENCE_S: Final = 10.0
_REQUEST_TIMEOUT_MS: Final = 10_000
_RETRY_EVERY_S: Final = 0.5
_CLOSE_TIMEOUT_S: Final = 1.0
_HANDSHAKES: Final = 3
"""A broker that ends so many TLS handshakes without a word does not want this client; one may be a broker that restarts."""

_METADATA: Final = 3
_TELLS_RIGHTS: Final = 8
"""The first version of the metadata request whose answer has the rights on each topic (Kafka 2.3)."""

_TOPIC_REFUSED: Final = 29
_GROUP_REFUSED: Final = 30
_TRANSACTIONAL_ID_REFUSED: Final = 53
_NOT_TOLD: Final = -(2**31)
_NOBODYS_PRODUCER: Final = 2**62
"""A producer id that no producer has: the question is answered by the authorizer, and no transaction is touched."""

Operation = Literal["Read", "Write"]
_BIT_OF: Final[dict[Operation, int]] = {"Read": 1 << 3, "Write": 1 << 4}


class AccessError(Exception):
    """Kafka refuses this client, or this client does not trust Kafka; ``problems`` has one sentence for each reason."""

    def __init__(self, problems: list[str]) -> None:
        """Keep the sentences."""
        super().__init__("; ".join(problems))
        self.problems: Final = problems


class Need(NamedTuple):
    """A right that is needed, in the words of Kafka's tools for ACLs."""

    resource: Literal["Topic", "Group", "TransactionalId"]
    name: str
    operation: Operation


def worker_needs(settings: StreamConfig) -> list[Need]:
    """Return the rights of a worker."""
    names = topic_names(settings)
    read = (
        names.records,
        names.records_by_location,
        names.intervals,
        names.intervals_changelog,
        names.priced,
        names.tariffs,
        names.series,
        names.locations,
    )
    written = (names.records_by_location, names.intervals, names.intervals_changelog, names.priced, names.rejected)
    return [
        *(Need("Topic", name, "Read") for name in read),
        *(Need("Topic", name, "Write") for name in written),
        Need("Group", settings.app_id, "Read"),
        *(Need("TransactionalId", transactional_id(settings, n), "Write") for n in range(settings.partitions)),
        Need("TransactionalId", shared_id(settings, 0), "Write"),  # there are as many as one likes
    ]


def reader_needs(settings: StreamConfig) -> list[Need]:
    """Return the rights of who makes bills."""
    names = topic_names(settings)
    return [Need("Topic", name, "Read") for name in (names.locations, names.tariffs, names.intervals, names.priced)]


def transactional_base(settings: StreamConfig) -> str:
    """Return what the transactional ids begin with, before a hyphen."""
    return f"{settings.app_id}-{topic_names(settings).records}"


def transactional_id(settings: StreamConfig, partition: int) -> str:
    """Name the writer of a partition's owner: the same for everybody, so that the next one fences the one before."""
    return f"{transactional_base(settings)}-{partition}"


def shared_id(settings: StreamConfig, number: int) -> str:
    """Name a producer that partitions share, by a number that was drawn for it."""
    return f"{transactional_base(settings)}-{number:032x}"


async def check_access(settings: StreamConfig, needs: Iterable[Need] = ()) -> None:
    """Sign in, and ask for rights. Raises `AccessError`, and `BrokerUnreachableError` when no broker keeps a connection."""
    try:
        options = security_options(settings)
    except OSError as error:
        raise AccessError([f"a file of the security settings cannot be used: {error.strerror or error}"]) from None
    connection = await _connect(settings, options)
    try:
        missing = await _missing(connection, settings, list(needs))
    except (KafkaError, TimeoutError) as error:
        message = f"Kafka at {settings.bootstrap_servers} took the connection and did not answer: {error!r}"
        raise BrokerUnreachableError(message) from None
    finally:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(connection.close(), _CLOSE_TIMEOUT_S)
    if missing:
        raise AccessError([_sentence(need, principal(settings)) for need in missing])


async def _connect(settings: StreamConfig, options: dict[str, Any]) -> AIOKafkaConnection:
    """Return a connection that has signed in."""
    servers = settings.bootstrap_servers.split(",")
    ends_at_s = time.monotonic() + _PATIENCE_S
    reason, ended = "", 0
    while time.monotonic() < ends_at_s:
        for server in servers:
            host, _, port = server.rpartition(":")
            try:
                return await create_conn(host.strip("[]"), int(port), request_timeout_ms=_REQUEST_TIMEOUT_MS, **options)
            except (OSError, KafkaError, TimeoutError, ValueError) as error:
                refusal = _refusal(settings, server, error)
                ended += uses_tls(settings) and not isinstance(error, ConnectionRefusedError | TimeoutError)
                if refusal is None and ended >= _HANDSHAKES * len(servers):
                    refusal = f"no TLS with {server}: it asks for a certificate, or does not speak TLS"
                if refusal is not None:
                    raise AccessError([refusal]) from None
                reason = f"{server} ends the connection of a client with {settings.security_protocol}"
        await asyncio.sleep(_RETRY_EVERY_S)
    raise BrokerUnreachableError(
        f"no Kafka broker could be used within {_PATIENCE_S:g} s: {reason} (METERSTREAM_SECURITY_PROTOCOL)"
    )


def _refusal(settings: StreamConfig, server: str, error: BaseException) -> str | None:
    """Say why a connection can never succeed; None when it may on another try."""
    return _tls_refusal(server, error) or _sasl_refusal(settings, server, error)


def _tls_refusal(server: str, error: BaseException) -> str | None:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the certificate of {server} is not trusted: {cause.verify_message} (METERSTREAM_SSL_CAFILE)"
        if isinstance(cause, ssl.SSLError):
            said = (cause.reason or "no reason given").replace("_", " ").lower()
            return f"no TLS with {server}: {said} (METERSTREAM_SECURITY_PROTOCOL, METERSTREAM_SSL_CERTFILE)"
        cause = cause.__cause__
    return None


def _sasl_refusal(settings: StreamConfig, server: str, error: BaseException) -> str | None:
    who = f"{settings.sasl_username} with {settings.sasl_mechanism}"
    if isinstance(error, SaslAuthenticationFailed):
        return f"{server} refused to sign in {who}: wrong user name or password"
    if isinstance(error, UnsupportedSaslMechanismError | IllegalSaslStateError):
        return f"{server} does not sign in {who}: it has no such mechanism (METERSTREAM_SASL_MECHANISM)"
    if uses_sasl(settings) and isinstance(error, ValueError):
        return f"{server} could not prove that it knows the password of {who}"
    return None


async def _missing(connection: Any, settings: StreamConfig, needs: list[Need]) -> list[Need]:
    """Return the needed rights that are not granted."""
    missing = []
    topics = sorted({need.name for need in needs if need.resource == "Topic"})
    if topics and connection._versions.get(_METADATA, (0, 0))[1] >= _TELLS_RIGHTS:  # noqa: SLF001 - nobody else tells
        granted = await _topic_rights(connection, topics)
        missing += [
            need for need in needs if need.resource == "Topic" and not granted[need.name] & _BIT_OF[need.operation]
        ]
    refused_group = False
    for need in needs:
        if need.resource != "TransactionalId":
            continue
        question = AddOffsetsToTxnRequest(need.name, _NOBODYS_PRODUCER, 0, settings.app_id)
        code = (await connection.send(question)).error_code
        refused_group = refused_group or code == _GROUP_REFUSED
        if code == _TRANSACTIONAL_ID_REFUSED:
            missing.append(need)
    if refused_group:
        missing += [need for need in needs if need.resource == "Group"]
    return missing


async def _topic_rights(connection: Any, topics: list[str]) -> dict[str, int]:
    """Return the rights on each topic as bits; all of them where the topic does not exist or nothing is told."""
    granted = dict.fromkeys(topics, -1)
    answer = await connection.send(_RightsRequest(topics))
    for topic in answer.topics:
        code, name, bits = topic[0], topic[1], topic[-1]
        if code == _TOPIC_REFUSED:
            granted[name] = 0
        elif not code and bits != _NOT_TOLD:
            granted[name] = bits
    return granted


def _sentence(need: Need, whom: str) -> str:
    """Say which right is missing, and the ACL that grants it."""
    to = {"Topic": "the topic", "Group": "the group", "TransactionalId": "the transactional id"}[need.resource]
    verb = {"Topic": {"Read": "read", "Write": "write to"}}.get(need.resource, {"Read": "use", "Write": "use"})
    return (
        f"no right to {verb[need.operation]} {to} {need.name} "
        f"(ACL: {need.operation} on {need.resource} {need.name} for {whom})"
    )


def _topics_with_rights() -> Iterator[Any]:
    """Yield the fields of the answer, version 8: those of version 5, the leaders' epochs, and the rights."""
    partition = Array(
        ("error_code", Int16),
        ("partition", Int32),
        ("leader", Int32),
        ("leader_epoch", Int32),
        ("replicas", Array(Int32)),
        ("isr", Array(Int32)),
        ("offline_replicas", Array(Int32)),
    )
    before = MetadataResponse_v5.SCHEMA
    for name, field in zip(before.names, before.fields, strict=True):
        if name != "topics":
            yield name, field
    yield (
        "topics",
        Array(
            ("error_code", Int16),
            ("topic", String("utf-8")),
            ("is_internal", Boolean),
            ("partitions", partition),
            ("authorized_operations", Int32),
        ),
    )
    yield "cluster_authorized_operations", Int32


class _RightsResponse(Response):
    API_KEY = _METADATA
    API_VERSION = _TELLS_RIGHTS
    SCHEMA = Schema(*_topics_with_rights())


class _RightsRequestStruct(RequestStruct):
    API_KEY = _METADATA
    API_VERSION = _TELLS_RIGHTS
    RESPONSE_TYPE = _RightsResponse
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class _RightsRequest(Request[_RightsRequestStruct]):
    """Ask about topics, with our rights on each; aiokafka's own request stops short of that version."""

    API_KEY = _METADATA

    def __init__(self, topics: list[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[_RightsRequestStruct]) -> _RightsRequestStruct:
        return request_struct_class(self._topics, False, False, True)
