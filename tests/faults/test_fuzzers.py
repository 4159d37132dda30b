"""The coverage-guided fuzzers find nothing: by chance for a fixed time, or in `make test` from the same inputs each time."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

from tests.faults.scale import Counts, scaled
from tests.worker_process import ROOT

SECONDS: Final = 60
HOW_LONG: Final = scaled(["-runs=3000", "-seed=1"], [f"-max_total_time={SECONDS}"])


@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris (extra `fuzz`) is not installed")
@pytest.mark.parametrize("what", ["decoder", "tariffs"])
def test_a_fuzzer_guided_by_coverage_finds_nothing(what: str, tmp_path: Path, counts: Counts) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    options = [*HOW_LONG, f"-artifact_prefix={tmp_path}/", "-timeout=60"]
    # By way of a small process: Linux takes the peak memory of the one that calls exec for that of what it becomes, and after
    # the tests before, this one has been larger than the fuzzer allows itself to be.
    through = ["sh", "-c", '"$@"; exit $?', "sh"]
    command = [*through, sys.executable, "-m", f"tests.faults.fuzz_{what}", *options, str(corpus)]
    done = subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS + 180, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ran = re.search(r"Done (\d+) runs", done.stderr)
    assert ran is not None, done.stderr[-3000:]
    assert int(ran[1]) > 0
    counts.note(f"{what} fuzzed, guided by coverage", executions=int(ran[1]), failures=0)
