"""Every setting of meterstream, read from the environment once and checked at the start.

Nothing else reads the environment. A variable is ``METERSTREAM_`` and the name of a field in capitals; the
unit ends the name. A variable that starts so and is no setting is a mistake (a typing error would otherwise be a
default that nobody asked for), and all mistakes are told at once.
"""

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, TypeAdapter, ValidationError, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from app.streams.config import Compression
from app.streams.security import SECRET_FIELDS, SECURITY_FIELDS, security_problems

PREFIX: Final = "METERSTREAM_"
BOOTSTRAP_FALLBACK: Final = "KAFKA_BOOTSTRAP_SERVERS"
"""Read when ``METERSTREAM_BOOTSTRAP_SERVERS`` is not set: the name that many Kafka tools share."""

_KAFKA_NAME: Final = re.compile(r"[A-Za-z0-9._-]{0,200}")
_LAST_PORT: Final = 65_535
_OFF: Final = frozenset({"", "off", "none"})


class SettingsError(ValueError):
    """The environment is not usable; ``problems`` has one sentence for each thing to mend."""

    def __init__(self, problems: list[str]) -> None:
        """Keep the sentences, and join them for the message."""
        self.problems: Final = tuple(problems)
        super().__init__("; ".join(problems))


def _check_servers(text: str) -> str:
    """Require ``host:port`` pairs with commas between them."""
    for server in text.split(","):
        host, colon, port = server.strip().rpartition(":")
        if not (host and colon and port.isascii() and port.isdigit() and 0 < int(port) <= _LAST_PORT):
            message = "expected host:port, or several with commas between them"
            raise ValueError(message)
    return ",".join(server.strip() for server in text.split(","))


def _check_kafka_name(text: str) -> str:
    """Require what Kafka allows in the name of a topic or of a group."""
    if not _KAFKA_NAME.fullmatch(text):
        message = "expected at most 200 of the letters a-z, A-Z, digits, dot, underscore and hyphen"
        raise ValueError(message)
    return text


def _check_not_empty(text: str) -> str:
    """Require at least one character."""
    if not text:
        message = "expected a name, not an empty text"
        raise ValueError(message)
    return text


def _off_to_none(value: object) -> object:
    """Read "off", "none" and an empty text as None: the setting is switched off."""
    return None if isinstance(value, str) and value.strip().lower() in _OFF else value


KafkaName = Annotated[str, AfterValidator(_check_kafka_name)]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
OptionalText = Annotated[str | None, BeforeValidator(_off_to_none)]
OptionalPath = Annotated[Path | None, BeforeValidator(_off_to_none)]
OptionalSecret = Annotated[SecretStr | None, BeforeValidator(_off_to_none)]


