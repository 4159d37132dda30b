"""What the streams have to be told. The settings have all of it; this layer only names what it looks at."""

from pathlib import Path
from typing import Literal, Protocol

from app.streams.security import SecurityConfig

Compression = Literal["zstd"]
"""How messages may be compressed on their way, and where the brokers keep them."""


class StreamConfig(SecurityConfig, Protocol):
    """The part of the settings that streams read; see `app.settings.Settings` for what each means."""

    @property
    def app_id(self) -> str: ...  # noqa: D102 - documented at the setting
    @property
    def topic_prefix(self) -> str: ...  # noqa: D102
    @property
    def partitions(self) -> int: ...  # noqa: D102
    @property
    def replication_factor(self) -> int: ...  # noqa: D102
    @property
    def data_dir(self) -> Path: ...  # noqa: D102
    @property
    def instance_id(self) -> str | None: ...  # noqa: D102
    @property
    def emit_every_s(self) -> float: ...  # noqa: D102
    @property
    def commit_interval_ms(self) -> int: ...  # noqa: D102
    @property
    def transaction_max_ms(self) -> int: ...  # noqa: D102
    @property
    def chunk_max_records(self) -> int: ...  # noqa: D102
    @property
    def fetch_pause_ms(self) -> int: ...  # noqa: D102
    @property
    def fetch_max_bytes(self) -> int: ...  # noqa: D102
    @property
    def max_record_bytes(self) -> int: ...  # noqa: D102
    @property
    def producer_max_batch_bytes(self) -> int: ...  # noqa: D102
    @property
    def compression(self) -> Compression | None: ...  # noqa: D102
    @property
    def session_timeout_ms(self) -> int: ...  # noqa: D102
    @property
    def heartbeat_interval_ms(self) -> int: ...  # noqa: D102
    @property
    def reference_poll_ms(self) -> int: ...  # noqa: D102
    @property
    def recovery_processes(self) -> int | None: ...  # noqa: D102
    @property
    def intervals_retention_days(self) -> int | None: ...  # noqa: D102
    @property
    def future_tolerance_s(self) -> float | None: ...  # noqa: D102
    @property
    def records_retention_hours(self) -> int: ...  # noqa: D102
    @property
    def rejected_retention_hours(self) -> int: ...  # noqa: D102
