"""The soak itself, for a minute with two workers; and what it calls flat."""

import re
import subprocess
import sys
from typing import Final

import pytest

from benchmarks.soak_watch import growth
from tests.faults.scale import Counts, scaled
from tests.worker_process import ROOT

MINUTES: Final = scaled(0.1, 1.0)


def test_a_line_that_rises_grows_and_one_that_only_swings_does_not() -> None:
    rising = [(float(at), 100.0 + 0.5 * at) for at in range(100)]
    assert growth(rising) == pytest.approx(49.5)
    paused = [(at, 1000.0 if at == 50 else memory) for at, memory in rising]
    assert growth(paused) == pytest.approx(49.5)
    swinging = [(float(at), 100.0 + at % 5) for at in range(100)]
    assert abs(growth(swinging)) < 1


@pytest.mark.broker
@pytest.mark.full
def test_a_minute_of_soak_is_flat_and_exact(kafka: str, counts: Counts) -> None:
    command = [sys.executable, "-m", "benchmarks.soak", "--minutes", str(MINUTES), "--rate", "300", "--workers", "2"]
    environ = {"KAFKA_BOOTSTRAP_SERVERS": kafka}
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    compared = re.search(r"exact: ([\d,]+) intervals and ([\d,]+) records", done.stdout)
    assert compared is not None
    counts.note(
        "constant load, two workers",
        minutes=MINUTES,
        records=int(compared[2].replace(",", "")),
        intervals=int(compared[1].replace(",", "")),
    )
