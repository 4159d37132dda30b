"""Where this machine keeps what can be fetched again (the cache) and what cannot (the state), by the XDG rules."""

from collections.abc import Mapping
from pathlib import Path


def cache_dir(environ: Mapping[str, str]) -> Path:
    """Folder for downloads: below ``$XDG_CACHE_HOME``, else ``~/.cache``."""
    return _base(environ, "XDG_CACHE_HOME", ".cache") / "meterstream"


def state_dir(environ: Mapping[str, str]) -> Path:
    """Folder for what the broker and the worker keep: below ``$XDG_STATE_HOME``, else ``~/.local/state``."""
    return _base(environ, "XDG_STATE_HOME", ".local/state") / "meterstream"


def _base(environ: Mapping[str, str], variable: str, default: str) -> Path:
    """Return the folder that ``variable`` names if it is absolute (XDG), else ``default`` in the home folder."""
    given = Path(environ.get(variable, ""))
    home = Path(environ["HOME"]) if environ.get("HOME") else Path.home()
    return given if given.is_absolute() else home / default
