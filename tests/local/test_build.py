"""The build compiles what it can, and does without where it cannot."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from app.wire.build import MODULES, CompileHook, compile_modules

ROOT = Path(__file__).parent.parent.parent


class Packager:
    """Hears what a build says."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def display_warning(self, text: str) -> None:
        self.warnings.append(text)

    def display_info(self, _text: str) -> None:
        pass


def build(root: Path, version: str, target: str = "wheel") -> tuple[dict[str, Any], list[str]]:
    packager, data = Packager(), {"pure_python": True, "infer_tag": False, "force_include": {}}
    hook = CompileHook(str(root), {}, None, None, str(root / "dist"), target, packager)  # type: ignore[arg-type]
    hook.initialize(version, data)
    return data, packager.warnings


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that has nothing but the sources of the compiled modules."""
    for source in (*ROOT.glob("app/*/_*.px[di]"), *ROOT.glob("app/*/_*.pyx"), *ROOT.glob("app/**/__init__.py")):
        place = tmp_path / source.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, place)
    return tmp_path


def test_without_a_compiler_the_build_goes_on_and_says_so(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = project / "app" / "wire" / "_compiled.cpython-000.so"
    stale.touch()
    monkeypatch.setenv("CC", "false")
    data, (warning,) = build(project, "standard")
    assert warning.startswith("compiled parts are left out, Python's are used: CompileError")
    assert data == {"pure_python": True, "infer_tag": False, "force_include": {}}
    assert not stale.exists()


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler here")
def test_a_wheel_with_the_modules_is_for_one_platform(project: Path) -> None:
    data, warnings = build(project, "standard")
    built = list((project / "app").glob("*/*.so"))
    assert warnings == []
    assert {module.name.split(".")[0] for module in built} == {name.rpartition(".")[2] for name in MODULES}
    assert data["force_include"] == {str(module): str(module.relative_to(project)) for module in built}
    assert (data["pure_python"], data["infer_tag"]) == (False, True)


def test_an_archive_of_the_source_has_nothing_compiled(project: Path) -> None:
    data, warnings = build(project, "standard", target="sdist")
    assert (data["pure_python"], data["force_include"], warnings) == (True, {}, [])
    assert not list(project.rglob("*.so"))


@pytest.mark.parametrize("name", ["wire/_compiled.pyx", "wire/_batches.pyx", "streams/_usual.pyx"])
def test_what_is_no_source_is_no_module_and_no_other_is_left(project: Path, name: str) -> None:
    (project / "app" / name).write_text("cdef int broken(:\n")
    with pytest.raises(Exception, match=Path(name).name):
        compile_modules(project)
    _, (warning,) = build(project, "editable")
    assert Path(name).name in warning
    assert not list(project.rglob("*.so"))
