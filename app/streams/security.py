"""How a client shows who it is, and how it knows the broker: the options of every Kafka client, from the settings.

Nothing here imports a Kafka client: the settings are checked with it too. A secret that is in a file is read each time that a
client is made, so that a new password is used from the next connection on.
"""

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Protocol

PLAINTEXT: Final = "PLAINTEXT"


class Secret(Protocol):
    """A text that shows itself only to those who ask for it by name, such as pydantic's `SecretStr`."""

    def get_secret_value(self) -> str: ...  # noqa: D102 - it says what it does


class SecurityConfig(Protocol):
    """The part of the settings that is about security; see `app.settings.Settings` for what each means."""

    @property
    def bootstrap_servers(self) -> str: ...  # noqa: D102 - documented at the setting
    @property
    def security_protocol(self) -> str: ...  # noqa: D102
    @property
    def sasl_mechanism(self) -> str | None: ...  # noqa: D102
    @property
    def sasl_username(self) -> str | None: ...  # noqa: D102
    @property
    def sasl_password(self) -> Secret | None: ...  # noqa: D102
    @property
    def sasl_password_file(self) -> Path | None: ...  # noqa: D102
    @property
    def ssl_cafile(self) -> Path | None: ...  # noqa: D102
    @property
    def ssl_certfile(self) -> Path | None: ...  # noqa: D102
    @property
    def ssl_keyfile(self) -> Path | None: ...  # noqa: D102
    @property
    def ssl_key_password(self) -> Secret | None: ...  # noqa: D102
    @property
    def ssl_key_password_file(self) -> Path | None: ...  # noqa: D102
    @property
    def ssl_check_hostname(self) -> bool: ...  # noqa: D102


SASL_FIELDS: Final = ("sasl_mechanism", "sasl_username", "sasl_password", "sasl_password_file")
SSL_FIELDS: Final = ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_key_password", "ssl_key_password_file")
SECRET_FIELDS: Final = frozenset({"sasl_password", "ssl_key_password"})
SECURITY_FIELDS: Final = ("security_protocol", *SASL_FIELDS, *SSL_FIELDS, "ssl_check_hostname")


def uses_sasl(config: SecurityConfig) -> bool:
    """Tell whether the client names itself with a user name and a password."""
    return config.security_protocol.startswith("SASL_")


def uses_tls(config: SecurityConfig) -> bool:
    """Tell whether the connection is encrypted and the broker's certificate checked."""
    return config.security_protocol.endswith("SSL")


def security_options(config: SecurityConfig) -> dict[str, Any]:
    """Return what every aiokafka client has to be told about security. Holds the password: never log it.

    Raises:
        OSError: a file cannot be read (any more); `ssl.SSLError` is one, for what is not a certificate or its key.

    """
    if config.security_protocol == PLAINTEXT:
        return {}
    options: dict[str, Any] = {"security_protocol": config.security_protocol}
    if uses_tls(config):
        options["ssl_context"] = tls_context(config)
    if uses_sasl(config):
        options["sasl_mechanism"] = config.sasl_mechanism
        options["sasl_plain_username"] = config.sasl_username
        options["sasl_plain_password"] = _secret(config.sasl_password, config.sasl_password_file)
    return options


def client_options(config: SecurityConfig) -> dict[str, Any]:
    """Return where the brokers are, and what they have to be shown: for every client. Holds the password."""
    return {"bootstrap_servers": config.bootstrap_servers, **security_options(config)}


def tls_context(config: SecurityConfig) -> ssl.SSLContext:
    """Return the certificates to trust, and our own where there is one. Raises `OSError`."""
    context = ssl.create_default_context(cafile=config.ssl_cafile)
    context.check_hostname = config.ssl_check_hostname
    if config.ssl_certfile is not None:
        # With an empty text OpenSSL does not ask at a terminal for the password of a key that has one.
        password = _secret(config.ssl_key_password, config.ssl_key_password_file) or ""
        context.load_cert_chain(config.ssl_certfile, config.ssl_keyfile, password)
    return context