class Settings(BaseSettings):
    """What a worker or a command may be told. Frozen: a setting does not change while the process lives."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True)

    bootstrap_servers: Annotated[str, AfterValidator(_check_servers)] = Field(
        default="localhost:9092",
        description="Kafka brokers to start from, host:port with commas between. "
        "When it is not set, KAFKA_BOOTSTRAP_SERVERS is read.",
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT",
        description="SSL and SASL_SSL encrypt and check the brokers' certificate; "
        "SASL_SSL and SASL_PLAINTEXT sign in with a user name and password.",
    )
    sasl_mechanism: Annotated[
        Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None, BeforeValidator(_off_to_none)
    ] = Field(default=None, description="How to sign in: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.")
    sasl_username: OptionalText = Field(default=None, description="Whom to sign in as.")
    sasl_password: OptionalSecret = Field(
        default=None, description="The password. It is never shown; a file is safer than a variable."
    )
    sasl_password_file: OptionalPath = Field(
        default=None, description="A file that holds the password, instead: read anew for each new client."
    )
    ssl_cafile: OptionalPath = Field(
        default=None, description="Certificates (PEM) that are trusted to sign the brokers'; the system's when not set."
    )
    ssl_certfile: OptionalPath = Field(
        default=None, description="Certificate (PEM) of this client, where the brokers ask for one."
    )
    ssl_keyfile: OptionalPath = Field(default=None, description="Private key (PEM) of that certificate.")
    ssl_key_password: OptionalSecret = Field(
        default=None, description="Password of the private key, where it has one. It is never shown."
    )
    ssl_key_password_file: OptionalPath = Field(
        default=None, description="A file that holds the password of the private key, instead."
    )
    ssl_check_hostname: bool = Field(
        default=True,
        description="Require that a broker's certificate is for its host name; "
        "false only for tunnels, with certificates of a CA of your own.",
    )
    app_id: Annotated[KafkaName, AfterValidator(_check_not_empty)] = Field(
        default="meterstream",
        description="Consumer group, and what the transactional ids begin with. Workers that share it share the work.",
    )
    topic_prefix: KafkaName = Field(
        default="", description="Put before the name of every topic, so that one Kafka can carry several meterstreams."
    )
    partitions: Annotated[int, Field(ge=1, le=1024)] = Field(
        default=8,
        description="Partitions of every topic when they are created: at most so many workers share the work.",
    )
    replication_factor: Annotated[int, Field(ge=1, le=32)] = Field(
        default=1, description="Copies of every topic when they are created; 3 in production."
    )
    compiled: bool = Field(
        default=True,
        description="Use the compiled functions where they were built. Without them a worker writes the same, and takes longer.",
    )
    data_dir: Path = Field(
        default=Path("./meterstream-data"),
        description="Where the local store lives. It can be lost: it is rebuilt from Kafka.",
    )
    instance_id: Annotated[KafkaName | None, BeforeValidator(_off_to_none)] = Field(
        default=None,
        description="Name of this worker for static membership, unlike every other worker's: "
        "a restart then moves no partitions. Off when not set.",
    )

    emit_every_s: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] = Field(
        default=10.0,
        description="An incomplete interval is published at most this often, in seconds; 0 publishes every change. "
        "A complete one goes at once.",
    )

    commit_interval_ms: Annotated[int, Field(ge=1, le=60_000)] = Field(
        default=10,
        description="A worker's transactions are committed at least so many milliseconds apart: few of them "
        "under load. The first record after a pause does not wait.",
    )
    transaction_max_ms: Annotated[int, Field(ge=1, le=300_000)] = Field(
        default=1000, description="Under load a transaction is committed after so many milliseconds at the latest."
    )
    chunk_max_records: Count = Field(
        default=2000, description="Most messages of one partition that are worked on at once."
    )
    fetch_pause_ms: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=5,
        description="After a fetch of a few records the next one waits so long: fewer fetches and chunks, and less CPU for "
        "single updates. The first record after a pause does not wait.",
    )
    fetch_max_bytes: Count = Field(default=1_048_576, description="Most bytes of one partition that one fetch brings.")
    max_record_bytes: Count = Field(default=1_048_576, description="Largest message that the topics take.")
    producer_max_batch_bytes: Count = Field(
        default=1_048_576, description="Most bytes of one partition that go to the broker in one batch."
    )
    compression: Annotated[Compression | None, BeforeValidator(_off_to_none)] = Field(
        default=None,
        description="zstd: what is published is compressed on its way and on the brokers' disks; every reader's client has to "
        "know zstd. What is read may be compressed in any of Kafka's ways. Off when not set.",
    )
    linger_ms: Annotated[int, Field(ge=0, le=10_000)] = Field(
        default=2, description="How long a batch waits for company before it is sent."
    )

    session_timeout_ms: Annotated[int, Field(ge=1000, le=3_600_000)] = Field(
        default=6000, description="A worker that was silent for so long has lost its partitions to the others."
    )
    heartbeat_interval_ms: Annotated[int, Field(ge=100, le=600_000)] = Field(
        default=1000, description="How often a worker says that it lives; at most a third of the session timeout."
    )
    reference_poll_ms: Annotated[int, Field(ge=1, le=60_000)] = Field(
        default=200, description="How often new tariffs, series and locations are looked for."
    )
    store_cache_mb: Annotated[int, Field(ge=1, le=1_048_576)] = Field(
        default=32, description="Memory for the block cache of the local store, shared by all partitions of a worker."
    )
    recovery_processes: Annotated[int | None, Field(ge=1, le=256), BeforeValidator(_off_to_none)] = Field(
        default=None,
        description="How many processes rebuild lost local stores, for as long as that takes; 1 leaves it to the worker itself. "
        "Off: one for each core when a million records or more are missing.",
    )

    intervals_retention_days: Annotated[int | None, Field(ge=1, le=36_500), BeforeValidator(_off_to_none)] = Field(
        default=None,
        description="How many days an interval is kept, by the time that the records themselves have reached; a record of "
        "older ones is refused as too_old. Off: for good.",
    )
    future_tolerance_s: Annotated[
        float | None, Field(ge=0, le=315_360_000, allow_inf_nan=False), BeforeValidator(_off_to_none)
    ] = Field(
        default=None,
        description="How many seconds after its submission a record's period may end; later ones are refused as "
        "in_the_future. Off: forecasts are taken.",
    )

    records_retention_hours: Annotated[int, Field(ge=1, le=876_000)] = Field(
        default=168, description="How long meter.records is kept, counted from arrival; set when topics are created."
    )
    rejected_retention_hours: Annotated[int, Field(ge=1, le=876_000)] = Field(
        default=720, description="How long meter.rejected is kept; set when topics are created."
    )

    health_port: Annotated[int | None, Field(ge=1, le=65_535), BeforeValidator(_off_to_none)] = Field(
        default=None,
        description="Port on which a worker answers GET /health/live, /health/ready and /metrics. Off when not set.",
    )
    health_host: Annotated[str, AfterValidator(_check_not_empty)] = Field(
        default="127.0.0.1",
        description="Address on which it listens for that; nobody has to sign in, so open it to your own network only.",
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="How much is logged.")
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto",
        description="json: one object a line; console: for people; auto: console at a terminal, else json.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take only what is given: `load_settings` is the one place where the environment is read."""
        return (init_settings,)

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        """Require what only several settings together can break."""
        problems = _contradictions({name: getattr(self, name) for name in _COMPARED})
        problems += security_problems(self, PREFIX)
        if problems:
            raise SettingsError(problems)
        return self


