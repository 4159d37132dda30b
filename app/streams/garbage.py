"""How the garbage collector of a process is set that moves many records."""

import gc


def collect_rarely() -> None:
    """Collect garbage rarely: what a chunk leaves behind has no cycles, and what stays (code, tariffs, meters) is much."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(500_000, 10, 50)
