"""Start a worker: `run(settings)` from the command line, or `app` for `faust -A app.worker worker`."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, Final

import structlog

from app.settings import Settings, SettingsError, load_settings
from app.streams.garbage import collect_rarely

if TYPE_CHECKING:
    from app.streams.agents import MeterApp


def configure_logging(settings: Settings) -> None:
    """Send this project's events and the libraries' messages to stderr in one form."""
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    level = getattr(logging, settings.log_level.upper())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: Any = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_logger_name,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    handler.addFilter(_Repeats())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for chatty in ("aiokafka", "faust", "mode", "kafka"):
        logging.getLogger(chatty).setLevel(max(level, logging.WARNING))


class _Repeats(logging.Filter):
    """Lets the same message of a library through once in ten seconds: without a broker its client says it 100 times a second."""

    _EVERY_S: Final = 10.0

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether to log a record, and say in it how many like it were left out."""
        if record.name.startswith("app."):
            return True
        key = (record.name, str(record.msg))
        last_s, left_out = self._last.get(key, (-self._EVERY_S, 0))
        if record.created - last_s < self._EVERY_S:
            self._last[key] = (last_s, left_out + 1)
            return False
        if len(self._last) > _MOST_MESSAGES:
            self._last.clear()
        self._last[key] = (record.created, 0)
        if left_out:
            record.msg = f"{record.msg} (and {left_out} times more since)"
        return True


_MOST_MESSAGES: Final = 1000


def run(settings: Settings) -> int:
    """Run a worker until it is told to stop, and return its exit status."""
    from app.compose import create_app

    configure_logging(settings)
    return serve(create_app(settings))


def serve(app: MeterApp) -> int:
    """Run an application as a worker."""
    import faust

    collect_rarely()
    worker = faust.Worker(app, quiet=True, redirect_stdouts=False, override_logging=False)
    worker.spinner = None  # It would write escape codes, also where nobody looks.
    try:
        worker.execute_from_commandline()
    except SystemExit as stop:
        return int(stop.code or 0)


def __getattr__(name: str) -> Any:
    """Build `app` when Faust's command line asks for it: importing this module starts nothing and reads no settings."""
    if name != "app":
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from app.compose import create_app

    try:
        settings = load_settings()
    except SettingsError as error:
        lines = ["meterstream: the settings are wrong:", *(f"  {problem}" for problem in error.problems)]
        sys.stderr.write("\n".join(lines) + "\n")
        sys.exit(2)  # as `meterstream worker` does
    configure_logging(settings)
    globals()["app"] = create_app(settings)
    return globals()["app"]
