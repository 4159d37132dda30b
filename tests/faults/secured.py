"""A broker that lets nobody in without a password or a certificate, and grants nothing that it was not told to grant."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

import trustme
from aiokafka.conn import create_conn
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest
from cryptography.hazmat.primitives import serialization

from app.local.broker import LocalBroker
from app.local.java import Java
from tests.cluster import free_ports

PASSWORDS: Final = {
    "operator": "operators-Word-4711",
    "worker": "workers-Word-4712",
    "publisher": "publishers-Word-4713",
    "consumer": "consumers-Word-4714",
}
"""Nothing else in a log looks like one of these."""

KEY_PASSWORD: Final = "keys-Word-4715"
SECRETS: Final = (*PASSWORDS.values(), KEY_PASSWORD)
HOST: Final = "127.0.0.1"

_RESOURCES: Final = {"Topic": 2, "Group": 3, "Cluster": 4, "TransactionalId": 5}
_OPERATIONS: Final = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8, "DescribeConfigs": 10}
_LITERAL, _PREFIXED = 3, 4
_DENY, _ALLOW = 2, 3


class Acl(NamedTuple):
    """A right as Kafka keeps it; a name that ends with * stands for all that begin so."""

    operation: str
    resource: str
    name: str


class SecuredBroker:
    """A local broker with listeners for SASL over TLS, TLS with certificates of clients, and SASL in the clear."""

    def __init__(self, folder: Path, java: Java, jars: Path) -> None:
        """Make certificates; `broker` is to be started."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder: Final = folder
        authority, stranger = trustme.CA(), trustme.CA()
        self.cafile: Final = folder / "ca.pem"
        self.strangers_cafile: Final = folder / "stranger.pem"
        authority.cert_pem.write_to_path(str(self.cafile))
        stranger.cert_pem.write_to_path(str(self.strangers_cafile))
        server = authority.issue_cert(HOST)
        client = authority.issue_cert("client@meterstream.example", common_name="worker")
        self.certfile: Final = folder / "client.pem"
        self.keyfile: Final = folder / "client.key"
        self.certfile.write_bytes(client.cert_chain_pems[0].bytes())
        self.keyfile.write_bytes(_key(client, KEY_PASSWORD))
        keystore = folder / "server.pem"
        keystore.write_bytes(_key(server, None) + b"".join(pem.bytes() for pem in server.cert_chain_pems))
        plain, controller, *secured = (f"{HOST}:{port}" for port in free_ports(5))
        self.sasl_ssl, self.ssl, self.sasl_plaintext = secured
        clients = f"BROKER://{plain},TLS://{self.sasl_ssl},MUTUAL://{self.ssl},CLEAR://{self.sasl_plaintext}"
        more = {
            "listeners": f"{clients},CONTROLLER://{controller}",
            "advertised.listeners": clients,
            "controller.quorum.voters": f"1@{controller}",
            "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT,"
            "TLS:SASL_SSL,MUTUAL:SSL,CLEAR:SASL_PLAINTEXT",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(keystore),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.cafile),
            "listener.name.mutual.ssl.client.auth": "required",
            "listener.name.mutual.ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/,DEFAULT",
        }
        login = "org.apache.kafka.common.security"
        users = " ".join(f'user_{name}="{password}"' for name, password in PASSWORDS.items())
        for listener in ("tls", "clear"):
            begin = f"listener.name.{listener}"
            more[f"{begin}.plain.sasl.jaas.config"] = f"{login}.plain.PlainLoginModule required {users};"
            for mechanism in ("scram-sha-256", "scram-sha-512"):
                more[f"{begin}.{mechanism}.sasl.jaas.config"] = f"{login}.scram.ScramLoginModule required;"
        self.broker: Final = LocalBroker(
            folder / "broker",
            java=java,
            jars=jars,
            extra_properties=more,
            preferred_port=int(plain.rpartition(":")[2]),
            format_options=[
                f"--add-scram={mechanism}=[name={name},password={password}]"
                for name, password in PASSWORDS.items()
                for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
            ],
        )

    def settings(self, user: str, mechanism: str = "SCRAM-SHA-512", *, clear: bool = False) -> dict[str, str]:
        """Return the settings of a client that signs in."""
        given = {
            "bootstrap_servers": self.sasl_plaintext if clear else self.sasl_ssl,
            "security_protocol": "SASL_PLAINTEXT" if clear else "SASL_SSL",
            "sasl_mechanism": mechanism,
            "sasl_username": user,
            "sasl_password": PASSWORDS[user],
        }
        return given if clear else given | {"ssl_cafile": str(self.cafile)}

    def mutual_tls(self) -> dict[str, str]:
        """Return the settings of a client with a certificate: it is the worker."""
        return {
            "bootstrap_servers": self.ssl,
            "security_protocol": "SSL",
            "ssl_cafile": str(self.cafile),
            "ssl_certfile": str(self.certfile),
            "ssl_keyfile": str(self.keyfile),
            "ssl_key_password": KEY_PASSWORD,
        }

    def grant(self, user: str, acls: Iterable[Acl]) -> None:
        """Give rights to a user."""
        asyncio.run(self._ask([CreateAclsRequest(*_written(acl), *_for(user, acl, _ALLOW)) for acl in acls]))

    def deny(self, user: str, acl: Acl) -> None:
        """Take a right from a user, whatever else it was given."""
        asyncio.run(self._ask([CreateAclsRequest(*_written(acl), *_for(user, acl, _DENY))]))

    def deny_no_more(self, user: str, acl: Acl) -> None:
        """Take back what was denied."""
        asyncio.run(self._ask([DeleteAclsRequest(*_written(acl), *_for(user, acl, _DENY))]))

    async def _ask(self, questions: list[Any]) -> None:
        host, _, port = self.broker.bootstrap_servers.rpartition(":")
        connection = await create_conn(host, int(port))
        for question in questions:
            answer = (await connection.send(question)).to_object()
            results = answer.get("creation_responses") or answer["filter_responses"]
            assert all(result["error_code"] == 0 for result in results), answer
        connection.close()


def _written(acl: Acl) -> tuple[int, str, int]:
    """Return the resource as the protocol names it."""
    return _RESOURCES[acl.resource], acl.name.rstrip("*"), _PREFIXED if acl.name.endswith("*") else _LITERAL


def _for(user: str, acl: Acl, permission: int) -> tuple[str, str, int, int]:
    """Return whom it is for, from everywhere, and what it is about."""
    return f"User:{user}", "*", _OPERATIONS[acl.operation], permission


def _key(certificate: trustme.LeafCert, password: str | None) -> bytes:
    """Return a private key in the form that Java reads too."""
    key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)
    secret = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret)