class _AtMost(NamedTuple):
    """A setting that may not exceed another: ``factor`` times the first is at most the second."""

    small: str
    large: str
    factor: int = 1
    words: str = ""


_AT_MOST: Final = (
    _AtMost("heartbeat_interval_ms", "session_timeout_ms", 3, "a third of "),
    _AtMost("commit_interval_ms", "transaction_max_ms"),
    _AtMost("max_record_bytes", "fetch_max_bytes"),
)
_COMPARED: Final = frozenset(name for rule in _AT_MOST for name in (rule.small, rule.large))
_INTEGER: Final = TypeAdapter(int)


def _contradictions(values: Mapping[str, int]) -> list[str]:
    """One sentence for each pair of settings that contradict each other; a pair that is not complete is left out."""
    return [
        f"{variable_of(rule.small)}={values[rule.small]}: expected at most {rule.words}"
        f"{variable_of(rule.large)}={values[rule.large]}"
        for rule in _AT_MOST
        if rule.small in values and rule.large in values
        if rule.factor * values[rule.small] > values[rule.large]
    ]


class _GivenEnvironment(EnvSettingsSource):
    """The environment source of pydantic-settings, over a mapping that is handed in instead of the process's own."""

    def __init__(self, settings_cls: type[BaseSettings], environ: Mapping[str, str]) -> None:
        """Read from ``environ``."""
        super().__init__(settings_cls)
        self.env_vars = {name.lower(): value for name, value in environ.items()}


class Described(NamedTuple):
    """One setting, for the worker's start message and the table in the README."""

    name: str
    variable: str
    value: str
    meaning: str


def variable_of(field: str) -> str:
    """Name of the environment variable of a field."""
    return PREFIX + field.upper()


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read and check the settings from ``environ`` (default: the process's environment).

    Raises `SettingsError` with every problem: a value that is not allowed, a ``METERSTREAM_`` variable that is no
    setting.
    """
    given = os.environ if environ is None else environ
    known = {variable_of(name): name for name in Settings.model_fields}
    ours = {name: value for name, value in given.items() if name in known}
    source_of = {field: variable for variable, field in known.items()}
    if variable_of("bootstrap_servers") not in ours and given.get(BOOTSTRAP_FALLBACK):
        ours[variable_of("bootstrap_servers")] = given[BOOTSTRAP_FALLBACK]
        source_of["bootstrap_servers"] = BOOTSTRAP_FALLBACK
    problems = [
        _unknown(name, list(known.values())) for name in sorted(given) if name.startswith(PREFIX) and name not in known
    ]
    values = _GivenEnvironment(Settings, ours)()
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise SettingsError([*_explain(error, source_of), *_contradictions_beside(error, values), *problems]) from None
    if problems:
        raise SettingsError(problems)
    return settings


def describe(settings: Settings) -> list[Described]:
    """Name, variable, value and meaning of every setting, in the order in which they are declared."""
    return [
        Described(name, variable_of(name), _shown(getattr(settings, name)), field.description or "")
        for name, field in Settings.model_fields.items()
    ]


def _shown(value: object) -> str:
    """Write a value as its variable would hold it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, SecretStr):
        return "***"
    return "off" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _unknown(name: str, known: list[str]) -> str:
    """Tell that a variable is no setting, and which one it resembles."""
    near = get_close_matches(name.removeprefix(PREFIX).lower(), known, n=1)
    return f"{name} is no setting" + (
        f"; did you mean {variable_of(near[0])}?" if near else "; `meterstream worker --help` lists them"
    )


def _contradictions_beside(error: ValidationError, values: Mapping[str, Any]) -> list[str]:
    """Compare the settings that are right by themselves: pydantic compares nothing when one is wrong."""
    wrong = {str(mistake["loc"][0]) for mistake in error.errors() if mistake["loc"]}
    if not wrong:
        return []  # only the comparisons failed, and they have been told
    right = Settings.model_construct(**{name: value for name, value in values.items() if name not in wrong})
    problems = _contradictions({name: _INTEGER.validate_python(getattr(right, name)) for name in _COMPARED - wrong})
    if wrong.isdisjoint(SECURITY_FIELDS):
        try:
            Settings(**{name: value for name, value in values.items() if name in SECURITY_FIELDS})
        except ValidationError as also:
            problems += _explain(also, {})
    return problems


def _explain(error: ValidationError, source_of: Mapping[str, str]) -> list[str]:
    """One sentence for each mistake, with the variable, its value and what was expected."""
    sentences: list[str] = []
    for mistake in error.errors():
        cause: Any = mistake.get("ctx", {}).get("error")
        if isinstance(cause, SettingsError):
            sentences.extend(cause.problems)
            continue
        expected = str(cause) if cause is not None else mistake["msg"].replace("Input should be", "expected", 1)
        field = str(mistake["loc"][0])
        shown = "" if field in SECRET_FIELDS else f"={mistake['input']!r}"
        sentences.append(f"{source_of.get(field, field)}{shown}: {expected}")
    return sentences
