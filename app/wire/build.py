"""Compile what can be: the build's hook, which the packager runs before it installs or packs this project.

Nothing needs it. Where there is no C compiler the Python twins of the compiled functions are used, and the build says so.
"""

import tempfile
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MODULES: Final = ("app.wire._compiled", "app.wire._batches", "app.streams._usual")


def compile_modules(root: Path) -> list[Path]:
    """Compile the modules beside their sources, and return the files. Raises whatever the compiler's tools raise."""
    from Cython.Build import cythonize  # noqa: PLC0415 - where it is missing, that is one more reason to do without
    from setuptools import Distribution, Extension  # noqa: PLC0415
    from setuptools.command.build_ext import build_ext  # noqa: PLC0415

    sources = {name: root.joinpath(*name.split(".")).with_suffix(".pyx") for name in MODULES}
    for source in sources.values():
        for old in source.parent.glob(f"{source.stem}.*.so"):
            old.unlink()  # of another version of the source: it must not be what is left when this fails
    with tempfile.TemporaryDirectory(prefix="meterstream-build-") as folder:
        extensions = [Extension(name, [str(source)]) for name, source in sources.items()]
        extensions = cythonize(extensions, build_dir=folder, quiet=True)  # type: ignore[no-untyped-call]
        command = build_ext(Distribution({"name": "meterstream", "ext_modules": extensions}))
        command.build_temp, command.build_lib = folder, str(Path(folder, "lib"))
        command.ensure_finalized()
        command.run()
        built = {source: Path(command.get_ext_fullpath(name)) for name, source in sources.items()}
        return [module.replace(source.with_name(module.name)) for source, module in built.items()]


class CompileHook(BuildHookInterface[Any]):
    """Adds the compiled modules to what is installed or packed, where it can be compiled."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; a wheel that has it is for one Python on one platform."""
        if self.target_name != "wheel":
            return
        try:
            built = compile_modules(Path(self.root))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, everything works without
            self.app.display_warning(f"compiled parts are left out, Python's are used: {type(error).__name__}: {error}")
            return
        self.app.display_info("compiled: " + ", ".join(module.name for module in built))
        if version == "standard":
            build_data["pure_python"], build_data["infer_tag"] = False, True
            build_data["force_include"] |= {str(module): str(module.relative_to(self.root)) for module in built}
