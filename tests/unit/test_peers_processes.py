"""A measured program of the side-by-side benchmark: what its children use counts, and none of them stays."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.peers.processes import Program

BUSY = "import time\nwhile time.process_time() < 0.3: pass\nb = bytearray(50_000_000)\nprint('busy', flush=True)\ntime.sleep(60)"
PARENT = f"import subprocess, sys\nprint('up', flush=True)\nsubprocess.run([sys.executable, '-c', {BUSY!r}])"


def wait_for(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def has_ended(pid: int) -> bool:
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        )  # nobody has waited for it yet
    except FileNotFoundError:
        return True


def test_cpu_and_memory_of_children_count_and_a_kill_ends_them_too(tmp_path: Path) -> None:
    program = Program([sys.executable, "-c", PARENT], {}, tmp_path / "log")
    wait_for(lambda: "busy" in program.log_end())
    (child,) = children(program._process.pid)
    assert program.cpu_s() >= 0.3
    assert program.peak_memory_mb() > 50
    program.kill()
    assert program.exit_code == -9
    wait_for(lambda: has_ended(child))


def test_leaving_ends_it_and_its_log_tells_how(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import os, time; print(os.environ['GIVEN'], flush=True); time.sleep(60)"]
    with Program(command, {"GIVEN": "here"}, tmp_path / "log") as program:
        wait_for(lambda: program.log_end() == "here\n")
        assert program.exit_code is None
    assert program.exit_code == -15
