"""Start a worker: `run(settings)` from the command line, or `app` for `faust -A app.worker worker`."""

from __future__ import annotations

import gc
import logging
import sys
from typing import TYPE_CHECKING, Any

import structlog

from app.settings import Settings, SettingsError, load_settings

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
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for chatty in ("aiokafka", "faust", "mode", "kafka"):
        logging.getLogger(chatty).setLevel(max(level, logging.WARNING))


def run(settings: Settings) -> int:
    """Run a worker until it is told to stop, and return its exit status."""
    from app.compose import create_app

    configure_logging(settings)
    return serve(create_app(settings))


def serve(app: MeterApp) -> int:
    """Run an application as a worker."""
    import faust

    _tune()
    worker = faust.Worker(app, quiet=True, redirect_stdouts=False, override_logging=False)
    try:
        worker.execute_from_commandline()
    except SystemExit as stop:
        return int(stop.code or 0)


def _tune() -> None:
    """Collect garbage rarely: what a chunk leaves behind has no cycles, and what stays (code, tariffs, meters) is much."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


def __getattr__(name: str) -> Any:
    """Build `app` when Faust's command line asks for it: importing this module starts nothing and reads no settings."""
    if name != "app":
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from app.compose import create_app

    try:
        settings = load_settings()
    except SettingsError as error:
        sys.exit("\n".join(["meterstream: the settings are wrong:", *(f"  {problem}" for problem in error.problems)]))
    configure_logging(settings)
    globals()["app"] = create_app(settings)
    return globals()["app"]
