"""``meterstream dev``: a Kafka for this machine, a demo portfolio, a worker, and a look at what it does."""

import asyncio
import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from app.cli.dev_screen import Counts, Screen, download_progress, open_screen
from app.cli.errors import NoBrokerError, require_broker
from app.local.demo.portfolio import demo_sites
from app.local.demo.readings import US_PER_SECOND, LiveReadings, Message, backfill
from app.local.demo.series import series_documents
from app.local.demo.tariffs import demo_tariffs
from app.local.errors import BrokerError
from app.local.paths import state_dir
from app.local.processes import ChildProcess
from app.local.resolve import BOOTSTRAP_VARIABLE, Broker, ExternalBroker, choose_broker
from app.settings import Settings, load_settings, variable_of
from app.streams.publish import Publisher
from app.streams.security import SECURITY_FIELDS, client_options, security_options
from app.streams.topics import create_topics, topic_names
from app.wire.documents import document_key
from app.wire.reference import parse_document, to_document

SEED: Final = 1
_KAFKA_PORT: Final = 9092
_SEND_EVERY_S: Final = 0.2
_DRAW_EVERY_S: Final = 0.25
_POLL_MS: Final = 200
_WORKER_STOP_TIMEOUT_S: Final = 15.0
_WORKER_BACK_OFF_S: Final = 1.0
_QUICK_DEATH_S: Final = 20.0
_QUICK_DEATHS_MAX: Final = 3
_DAY_US: Final = 86_400 * US_PER_SECOND
_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_DEFAULTS: Final = {"METERSTREAM_PARTITIONS": "4", "METERSTREAM_EMIT_EVERY_S": "2"}
"""For somebody who watches one machine; a variable of the environment wins."""

_decode = msgspec.json.Decoder().decode


class Dev(NamedTuple):
    """What the parts of a run share."""

    settings: Settings
    state: Path
    environ: Mapping[str, str]
    rate_per_s: float
    counts: Counts
    screen: Screen


@click.command("dev")
@click.option(
    "--seconds", type=click.FloatRange(min=0), help="Stop after so many seconds; until Ctrl-C when not given."
)
@click.option(
    "--rate",
    "rate_per_s",
    default=40.0,
    show_default=True,
    type=click.FloatRange(1, 2000),
    help="Records a second, about.",
)
@click.option("--fresh", is_flag=True, help="Forget what earlier runs have left.")
def dev_command(seconds: float | None, rate_per_s: float, fresh: bool) -> None:  # noqa: FBT001 - click passes it by name
    """Start a Kafka for this machine, demo data and a worker, and watch records being priced.

    Kafka is the one that KAFKA_BOOTSTRAP_SERVERS names, else a real single-node Kafka run by Java 17 or newer
    (downloaded once), else Docker. The settings of TLS and SASL are for the first kind alone. Ctrl-C ends everything;
    the data is kept in $XDG_STATE_HOME/meterstream for the next time.

    \b
    Example:
      meterstream dev
      meterstream dev --rate 500 --seconds 60
    """  # noqa: D301 - click reads the \b
    environ = {**_DEFAULTS, **os.environ}
    state = state_dir(environ)
    with _signals_interrupt(), suppress(KeyboardInterrupt), _only_one(state):
        if fresh:
            for name in ("kafka", "worker"):
                shutil.rmtree(state / name, ignore_errors=True)
        _run(state, environ, rate_per_s, seconds)
    click.echo("Stopped.")


