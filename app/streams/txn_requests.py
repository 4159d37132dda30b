"""Requests of the second version of Kafka's transactions (KIP-890), which the client does not know yet.

Where a cluster has `transaction.version` 2, a batch or a position that comes with a producer's id takes its partition into the
transaction itself, and the end of a transaction gives the producer a new epoch, so that nothing of an old transaction that
arrives late can become part of the next. The layouts are those of the files in `common/message` of Kafka's clients.
"""

from collections.abc import Sized
from io import BytesIO
from typing import Any, Final

from aiokafka.protocol.admin import ApiVersionRequest_v2
from aiokafka.protocol.api import Request, RequestStruct, Response, ResponseHeader_v0
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactBytes,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
    UnsignedVarInt32,
)

NO_TAGS: Final[dict[int, bytes]] = {}
_TAGS: Final = ("tags", TaggedFields)
_STRING: Final = CompactString("utf-8")
_NAME: Final = ("name", _STRING)
_FINALIZED_FEATURES: Final = 2
"""Tag of what all brokers of a cluster can do, and are allowed to."""
_FEATURES: Final = CompactArray(_NAME, ("max_level", Int16), ("min_level", Int16), _TAGS)


class FeaturesResponse(Response):
    """What a broker can do, and what its cluster has agreed on."""

    API_KEY = 18
    API_VERSION = 3
    SCHEMA = Schema(
        ("error_code", Int16),
        ("api_keys", CompactArray(("api_key", Int16), ("min_version", Int16), ("max_version", Int16), _TAGS)),
        ("throttle_time_ms", Int32),
        _TAGS,
    )


class FeaturesRequestV3(RequestStruct):
    """ApiVersions, which answers without tags in its header, in every version."""

    API_KEY = 18
    API_VERSION = 3
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = FeaturesResponse
    SCHEMA = Schema(("client_software_name", _STRING), ("version", _STRING), _TAGS)

    def parse_response_header(self, read_buffer: BytesIO | bytes) -> ResponseHeader_v0:
        """Read the only header that has no tags though its request has."""
        return ResponseHeader_v0.decode(read_buffer)


class FeaturesRequest(Request[ApiVersionRequest_v2 | FeaturesRequestV3]):
    """Ask a broker what its cluster has agreed on; a broker from before that (Kafka 2.4) says nothing of it."""

    API_KEY = 18

    def build(self, request_struct_class: type[Any]) -> Any:
        """Build the request of a version that the broker has."""
        if request_struct_class is FeaturesRequestV3:
            return FeaturesRequestV3("meterstream", "1", NO_TAGS)
        return request_struct_class()


def level_of(feature: str, answer: Any) -> int:
    """Return the level that a cluster has agreed on for a feature: 0 where the answer says nothing of it."""
    tags: dict[int, bytes] = getattr(answer, "tags", NO_TAGS)
    if _FINALIZED_FEATURES not in tags:
        return 0
    features: Any = _FEATURES.decode(BytesIO(tags[_FINALIZED_FEATURES]))
    return next((max_level for name, max_level, _, _ in features if name == feature), 0)


class ProduceResponseV12(Response):
    """Where batches were written, or why they were not."""

    API_KEY = 0
    API_VERSION = 12
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                _NAME,
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("error_code", Int16),
                        ("offset", Int64),
                        ("timestamp", Int64),
                        ("log_start_offset", Int64),
                        (
                            "record_errors",
                            CompactArray(("batch_index", Int32), ("message", _STRING), _TAGS),
                        ),
                        ("error_message", _STRING),
                        _TAGS,
                    ),
                ),
                _TAGS,
            ),
        ),
        ("throttle_time_ms", Int32),
        _TAGS,
    )


class ProduceRequestV12(RequestStruct):
    """Batches of a transaction, whose partitions it takes into the transaction."""

    API_KEY = 0
    API_VERSION = 12
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = ProduceResponseV12
    transactional_id: str
    required_acks: int
    timeout: int
    topics: list[tuple[str, list[tuple[int, bytes, dict[int, bytes]]], dict[int, bytes]]]
    tags: dict[int, bytes]
    SCHEMA = Schema(
        ("transactional_id", _STRING),
        ("required_acks", Int16),
        ("timeout", Int32),
        (
            "topics",
            CompactArray(
                _NAME,
                ("partitions", CompactArray(("partition", Int32), ("messages", CompactBytes), _TAGS)),
                _TAGS,
            ),
        ),
        _TAGS,
    )

    def pieces(self) -> list[bytes]:
        """Return the bytes, each batch as it is: a megabyte is not copied from layer to layer."""
        pieces = [
            _STRING.encode(self.transactional_id),
            Int16.encode(self.required_acks),
            Int32.encode(self.timeout),
            _length(self.topics),
        ]
        for topic, partitions, tags in self.topics:
            pieces += [_STRING.encode(topic), _length(partitions)]
            for partition, messages, own_tags in partitions:
                pieces += [Int32.encode(partition), _length(messages), messages, TaggedFields.encode(own_tags)]
            pieces.append(TaggedFields.encode(tags))
        pieces.append(TaggedFields.encode(self.tags))
        return pieces


