"""Static membership: a worker whose place in the group another one has taken ends, instead of taking it back.

Two workers with one instance id are a mistake, or one of them is a frozen machine's that was replaced and has woken up. The
Kafka client does not tell its instance id with its heartbeats, so it only hears that it is unknown, joins again, and thereby
drives the other one out, which does the same: neither gets anything done. With the id the broker says that it is fenced.
"""

import os
from typing import Any, Final

import structlog
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.types import Int16, Int32, Schema, String

log = structlog.get_logger(__name__)

EXIT_INSTANCE_ID: Final = 78
"""Exit status when another worker has this one's instance id: EX_CONFIG of sysexits.h.

Started again, this one would drive that one out.
"""

_FENCED_INSTANCE_ID: Final = 82
"""Kafka's code of the error, which the client has no class for."""


class _HeartbeatResponseV3(Response):
    API_KEY = 12
    API_VERSION = 3
    SCHEMA = Schema(("throttle_time_ms", Int32), ("error_code", Int16))


class _HeartbeatRequestV3(RequestStruct):
    API_KEY = 12
    API_VERSION = 3
    RESPONSE_TYPE = _HeartbeatResponseV3
    SCHEMA = Schema(
        ("group", String("utf-8")),
        ("generation_id", Int32),
        ("member_id", String("utf-8")),
        ("group_instance_id", String("utf-8")),
    )


class _InstanceHeartbeat(Request[_HeartbeatRequestV3]):
    """A heartbeat that says whose it is."""

    API_KEY = 12

    def __init__(self, group: str, generation_id: int, member_id: str, instance_id: str) -> None:
        self._fields: Final = (group, generation_id, member_id, instance_id)

    def build(self, request_struct_class: Any) -> Any:
        """Return the request of a version; there is one."""
        return request_struct_class(*self._fields)


def guard_instance(coordinator: Any, instance_id: str | None) -> None:
    """Tell the instance id with a group coordinator's heartbeats, and end the process when another worker has taken it."""
    if instance_id is None or hasattr(coordinator, "guarded"):
        return
    coordinator.guarded = True
    send_request = coordinator._send_req  # noqa: SLF001 - the one way of all its requests

    async def send(request: Any) -> Any:
        if isinstance(request, HeartbeatRequest):
            member = (coordinator.generation, coordinator.member_id)
            request = _InstanceHeartbeat(coordinator.group_id, *member, instance_id)
        response = await send_request(request)
        if getattr(response, "error_code", 0) == _FENCED_INSTANCE_ID:
            _exit_for_instance(instance_id)
        return response

    coordinator._send_req = send  # noqa: SLF001


def _exit_for_instance(instance_id: str) -> None:
    """End at once: what is in memory is committed by nobody, and the other worker has the partitions already."""
    log.critical(
        "instance_id_taken",
        instance_id=instance_id,
        reason="another worker with the same METERSTREAM_INSTANCE_ID has joined the group",
        action="the worker ends; the other one goes on",
    )
    os._exit(EXIT_INSTANCE_ID)
