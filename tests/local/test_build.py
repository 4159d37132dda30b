"""The build compiles what it can, and does without where it cannot."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from app.wire.build import CompileHook, compile_module

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
    """A project that has nothing but the source of the compiled module."""
    folder = tmp_path / "app" / "wire"
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "app" / "wire" / "_compiled.pyx", folder)
    return tmp_path


def test_without_a_compiler_the_build_goes_on_and_says_so(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = project / "app" / "wire" / "_compiled.cpython-000.so"
    stale.touch()
    monkeypatch.setenv("CC", "false")
    data, (warning,) = build(project, "standard")
    assert warning.startswith("compiled texts are left out, Python's are used: CompileError")
    assert data == {"pure_python": True, "infer_tag": False, "force_include": {}}
    assert not stale.exists()


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler here")
def test_a_wheel_with_the_module_is_for_one_platform(project: Path) -> None:
    data, warnings = build(project, "standard")
    (built,) = (project / "app" / "wire").glob("_compiled.*.so")
    assert warnings == []
    assert data["force_include"] == {str(built): f"app/wire/{built.name}"}
    assert (data["pure_python"], data["infer_tag"]) == (False, True)


def test_an_archive_of_the_source_has_nothing_compiled(project: Path) -> None:
    data, warnings = build(project, "standard", target="sdist")
    assert (data["pure_python"], data["force_include"], warnings) == (True, {}, [])
    assert not list(project.rglob("*.so"))


def test_what_is_no_source_is_no_module(project: Path) -> None:
    (project / "app" / "wire" / "_compiled.pyx").write_text("cdef int broken(:\n")
    with pytest.raises(Exception, match=r"_compiled\.pyx"):
        compile_module(project)
    _, (warning,) = build(project, "editable")
    assert "_compiled.pyx" in warning
