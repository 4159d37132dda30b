"""The health endpoint of a worker: `/health/live`, `/health/ready` and `/metrics`, in the worker's own event loop.

It only looks: there is nothing here to change anything with, and so nobody has to sign in.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import structlog
from aiohttp import web

log = structlog.get_logger(__name__)

EXIT_PORT: Final = 69
"""Exit status when the port cannot be had: EX_UNAVAILABLE of sysexits.h."""

_SHUTDOWN_S: Final = 0.5
"""How long the end of a worker waits for those who ask just then."""

_METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class PartitionView(Protocol):
    """What is said about a partition."""

    @property
    def partition(self) -> int: ...  # noqa: D102 - its number
    @property
    def state(self) -> str: ...  # noqa: D102 - "open", or what it does instead
    @property
    def applied(self) -> int: ...  # noqa: D102 - while it is recovering, offsets that are applied
    @property
    def of_about(self) -> int: ...  # noqa: D102 - of so many
    @property
    def totals(self) -> Mapping[str, int]: ...  # noqa: D102 - the committed totals, when it is open


class WorkerView(Protocol):
    """What is said about a worker."""

    @property
    def documents_read(self) -> bool: ...  # noqa: D102 - whether the reference documents have been read whole
    @property
    def partitions(self) -> Sequence[PartitionView] | None: ...  # noqa: D102 - those assigned; None before any are


class HealthServer:
    """Answers on a port for as long as the worker runs."""

    def __init__(self, host: str, port: int, look: Callable[[], WorkerView]) -> None:
        """Listen to nothing yet; `look` is called for each request."""
        self._host: Final = host
        self._port: Final = port
        self._look: Final = look
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen; where that is not possible, end the process: its supervisor would take it for dead anyway."""
        pages = web.Application()
        pages.router.add_get("/health/live", self._live)
        pages.router.add_get("/health/ready", self._ready)
        pages.router.add_get("/metrics", self._metrics)
        runner = self._runner = web.AppRunner(pages, access_log=None, shutdown_timeout=_SHUTDOWN_S)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError as error:
            where = f"METERSTREAM_HEALTH_HOST={self._host}, METERSTREAM_HEALTH_PORT={self._port}"
            log.critical("health_failed", reason=f"{where}: {error}", action="the worker ends; choose a free port")
            os._exit(EXIT_PORT)

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _live(self, _: web.Request) -> web.Response:
        return web.json_response({"live": True})

    async def _ready(self, _: web.Request) -> web.Response:
        view = self._look()
        missing = missing_of(view)
        partitions = {str(each.partition): _shown(each) for each in view.partitions or ()}
        answer = {"ready": not missing, "missing": missing, "partitions": partitions}
        return web.json_response(answer, status=503 if missing else 200)

    async def _metrics(self, _: web.Request) -> web.Response:
        text = "".join(f"{line}\n" for line in metrics_of(self._look()))
        return web.Response(body=text.encode(), headers={"Content-Type": _METRICS_TYPE})


def missing_of(view: WorkerView) -> list[str]:
    """Return what keeps a worker from being ready, a few words each; nothing when it is."""
    missing = [] if view.documents_read else ["reading documents"]
    if view.partitions is None:
        return [*missing, "no partitions assigned yet"]
    return missing + [f"partition {each.partition} {_doing(each)}" for each in view.partitions if each.state != "open"]


def _doing(one: PartitionView) -> str:
    return f"{one.state}: {one.applied} of about {one.of_about}" if one.state == "recovering" else one.state


def _shown(one: PartitionView) -> dict[str, Any]:
    progress = {"applied": one.applied, "of_about": one.of_about} if one.state == "recovering" else {}
    return {"state": one.state, **progress}


def metrics_of(view: WorkerView) -> Iterator[str]:
    """Yield the lines of the metrics, in the text format of Prometheus."""
    partitions = view.partitions or ()
    recovering = [each for each in partitions if each.state == "recovering"]
    open_ones = [each for each in partitions if each.state == "open"]
    yield from _metric("meterstream_ready", "gauge", "1 when the worker is ready.", [("", int(not missing_of(view)))])
    yield from _metric(
        "meterstream_partitions_assigned", "gauge", "Partitions that are this worker's.", [("", len(partitions))]
    )
    yield from _metric("meterstream_partitions_open", "gauge", "Those of them at work.", [("", len(open_ones))])
    yield from _metric(
        "meterstream_recovery_applied",
        "gauge",
        "Offsets of a partition's changelogs that are applied, while it is recovering.",
        [(f'{{partition="{each.partition}"}}', each.applied) for each in recovering],
    )
    yield from _metric(
        "meterstream_recovery_of_about",
        "gauge",
        "Offsets of a partition's changelogs that are to be applied, while it is recovering.",
        [(f'{{partition="{each.partition}"}}', each.of_about) for each in recovering],
    )
    yield from _metric(
        "meterstream_committed_total",
        "counter",
        "What was decided and published since the beginning of the topics, by partition.",
        [
            (f'{{kind="{kind}",partition="{each.partition}"}}', count)
            for each in open_ones
            for kind, count in sorted(each.totals.items())
        ],
    )


def _metric(name: str, kind: str, meaning: str, values: Sequence[tuple[str, int]]) -> Iterator[str]:
    yield f"# HELP {name} {meaning}"
    yield f"# TYPE {name} {kind}"
    for labels, value in values:
        yield f"{name}{labels} {value}"
