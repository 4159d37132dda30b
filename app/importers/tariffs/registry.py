"""The foreign tariff formats by name. An importer's module is loaded when it is asked for."""

from importlib import import_module
from typing import Any, Final

from app.importers.tariffs.common import Imported, Importer, ImportOptions

_PACKAGE: Final = "app.importers.tariffs"


class _Lazy:
    """An importer that is loaded at its first use."""

    def __init__(self, module: str, function: str) -> None:
        self._module = module
        self._function = function

    def __call__(self, document: Any, options: ImportOptions) -> Imported:
        """Import one document. Raises `DocumentError` for what is no such format."""
        importer: Importer = getattr(import_module(self._module), self._function)
        return importer(document, options)


FORMATS: Final[dict[str, Importer]] = {
    name: _Lazy(f"{_PACKAGE}.{name}", f"import_{name}") for name in ("urdb", "cdr", "octopus", "ocpi", "flatpeak")
}
"""OpenEI's URDB, the Australian Consumer Data Right, Octopus Energy, OCPI and FlatPeak, in the order in which help lists them."""
