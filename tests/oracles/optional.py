"""Calculators of others, which the extra `oracles` installs."""

import importlib
import os
import warnings
from types import ModuleType

import pytest


def calculator(module: str) -> ModuleType:
    """Import a calculator. Where it is not installed its tests are skipped; on a build machine they fail."""
    try:
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            return importlib.import_module(module)
    except ModuleNotFoundError:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"{module} is not installed: pip install 'meterstream[oracles]'", allow_module_level=True)
