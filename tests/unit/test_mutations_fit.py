"""Every mutation of the fault tests still finds what it changes: most of them are told their story in `make faults` only."""

import subprocess
import sys

import pytest

from tests.faults.mutants import MUTATIONS


@pytest.mark.parametrize("name", [name for name in MUTATIONS if name != "none"])
def test_a_mutation_fits_the_program(name: str) -> None:
    """In a process of its own: it is not taken back."""
    program = f"from tests.faults.mutants import MUTATIONS; MUTATIONS[{name!r}]()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
