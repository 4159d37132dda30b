"""Kafka with TLS, SASL and ACLs: it works with the least rights, says in a line what is refused, and shows no secret."""

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.local.java import Java
from app.settings import load_settings
from app.streams.chunks import EXIT_REFUSED
from app.streams.rights import AccessError, check_access, transactional_base, worker_needs
from app.streams.topics import topic_names
from tests.faults.scale import Counts, scaled
from tests.faults.secured import PASSWORDS, SECRETS, Acl, SecuredBroker
from tests.harness import Stream
from tests.making import encoded, flat_tariff, location, record
from tests.sites import Site, sites
from tests.worker_process import ROOT, Worker

pytestmark = pytest.mark.broker

WRONG = "wrongly-Word-4716"


@pytest.fixture(scope="module")
def secured(java: Java, kafka_jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    broker = SecuredBroker(tmp_path_factory.mktemp("secured"), java, kafka_jars)
    with broker.broker:
        yield broker


def granted(stream: Stream, role: str, topic_prefix: str | None = None) -> list[Acl]:
    """Return the rights that the page for operators lists for a role, for the names of this stream, or of another prefix."""
    settings = stream.settings
    prefix = topic_prefix or settings.topic_prefix
    table = (
        (ROOT / "docs/operations.md").read_text(encoding="utf-8").partition("<!-- rights -->")[2].partition("\n\n")[0]
    )
    acls = []
    for row in table.splitlines():
        cells = row.strip("|").split("|")
        if row.startswith(f"| {role}"):
            for name in re.findall(r"`([^`]+)`", cells[3]):
                own = name.replace("METERSTREAM_APP_ID", settings.app_id)
                whole = prefix + own if cells[2].strip() == "Topic" else own
                acls += [Acl(operation, cells[2].strip(), whole) for operation in re.findall(r"`([^`]+)`", cells[1])]
    assert acls, role
    return acls


def meterstream(
    stream: Stream, *arguments: str, module: str = "app.cli", stdin: bytes | None = None, **settings: object
) -> tuple[int, str]:
    """Run a command to its end; return the exit code, and what it wrote with no secret in it."""
    kept = {name: value for name, value in stream.environ.items() if "_SASL_" not in name and "_SSL_" not in name}
    own = {f"METERSTREAM_{name.upper()}": str(value) for name, value in settings.items()}
    environ = {name: value for name, value in os.environ.items() if not name.startswith("METERSTREAM_")} | kept | own
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT, env=environ, input=stdin, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    said = (done.stdout + done.stderr).decode()
    assert_no_secret(said)
    return done.returncode, said


def assert_no_secret(text: str) -> None:
    for secret in (*SECRETS, WRONG):
        assert secret not in text


def assert_no_secret_in_logs(stream: Stream) -> None:
    for path in (*stream.folder.glob("*.log"), *stream.folder.glob("*.out")):
        assert_no_secret(path.read_text(encoding="utf-8", errors="replace"))


def prices(stream: Stream, site: Site) -> None:
    """Publish records and require the right prices."""
    site.publish(*(site.record(30 * n, 30, 0.5 + n) for n in range(20)))
    stream.verify()


WAYS = {
    "SCRAM-SHA-512 over TLS": lambda broker: broker.settings("worker"),
    "SCRAM-SHA-256 over TLS": lambda broker: broker.settings("worker", "SCRAM-SHA-256"),
    "PLAIN over TLS": lambda broker: broker.settings("worker", "PLAIN"),
    "PLAIN in the clear": lambda broker: broker.settings("worker", "PLAIN", clear=True),
    "a certificate of the client": lambda broker: broker.mutual_tls(),
}
SHORT = ("SCRAM-SHA-512 over TLS", "a certificate of the client")


@pytest.mark.parametrize("way", [way if way in SHORT else pytest.param(way, marks=pytest.mark.full) for way in WAYS])
def test_a_worker_prices_with_the_least_rights(
    way: str, secured: SecuredBroker, streams: Callable[..., Stream], counts: Counts
) -> None:
    stream = streams(secured.broker.bootstrap_servers, emit_every_s=1)
    secured.grant("worker", granted(stream, "worker"))
    site = next(sites(stream, 1))
    worker = stream.worker(**WAYS[way](secured))
    prices(stream, site)
    assert worker.terminate() == 0
    assert_no_secret_in_logs(stream)
    counts.note("a worker with the least rights signs in and prices", ways=1, records=20)


def test_each_command_does_its_work_with_the_rights_of_its_role(
    secured: SecuredBroker, streams: Callable[..., Stream], tmp_path: Path, counts: Counts
) -> None:
    stream = streams(secured.broker.bootstrap_servers, emit_every_s=1)
    for role in ("worker", "publisher", "consumer", "operator"):
        secured.grant(role, granted(stream, role))
    documents, records = tmp_path / "documents.jsonl", tmp_path / "records.jsonl"
    documents.write_bytes(b"\n".join(map(encoded, (flat_tariff("flat"), location("loc", "flat")))))
    records.write_bytes(b"\n".join(map(encoded, (record("loc", 0, 30, 1.5), record("nobody", 0, 30, 1.5)))))
    publisher, consumer = secured.settings("publisher", "PLAIN"), secured.settings("consumer")
    commands = [
        (("topics", "create"), secured.settings("operator"), "exists"),
        (("load", str(documents)), publisher, "loaded 1 tariffs"),
        (("send", str(records)), publisher, "accepted  2 by the broker"),
    ]
    for arguments, settings, expected in commands:
        code, said = meterstream(stream, *arguments, **settings)
        assert code == 0, said
        assert expected in said
    stream.worker(**secured.settings("worker"))
    stream.wait(lambda: stream.priced("loc") and stream.rejected("nobody"), "a price and a refusal")
    code, said = meterstream(stream, "rejected", "list", **consumer)
    assert (code, "1 rejected: 1 unknown_location" in said) == (0, True), said
    code, said = meterstream(stream, "load", str(documents), **consumer)
    assert code == 4
    assert f"no right to write to the topic {stream.names.tariffs} (ACL: Write on Topic" in said
    code, said = meterstream(stream, "tail", **publisher)
    assert (code, said.count("\n")) == (4, 1), said
    assert f"no right to read the topic {stream.names.priced}" in said
    counts.note("commands with the rights of their role, and without", commands=6)


@pytest.mark.full
def test_an_operator_creates_topics_that_do_not_exist_yet(
    secured: SecuredBroker, streams: Callable[..., Stream], counts: Counts
) -> None:
    stream = streams(secured.broker.bootstrap_servers, partitions=2)
    prefix = f"new-{stream.settings.topic_prefix}"
    operator = secured.settings("operator") | {"topic_prefix": prefix}
    code, said = meterstream(stream, "topics", "create", **operator)
    assert (code, said.count("\n")) == (4, 1), said
    assert prefix in said
    secured.grant("operator", granted(stream, "operator", prefix))
    code, said = meterstream(stream, "topics", "create", **operator)
    names = topic_names(stream.settings.model_copy(update={"topic_prefix": prefix}))
    assert code == 0, said
    assert sorted(said.split()) == sorted([*names, *["created"] * len(names)])
    code, said = meterstream(stream, "topics", "list", **operator)
    assert (code, said.count("partitions=2 ")) == (0, len(names)), said
    counts.note("topics created with the rights of an operator, and not without", topics=len(names), refused=1)


@pytest.mark.full
def test_a_worker_that_fausts_own_command_starts_tells_a_refusal_in_a_line_too(
    secured: SecuredBroker, streams: Callable[..., Stream], counts: Counts
) -> None:
    stream = streams(secured.broker.bootstrap_servers)
    secured.grant("worker", granted(stream, "worker"))
    right = secured.settings("worker")
    no_right = f"no right to write to the topic {stream.names.priced} (ACL: Write on Topic"
    refusals = [
        (right | {"sasl_password": WRONG}, "refused to sign in worker with SCRAM-SHA-512: wrong user name or password"),
        (right | {"ssl_cafile": secured.strangers_cafile}, "is not trusted"),
        (right, no_right),
    ]
    acl = Acl("Write", "Topic", stream.names.priced)
    secured.deny("worker", acl)
    for settings, line in refusals:
        code, said = meterstream(stream, "-A", "app.worker", "worker", module="faust", **settings)
        told = [each for each in said.splitlines() if line in each]
        assert (code, len(told), "Traceback" in said) == (4, 1, False), said
    secured.deny_no_more("worker", acl)
    counts.note("refusals of a worker that Faust's own command starts", refusals=len(refusals))


def test_each_refusal_is_one_line_and_ends_at_once(
    secured: SecuredBroker, streams: Callable[..., Stream], counts: Counts
) -> None:
    stream = streams(secured.broker.bootstrap_servers)
    secured.grant("worker", granted(stream, "worker"))
    right = secured.settings("worker")
    server, plain = secured.sasl_ssl, secured.settings("worker", "PLAIN", clear=True)
    elsewhere = f"localhost:{server.rpartition(':')[2]}"
    wrong_password = f"Error: {server} refused to sign in worker with SCRAM-SHA-512: wrong user name or password\n"
    refusals = [
        (right | {"sasl_password": WRONG}, wrong_password),
        (right | {"sasl_username": "nobody"}, wrong_password.replace("worker", "nobody")),
        (plain | {"sasl_password": WRONG}, f"Error: {secured.sasl_plaintext} refused to sign in worker with PLAIN: "),
        (right | {"ssl_cafile": secured.strangers_cafile}, f"Error: the certificate of {server} is not trusted: "),
        (right | {"bootstrap_servers": elsewhere}, f"Error: the certificate of {elsewhere} is not trusted: Hostname"),
        (
            {name: value for name, value in secured.mutual_tls().items() if "cert" not in name and "key" not in name},
            f"Error: no TLS with {secured.ssl}: ",
        ),
        (right | {"bootstrap_servers": secured.sasl_plaintext}, f"Error: no TLS with {secured.sasl_plaintext}: "),
    ]
    commands: tuple[tuple[str, ...], ...] = scaled((("worker",),), (("worker",), ("topics", "list")))
    for settings, line in refusals:
        for command in commands:
            began_s = time.monotonic()
            code, said = meterstream(stream, *command, log_format="console", **settings)
            lines = [each for each in said.splitlines(keepends=True) if not each.startswith("worker of ")]
            assert (code, len(lines)) == (4, 1), said
            assert lines[0].startswith(line), said
            assert time.monotonic() - began_s < 30
    counts.note("refusals of credentials and certificates", refusals=len(commands) * len(refusals))


@pytest.mark.full
def test_each_missing_right_of_a_worker_is_named(
    secured: SecuredBroker, streams: Callable[..., Stream], counts: Counts
) -> None:
    stream = streams(secured.broker.bootstrap_servers, partitions=2)
    secured.grant("worker", granted(stream, "worker"))
    settings = load_settings(
        stream.environ | {f"METERSTREAM_{name.upper()}": value for name, value in secured.settings("worker").items()}
    )

    def refused(expected: list[str]) -> None:
        for _ in range(100):  # the broker's authorizer follows a log: it knows a little later
            try:
                asyncio.run(check_access(settings, worker_needs(settings)))
                problems: list[str] = []
            except AccessError as error:
                problems = error.problems
            if problems == expected:
                return
            time.sleep(0.1)
        assert problems == expected

    refused([])
    for need in worker_needs(settings):
        acl = Acl(need.operation, need.resource, need.name)
        secured.deny("worker", acl)
        verb = "use" if need.resource != "Topic" else "read" if need.operation == "Read" else "write to"
        what = {"Topic": "topic", "Group": "group", "TransactionalId": "transactional id"}[need.resource]
        acl_words = f"ACL: {need.operation} on {need.resource} {need.name} for User:worker"
        refused([f"no right to {verb} the {what} {need.name} ({acl_words})"])
        secured.deny_no_more("worker", acl)
    refused([])
    counts.note("rights taken from a worker, each named", rights=len(worker_needs(settings)))


TO_WRITE: dict[str, Callable[[Stream], Acl]] = {
    "to write prices": lambda stream: Acl("Write", "Topic", stream.names.priced),
    "to transactions": lambda stream: Acl("Write", "TransactionalId", f"{transactional_base(stream.settings)}-*"),
}
TO_READ: dict[str, Callable[[Stream], Acl]] = {
    "to read records": lambda stream: Acl("Read", "Topic", stream.names.records),
    "to be in the group": lambda stream: Acl("Read", "Group", stream.settings.app_id),
}


def _worker_that_loses(acl: Acl, secured: SecuredBroker, stream: Stream) -> Worker:
    """Take a right from a worker that is at work, with a record to do."""
    secured.grant("worker", granted(stream, "worker"))
    site = next(sites(stream, 1))
    worker = stream.worker(**secured.settings("worker"))
    site.publish(site.record(0, 30, 1))
    site.await_priced(0)
    secured.deny("worker", acl)
    site.publish(site.record(30, 30, 2))
    return worker


@pytest.mark.full
@pytest.mark.parametrize("right", TO_WRITE)
def test_a_right_that_is_taken_away_is_told_and_work_goes_on_when_it_is_back(
    right: str, secured: SecuredBroker, streams: Callable[..., Stream], counts: Counts
) -> None:
    stream = streams(secured.broker.bootstrap_servers, partitions=1, emit_every_s=1)
    acl = TO_WRITE[right](stream)
    worker = _worker_that_loses(acl, secured, stream)
    (failed, *_) = worker.await_log("partition_failed")
    assert "uthoriz" in failed["reason"] or "AUTHORIZATION" in failed["reason"], failed
    secured.deny_no_more("worker", acl)
    stream.verify()
    assert worker.exit_code is None
    assert_no_secret_in_logs(stream)
    counts.note(f"the right {right} taken away and given back", rights=1)


@pytest.mark.full
@pytest.mark.parametrize("right", TO_READ)
def test_without_a_right_to_read_a_worker_ends_with_a_line_and_the_next_one_goes_on(
    right: str, secured: SecuredBroker, streams: Callable[..., Stream], counts: Counts
) -> None:
    stream = streams(secured.broker.bootstrap_servers, partitions=1, emit_every_s=1)
    acl = TO_READ[right](stream)
    worker = _worker_that_loses(acl, secured, stream)
    stream.wait(lambda: worker.exit_code is not None, "the end of the worker")
    assert worker.exit_code == EXIT_REFUSED
    (lost,) = worker.logged("right_lost")
    assert acl.name in lost["reason"]
    assert [entry["event"] for entry in worker.log() if entry.get("level") == "critical"] == ["right_lost"]
    secured.deny_no_more("worker", acl)
    stream.worker(**secured.settings("worker"))
    stream.verify()
    assert_no_secret_in_logs(stream)
    counts.note(f"the right {right} taken away, and given back to the next worker", rights=1)


def test_settings_show_no_secret(secured: SecuredBroker, streams: Callable[..., Stream], counts: Counts) -> None:
    stream = streams(secured.broker.bootstrap_servers)
    given = secured.settings("worker")
    settings = load_settings({f"METERSTREAM_{name.upper()}": value for name, value in given.items()})
    assert PASSWORDS["worker"] not in repr(settings)
    assert_no_secret(f"{settings} {settings!r} {settings.model_dump()}")
    code, said = meterstream(stream, "worker", "--check", **given)
    assert (code, "METERSTREAM_SASL_PASSWORD=***" in said) == (0, True)
    code, said = meterstream(stream, "--debug", "worker", sasl_pasword=WRONG, **given | {"sasl_password": WRONG})
    assert (code != 0, "did you mean METERSTREAM_SASL_PASSWORD" in said) == (True, True)
    counts.note("commands that show settings", commands=2)