def _length(of: Sized) -> bytes:
    """Return the bytes that say how much there is of something that might not be there at all."""
    return UnsignedVarInt32.encode(len(of) + 1)


class TxnOffsetCommitResponseV5(Response):
    """Which positions were taken, and why others were not."""

    API_KEY = 28
    API_VERSION = 5
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "errors",
            CompactArray(
                _NAME, ("partitions", CompactArray(("partition", Int32), ("error_code", Int16), _TAGS)), _TAGS
            ),
        ),
        _TAGS,
    )


class TxnOffsetCommitRequestV5(RequestStruct):
    """Positions of a group, whose partition it takes into the transaction."""

    API_KEY = 28
    API_VERSION = 5
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = TxnOffsetCommitResponseV5
    SCHEMA = Schema(
        ("transactional_id", _STRING),
        ("group_id", _STRING),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("generation_id", Int32),
        ("member_id", _STRING),
        ("group_instance_id", _STRING),
        (
            "topics",
            CompactArray(
                _NAME,
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("offset", Int64),
                        ("leader_epoch", Int32),
                        ("metadata", _STRING),
                        _TAGS,
                    ),
                ),
                _TAGS,
            ),
        ),
        _TAGS,
    )


class EndTxnResponseV5(Response):
    """Whether a transaction has ended, and who the producer is from now on."""

    API_KEY = 26
    API_VERSION = 5
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        _TAGS,
    )


class EndTxnRequestV5(RequestStruct):
    """The end of a transaction, after which the producer has another epoch."""

    API_KEY = 26
    API_VERSION = 5
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = EndTxnResponseV5
    SCHEMA = Schema(
        ("transactional_id", _STRING),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("committed", Boolean),
        _TAGS,
    )


class ProduceInTransaction(Request[ProduceRequestV12]):
    """Batches of a transaction, by topic and partition."""

    API_KEY = 0
    required_acks = -1

    def __init__(self, transactional_id: str, timeout_ms: int, topics: dict[str, list[tuple[int, bytes]]]) -> None:
        """Take what is to be sent."""
        self._transactional_id = transactional_id
        self._timeout_ms = timeout_ms
        self._topics = topics

    def build(self, request_struct_class: type[ProduceRequestV12]) -> ProduceRequestV12:
        """Build the request."""
        topics = [
            (topic, [(partition, messages, NO_TAGS) for partition, messages in partitions], NO_TAGS)
            for topic, partitions in self._topics.items()
        ]
        return request_struct_class(self._transactional_id, self.required_acks, self._timeout_ms, topics, NO_TAGS)


class CommitOffsetsInTransaction(Request[TxnOffsetCommitRequestV5]):
    """Positions of a group, by topic and partition, with what is said with each."""

    API_KEY = 28

    def __init__(
        self,
        transactional_id: str,
        group_id: str,
        producer: tuple[int, int],
        topics: dict[str, list[tuple[int, int, str]]],
    ) -> None:
        """Take what is to be sent; the producer is its id and its epoch."""
        self._transactional_id = transactional_id
        self._group_id = group_id
        self._producer = producer
        self._topics = topics

    def build(self, request_struct_class: type[TxnOffsetCommitRequestV5]) -> TxnOffsetCommitRequestV5:
        """Build the request. The group's members are not asked: the transactional id is fenced by itself."""
        topics = [
            (topic, [(partition, offset, -1, said, NO_TAGS) for partition, offset, said in partitions], NO_TAGS)
            for topic, partitions in self._topics.items()
        ]
        return request_struct_class(
            self._transactional_id, self._group_id, *self._producer, -1, "", None, topics, NO_TAGS
        )


class EndTransaction(Request[EndTxnRequestV5]):
    """The end of a transaction."""

    API_KEY = 26

    def __init__(self, transactional_id: str, producer: tuple[int, int], *, committed: bool) -> None:
        """Take what is to be sent; the producer is its id and its epoch."""
        self._transactional_id = transactional_id
        self._producer = producer
        self._committed = committed

    def build(self, request_struct_class: type[EndTxnRequestV5]) -> EndTxnRequestV5:
        """Build the request."""
        return request_struct_class(self._transactional_id, *self._producer, self._committed, NO_TAGS)