def _run(state: Path, environ: dict[str, str], rate_per_s: float, seconds: float | None) -> None:
    """Start the broker, then everything that needs it; stop all of it in the opposite order."""
    given = environ.get(variable_of("bootstrap_servers"))
    if given:
        environ[BOOTSTRAP_VARIABLE] = given
    try:
        with download_progress() as progress:
            broker = choose_broker(state / "kafka", environ=environ, progress=progress, preferred_port=_KAFKA_PORT)
        click.echo("Starting Kafka ...")
        with _running(broker):
            environ = environment_for(broker, state, environ)
            settings = load_settings(environ)
            click.echo(f"Kafka is at {broker.bootstrap_servers}, its data and the worker's in {state}")
            counts = Counts()
            title = (
                f"meterstream tail, in another terminal, needs METERSTREAM_BOOTSTRAP_SERVERS={broker.bootstrap_servers}"
            )
            with open_screen(counts, title) as screen:
                dev = Dev(settings, state, environ, rate_per_s, counts, screen)
                asyncio.run(_watch(dev, broker, seconds))
            click.echo("Stopping ...")
    except BrokerError as problem:
        raise NoBrokerError(str(problem)) from None


def environment_for(broker: Broker, state: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the worker on a broker that has started.

    Settings of TLS and SASL belong to somebody else's Kafka: our own speaks plaintext on loopback and knows no users.
    """
    left_out = set() if isinstance(broker, ExternalBroker) else {variable_of(name) for name in SECURITY_FIELDS}
    return {
        **{name: value for name, value in environ.items() if name not in left_out},
        variable_of("bootstrap_servers"): broker.bootstrap_servers,
        variable_of("data_dir"): str(state / "worker"),
    }


async def _watch(dev: Dev, broker: Broker, seconds: float | None) -> None:
    """Feed and watch the worker until a signal comes, the time is over, or something breaks."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, stop.set)
    await require_broker(dev.settings.bootstrap_servers)
    created = await create_topics(dev.settings)
    dev.screen.say(f"{len(created)} topics are there")
    security = security_options(dev.settings)
    async with (
        Publisher(dev.settings.bootstrap_servers, security=security) as publisher,
        _outputs(dev.settings) as outputs,
    ):
        now_us = _now_us()
        await _load_documents(dev, publisher, now_us)
        tasks = [
            asyncio.create_task(_supervise(dev, broker)),
            asyncio.create_task(_feed(dev, publisher, now_us)),
            asyncio.create_task(_show(dev, outputs)),
            asyncio.create_task(_draw(dev.screen)),
        ]
        ends = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([ends, *tasks], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in (ends, *tasks):
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for task, outcome in zip(tasks, outcomes, strict=True):
            if task in done and isinstance(outcome, BaseException):
                raise outcome


async def _load_documents(dev: Dev, publisher: Publisher, now_us: int) -> None:
    """Publish the demo's prices, tariffs and locations, in that order: a location finds its tariffs."""
    names = topic_names(dev.settings)
    locations = [site.document for site in demo_sites(SEED)]
    stages = ((names.series, list(series_documents(SEED, now_us))), (names.tariffs, demo_tariffs()))
    for topic, documents in (*stages, (names.locations, locations)):
        await _publish_documents(publisher, topic, documents)
    dev.screen.say(f"{len(locations)} locations and {len(stages[1][1])} tariffs are loaded")


async def _publish_documents(publisher: Publisher, topic: str, documents: list[dict[str, Any]]) -> None:
    """Check and publish documents of one kind."""
    for raw in documents:
        document = parse_document(raw)
        await publisher.send(topic, document_key(document).encode(), msgspec.json.encode(to_document(document)))
    await publisher.flush()


async def _feed(dev: Dev, publisher: Publisher, started_us: int) -> None:
    """Publish the backfill, then what the meters send as time passes; and the series of a new day."""
    names = topic_names(dev.settings)
    meters = [meter for site in demo_sites(SEED) for meter in site.meters]
    live = LiveReadings(SEED, meters, started_us, dev.rate_per_s)
    day = started_us // _DAY_US
    await _send(dev, publisher, names.records, backfill(SEED, meters, started_us))
    dev.screen.say(f"{dev.counts.sent.total:,} records of the last two hours are sent; now what comes")
    while True:
        now_us = _now_us()
        if now_us // _DAY_US != day:
            day = now_us // _DAY_US
            await _publish_documents(publisher, names.series, list(series_documents(SEED, now_us)))
        await _send(dev, publisher, names.records, live.due(now_us))
        await asyncio.sleep(_SEND_EVERY_S)


async def _send(dev: Dev, publisher: Publisher, topic: str, messages: Iterator[Message] | list[Message]) -> None:
    """Publish messages and count their records."""
    for message in messages:
        await publisher.send(topic, message.key, message.value)
        dev.counts.sent.add(message.records)


async def _supervise(dev: Dev, broker: Broker) -> None:
    """Keep a worker running. Raises `BrokerError` when it keeps dying, or when the broker has died."""
    deaths_s: list[float] = []
    while True:
        worker = ChildProcess(
            [sys.executable, "-m", "app.cli", "worker"],
            record=dev.state / "worker.pid.json",
            log_path=dev.state / "worker.log",
            environ=dev.environ,
        )
        dev.screen.say(f"The worker runs as process {worker.pid}, its log is {worker.log_path}")
        try:
            while worker.exit_code is None:
                await asyncio.sleep(_SEND_EVERY_S)
                if not getattr(broker, "is_running", True):
                    raise BrokerError("Kafka has ended; its log says why")
        finally:
            worker.stop(_WORKER_STOP_TIMEOUT_S)
        now_s = time.monotonic()
        deaths_s = [*(at_s for at_s in deaths_s if now_s - at_s < _QUICK_DEATH_S), now_s]
        if len(deaths_s) >= _QUICK_DEATHS_MAX:
            raise BrokerError(f"the worker keeps ending; the end of {worker.log_path}:\n{worker.log_tail()}")
        dev.screen.say(f"The worker ended with exit code {worker.exit_code}; starting another")
        await asyncio.sleep(_WORKER_BACK_OFF_S)


@asynccontextmanager
async def _outputs(settings: Settings) -> AsyncIterator[Any]:
    """Connect a consumer that sees what is committed to the output topics from now on."""
    names = topic_names(settings)
    consumer = AIOKafkaConsumer(**client_options(settings), isolation_level="read_committed", enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [
            TopicPartition(topic, n) for topic in (names.priced, names.rejected) for n in range(settings.partitions)
        ]
        consumer.assign(partitions)
        await consumer.seek_to_end(*partitions)
        for partition in partitions:
            await consumer.position(partition)
        yield consumer
    finally:
        await consumer.stop()


async def _show(dev: Dev, outputs: Any) -> None:
    """Show what the worker publishes."""
    rejected_topic = topic_names(dev.settings).rejected
    while True:
        priced: list[dict[str, Any]] = []
        rejected: list[dict[str, Any]] = []
        for partition, records in (await outputs.getmany(timeout_ms=_POLL_MS)).items():
            values = [_decode(record.value) for record in records if record.value is not None]
            (rejected if partition.topic == rejected_topic else priced).extend(values)
        if priced or rejected:
            dev.counts.priced.add(len(priced))
            dev.counts.rejected.add(len(rejected))
            dev.screen.show(priced, rejected)


async def _draw(screen: Screen) -> None:
    """Refresh the screen."""
    while True:
        screen.tick()
        await asyncio.sleep(_DRAW_EVERY_S)


@contextmanager
def _running(broker: Broker) -> Iterator[None]:
    """Start the broker, and stop it whatever happens."""
    broker.start()
    try:
        yield
    finally:
        broker.stop()


@contextmanager
def _only_one(state: Path) -> Iterator[None]:
    """Let one run at a time use the folder; the kernel drops the lock with the process."""
    state.mkdir(parents=True, exist_ok=True)
    with (state / "dev.lock").open("a", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise click.ClickException(f"another `meterstream dev` is using {state}") from None
        yield


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Make SIGTERM and SIGHUP what Ctrl-C is, where no event loop handles them."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in _STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _now_us() -> int:
    """Read the clock: here and nowhere below."""
    return time.time_ns() // 1000