def principal(config: SecurityConfig) -> str:
    """Name whom rights have to be given to, as Kafka's tools for ACLs write it."""
    if uses_sasl(config):
        return f"User:{config.sasl_username}"
    return "the name in the client's certificate" if config.ssl_certfile is not None else "User:ANONYMOUS"


def _secret(given: Secret | None, file: Path | None) -> str | None:
    """Return a secret from its setting, or from its file: without the line's end that editors put there."""
    if given is not None:
        return given.get_secret_value()
    return None if file is None else file.read_text(encoding="utf-8").rstrip("\r\n")


def security_problems(config: SecurityConfig, prefix: str) -> list[str]:
    """Return a sentence for each security setting that cannot be used; none of them has a secret in it."""

    def named(field: str) -> str:
        return prefix + field.upper()

    problems = [*_combination_problems(config, named), *_file_problems(config, named)]
    if not problems and uses_tls(config):
        try:
            tls_context(config)
        except (OSError, ValueError) as error:  # a key's password that is too long is a ValueError
            field = "ssl_cafile" if config.ssl_certfile is None else "ssl_certfile"
            reason = getattr(error, "reason", None) or "not readable"
            problems.append(
                f"{named(field)}: the certificates cannot be used ({str(reason).replace('_', ' ').lower()}): expected PEM files, "
                "a key that belongs to the certificate, and the key's password where it has one"
            )
    return problems


def _combination_problems(config: SecurityConfig, named: Any) -> Iterator[str]:
    """Yield what is missing, and what the protocol does not use: whoever set it believes that it protects."""
    protocol = f"{named('security_protocol')}={config.security_protocol}"
    if uses_sasl(config):
        for field in ("sasl_mechanism", "sasl_username"):
            if getattr(config, field) is None:
                yield f"{protocol} needs {named(field)}"
        if config.sasl_password is None and config.sasl_password_file is None:
            yield f"{protocol} needs {named('sasl_password')} or {named('sasl_password_file')}"
    yield from _unused(config, named, protocol)
    for field in sorted(SECRET_FIELDS):
        if getattr(config, field) is not None and getattr(config, f"{field}_file") is not None:
            yield f"{named(field)} and {named(field)}_FILE are both set: expected one of them"
    if (config.ssl_certfile is None) != (config.ssl_keyfile is None):
        has, lacks = ("ssl_certfile", "ssl_keyfile") if config.ssl_certfile else ("ssl_keyfile", "ssl_certfile")
        yield f"{named(has)} needs {named(lacks)}"
    if config.ssl_keyfile is None and (config.ssl_key_password or config.ssl_key_password_file):
        yield f"the password of a key needs {named('ssl_keyfile')}"


def _unused(config: SecurityConfig, named: Any, protocol: str) -> Iterator[str]:
    """Yield what is set and the protocol does not use."""
    for uses, fields in ((uses_sasl(config), SASL_FIELDS), (uses_tls(config), SSL_FIELDS)):
        if not uses:
            for field in fields:
                if getattr(config, field) is not None:
                    yield f"{named(field)} is set, and {protocol} does not use it"
    if not uses_tls(config) and not config.ssl_check_hostname:
        yield f"{named('ssl_check_hostname')} is off, and {protocol} does not use it"


def _file_problems(config: SecurityConfig, named: Any) -> Iterator[str]:
    """Yield the files that cannot be read. Their names are not shown: somebody may have given the secret itself."""
    for field in ("sasl_password_file", "ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_key_password_file"):
        path: Path | None = getattr(config, field)
        if path is None:
            continue
        try:
            content = path.read_bytes()
        except OSError as error:
            reason = (error.strerror or "not readable").lower()
            yield f"{named(field)}: the file that it names cannot be read ({reason})"
            continue
        if field.endswith("password_file"):
            try:
                text = content.decode().rstrip("\r\n")
            except UnicodeDecodeError:
                yield f"{named(field)}: the file that it names is not UTF-8 text"
                continue
            if not text:
                yield f"{named(field)}: the file that it names is empty"
