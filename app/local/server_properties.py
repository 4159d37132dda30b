"""The configuration of a Kafka that is one node on loopback: starts fast, is small, and keeps its data."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

HOST: Final = "127.0.0.1"

JVM_OPTIONS: Final = (
    "-Xmx384m",
    "-XX:+UseSerialGC",  # one small heap: the concurrent collectors cost threads and memory
    "-XX:TieredStopAtLevel=1",  # up sooner; the last third of throughput is not what this broker is for
    "-Xshare:auto",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
    "-Dorg.slf4j.simpleLogger.showThreadName=false",
    "-Dorg.slf4j.simpleLogger.showShortLogName=true",
)

_FIXED: Final[Mapping[str, str]] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "BROKER",
    "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
    # One node: every internal topic has one replica, and few partitions, of which each costs files and start time.
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "default.replication.factor": "1",
    # A group of one need not wait three seconds for company, and sessions of two seconds are allowed.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    # After kill -9 the controller waits for the session of the broker's former life; 9 s by default.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "300",
    "controller.quorum.election.timeout.ms": "200",
    "controller.quorum.election.backoff.max.ms": "100",
    "controller.quorum.fetch.timeout.ms": "500",
    # A chunk of ten thousand records is one batch.
    "message.max.bytes": str(8 << 20),
    "replica.fetch.max.bytes": str(8 << 20),
    # A topic is made on purpose: one that a typing error makes has the wrong partitions and is never compacted.
    "auto.create.topics.enable": "false",
    # The default, 128 MiB, is a third of the heap.
    "log.cleaner.dedupe.buffer.size": str(16 << 20),
    # Aborted transactions of workers that were killed are forgotten soon enough to be seen doing so.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
}


def server_properties(log_dir: Path, broker_port: int, controller_port: int, extra: Mapping[str, str]) -> str:
    """Return the text of `server.properties`; ``extra`` wins over what is set here."""
    properties = {
        **_FIXED,
        "log.dirs": str(log_dir),
        "listeners": f"BROKER://{HOST}:{broker_port},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": f"BROKER://{HOST}:{broker_port}",
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        **extra,
    }
    # A backslash begins an escape in Java's property files.
    return "".join(f"{name}={value.replace(chr(92), chr(92) * 2)}\n" for name, value in properties.items())


def container_environment(bootstrap_servers: str) -> dict[str, str]:
    """Return the same settings as variables of the image `apache/kafka`, whose clients come to ``bootstrap_servers``.

    The image drops all of its own settings as soon as one variable is given, so every one that is needed is here.
    """
    properties = {
        **_FIXED,
        "listeners": "BROKER://:9092,CONTROLLER://:9093",
        "advertised.listeners": f"BROKER://{bootstrap_servers}",
        "controller.quorum.voters": "1@localhost:9093",
        "log.dirs": "/var/lib/kafka/data",
    }
    variables = {"KAFKA_" + name.upper().replace(".", "_"): value for name, value in properties.items()}
    return {**variables, "CLUSTER_ID": "bWV0ZXJzdHJlYW0tZGV2Lg"}
